//! An sftp session between the two pumps of its relay: what they take from the backlogs goes through the guard
//! (`inspect::sftp`), what comes out is written down and then waits here for the pump that writes. Either side's bytes
//! can make bytes for both (an answer of ours, a question to the target), so each pump writes to one side and takes what
//! both have made for it.
//!
//! Bounded: a pump feeds the guard only when everything made for its side is written, the client's only while the
//! client takes its answers, and the guard says when enough is waiting.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex as Lock, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::{Mutex, Notify};

use super::backlog::Backlog;
use super::limits::ANSWERS_HELD;
use super::pressure::Gauge;
use super::relay::{ClientEnd, Ending, FromClient, FromTarget};
use crate::app::App;
use crate::flow::files;
use crate::flow::session::OpenSession;
use crate::ids::{SessionId, SignInId};
use crate::inspect::sftp::{Guard, Out};
use crate::policy::files::LiveRules;

/// The guard of one session.
pub(super) struct FileGuard {
    app: App,
    session: SessionId,
    sign_in: SignInId,
    /// Held until what came out is written down and queued, so that both keep the order in which they were judged.
    guard: Mutex<Guard>,
    to_target: Outbox,
    to_client: Outbox,
    /// The client has sent the end of its input, which must not overtake what is still waiting.
    ended: AtomicBool,
}

/// Bytes that wait for the pump that writes them.
#[derive(Default)]
struct Outbox {
    waiting: Lock<VecDeque<Bytes>>,
    /// Told whenever something may have changed for that pump.
    changed: Notify,
}

impl Outbox {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<Bytes>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, bytes: BytesMut) {
        if !bytes.is_empty() {
            self.waiting().push_back(bytes.freeze());
        }
        self.changed.notify_one();
    }

    fn pop(&self) -> Option<Bytes> {
        self.waiting().pop_front()
    }

    fn held(&self) -> usize {
        self.waiting().iter().map(Bytes::len).sum()
    }
}

impl FileGuard {
    /// `live`: the rules of the session, which may be replaced.
    pub(super) fn new(app: App, session: &OpenSession, live: LiveRules) -> Self {
        Self {
            app,
            session: session.id().clone(),
            sign_in: session.permit().caller().sign_in().clone(),
            guard: Mutex::new(Guard::new(live)),
            to_target: Outbox::default(),
            to_client: Outbox::default(),
            ended: AtomicBool::new(false),
        }
    }

    /// What is to be written to the target next, as if it came from the backlog; none when the client has sent all it
    /// ever will. What was taken from the backlog has been counted off already, so the weight is 0.
    pub(super) async fn next_of_client(
        &self,
        client: &ClientEnd,
    ) -> Result<Option<(FromClient, usize)>, Ending> {
        let mut closed = false;
        loop {
            if let Some(bytes) = self.to_target.pop() {
                return Ok(Some((FromClient::Bytes(bytes), 0)));
            }
            let (takes_more, is_through) = {
                let guard = self.guard.lock().await;
                (guard.takes_more(), guard.is_through())
            };
            if is_through && self.ended.swap(false, Ordering::Relaxed) {
                return Ok(Some((FromClient::Eof, 0)));
            }
            if is_through && closed {
                return Ok(None);
            }
            if closed || !takes_more || self.to_client.held() > ANSWERS_HELD {
                self.to_target.changed.notified().await;
                continue;
            }
            let taken = tokio::select! {
                biased;
                () = self.to_target.changed.notified() => continue,
                taken = client.backlog.pop() => taken,
            };
            match taken {
                None => closed = true,
                Some((FromClient::Bytes(bytes), weight)) => {
                    let mut guard = self.guard.lock().await;
                    let out = guard.from_client(bytes);
                    self.deliver(out).await?;
                    client.gauge.sub(weight);
                    client.backlog.written(weight);
                }
                Some((FromClient::Eof, weight)) => {
                    self.ended.store(true, Ordering::Relaxed);
                    client.gauge.sub(weight);
                    client.backlog.written(weight);
                }
                Some(other) => return Ok(Some(other)),
            }
        }
    }

    /// What is to be written to the client next; none when the target has closed the channel. Must not be dropped while
    /// it runs.
    pub(super) async fn next_of_target(
        &self,
        backlog: &Backlog<FromTarget>,
        gauge: &Gauge,
    ) -> Result<Option<(FromTarget, usize)>, Ending> {
        loop {
            if let Some(bytes) = self.to_client.pop() {
                self.to_target.changed.notify_one();
                return Ok(Some((FromTarget::Bytes(bytes), 0)));
            }
            let taken = tokio::select! {
                biased;
                () = self.to_client.changed.notified() => continue,
                taken = backlog.pop() => taken,
            };
            let Some((FromTarget::Bytes(bytes), weight)) = taken else { return Ok(taken) };
            let mut guard = self.guard.lock().await;
            let out = guard.from_target(bytes);
            self.deliver(out).await?;
            backlog.written(weight);
            gauge.sub(weight);
        }
    }

    /// The session is over: what there is to say of open files is written down.
    pub(super) async fn end(&self) {
        let notes = self.guard.lock().await.end();
        if let Err(error) = files::write_down(&self.app, &self.session, &self.sign_in, notes).await {
            tracing::error!(%error, session.id = %self.session, "files that were open at the end are missing in the audit log");
        }
    }

    /// First the audit, then the bytes.
    async fn deliver(&self, out: Out) -> Result<(), Ending> {
        if let Err(error) = files::write_down(&self.app, &self.session, &self.sign_in, out.notes).await {
            tracing::error!(%error, session.id = %self.session, "file operations cannot be audited; their session ends");
            return Err(Ending::Recorder);
        }
        self.to_target.push(out.to_target);
        self.to_client.push(out.to_client);
        match out.fault {
            None => Ok(()),
            Some(fault) => {
                tracing::warn!(session.id = %self.session, ?fault, "an sftp session cannot be followed");
                Err(Ending::Files(fault))
            }
        }
    }
}
