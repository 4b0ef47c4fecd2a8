//! Bringing entries of the audit log to where copies of it are kept: a file, a syslog server, a web server. In order, each at
//! least once; what a receiver gets is the line of an export, whose number and hashes show it every gap. Which entries are
//! due, and how far a copy has come, is `flow::log`'s.

mod file;
mod http;
mod syslog;

use std::time::Duration;

use super::chain::Head;
use super::export::Line;
use crate::config::{AuditSink, SinkTo};
use crate::plain;
use crate::time::Timestamp;

/// Why entries did not get there.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Something failed on the way; one line, without secrets.
    #[error("{0}")]
    Failed(String),
    /// What is there is not a copy of this log, and nothing is written to it.
    #[error("{0}")]
    Foreign(String),
}

impl SinkError {
    /// Of an error somewhere on the way.
    fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            text.push_str(&format!(": {inner}"));
            cause = inner.source();
        }
        Self::Failed(plain::line(&text, 300))
    }

    fn late(after: Duration) -> Self {
        Self::Failed(format!("timed out: it took longer than {} s", after.as_secs()))
    }
}

/// A way to one copy.
pub enum Sink {
    /// To a file.
    File(file::FileSink),
    /// To a syslog server.
    Syslog(syslog::SyslogSink),
    /// To a web server.
    Http(http::HttpSink),
}

impl Sink {
    /// As configured; nothing is opened yet. `host` is our name for syslog.
    pub fn of(config: &AuditSink, host: &str) -> Self {
        match &config.to {
            SinkTo::File(path) => Self::File(file::FileSink::new(path.clone())),
            SinkTo::Syslog(to) => Self::Syslog(syslog::SyslogSink::new(to.clone(), host, config.timeout)),
            SinkTo::Http(to) => Self::Http(http::HttpSink::new(to.clone(), config.timeout)),
        }
    }

    /// How long it takes at least until an entry counts there.
    pub fn settles_in(config: &AuditSink) -> Duration {
        match config.to {
            SinkTo::File(_) | SinkTo::Http(_) => Duration::ZERO,
            SinkTo::Syslog(_) => syslog::SETTLE,
        }
    }

    /// What the copy has, where it can be asked: its last entry ([`Head::none`] when it is empty). None where it cannot: then it
    /// has what it acknowledged.
    pub async fn has(&mut self) -> Result<Option<Head>, SinkError> {
        match self {
            Self::File(file) => file.has().await.map(Some),
            Self::Syslog(_) | Self::Http(_) => Ok(None),
        }
    }

    /// Sends entries, in order. An error may come after some of them were sent.
    pub async fn send(&mut self, lines: &[Line], now: Timestamp) -> Result<(), SinkError> {
        match self {
            Self::File(file) => file.send(lines).await,
            Self::Syslog(syslog) => syslog.send(lines).await,
            Self::Http(http) => http.send(lines, now).await,
        }
    }

    /// The last of the entries sent since the last error that the receiver has for sure; none when that is not known yet.
    pub async fn acknowledged(&mut self) -> Result<Option<u64>, SinkError> {
        match self {
            Self::File(file) => Ok(file.acknowledged()),
            Self::Syslog(syslog) => syslog.acknowledged().await,
            Self::Http(http) => Ok(http.acknowledged()),
        }
    }
}
