//! What russh says only to its log, and the audit must know.
//!
//! russh refuses a certificate that is outside its validity, or whose own signature is wrong, before any callback: it
//! writes a warning and answers the client. The warning is made in the same poll of the connection's task in which the
//! packet was read from our stream, on the same thread, with no await between. So the stream notes on the thread whose
//! connection it belongs to each time it is read, and our logger hands the warning to that connection.
//!
//! Should a new russh word its warnings differently, the tests of refused certificates fail.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, Once, PoisonError};

use log::{Level, LevelFilter, Log, Metadata, Record};

/// Most refusals kept for one connection; russh ends it after `limits::AUTH_ATTEMPTS_MAX`.
const KEPT: usize = 32;

/// A refusal that only the log told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Stable word for the audit.
    pub(super) code: &'static str,
    /// A sentence.
    pub(super) reason: &'static str,
}

/// The refusals of one connection.
#[derive(Default)]
pub(super) struct Overheard(Mutex<Vec<Refusal>>);

thread_local! {
    static READING: RefCell<Option<Arc<Overheard>>> = const { RefCell::new(None) };
}

impl Overheard {
    /// This connection's stream is being read on this thread.
    pub(super) fn listen(connection: &Arc<Self>) {
        READING.with_borrow_mut(|reading| {
            if !reading.as_ref().is_some_and(|known| Arc::ptr_eq(known, connection)) {
                *reading = Some(Arc::clone(connection));
            }
        });
    }

    /// What was overheard since the last time.
    pub(super) fn take(&self) -> Vec<Refusal> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn push(&self, refusal: Refusal) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT {
            kept.push(refusal);
        }
    }
}

/// What a line of russh's log means for the audit.
fn meaning(line: &str) -> Option<Refusal> {
    match line {
        "Certificate is expired or not yet valid" => {
            Some(Refusal { code: "expired", reason: "the certificate is expired or not yet valid" })
        }
        "Certificate signature is invalid" => {
            Some(Refusal { code: "bad-signature", reason: "the certificate's own signature does not hold" })
        }
        _ => None,
    }
}

struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let line = record.args().to_string();
        if let Some(refusal) = meaning(&line).filter(|_| record.target().starts_with("russh::server")) {
            READING.with_borrow(|reading| {
                if let Some(connection) = reading {
                    connection.push(refusal);
                }
            });
        }
        tracing::debug!(from = record.target(), "{line}");
    }

    fn flush(&self) {}
}

/// Becomes the process's logger for libraries that use `log`.
pub(super) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| match log::set_logger(&Logger) {
        Ok(()) => log::set_max_level(LevelFilter::Warn),
        Err(error) => tracing::error!(%error, "expired certificates will be refused, but not audited"),
    });
}
