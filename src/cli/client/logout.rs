//! `caponier logout`: ends the sign-in at the server and forgets key and certificate here, also when the server does
//! not answer. The ssh configuration stays: without it ssh would go straight to the hosts.

use std::process::ExitCode;

use anyhow::Context as _;

use super::HomeArgs;
use super::agent::Agent;
use super::api::{Api, server_url};
use super::home::{self, Home};
use super::state::{self, KeyPlace, SignedIn, State};
use crate::cli::Environment;
use crate::cli::terminal::say;
use crate::time::Clock;

/// End the sign-in here and at the server.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Key and certificate are removed even if the server cannot be reached; the exit code is 1 then, because the server \
was not told.
The ssh configuration stays, so that ssh does not go past the bastion.")]
pub struct Args {
    #[command(flatten)]
    home: HomeArgs,
}

/// Runs it.
pub fn run(args: &Args, env: &Environment) -> anyhow::Result<ExitCode> {
    let home = args.home.locate(env)?;
    home.check()?;
    if State::load(&home)?.is_none() {
        say("You were not signed in.");
        return Ok(ExitCode::SUCCESS);
    }
    let _lock = home.lock()?;
    // Read under the lock: a login may have been the one to hold it.
    let mut state = State::load(&home)?.context("client.json is gone; run it again")?;
    let Some(sign_in) = state.sign_in.take() else {
        forget(&home)?;
        say("You were not signed in.");
        return Ok(ExitCode::SUCCESS);
    };
    let is_told = tell_server(&home, &state, &sign_in, env);
    home.remove(home::CERTIFICATE)?;
    if sign_in.key != KeyPlace::File
        && let Err(e) = forget_in_agent(&home, sign_in.key, env)
    {
        if is_told.is_err() && sign_in.expires() > Clock::System.now() {
            // The key still signs, and only `id.pub` tells which one it is: kept, so that this can be done again.
            return Err(e).context(
                "the certificate is removed, but neither the ssh-agent nor the server could be told; \
                 run it again where the ssh-agent is",
            );
        }
        say(format_args!(
            "caponier: the ssh-agent was not told: {e:#}; it forgets the key when its time is over"
        ));
    }
    forget(&home)?;
    state.save(&home)?;
    match is_told {
        Ok(()) => {
            say("Signed out.");
            Ok(ExitCode::SUCCESS)
        }
        Err(e) => Err(e).context(
            "key and certificate are removed here, but the server could not be told; \
             the sign-in there ends by itself, or an admin ends it",
        ),
    }
}

fn tell_server(home: &Home, state: &State, sign_in: &SignedIn, env: &Environment) -> anyhow::Result<()> {
    let key = state::key(home, sign_in.key, env)?;
    let api = Api::new(server_url(&state.server)?, state.ca_pem.as_deref())?;
    match crate::cli::runtime()?.block_on(api.end(&key)) {
        Err(e) if !e.is_signed_out() => Err(e.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Forgets the credential; certificate first, so that what is left at any moment is of no use.
fn forget(home: &Home) -> anyhow::Result<()> {
    home.remove(home::CERTIFICATE)?;
    home.remove(home::FAILURE)?;
    home.remove(home::KEY)?;
    home.remove(home::PUBLIC_KEY)?;
    Ok(())
}

fn forget_in_agent(home: &Home, place: KeyPlace, env: &Environment) -> anyhow::Result<()> {
    let Some(public) = state::public_key(home)? else { return Ok(()) };
    let mut agent = Agent::connect(&state::socket(home, place, env)?)?;
    // An agent that has lost the key already is as good.
    if agent.holds(&public)? {
        agent.remove(&public)?;
    }
    Ok(())
}
