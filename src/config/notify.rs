//! `[notify]`: whom notices reach, by webhook and by mail. Whether receivers answer is left to `alerts`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use url::{Host, Url};

use super::defaults;
use super::document::{At, Place, hint};
use super::load::Surroundings;
use super::section::Section;
use super::{doors, files};
use crate::secret::Secret;

/// Words of `alerts::NoticeKind`; a test there compares the two.
pub(crate) const NOTICE_KINDS: [&str; 12] = [
    "request.pending",
    "request.reminded",
    "request.escalated",
    "request.approved",
    "request.denied",
    "request.expired",
    "request.cancelled",
    "grant.opened",
    "grant.ended",
    "break-glass.opened",
    "break-glass.reviewed",
    "alert.raised",
];

/// Receivers of one kind; each costs a lane of its own.
const WEBHOOKS_MAX: usize = 32;

/// `[notify]`
#[derive(Clone, Debug)]
pub struct Notify {
    /// How long delivering a notice is tried.
    pub give_up: Duration,
    /// How long a delivered notice is kept.
    pub keep: Duration,
    /// `[[notify.webhook]]`, in the order of the file.
    pub webhooks: Vec<Webhook>,
    /// `[notify.mail]`
    pub mail: Option<Mail>,
}

impl Default for Notify {
    fn default() -> Self {
        Self {
            give_up: defaults::NOTIFY_GIVE_UP.default,
            keep: defaults::NOTIFY_KEEP.default,
            webhooks: Vec::new(),
            mail: None,
        }
    }
}

/// One `[[notify.webhook]]`.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Its name here.
    pub name: String,
    /// Where notices are posted. A secret, because with many chats the URL is all one needs.
    pub url: Secret<String>,
    /// How they are written.
    pub format: WebhookFormat,
    /// What they are signed with: one secret, or the old and the new one. None only for chats.
    pub secrets: Vec<Secret<String>>,
    /// Words of the kinds it gets.
    pub kinds: BTreeSet<String>,
    /// Time for one attempt.
    pub timeout: Duration,
}

/// How a webhook wants its notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookFormat {
    /// Our own JSON.
    Caponier,
    /// As Slack and its kin take messages.
    Slack,
}

impl WebhookFormat {
    /// The word in the file.
    pub fn word(self) -> &'static str {
        match self {
            Self::Caponier => "caponier",
            Self::Slack => "slack",
        }
    }
}

/// `[notify.mail]`
#[derive(Clone, Debug)]
pub struct Mail {
    /// Host of the mail server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: MailTls,
    /// Certificates (PEM) that the server's may hang on, beside the system's.
    pub ca_file: Option<PathBuf>,
    /// The sender's address.
    pub from: String,
    /// Account and password there.
    pub account: Option<(String, Secret<String>)>,
    /// Time for one attempt.
    pub timeout: Duration,
    /// `[[notify.mail.to]]`: these addresses get every notice of these kinds.
    pub rules: Vec<MailRule>,
    /// `[notify.mail.groups]`: addresses of groups (`provider:group`).
    pub groups: BTreeMap<String, Vec<String>>,
    /// `[notify.mail.people]`: addresses of people (`provider:subject`).
    pub people: BTreeMap<String, Vec<String>>,
}

/// One `[[notify.mail.to]]`.
#[derive(Clone, Debug)]
pub struct MailRule {
    /// Words of kinds.
    pub kinds: BTreeSet<String>,
    /// Addresses.
    pub addresses: Vec<String>,
}

/// How a connection to a mail server is protected. There is no "if it can": who listens in says it cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailTls {
    /// `STARTTLS` first, or nothing is sent.
    StartTls,
    /// TLS from the first byte.
    Tls,
    /// In the clear; on loopback only.
    Plain,
}

impl MailTls {
    /// The word in the file.
    pub fn word(self) -> &'static str {
        match self {
            Self::StartTls => "starttls",
            Self::Tls => "tls",
            Self::Plain => "none",
        }
    }
}

