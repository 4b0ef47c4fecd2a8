//! The configuration: `caponier.toml`, checked once at start. Unknown keys, wrong types and contradictions are
//! refused with file, line and the nearest right key.
//!
//! `document` and `section` read TOML with positions (the policy uses them too), `defaults` is the one table of
//! defaults and ranges, `load` and the files beside it read one table of the file each, `view` shows what holds.

mod alerts;
mod archive;
mod audit;
mod ca;
mod checks;
mod defaults;
mod document;
mod doors;
mod files;
mod issuer;
mod load;
mod notify;
mod provider;
mod section;
mod store_url;
mod units;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use crate::names::{GroupName, ProviderName, SubjectName};
use crate::secret::Secret;

pub use alerts::{AlertRule, Alerts, OfficeHours, RuleSetting};
pub use archive::{Archive, ArchivePlace, Bucket, Retention};
pub use audit::{Audit, AuditSink, HttpTo, SinkTo, SyslogTo};
pub use checks::{Checks, KeySource, Outage};
pub(crate) use defaults::{
    CERTIFICATE_LIFE, REQUEST_MAX, REQUEST_PENDING, REQUEST_REASON_MIN, REQUEST_SPAN, RUN, SESSION_ENV,
    SESSION_IDLE, SESSION_MAX,
};
pub use document::Spot;
pub(crate) use document::{At, Document, hint, nearest, read_text};
pub(crate) use doors::is_host_name;
pub use issuer::{Bind, Generic, Issuer, Keys, SERVICE};
#[cfg(test)]
pub(crate) use notify::NOTICE_KINDS;
pub use notify::{Mail, MailRule, MailTls, Notify, Webhook, WebhookFormat};
pub use provider::RefreshToken;
pub(crate) use section::Section;
pub(crate) use units::{Bounds, parse_duration};
pub use units::{show_duration, show_size};

/// One thing wrong with a file, for people: `caponier.toml:12:3: unknown key "lisen"; did you mean "listen"?`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// Line from 1; 0 when it concerns the file as a whole.
    pub line: usize,
    /// Column from 1.
    pub column: usize,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            write!(f, "{}: {}", self.file.display(), self.message)
        } else {
            write!(f, "{}:{}:{}: {}", self.file.display(), self.line, self.column, self.message)
        }
    }
}

/// The effective configuration. Relative paths in the file are relative to the file's folder; here they are absolute.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where state lives: host key, CA keys unless said otherwise, the SQLite file unless said otherwise. Mode 0700.
    pub state_dir: PathBuf,
    /// `[ssh]`
    pub ssh: Ssh,
    /// `[web]`
    pub web: Web,
    /// `[store]`: `sqlite:PATH` or `postgres://...`.
    pub store_url: Secret<String>,
    /// `[ca]`
    pub ca: Ca,
    /// `[certificates]`
    pub certificates: Certificates,
    /// `[[provider]]`, in the order of the file.
    pub providers: Vec<Provider>,
    /// `[[issuer]]`, in the order of the file: whose jobs may come with a token.
    pub issuers: Vec<Issuer>,
    /// `[sign_in]`: how long a sign-in lasts (default 10 h).
    pub sign_in_life: Duration,
    /// `[sign_in]`: how people are looked for again at their provider.
    pub checks: Checks,
    /// `[sign_in] admins`: who may do everything in the API, such as ending other people's sign-ins.
    pub admins: People,
    /// `[sign_in] auditors`: who may read what others do. The admins may too.
    pub auditors: People,
    /// `[sign_in] watchers`: who may watch live sessions. Auditors and admins may too.
    pub watchers: People,
    /// `[sign_in] killers`: who may end live sessions. The admins may too.
    pub killers: People,
    /// `[sessions]`
    pub sessions: Sessions,
    /// `[recording]`
    pub recording: Recording,
    /// `[archive]`, when the file has it.
    pub archive: Option<Archive>,
    /// `[audit]`
    pub audit: Audit,
    /// `[notify]`
    pub notify: Notify,
    /// `[alerts]`
    pub alerts: Alerts,
    /// `[policy] file`
    pub policy_file: PathBuf,
    /// `[log]`: `text` or `json`.
    pub log_json: bool,
}

