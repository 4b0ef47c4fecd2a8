//! `caponier ensure`: makes sure that a certificate is there before ssh reads it. ssh runs it for every connection
//! (`Match exec`), so the usual case reads two small files and nothing else; only a certificate that is about to end
//! costs a request, and of many that start at once, one makes it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use russh::keys::ssh_key::{Certificate, PublicKey};

use super::agent::Agent;
use super::api::{Api, ApiError, server_url};
use super::home::{self, Home};
use super::settings::Settings;
use super::ssh_config::{self, Places};
use super::state::{self, Failure, KeyPlace, State};
use super::{EXIT_NOT_SIGNED_IN, HomeArgs, NotSignedIn, certificate};
use crate::cli::Environment;
use crate::cli::terminal::say;
use crate::time::{Clock, Timestamp};

/// How long after a failed renewal nobody asks again while the certificate still works.
const PAUSE_WHILE_VALID: Duration = Duration::from_secs(15);
/// How long after a failed renewal a quiet `ensure` repeats neither question nor message: `ssh -J` starts a second
/// ssh, and so a second `ensure`, right after the first.
const PAUSE_WHEN_QUIET: Duration = Duration::from_secs(2);

/// Renew the certificate if it is about to end (ssh runs this by itself).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With a certificate that is valid for more than 30 seconds this touches no network.

Exit codes:
  0   a valid certificate is there
  1   there is none, and it could not be renewed
  2   wrong usage
  77  not signed in; run: caponier login")]
pub struct Args {
    /// Say nothing unless something is wrong
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    home: HomeArgs,
}

/// What stands in the folder now.
struct Held {
    certificate: Certificate,
    key: PublicKey,
}

/// Whether the command line is an `ensure` that is done already. Called before the command line is parsed in full,
/// because that and everything behind it would cost more than the answer. Any doubt is a no.
pub fn is_done_at_once(arguments: &[OsString], env: &Environment) -> bool {
    let Some(home) = home_of(arguments) else { return false };
    let Ok(home) = HomeArgs::new(home).locate(env) else { return false };
    home.check().is_ok() && is_fresh(&home, env, Clock::System.now())
}

/// The `--home` of `caponier ensure [--quiet] [--home DIR]`; none when it is another command line.
fn home_of(arguments: &[OsString]) -> Option<Option<PathBuf>> {
    let mut words = arguments.iter().skip(1);
    if words.next()? != "ensure" {
        return None;
    }
    let mut home = None;
    while let Some(word) = words.next() {
        match word.to_str()? {
            "--quiet" | "-q" => {}
            "--home" if home.is_none() => home = Some(PathBuf::from(words.next()?)),
            _ => return None,
        }
    }
    Some(home)
}

/// Runs it.
pub fn run(args: &Args, env: &Environment) -> anyhow::Result<ExitCode> {
    let started = Clock::System.now();
    let home = args.home.locate(env)?;
    home.check()?;
    if State::load(&home)?.is_none() {
        return Err(NotSignedIn::never().into());
    }
    if is_fresh(&home, env, started) {
        return Ok(told(args, "the certificate is valid"));
    }
    let _lock = home.lock()?;
    // Read under the lock: a login or logout may have been the one to hold it.
    let state = State::load(&home)?.ok_or_else(NotSignedIn::never)?;
    let now = Clock::System.now();
    if is_fresh(&home, env, now) {
        return Ok(told(args, "the certificate was renewed by another caponier"));
    }
    let is_valid = held(&home).is_some_and(|held| certificate::is_valid(&held.certificate, &held.key, now));
    if let Some(failure) = Failure::load(&home)
        && let Some(answer) = answer_again(&failure, args.quiet, is_valid, started, now)
    {
        return answer;
    }
    match renew(&home, &state, env, now) {
        Ok(changes) => {
            home.remove(home::FAILURE)?;
            for change in changes {
                say(format_args!("caponier: {change}"));
            }
            Ok(told(args, "the certificate is renewed"))
        }
        Err(e) => {
            let signed_out = e.is::<NotSignedIn>();
            let failure = Failure { at: now.as_millis(), signed_out, message: format!("{e:#}") };
            if let Err(unsaved) = failure.save(&home) {
                tracing::debug!(error = %unsaved, "the failure could not be noted");
            }
            if is_valid && !signed_out {
                if !args.quiet {
                    say(format_args!(
                        "caponier: not renewed: {e:#}; the certificate is still valid for a moment"
                    ));
                }
                return Ok(ExitCode::SUCCESS);
            }
            Err(e)
        }
    }
}