/// Reads `[notify]`.
pub(super) fn read(top: &mut Section<'_>, here: Surroundings<'_>) -> Notify {
    let mut section = top.child("notify");
    let give_up = section.duration("give_up", &defaults::NOTIFY_GIVE_UP);
    let keep = section.duration("keep", &defaults::NOTIFY_KEEP);
    let mut webhooks: Vec<Webhook> = Vec::new();
    for mut table in section.children("webhook") {
        if let Some(one) = webhook(&mut table, here) {
            if webhooks.iter().any(|other| other.name == one.name) {
                let place = table.place_of("name").unwrap_or(table.place);
                table.problem(place, format!("there is a webhook {:?} already", one.name));
            } else if webhooks.len() == WEBHOOKS_MAX {
                table.problem(table.place, format!("more than {WEBHOOKS_MAX} webhooks"));
            }
            webhooks.push(one);
        }
        table.finish();
    }
    // Asked for only when it is there: none of its keys has a meaning without the others.
    let has_mail = section.place_of("mail").is_some();
    let mut table = section.child("mail");
    let mail = if has_mail { mail(&mut table, here) } else { None };
    if has_mail {
        table.finish();
    }
    section.finish();
    Notify {
        give_up: give_up.map_or(defaults::NOTIFY_GIVE_UP.default, |at| at.value),
        keep: keep.map_or(defaults::NOTIFY_KEEP.default, |at| at.value),
        webhooks,
        mail,
    }
}

fn webhook(table: &mut Section<'_>, here: Surroundings<'_>) -> Option<Webhook> {
    table.require("name", "a short name of your choice; it stands in the audit log");
    let name = name(table);
    let url = url(table, here);
    let format = match table.text("format") {
        None => Some(WebhookFormat::Caponier),
        Some(at) => {
            let known = [WebhookFormat::Caponier, WebhookFormat::Slack];
            let format = known.into_iter().find(|format| format.word() == at.value);
            if format.is_none() {
                let message = format!("\"format\" must be \"caponier\" or \"slack\", not {:?}", at.value);
                table.problem(at.place, message);
            }
            format
        }
    };
    let secret = secret(table, here, "secret_file", "secret_env");
    let next = secret_of_old(table, here);
    if secret.is_none() && format == Some(WebhookFormat::Caponier) {
        let given = table.place_of("secret_file").or_else(|| table.place_of("secret_env"));
        if given.is_none() {
            let message = "a secret is missing: without a signature anybody could post notices there; set \"secret_file\" or \"secret_env\"";
            table.problem(table.place, message);
        }
    }
    let kinds = kinds(table).unwrap_or_else(|| NOTICE_KINDS.map(str::to_owned).into());
    let timeout = table.duration("timeout", &defaults::NOTIFY_TIMEOUT);
    Some(Webhook {
        name: name?,
        url: url?,
        format: format?,
        secrets: secret.into_iter().chain(next).collect(),
        kinds,
        timeout: timeout.map_or(defaults::NOTIFY_TIMEOUT.default, |at| at.value),
    })
}

/// The one before, while receivers change to the new one.
fn secret_of_old(table: &mut Section<'_>, here: Surroundings<'_>) -> Option<Secret<String>> {
    secret(table, here, "old_secret_file", "old_secret_env")
}

/// Shortest secret, in bytes: what signs must not be guessed from what it signed.
const SECRET_BYTES_MIN: usize = 16;

/// As [`private`], but long enough to sign with.
pub(super) fn secret(
    table: &mut Section<'_>,
    here: Surroundings<'_>,
    file: &'static str,
    variable: &'static str,
) -> Option<Secret<String>> {
    let found = private(table, here, file, variable)?;
    if found.value.expose().len() < SECRET_BYTES_MIN {
        let message =
            format!("the secret is shorter than {SECRET_BYTES_MIN} bytes; make one: openssl rand -hex 32");
        table.problem(found.place, message);
        return None;
    }
    Some(found.value)
}

/// A secret from a private file or from the environment.
pub(super) fn private(
    table: &mut Section<'_>,
    here: Surroundings<'_>,
    file: &'static str,
    variable: &'static str,
) -> Option<At<Secret<String>>> {
    let path = here.path(table, file);
    let value = here.variable(table, variable);
    table.only_one(&[file, variable]);
    if let Some(At { value: path, place }) = path {
        match files::read_secret(&path) {
            Ok(value) => return Some(At { value, place }),
            Err(message) => table.problem(place, message),
        }
    }
    value.map(|at| At { value: Secret::new(at.value.1), place: at.place })
}