/// `[sign_in] admins`, `auditors`, `watchers` and `killers`. Nobody by default.
#[derive(Clone, Debug, Default)]
pub struct People {
    /// Everybody in one of these groups.
    pub groups: BTreeSet<GroupName>,
    /// These people.
    pub subjects: BTreeSet<SubjectName>,
}

/// `[ssh]`: the SSH door.
#[derive(Clone, Debug)]
pub struct Ssh {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The names clients use for the bastion; principals of its host certificate. Never empty.
    pub host_names: Vec<String>,
    /// The port clients use, when it differs from the one listened on.
    pub public_port: u16,
    /// Host patterns that clients send through the bastion, for `ssh-config`; when empty, the names of the targets
    /// the person may reach. Never `*` alone.
    pub client_patterns: Vec<String>,
    /// Connections that may be open at once.
    pub connections_max: usize,
    /// Connections that may be unauthenticated at once.
    pub unauthenticated_max: usize,
    /// Time a client has to authenticate.
    pub login_grace: Duration,
}

/// `[web]`: the HTTP door.
#[derive(Clone, Debug)]
pub struct Web {
    /// Where to listen.
    pub listen: SocketAddr,
    /// How browsers and clients reach it. `https`, or `http` on loopback only.
    pub public_url: Url,
    /// Certificate chain (PEM) when this process ends TLS itself.
    pub tls_cert: Option<PathBuf>,
    /// Its private key (PEM).
    pub tls_key: Option<PathBuf>,
    /// Addresses of reverse proxies whose `X-Forwarded-For` is believed. Empty by default.
    pub trusted_proxies: Vec<std::net::IpAddr>,
}

/// `[ca]`: where the three authorities' keys are.
#[derive(Clone, Debug)]
pub struct Ca {
    /// Key files `user_ca`, `target_ca`, `host_ca` in OpenSSH's private key format, or only `.pub` with an agent.
    pub dir: PathBuf,
    /// How the keys are reached.
    pub source: CaSource,
}

/// How CA private keys are reached.
#[derive(Clone, Debug)]
pub enum CaSource {
    /// Encrypted key files.
    Files(Passphrase),
    /// An ssh-agent at this socket holds them; `dir` has the public halves.
    Agent(PathBuf),
}

/// Where the passphrase of the key files comes from.
#[derive(Clone, Debug)]
pub enum Passphrase {
    /// First line of a file that only we may read.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A systemd credential (`$CREDENTIALS_DIRECTORY/NAME`).
    Credential(String),
    /// No passphrase: the files are plain. Only by an explicit flag.
    Plain,
}

/// `[certificates]`
#[derive(Clone, Debug)]
pub struct Certificates {
    /// Life of a user certificate (default 5 min, at most 15 min).
    pub life: Duration,
    /// Put the client's address into `source-address`.
    pub bind_source_address: bool,
}

/// One `[[provider]]`.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Its name here; namespaces groups.
    pub name: ProviderName,
    /// Shown on the button.
    pub title: String,
    /// `iss`, compared byte for byte; discovery is below it.
    pub issuer: String,
    /// Our client id there.
    pub client_id: String,
    /// Our client secret there, read from `client_secret_file` or `client_secret_env`.
    pub client_secret: Option<Secret<String>>,
    /// Scopes beyond `openid`.
    pub scopes: Vec<String>,
    /// Signature algorithms accepted in ID tokens (default `RS256`, `ES256`, `EdDSA`; never `none` or HMAC).
    pub algorithms: Vec<String>,
    /// Claim that is the subject (default `sub`).
    pub claim_subject: String,
    /// Claim that is shown (default `name`, then `email`).
    pub claim_display: Vec<String>,
    /// Claim with the groups: an array of strings (default `groups`).
    pub claim_groups: String,
    /// Whether refresh tokens are asked for, and kept.
    pub refresh_token: RefreshToken,
}