fn told(args: &Args, text: &str) -> ExitCode {
    if !args.quiet {
        say(format_args!("caponier: {text}"));
    }
    ExitCode::SUCCESS
}

/// The answer that a recent failure gives, without asking the server again; none when it is worth asking.
fn answer_again(
    failure: &Failure,
    quiet: bool,
    is_valid: bool,
    started: Timestamp,
    now: Timestamp,
) -> Option<anyhow::Result<ExitCode>> {
    let at = Timestamp::from_millis(failure.at);
    if at > now {
        // The clock was set back; the note is worth nothing.
        return None;
    }
    let waited_for_it = at >= started;
    let age = now.since(at);
    if is_valid && !failure.signed_out {
        return (waited_for_it || (quiet && age < PAUSE_WHILE_VALID)).then_some(Ok(ExitCode::SUCCESS));
    }
    if waited_for_it {
        let error = anyhow::Error::msg(failure.message.clone());
        return Some(Err(if failure.signed_out {
            NotSignedIn(failure.message.clone()).into()
        } else {
            error
        }));
    }
    let code = if failure.signed_out { ExitCode::from(EXIT_NOT_SIGNED_IN) } else { ExitCode::FAILURE };
    (quiet && age < PAUSE_WHEN_QUIET).then_some(Ok(code))
}

/// Whether nothing needs to be done: a certificate of our key with time left, and the private key is where ssh will
/// look for it.
fn is_fresh(home: &Home, env: &Environment, now: Timestamp) -> bool {
    let Some(held) = held(home) else { return false };
    certificate::is_fresh(&held.certificate, &held.key, now)
        && (home.has(home::KEY) || is_in_agent(&held.key, home, env))
}

fn held(home: &Home) -> Option<Held> {
    let certificate = Certificate::from_openssh(&home.read(home::CERTIFICATE).ok()??).ok()?;
    let key = PublicKey::from_openssh(&home.read(home::PUBLIC_KEY).ok()??).ok()?;
    Some(Held { certificate, key })
}

/// Whether the agent has the key: the one of this folder, or the person's.
fn is_in_agent(key: &PublicKey, home: &Home, env: &Environment) -> bool {
    let place = if home.has(home::SOCKET) { KeyPlace::Own } else { KeyPlace::Agent };
    state::socket(home, place, env)
        .is_ok_and(|socket| Agent::connect(&socket).and_then(|mut agent| agent.holds(key)).unwrap_or(false))
}

/// Gets a new certificate and writes it; settings too if they changed. Gives lines to tell about changes.
/// The certificate comes first and by itself: settings that are no good must not keep anybody from working.
pub(in crate::cli) fn renew(
    home: &Home,
    state: &State,
    env: &Environment,
    now: Timestamp,
) -> anyhow::Result<Vec<String>> {
    let sign_in = state.sign_in.as_ref().ok_or_else(NotSignedIn::never)?;
    if sign_in.expires() <= now {
        return Err(NotSignedIn::ended().into());
    }
    let key = state::key(home, sign_in.key, env)?;
    if sign_in.key != KeyPlace::File && !is_in_agent(key.public(), home, env) {
        let again = if sign_in.key == KeyPlace::Own { "caponier ci login" } else { "caponier login --agent" };
        return Err(NotSignedIn(format!("the key is not in this ssh-agent (any more); run: {again}")).into());
    }
    let api = Api::new(server_url(&state.server)?, state.ca_pem.as_deref())?;
    let issued = crate::cli::runtime()?.block_on(api.certificate(&key, &state.narrowed)).map_err(explain)?;
    let certificate = certificate::accept(&issued.certificate, key.public(), Clock::System.now())?;
    home.write(home::CERTIFICATE, &format!("{}\n", certificate.to_openssh()?))?;
    let settings = Settings::check(&issued.ssh).and_then(|new| new.may_follow(&state.ssh).map(|()| new));
    match settings {
        Ok(settings) => refresh(home, state, &settings, env),
        Err(why) => {
            let mut lines = match Settings::check(&state.ssh) {
                Ok(old) => refresh(home, state, &old, env)?,
                // Written by an older client; it stands until the next login.
                Err(_) => Vec::new(),
            };
            lines.push(format!("{why}; your ssh configuration stays as it was"));
            Ok(lines)
        }
    }
}