/// The short name of a receiver.
pub(super) fn name(table: &mut Section<'_>) -> Option<String> {
    let at = table.text("name")?;
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    if at.value.is_empty() || at.value.len() > 32 || !at.value.bytes().all(fits) {
        table.problem(at.place, "\"name\" must be 1 to 32 small letters, digits, - and _");
        return None;
    }
    Some(at.value.to_owned())
}

/// The receiver's URL. What is wrong is said without repeating it, where it comes from a private place.
fn url(table: &mut Section<'_>, here: Surroundings<'_>) -> Option<Secret<String>> {
    let given = table.text("url");
    let private = private(table, here, "url_file", "url_env");
    if table.only_one(&["url", "url_file", "url_env"]) == 0 {
        table.require("url", "where notices are posted (or \"url_file\", \"url_env\" when it is a secret)");
    }
    if let Some(At { value, place }) = given {
        let url = doors::web_address(table, place, "url", value)?;
        return checked_url(table, place, &url);
    }
    let At { value, place } = private?;
    let loopback = |url: &Url| match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    match Url::parse(value.expose().trim()) {
        Ok(url)
            if url.host().is_some()
                && (url.scheme() == "https" || (url.scheme() == "http" && loopback(&url))) =>
        {
            checked_url(table, place, &url)
        }
        Ok(_) | Err(_) => {
            table.problem(place, "what is there is not an https URL (http is for loopback only)");
            None
        }
    }
}

fn checked_url(table: &Section<'_>, place: Place, url: &Url) -> Option<Secret<String>> {
    if url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
        table.problem(place, "the URL of a webhook has no user, no password and no fragment");
        return None;
    }
    Some(Secret::new(url.as_str().to_owned()))
}

/// Kinds by word, or all with the same beginning: `request.*`, `*`.
fn kinds(table: &mut Section<'_>) -> Option<BTreeSet<String>> {
    let patterns = table.texts("kinds")?;
    let mut found = BTreeSet::new();
    for At { value, place } in patterns.value {
        let fits: Vec<&str> = match value.strip_suffix('*') {
            Some(stem) if stem.is_empty() || stem.ends_with('.') => {
                NOTICE_KINDS.into_iter().filter(|kind| kind.starts_with(stem)).collect()
            }
            Some(_) => Vec::new(),
            None => NOTICE_KINDS.into_iter().filter(|kind| *kind == value).collect(),
        };
        if fits.is_empty() {
            let message = format!("{value:?} is no kind of notice{}", hint(value, &NOTICE_KINDS));
            table.problem(place, message);
        }
        found.extend(fits.into_iter().map(str::to_owned));
    }
    if found.is_empty() {
        table.problem(patterns.place, "\"kinds\" names none: leave it out for all");
    }
    Some(found)
}

fn mail(table: &mut Section<'_>, here: Surroundings<'_>) -> Option<Mail> {
    table.require("server", "the mail server as HOST:PORT, such as \"smtp.example.com:587\"");
    table.require("from", "the sender's address");
    let server = server(table);
    let tls = tls(table, server.as_ref());
    let ca_file = here.path(table, "ca_file").map(|at| at.value);
    let from = table.text("from").and_then(|at| address(table, &at));
    let user = table.text("user").map(|at| at.value.to_owned());
    let password = private(table, here, "password_file", "password_env");
    if user.is_some() != password.is_some() {
        let place = table.place_of("user").unwrap_or(table.place);
        table.problem(place, "\"user\" and a password (\"password_file\", \"password_env\") belong together");
    }
    let timeout = table.duration("timeout", &defaults::NOTIFY_TIMEOUT);
    let mut rules = Vec::new();
    for mut rule in table.children("to") {
        let kinds = kinds(&mut rule).unwrap_or_else(|| NOTICE_KINDS.map(str::to_owned).into());
        rule.require("addresses", "who gets them, [\"security@example.com\"]");
        let texts = rule.texts("addresses").map(|at| at.value).unwrap_or_default();
        let addresses = texts.iter().filter_map(|at| address(&rule, at)).collect();
        rules.push(MailRule { kinds, addresses });
        rule.finish();
    }
    // Their keys are the author's own, so they are read pair by pair and never finished.
    let (groups, people) =
        (people(&table.child("groups"), "GROUP"), people(&table.child("people"), "SUBJECT"));
    let (host, port) = server?;
    Some(Mail {
        host,
        port,
        tls: tls?,
        ca_file,
        from: from?,
        account: user.zip(password.map(|at| at.value)),
        timeout: timeout.map_or(defaults::NOTIFY_TIMEOUT.default, |at| at.value),
        rules,
        groups,
        people,
    })
}

