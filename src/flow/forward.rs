//! The written traces of a forward: one entry before the target hears of it, one when it is over.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::app::App;
use crate::audit::AuditEvent;
use crate::flow::authorize::Permit;
use crate::flow::session::SessionError;
use crate::ids::SessionId;
use crate::policy::Act;
use crate::recording::event::Event;
use crate::time::Timestamp;

/// Which way a forward goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The target connects for the client.
    Local,
    /// The target listens for the client.
    Listen,
    /// Somebody came to such a listener, or a program at the target uses the client's agent or display.
    Remote,
}

/// A forward that stands in the audit log as open.
#[derive(Debug)]
#[must_use]
pub struct OpenForward {
    number: u64,
    session: SessionId,
    at: Timestamp,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// See `AuditEvent::ForwardClosed`.
    pub reason: &'static str,
    /// Bytes client to target.
    pub bytes_in: u64,
    /// Bytes target to client.
    pub bytes_out: u64,
}

impl Passed {
    /// It ended before a byte could pass.
    pub fn nothing(reason: &'static str) -> Self {
        Self { reason, bytes_in: 0, bytes_out: 0 }
    }
}

/// Writes that a permitted forward opens over the connection of `session`. `addresses`: see `AuditEvent::ForwardOpened`.
pub async fn opened(
    app: &App,
    session: &SessionId,
    permit: &Permit,
    direction: Direction,
    addresses: Vec<String>,
) -> Result<OpenForward, SessionError> {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let caller = permit.caller();
    let (kind, what) = kind_of(&permit.ask().act);
    let at = app.clock.now();
    let direction = match direction {
        Direction::Local => "local",
        Direction::Listen => "listen",
        Direction::Remote => "remote",
    };
    let line = Event::ForwardOpened {
        number,
        direction: direction.to_owned(),
        kind: kind.to_owned(),
        what: what.clone(),
        addresses: addresses.clone(),
    };
    let event = AuditEvent::ForwardOpened {
        number,
        session: session.clone(),
        who: caller.identity().clone(),
        sign_in: caller.sign_in().clone(),
        target: permit.ask().target.to_string(),
        login: permit.ask().login.to_string(),
        direction,
        kind,
        what,
        addresses,
        role: permit.roles(),
        policy: permit.policy_digest().into(),
        from: caller.from().to_string(),
    };
    app.store.note(at, event).await?;
    app.recordings.event(session, line)?;
    Ok(OpenForward { number, session: session.clone(), at })
}

/// Writes that it is over. What cannot be written is in the log: there is nothing left to stop.
pub async fn closed(app: &App, forward: OpenForward, passed: Passed) {
    let now = app.clock.now();
    let OpenForward { number, session, at } = forward;
    let Passed { reason, bytes_in, bytes_out } = passed;
    let lasted_ms = u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX);
    let line = Event::ForwardClosed { number, reason: reason.to_owned(), bytes_in, bytes_out, lasted_ms };
    if let Err(error) = app.recordings.event(&session, line) {
        tracing::error!(%error, "the end of a forward could not be recorded");
    }
    let event = AuditEvent::ForwardClosed { number, session, reason, bytes_in, bytes_out, lasted_ms };
    if let Err(error) = app.store.note(now, event).await {
        tracing::error!(%error, "the end of a forward could not be audited");
    }
}

fn kind_of(act: &Act) -> (&'static str, String) {
    match act {
        Act::LocalForward { host, port, .. } | Act::RemoteForward { host, port } => {
            ("tcp", format!("{host}:{port}"))
        }
        Act::LocalSocket { path } | Act::RemoteSocket { path } => ("socket", path.clone()),
        Act::Agent => ("agent", String::new()),
        Act::X11 => ("x11", String::new()),
        Act::Shell { .. }
        | Act::Exec { .. }
        | Act::Subsystem { .. }
        | Act::Env { .. }
        | Act::Tun
        | Act::Unknown { .. } => ("none", String::new()),
    }
}
