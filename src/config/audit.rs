//! `[audit]`: how often the audit log is signed, and where copies of it go. Whether receivers answer is left to `audit::sink`.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::document::At;
use super::load::Surroundings;
use super::notify::{name, private, secret};
use super::section::Section;
use super::{defaults, doors};
use crate::secret::Secret;

/// Most sinks.
const SINKS_MAX: usize = 16;

/// `[audit]`
#[derive(Clone, Debug)]
pub struct Audit {
    /// How often each bastion signs how far the log has come, when it has.
    pub checkpoint_every: Duration,
    /// `[[audit.sink]]`, in the order of the file.
    pub sinks: Vec<AuditSink>,
}

impl Audit {
    /// The longest that `checkpoint_every` can be.
    pub const CHECKPOINT_EVERY_MAX: Duration = defaults::AUDIT_CHECKPOINT.max;
}

impl Default for Audit {
    fn default() -> Self {
        Self { checkpoint_every: defaults::AUDIT_CHECKPOINT.default, sinks: Vec::new() }
    }
}

/// One `[[audit.sink]]`.
#[derive(Clone, Debug)]
pub struct AuditSink {
    /// Its name here.
    pub name: String,
    /// Where entries go.
    pub to: SinkTo,
    /// Whether it gets the log from its first entry on; else from the moment on in which it is first seen.
    pub from_beginning: bool,
    /// How long it may be behind before somebody is told.
    pub behind_max: Duration,
    /// Time for one attempt.
    pub timeout: Duration,
}

/// Where entries go.
#[derive(Clone, Debug)]
pub enum SinkTo {
    /// Lines at the end of this file.
    File(PathBuf),
    /// RFC 5424 messages.
    Syslog(SyslogTo),
    /// Batches of lines.
    Http(HttpTo),
}

/// A syslog server.
#[derive(Clone, Debug)]
pub enum SyslogTo {
    /// In the clear: loopback, or somebody said that the network is trusted.
    Tcp(String, u16),
    /// RFC 5425; the file has the certificates (PEM) that the server's must hang on.
    Tls(String, u16, PathBuf),
    /// A stream socket on this machine.
    Unix(PathBuf),
}

/// A web server.
#[derive(Clone, Debug)]
pub struct HttpTo {
    /// Where batches are posted.
    pub url: Url,
    /// Bearer token.
    pub token: Option<Secret<String>>,
    /// What batches are signed with: one secret, or the old and the new one.
    pub secrets: Vec<Secret<String>>,
}

/// Reads `[audit]`.
pub(super) fn read(top: &mut Section<'_>, here: Surroundings<'_>) -> Audit {
    let mut section = top.child("audit");
    let every = section.duration("checkpoint_every", &defaults::AUDIT_CHECKPOINT);
    let mut sinks: Vec<AuditSink> = Vec::new();
    for mut table in section.children("sink") {
        if let Some(one) = sink(&mut table, here) {
            if sinks.iter().any(|other| other.name == one.name) {
                let place = table.place_of("name").unwrap_or(table.place);
                table.problem(place, format!("there is a sink {:?} already", one.name));
            } else if sinks.len() == SINKS_MAX {
                table.problem(table.place, format!("more than {SINKS_MAX} sinks"));
            }
            sinks.push(one);
        }
        table.finish();
    }
    section.finish();
    Audit { checkpoint_every: every.map_or(defaults::AUDIT_CHECKPOINT.default, |at| at.value), sinks }
}

fn sink(table: &mut Section<'_>, here: Surroundings<'_>) -> Option<AuditSink> {
    table.require("name", "a short name of your choice; it stands in the audit log");
    table.require("type", "\"file\", \"syslog\" or \"http\"");
    let name = name(table);
    let to = match table.text("type") {
        None => None,
        Some(At { value: "file", .. }) => {
            table.require("path", "the file at whose end entries are written");
            here.path(table, "path").map(|at| SinkTo::File(at.value))
        }
        Some(At { value: "syslog", .. }) => syslog(table, here).map(SinkTo::Syslog),
        Some(At { value: "http", .. }) => http(table, here).map(SinkTo::Http),
        Some(at) => {
            let message = format!("\"type\" must be \"file\", \"syslog\" or \"http\", not {:?}", at.value);
            table.problem(at.place, message);
            None
        }
    };
    let from_beginning = match table.text("from") {
        None | Some(At { value: "beginning", .. }) => true,
        Some(At { value: "now", .. }) => false,
        Some(at) => {
            table.problem(at.place, format!("\"from\" must be \"beginning\" or \"now\", not {:?}", at.value));
            true
        }
    };
    let behind = table.duration("behind_max", &defaults::AUDIT_BEHIND);
    let timeout = table.duration("timeout", &defaults::NOTIFY_TIMEOUT);
    Some(AuditSink {
        name: name?,
        to: to?,
        from_beginning,
        behind_max: behind.map_or(defaults::AUDIT_BEHIND.default, |at| at.value),
        timeout: timeout.map_or(defaults::NOTIFY_TIMEOUT.default, |at| at.value),
    })
}

fn syslog(table: &mut Section<'_>, here: Surroundings<'_>) -> Option<SyslogTo> {
    const FORMS: &str = "\"tls://HOST:PORT\", \"tcp://HOST:PORT\" or \"unix:PATH\"";
    table.require("to", &format!("the syslog server as {FORMS}"));
    let ca_file = here.path(table, "ca_file");
    let clear = table.flag("cleartext").is_some_and(|at| at.value);
    let at = table.text("to")?;
    let wrong = || {
        table.problem(at.place, format!("\"to\" must be {FORMS}, not {:?}", at.value));
        None
    };
    let server = |text: &str| {
        let (host, port) = text.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = port.parse::<u16>().ok().filter(|port| *port > 0)?;
        doors::is_host_name(host).then(|| (host.to_owned(), port))
    };
    if let Some(path) = at.value.strip_prefix("unix:") {
        return if path.is_empty() { wrong() } else { Some(SyslogTo::Unix(here.folder.join(path))) };
    }
    if let Some(text) = at.value.strip_prefix("tls://") {
        let Some((host, port)) = server(text) else { return wrong() };
        table.require(
            "ca_file",
            "certificates (PEM) of those who sign the server's; the system's are often in \
                                  /etc/ssl/certs/ca-certificates.crt",
        );
        return Some(SyslogTo::Tls(host, port, ca_file?.value));
    }
    let Some((host, port)) = at.value.strip_prefix("tcp://").and_then(server) else { return wrong() };
    let loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if !loopback && !clear {
        let message = "entries would go over the network in the clear, and anybody on the way could alter them: use \
                       \"tls://\", or say \"cleartext = true\" when the way is protected otherwise";
        table.problem(at.place, message);
        return None;
    }
    Some(SyslogTo::Tcp(host, port))
}

fn http(table: &mut Section<'_>, here: Surroundings<'_>) -> Option<HttpTo> {
    table.require("url", "where batches are posted");
    let url = table.text("url").and_then(|at| doors::web_address(table, at.place, "url", at.value));
    let token = private(table, here, "token_file", "token_env").map(|at| at.value);
    let new = secret(table, here, "secret_file", "secret_env");
    let old = secret(table, here, "old_secret_file", "old_secret_env");
    let url = url?;
    if url.fragment().is_some() {
        let place = table.place_of("url").unwrap_or(table.place);
        table.problem(place, "the URL of a sink has no fragment");
        return None;
    }
    Some(HttpTo { url, token, secrets: new.into_iter().chain(old).collect() })
}