fn server(table: &mut Section<'_>) -> Option<(String, u16)> {
    let at = table.text("server")?;
    let parts = at.value.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    let parts = parts.map(|(host, port)| (host.trim_start_matches('[').trim_end_matches(']'), port));
    match parts {
        Some((host, port)) if port > 0 && doors::is_host_name(host) => Some((host.to_owned(), port)),
        Some(_) | None => {
            let message =
                format!("\"server\" must be HOST:PORT, such as \"smtp.example.com:587\", not {:?}", at.value);
            table.problem(at.place, message);
            None
        }
    }
}

fn tls(table: &mut Section<'_>, server: Option<&(String, u16)>) -> Option<MailTls> {
    let Some(at) = table.text("tls") else { return Some(MailTls::StartTls) };
    let known = [MailTls::StartTls, MailTls::Tls, MailTls::Plain];
    let Some(tls) = known.into_iter().find(|tls| tls.word() == at.value) else {
        let message = format!("\"tls\" must be \"starttls\", \"tls\" or \"none\", not {:?}", at.value);
        table.problem(at.place, message);
        return None;
    };
    let loopback =
        |host: &str| host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if tls == MailTls::Plain && server.is_some_and(|(host, _)| !loopback(host)) {
        table
            .problem(at.place, "\"tls\" may be \"none\" on loopback only: others could read and change mail");
    }
    Some(tls)
}

fn people(table: &Section<'_>, what: &str) -> BTreeMap<String, Vec<String>> {
    let mut people = BTreeMap::new();
    for (name, addresses) in table.pairs() {
        let named = name
            .value
            .split_once(':')
            .is_some_and(|(provider, rest)| !provider.is_empty() && !rest.is_empty());
        if !named {
            let message = format!("{:?} is nobody: write PROVIDER:{what}", name.value);
            table.problem(name.place, message);
        }
        let parts = addresses.value.split(',').map(|part| At { value: part.trim(), place: addresses.place });
        people.insert(name.value.to_owned(), parts.filter_map(|at| address(table, &at)).collect());
    }
    people
}

/// A plain address, `user@host`: ASCII, no comments, no quotes, no name beside it.
fn address(table: &Section<'_>, at: &At<&str>) -> Option<String> {
    if is_address(at.value) {
        return Some(at.value.to_owned());
    }
    table.problem(at.place, format!("{:?} is not a mail address; write user@example.com", at.value));
    None
}

fn is_address(text: &str) -> bool {
    // RFC 5322 section 3.2.3: atext and dots, and not more than that.
    let local = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&b);
    let Some((name, host)) = text.rsplit_once('@') else { return false };
    (1..=64).contains(&name.len())
        && name.bytes().all(local)
        && !name.starts_with('.')
        && !name.ends_with('.')
        && !name.contains("..")
        && host.parse::<IpAddr>().is_err()
        && doors::is_host_name(&host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for good in ["ann@example.com", "a.b+c@Mail.Example", "root@localhost"] {
            assert!(is_address(good), "{good}");
        }
        for bad in [
            "",
            "ann",
            "@example.com",
            "ann@",
            "a b@example.com",
            "ann@example.com\r\nBcc: x@example.com",
            "Ann <ann@example.com>",
            "\"a\"@example.com",
            "a@b@example.com",
            "ann@example.com,bob@example.com",
            ".a@example.com",
            "a..b@example.com",
            "ann@[127.0.0.1]",
            "ann@127.0.0.1",
            "é@example.com",
        ] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
