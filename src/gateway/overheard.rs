//! What russh says only to its log, and the audit must know.
//!
//! russh refuses a certificate that is outside its validity, or whose own signature is wrong, before any callback: it
//! writes a warning and answers the client. The warning is made in the same poll of the connection's task in which the
//! packet was read from our stream, on the same thread, with no await between. So the stream notes on the thread whose
//! connection it belongs to each time it is read, and our logger hands the warning to that connection.
//!
//! In the same way we hear of channel types and requests that russh refuses by itself, because it does not know them.
//!
//! Should a new russh word its lines differently, the tests of refused certificates and of `ssh -w` fail.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, Once, PoisonError};

use log::{Level, LevelFilter, Log, Metadata, Record};
use tokio::sync::Notify;

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

/// Longest name of an unknown thing that is kept, in bytes.
const NAME_MAX: usize = 64;

/// Lines that name something russh does not know, and what that is.
const UNKNOWN: &[(&str, &str)] =
    &[("unknown channel type: ", "channel"), ("unknown channel request ", "request")];

/// The refusals of one connection.
#[derive(Default)]
pub(super) struct Overheard {
    refused: Mutex<Vec<Refusal>>,
    unknown: Mutex<Unknown>,
    heard: Notify,
}

#[derive(Default)]
struct Unknown {
    names: Vec<String>,
    /// So many were kept, taken or not: one client cannot fill the audit log.
    count: usize,
}

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
        std::mem::take(&mut *self.refused.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The next things that the client asked for and russh does not know: `channel NAME` or `request NAME`.
    pub(super) async fn unknown(&self) -> Vec<String> {
        loop {
            let names = self.unknown_so_far();
            if !names.is_empty() {
                return names;
            }
            self.heard.notified().await;
        }
    }

    /// The same, without waiting.
    pub(super) fn unknown_so_far(&self) -> Vec<String> {
        std::mem::take(&mut self.unknown.lock().unwrap_or_else(PoisonError::into_inner).names)
    }

    fn push_unknown(&self, what: &str, name: &str) {
        let mut unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        if unknown.count < KEPT {
            unknown.count += 1;
            unknown.names.push(format!("{what} {name}"));
            self.heard.notify_one();
        }
    }

    fn push(&self, refusal: Refusal) {
        let mut kept = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
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

/// Formats a line as long as it goes on like `wanted`, and keeps what comes after it. Most lines end at once.
struct After<'w> {
    wanted: &'w str,
    rest: String,
}

impl fmt::Write for After<'_> {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        let common = self.wanted.len().min(piece.len());
        let (wanted, left) = self.wanted.split_at_checked(common).ok_or(fmt::Error)?;
        let rest = piece.strip_prefix(wanted).ok_or(fmt::Error)?;
        self.wanted = left;
        let room = NAME_MAX.saturating_sub(self.rest.len());
        self.rest.extend(rest.chars().take(room));
        Ok(())
    }
}

/// What follows `wanted` in the line; none when it is another line.
fn after(line: &fmt::Arguments<'_>, wanted: &str) -> Option<String> {
    let mut after = After { wanted, rest: String::new() };
    after.write_fmt(*line).ok().filter(|()| after.wanted.is_empty()).map(|()| after.rest)
}

struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn || metadata.target().starts_with("russh::server")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        if record.target().starts_with("russh::server") {
            for (line, what) in UNKNOWN {
                if let Some(name) = after(record.args(), line) {
                    READING.with_borrow(|reading| {
                        if let Some(connection) = reading {
                            connection.push_unknown(what, &name);
                        }
                    });
                }
            }
        }
        if record.level() > Level::Warn {
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
        // russh tells of unknown channel types for debugging only.
        Ok(()) => log::set_max_level(LevelFilter::Debug),
        Err(error) => tracing::error!(%error, "expired certificates will be refused, but not audited"),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_after_the_known_beginning() {
        let tun = "tun@openssh.com";
        assert_eq!(after(&format_args!("unknown channel type: {tun}"), UNKNOWN[0].0).as_deref(), Some(tun));
        assert_eq!(
            after(&format_args!("unknown channel {}: {tun}", "type"), UNKNOWN[0].0).as_deref(),
            Some(tun)
        );
        assert_eq!(after(&format_args!("handler.channel_open {tun}"), UNKNOWN[0].0), None);
        assert_eq!(after(&format_args!("unknown"), UNKNOWN[0].0), None);
        let long =
            after(&format_args!("unknown channel request {}", "x".repeat(9999)), UNKNOWN[1].0).unwrap();
        assert_eq!(long.len(), NAME_MAX);
    }

    #[tokio::test]
    async fn one_connection_is_heard_so_often_and_no_more() {
        let overheard = Overheard::default();
        (0..1000).for_each(|_| overheard.push_unknown("channel", "x"));
        assert_eq!(overheard.unknown().await.len(), KEPT);
        overheard.push_unknown("channel", "x");
        assert!(overheard.unknown.lock().unwrap().names.is_empty());
    }
}
