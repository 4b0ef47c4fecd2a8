//! What a login leaves behind, told to people (one line), to programs (JSON) and to the runner (outputs).

use std::fs::OpenOptions;
use std::io::Write as _;

use anyhow::Context as _;
use russh::keys::ssh_key::Certificate;
use serde_json::json;

use crate::cli::Environment;
use crate::cli::client::certificate;
use crate::cli::client::home::{self, Home};
use crate::cli::terminal::{plain, print};
use crate::time::Timestamp;
use crate::web::api::workloads::{ExchangeAnswer, RunAnswer};

/// Longest list of logins in the summary.
const SHOWN_MAX: usize = 1000;
/// Where a runner reads a step's outputs.
const OUTPUTS: &str = "GITHUB_OUTPUT";

/// How it is told on standard output.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    Line,
    Json,
}

/// What there is to tell.
pub(super) struct Told<'a> {
    home: &'a Home,
    answer: &'a ExchangeAnswer,
    certificate: Certificate,
    until: Timestamp,
}

impl<'a> Told<'a> {
    /// Of the certificate that is in the folder now: a renewal may have taken the first one's place.
    pub(super) fn read(home: &'a Home, answer: &'a ExchangeAnswer) -> anyhow::Result<Self> {
        let text = home.read(home::CERTIFICATE)?.context("the certificate is gone")?;
        let certificate = Certificate::from_openssh(&text)?;
        let (_, until) = certificate::window(&certificate);
        Ok(Self { home, answer, certificate, until })
    }

    fn path(&self, name: &str) -> String {
        self.home.path(name).display().to_string()
    }

    fn line(&self) -> String {
        let rest = Timestamp::from_secs(self.answer.sign_in.expires);
        format!(
            "caponier: {} may log in as {} until {} (serial {}, renewed until {rest}); use: ssh -F {}",
            plain(self.certificate.key_id(), 300),
            plain(&self.certificate.valid_principals().join(", "), SHOWN_MAX),
            self.until,
            self.certificate.serial(),
            self.path(home::SSH_CONFIG)
        )
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "key_id": self.certificate.key_id(),
            "serial": self.certificate.serial().to_string(),
            "principals": self.certificate.valid_principals(),
            "expires": self.certificate.valid_before(),
            "sign_in": self.answer.sign_in.sign_in,
            "sign_in_expires": self.answer.sign_in.expires,
            "dir": self.home.dir(),
            "ssh_config": self.path(home::SSH_CONFIG),
            "known_hosts": self.path(home::KNOWN_HOSTS),
            "auth_sock": self.path(home::SOCKET),
            "run": self.answer.run,
            "rules": self.answer.rules,
            "by_request": self.answer.by_request,
        })
    }

    /// The outputs of a step. Every value is ours: paths that ssh could be told, digits, a time.
    fn outputs(&self) -> String {
        let rows = [
            ("ssh-config", self.path(home::SSH_CONFIG)),
            ("known-hosts", self.path(home::KNOWN_HOSTS)),
            ("auth-sock", self.path(home::SOCKET)),
            ("cert-serial", self.certificate.serial().to_string()),
            ("expires-at", self.until.to_string()),
        ];
        rows.iter().map(|(name, value)| format!("{name}={value}\n")).collect()
    }
}

/// Tells it. Outputs go to the runner's file; nothing ever becomes a variable of later steps, which would meet a second login.
pub(super) fn tell(told: &Told<'_>, form: Form, env: &Environment) -> anyhow::Result<()> {
    if let Some(file) = env.get(OUTPUTS) {
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(file)
            .and_then(|mut file| file.write_all(told.outputs().as_bytes()))
            .with_context(|| format!("{OUTPUTS} ({file})"))?;
    }
    match form {
        Form::Line => print(told.line())?,
        Form::Json => print(serde_json::to_string_pretty(&told.json())?)?,
    }
    Ok(())
}

/// The run in words: what it is, which one, where to look at it.
pub(super) fn run_line(run: &RunAnswer) -> String {
    let mut text =
        format!("{} {} ({})", plain(&run.platform, 32), plain(&run.label, 200), plain(&run.subject, 200));
    for (word, said) in [("run", &run.id), ("attempt", &run.attempt), ("commit", &run.commit)] {
        if let Some(said) = said {
            text.push_str(&format!(", {word} {}", plain(said, 100)));
        }
    }
    text
}

/// Where the run can be looked at, or what it is called: a reason for those who must say yes.
pub(super) fn reference(run: &RunAnswer) -> String {
    let named = || {
        let which = run.id.as_ref().map(|id| format!(" run {id}")).unwrap_or_default();
        format!("{}{which}", run.label)
    };
    plain(&run.url.clone().unwrap_or_else(named), 900)
}
