//! `caponier status`: who is signed in, until when, with which certificate and key. Reads the folder only, unless
//! `--check` asks the server.

use std::process::ExitCode;

use russh::keys::ssh_key::{Certificate, HashAlg};
use serde_json::json;

use super::api::{Api, server_url};
use super::home::{self, Home};
use super::state::{self, Failure, KeyPlace, SignedIn, State};
use super::{EXIT_NOT_SIGNED_IN, HomeArgs, NotSignedIn, certificate};
use crate::cli::Environment;
use crate::cli::terminal::{plain, print, span};
use crate::time::{Clock, Timestamp};

/// Show who is signed in, until when, and the certificate.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes:
  0   signed in
  1   something is wrong
  77  not signed in; run: caponier login")]
pub struct Args {
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
    /// Also ask the server whether the sign-in still holds
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    home: HomeArgs,
}

/// What there is to show.
struct Shown {
    state: State,
    sign_in: SignedIn,
    certificate: Option<Certificate>,
    fingerprint: Option<String>,
    failure: Option<Failure>,
    now: Timestamp,
}

/// Runs it.
pub fn run(args: &Args, env: &Environment) -> anyhow::Result<ExitCode> {
    let home = args.home.locate(env)?;
    home.check()?;
    let now = Clock::System.now();
    let state = State::load(&home)?;
    let Some((state, sign_in)) =
        state.and_then(|state| state.sign_in.clone().map(|sign_in| (state, sign_in)))
    else {
        return not_signed_in(args, NotSignedIn::never());
    };
    if sign_in.expires() <= now {
        return not_signed_in(args, NotSignedIn::ended());
    }
    if args.check {
        let key = state::key(&home, sign_in.key, env)?;
        let api = Api::new(server_url(&state.server)?, state.ca_pem.as_deref())?;
        match crate::cli::runtime()?.block_on(api.who(&key)) {
            Err(e) if e.is_signed_out() => return not_signed_in(args, NotSignedIn::ended()),
            other => drop(other?),
        }
    }
    let shown = Shown {
        certificate: held(&home)?,
        fingerprint: state::public_key(&home)?.map(|key| key.fingerprint(HashAlg::Sha256).to_string()),
        failure: Failure::load(&home),
        state,
        sign_in,
        now,
    };
    if args.json {
        print(as_json(&shown, &home))?
    } else {
        print(as_text(&shown, &home).trim_end())?
    }
    Ok(ExitCode::SUCCESS)
}

fn not_signed_in(args: &Args, why: NotSignedIn) -> anyhow::Result<ExitCode> {
    if args.json {
        print(json!({ "signed_in": false, "message": why.0 }))?;
        return Ok(ExitCode::from(EXIT_NOT_SIGNED_IN));
    }
    Err(why.into())
}

fn held(home: &Home) -> anyhow::Result<Option<Certificate>> {
    Ok(home.read(home::CERTIFICATE)?.and_then(|text| Certificate::from_openssh(&text).ok()))
}

fn key_place(shown: &Shown, home: &Home) -> String {
    match shown.sign_in.key {
        KeyPlace::File => home.path(home::KEY).display().to_string(),
        KeyPlace::Agent => "in the ssh-agent only".to_owned(),
        KeyPlace::Own => "in this job's ssh-agent only".to_owned(),
    }
}

fn as_text(shown: &Shown, home: &Home) -> String {
    let Shown { state, sign_in, now, .. } = shown;
    let left = |until: Timestamp| span(until.since(*now).as_secs());
    let certificate = match &shown.certificate {
        None => "none".to_owned(),
        Some(held) => {
            let (_, until) = certificate::window(held);
            let ends = if until > *now {
                format!("until {until} (for {})", left(until))
            } else {
                format!("ended {until}; the next ssh renews it")
            };
            let logins = plain(&held.valid_principals().join(", "), 1000);
            format!("serial {}, logins {logins}, {ends}", held.serial())
        }
    };
    let through = if state.ssh.patterns.is_empty() {
        "nothing yet".to_owned()
    } else {
        plain(&state.ssh.patterns.join(", "), 1000)
    };
    let mut text = String::new();
    let mut row = |name: &str, value: String| text.push_str(&format!("{name:<13} {value}\n"));
    row("signed in as", format!("{} ({})", sign_in.display, sign_in.who));
    row("until", format!("{} (for {})", sign_in.expires(), left(sign_in.expires())));
    row("server", state.server.clone());
    row("certificate", certificate);
    row("key", format!("{} {}", key_place(shown, home), shown.fingerprint.as_deref().unwrap_or("(gone)")));
    row("bastion", format!("{} port {}, for: {through}", state.ssh.host, state.ssh.port));
    if let Some(failure) = &shown.failure {
        row(
            "last problem",
            format!("{}: {}", Timestamp::from_millis(failure.at), plain(&failure.message, 500)),
        );
    }
    text
}

fn as_json(shown: &Shown, home: &Home) -> serde_json::Value {
    let Shown { state, sign_in, now, .. } = shown;
    let certificate = shown.certificate.as_ref().map(|held| {
        json!({
            "serial": held.serial().to_string(),
            "key_id": held.key_id(),
            "principals": held.valid_principals(),
            "valid_after": held.valid_after(),
            "valid_before": held.valid_before(),
            "valid": held.valid_before() > now.as_secs(),
        })
    });
    json!({
        "signed_in": true,
        "sign_in": sign_in.id,
        "who": sign_in.who,
        "display": sign_in.display,
        "expires": sign_in.expires,
        "server": state.server,
        "certificate": certificate,
        "key": {
            "place": sign_in.key,
            "path": match sign_in.key {
                KeyPlace::File => Some(home.path(home::KEY)),
                KeyPlace::Agent | KeyPlace::Own => None,
            },
            "fingerprint": shown.fingerprint,
        },
        "bastion": { "host": state.ssh.host, "port": state.ssh.port, "patterns": state.ssh.patterns },
        "last_problem": shown.failure.as_ref().map(|failure| &failure.message),
    })
}
