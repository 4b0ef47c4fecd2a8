//! Roles that people must approve, for a job: files the request as a person would, waits where that was said, and renews the
//! certificate when the answer is yes. Without `--wait` it tells how to ask.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::login::Args;
use super::told::reference;
use crate::cli::Environment;
use crate::cli::client::ensure;
use crate::cli::client::home::Home;
use crate::cli::client::requests::{path, wait};
use crate::cli::client::signed::Signed;
use crate::cli::client::state::State;
use crate::cli::client::{EXIT_WAITING, HomeArgs};
use crate::cli::terminal::{plain, say};
use crate::time::Clock;
use crate::web::api::requests::{AskAnswer, AskRequest, EligibleAnswer, RequestAnswer};
use crate::web::api::workloads::ExchangeAnswer;

/// A log without a line for longer looks like a job that hangs.
const PROGRESS_EVERY: Duration = Duration::from_secs(15);
/// The server takes no more targets in one request.
const TARGETS_MAX: usize = 50;
/// More roles than one run has.
const ROLES_MAX: usize = 1000;

/// Asks for what must be asked for, when that is wanted. Success: go on.
pub(super) fn ask(
    args: &Args,
    home: &Home,
    answer: &ExchangeAnswer,
    env: &Environment,
) -> anyhow::Result<ExitCode> {
    let Some(patience) = args.wait else {
        if !answer.by_request.is_empty() {
            say(hint(answer, home));
        }
        return Ok(ExitCode::SUCCESS);
    };
    if answer.by_request.is_empty() && args.role.is_none() {
        say("caponier: nothing has to be asked for");
        return Ok(ExitCode::SUCCESS);
    }
    let signed = Signed::open(&HomeArgs::new(Some(home.dir().to_owned())), env)?;
    let request = request(args, answer, &signed)?;
    let filed: AskAnswer = signed.post("/v1/requests", &request)?;
    let one = filed.request.context("the server filed nothing and does not say why")?;
    let one = wait::wait(&signed, one, Some(patience), Some(PROGRESS_EVERY))?;
    let one = if one.state == "waiting" { withdraw(&signed, one) } else { one };
    let (text, code) = wait::outcome(&one);
    if one.state != "granted" {
        if code == ExitCode::from(EXIT_WAITING) {
            say(format_args!("caponier: {text}"));
            return Ok(code);
        }
        if one.state == "cancelled" {
            say("caponier: nobody decided in time; the request is withdrawn");
            return Ok(ExitCode::from(EXIT_WAITING));
        }
        bail!("{text}");
    }
    say(format_args!("caponier: {text}"));
    renew(home, env)?;
    Ok(ExitCode::SUCCESS)
}

fn hint(answer: &ExchangeAnswer, home: &Home) -> String {
    let roles = plain(&answer.by_request.join(", "), 500);
    let first = answer.by_request.first().map(|role| plain(role, 64)).unwrap_or_default();
    format!(
        "caponier: people must approve {roles} first: log in with --wait 15m, or run: caponier request TARGET --role {first} \
         --reason '{}' --wait --home {}",
        reference(&answer.run).replace('\'', ""),
        home.dir().display()
    )
}

/// What is asked for: as said, else the one role that there is and all its targets.
fn request(args: &Args, answer: &ExchangeAnswer, signed: &Signed) -> anyhow::Result<AskRequest> {
    let known = plain(&answer.by_request.join(", "), 500);
    let role = match (&args.role, answer.by_request.as_slice()) {
        (Some(role), known_roles) if known_roles.contains(role) => Some(role.clone()),
        (Some(role), _) => bail!(
            "--role {}: not one that this run must ask for; those are: {}",
            plain(role, 64),
            if known.is_empty() { "none" } else { &known }
        ),
        (None, [only]) => Some(only.clone()),
        // The targets tell which one is meant; if they do not, the server says so.
        (None, _) if !args.targets.is_empty() => None,
        (None, _) => bail!("say --role, or --target; this run may ask for: {known}"),
    };
    let targets = match &role {
        Some(role) if args.targets.is_empty() => targets_of(role, signed)?,
        _ => args.targets.clone(),
    };
    Ok(AskRequest {
        targets,
        logins: args.principals().unwrap_or_default(),
        role,
        seconds: args.length.map(|length| length.as_secs()),
        reason: args.reason.clone().unwrap_or_else(|| reference(&answer.run)),
        ..AskRequest::default()
    })
}

fn targets_of(role: &str, signed: &Signed) -> anyhow::Result<Vec<String>> {
    let roles: Vec<EligibleAnswer> = signed.list("/v1/eligible", &[], ROLES_MAX)?;
    let one = roles.into_iter().find(|one| one.role == role);
    let one =
        one.with_context(|| format!("the server does not know role {} of this run", plain(role, 64)))?;
    let count = usize::try_from(one.target_count).unwrap_or(usize::MAX);
    if count == 0 || count > TARGETS_MAX || one.targets.len() != count {
        bail!("role {} opens {count} targets: say --target, at most {TARGETS_MAX} times", plain(role, 64));
    }
    Ok(one.targets)
}

/// Nobody decided: takes the request back, so that a late yes opens nothing for a job that has given up. A yes that was faster
/// stands.
fn withdraw(signed: &Signed, one: RequestAnswer) -> RequestAnswer {
    match signed.post_bare(&path(&one.id, "cancel")) {
        Ok(cancelled) => cancelled,
        Err(e) => match signed.poll(&path(&one.id, "")) {
            Ok(now) => now,
            Err(_) => {
                say(format_args!("caponier: warning: the request could not be withdrawn: {e:#}"));
                one
            }
        },
    }
}

/// A new certificate, for what is open now.
fn renew(home: &Home, env: &Environment) -> anyhow::Result<()> {
    let _lock = home.lock()?;
    let state = State::load(home)?.context("client.json is gone")?;
    let lines = ensure::renew(home, &state, env, Clock::System.now())?;
    lines.iter().for_each(|line| say(format_args!("caponier: {line}")));
    Ok(())
}