/// `[sessions]`: limits that hold for everybody.
#[derive(Clone, Debug)]
pub struct Sessions {
    /// Longest session.
    pub max: Duration,
    /// Longest silence.
    pub idle: Duration,
    /// Environment variables that may pass, `*` only at the end (default `LANG`, `LC_*`).
    pub env: Vec<String>,
    /// Time to dial and log in to a target.
    pub dial: Duration,
}

/// `[recording]`
#[derive(Clone, Debug)]
pub struct Recording {
    /// Folder of the recordings (default `recordings`).
    pub dir: PathBuf,
    /// Record what is typed, for everybody.
    pub input: bool,
    /// Output of a command without terminal that is kept in the recording, in bytes; the rest is counted and hashed.
    pub exec_output_max: u64,
    /// What of recordings can be searched.
    pub index: RecordingIndex,
    /// Bytes after which the cast goes on in another file.
    pub part_max: u64,
    /// Bytes that must be free where recordings lie: with fewer no session begins, and those that are open end.
    pub free_min: u64,
}

/// `recording.index`: what is read of recordings, into the database, to be searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordingIndex {
    /// Commands, files, forwards, and what stood on screens.
    Screen,
    /// All but screens.
    Commands,
    /// Nothing.
    Nothing,
}

impl RecordingIndex {
    /// The words of the configuration.
    pub(crate) const WORDS: [&'static str; 3] = ["screen", "commands", "none"];

    /// Its word in the configuration.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Screen => "screen",
            Self::Commands => "commands",
            Self::Nothing => "none",
        }
    }
}

/// The policy file named by the configuration at `path`, even when other things in that file are wrong; `None` when it
/// cannot be read at all.
pub fn policy_file_of(path: &Path) -> Option<PathBuf> {
    load::policy_file_of(path)
}

/// Claims of which providers promise that they never change: OpenID Connect Core section 2, and the object id of Entra.
const NEVER_CHANGE: [&str; 2] = ["sub", "oid"];

impl Config {
    /// Reads and checks the file; `env` is the environment (for `*_env` keys). Every problem is reported.
    pub fn load(path: &Path, env: &BTreeMap<String, String>) -> Result<Self, Vec<Problem>> {
        load::load(path, env)
    }

    /// What is legal in it and deserves a thought, one sentence each.
    pub fn notes(&self) -> Vec<String> {
        let renamed = |one: &&Provider| !NEVER_CHANGE.contains(&one.claim_subject.as_str());
        let note = |one: &Provider| {
            format!(
                "{} names people by \"{}\" (claim_subject): whoever can be renamed there is somebody else afterwards, and could \
                 approve what they asked for before; use \"sub\", or what the provider never changes and never gives \
                 to somebody else",
                one.name, one.claim_subject
            )
        };
        self.providers.iter().filter(renamed).map(note).collect()
    }

    /// Where this provider sends browsers back to: the redirect URI to register there. Each has its own, so that an
    /// answer of one provider cannot be passed off as that of another (RFC 9700 section 4.4.2.2).
    pub fn redirect_uri(&self, provider: &ProviderName) -> String {
        format!("{}/callback/{provider}", self.web.public_url.as_str().trim_end_matches('/'))
    }

    /// Where this provider sends its logout tokens to (OpenID Connect Back-Channel Logout): to be registered there.
    pub fn logout_uri(&self, provider: &ProviderName) -> String {
        let base = self.web.public_url.as_str().trim_end_matches('/');
        format!("{base}/back-channel-logout/{provider}")
    }

    /// Where this issuer's platform sends its webhooks to: to be registered there.
    pub fn webhook_uri(&self, issuer: &ProviderName) -> String {
        let base = self.web.public_url.as_str().trim_end_matches('/');
        format!("{base}/webhooks/{issuer}")
    }

    /// The effective values, defaults included, as tables and keys of the file; secrets are `(secret)`.
    pub fn view(&self) -> serde_json::Value {
        view::view(self)
    }
}
