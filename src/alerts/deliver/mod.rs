//! One attempt to bring one notice to one receiver, within its time and without following anybody elsewhere. What comes
//! of it is said; when to try again, and how often, is the flow's.

pub(crate) mod egress;
mod mail;
mod webhook;

use std::collections::BTreeMap;
use std::time::Duration;

use super::Notice;
use super::route::{MAIL_LANE, Sink};
use crate::config::Notify;
use crate::plain;
use crate::time::Timestamp;

use mail::Post;
use webhook::Hook;

/// Why a notice was not delivered. `Display` is one line for the log and the audit; it holds no secret and no URL.
#[derive(Debug, thiserror::Error)]
pub enum Undelivered {
    /// The configuration has no such receiver (any more).
    #[error("no such receiver is configured here")]
    Unknown,
    /// The receiver's address is one that nothing is sent to.
    #[error("{host} is at {address}, which is {why}: nothing is sent there")]
    Forbidden {
        /// Host as configured.
        host: String,
        /// What it resolves to.
        address: std::net::IpAddr,
        /// What that is.
        why: &'static str,
    },
    /// The receiver answered, and not with a yes.
    #[error("the receiver answered {status}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// There was no whole answer in time.
    #[error("{0}")]
    Failed(String),
}

impl Undelivered {
    /// Of an error somewhere on the way.
    fn failed(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            text.push_str(": ");
            text.push_str(&inner.to_string());
            cause = inner.source();
        }
        // What a receiver says may be in it.
        Self::Failed(plain::line(&text, 300))
    }
}

/// Everything that notices are delivered with. Made once.
pub struct Receivers {
    hooks: BTreeMap<String, Hook>,
    mail: Option<Post>,
}

impl Receivers {
    /// As the configuration says; `bastion` is our name for mail servers.
    pub fn of(config: &Notify, bastion: &str) -> Self {
        let hooks =
            config.webhooks.iter().map(|hook| (Sink::webhook(&hook.name).name, Hook::new(hook.clone())));
        Self { hooks: hooks.collect(), mail: config.mail.clone().map(|mail| Post::new(mail, bastion)) }
    }

    /// Tries once. `at` is when it happened, `now` when it is sent.
    pub async fn deliver(
        &self,
        sink: &str,
        notice: &Notice,
        at: Timestamp,
        now: Timestamp,
    ) -> Result<(), Undelivered> {
        if let Some(hook) = self.hooks.get(sink) {
            return hook.post(notice, at, now).await;
        }
        let address = sink.strip_prefix(MAIL_LANE).and_then(|rest| rest.strip_prefix(':'));
        match (&self.mail, address) {
            (Some(post), Some(address)) => post.send(address, notice, at, now).await,
            _ => Err(Undelivered::Unknown),
        }
    }
}