fn explain(error: ApiError) -> anyhow::Error {
    if error.is_signed_out() { NotSignedIn::ended().into() } else { error.into() }
}

/// Brings ssh's files up to date when the server's settings changed or a file is gone.
fn refresh(
    home: &Home,
    state: &State,
    settings: &Settings,
    env: &Environment,
) -> anyhow::Result<Vec<String>> {
    let wire = settings.to_wire();
    let is_changed = wire != state.ssh;
    if is_changed || !home.has(home::SSH_CONFIG) || !home.has(home::KNOWN_HOSTS) {
        let places = Places::find(home, env)?;
        ssh_config::write(home, settings, &places, &state.server, state.key_place())
            .context("the new ssh configuration")?;
    }
    if !is_changed {
        return Ok(Vec::new());
    }
    let mut after = state.clone();
    after.ssh = wire;
    after.save(home)?;
    Ok(settings.changes(&state.ssh))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_without_a_parser() {
        let check = |words: &[&str], expect: Option<Option<&str>>| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            assert_eq!(home_of(&words), expect.map(|home| home.map(PathBuf::from)), "{words:?}");
        };
        check(&["caponier", "ensure"], Some(None));
        check(&["caponier", "ensure", "--quiet", "--home", "/h"], Some(Some("/h")));
        check(&["caponier", "ensure", "--home", "/h", "-q"], Some(Some("/h")));
        check(&["caponier", "ensure", "--home"], None);
        check(&["caponier", "ensure", "--home", "/h", "--home", "/i"], None);
        check(&["caponier", "ensure", "--help"], None);
        check(&["caponier", "ensure", "web1"], None);
        check(&["caponier", "login"], None);
        check(&["caponier"], None);
    }

    #[test]
    fn a_recent_failure_answers_for_the_next() {
        let now = Timestamp::from_secs(1_800_000_000);
        let failure = |age_ms: u64, signed_out| Failure {
            at: now.as_millis() - age_ms,
            signed_out,
            message: "m".to_owned(),
        };
        let check = |failure: &Failure, quiet, is_valid, started_ms_ago: u64, expect: &str| {
            let started = Timestamp::from_millis(now.as_millis() - started_ms_ago);
            let answer = match answer_again(failure, quiet, is_valid, started, now) {
                None => "ask".to_owned(),
                Some(Ok(code)) => format!("{code:?}"),
                Some(Err(e)) => format!("{e} {}", e.is::<NotSignedIn>()),
            };
            assert_eq!(answer, expect.replace("{ok}", &format!("{:?}", ExitCode::SUCCESS)));
        };
        let (one, signed_out) = (format!("{:?}", ExitCode::FAILURE), format!("{:?}", ExitCode::from(77)));
        // It happened while this process waited for the lock.
        check(&failure(10, false), true, false, 20, "m false");
        check(&failure(10, true), false, false, 20, "m true");
        check(&failure(10, false), false, true, 20, "{ok}");
        // It happened before.
        check(&failure(1_900, false), true, false, 5, &one);
        check(&failure(1_900, true), true, true, 5, &signed_out);
        check(&failure(1_900, false), false, false, 5, "ask");
        check(&failure(2_000, false), true, false, 5, "ask");
        check(&failure(14_000, false), true, true, 5, "{ok}");
        check(&failure(15_000, false), true, true, 5, "ask");
        check(&failure(1_000, false), false, true, 5, "ask");
        // It happened in the future.
        let ahead = Failure { at: now.as_millis() + 1, signed_out: false, message: "m".to_owned() };
        check(&ahead, true, false, 5, "ask");
    }
}
