//! `caponier ci done`: the end of a job. Tells the server, which ends what the run opened; ends the agent; takes the folder away.
//! It runs in every job's last step, also of one whose login failed half way, and so it never fails because there is little to do.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::folder::Folder;
use super::platform;
use crate::cli::Environment;
use crate::cli::client::api::{Api, server_url};
use crate::cli::client::state::{self, State};
use crate::cli::terminal::say;
use crate::time::Clock;

/// End this job's access: at the server, in its agent, and on disk.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
What the run opened is closed at the server at once: its certificates are revoked, its grants end, open sessions are cut.
When the server cannot be told, a warning says until when its certificate lives; key and certificate are gone here anyway.

Put it where it runs always: `if: always()`, `after_script`, a trap.

Exit codes:
  0   done, or there was nothing to do
  1   something of it is still on disk
  2   wrong usage")]
pub struct Args {
    /// The job's folder, as for login
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Runs it.
pub fn run(args: &Args, env: &Environment) -> anyhow::Result<ExitCode> {
    let dir = dir(args.dir.as_deref(), env);
    let Some(folder) = Folder::find(&dir)? else {
        say(format_args!("caponier: no login of this job in {}; nothing to end", dir.display()));
        return Ok(ExitCode::SUCCESS);
    };
    end(folder, env)?;
    Ok(ExitCode::SUCCESS)
}

/// The job's folder: as said, else the one that job and platform have.
pub(super) fn dir(said: Option<&Path>, env: &Environment) -> PathBuf {
    let user = rustix::process::geteuid().as_raw();
    said.map_or_else(|| platform::folder(env, user), Path::to_owned)
}

/// Ends what stands in a folder.
pub(super) fn end(folder: Folder, env: &Environment) -> anyhow::Result<()> {
    match tell_server(&folder, env) {
        Ok(Some(server)) => say(format_args!("caponier: the run is over; {server} has ended what it opened")),
        Ok(None) => {}
        Err(e) => say(format_args!("caponier: warning: {e:#}")),
    }
    folder.end_agent();
    folder.remove()?;
    Ok(())
}

/// Tells the server, if there is a sign-in to end; answers which.
fn tell_server(folder: &Folder, env: &Environment) -> anyhow::Result<Option<String>> {
    let home = folder.home();
    let Some(state) = State::load(home)? else { return Ok(None) };
    let Some(sign_in) = &state.sign_in else { return Ok(None) };
    if sign_in.expires() <= Clock::System.now() {
        return Ok(None);
    }
    let told = state::key(home, sign_in.key, env).and_then(|key| {
        let api = Api::new(server_url(&state.server)?, state.ca_pem.as_deref())?;
        match crate::cli::runtime()?.block_on(api.done(&key)) {
            // Somebody was faster: the platform's webhook, or an admin.
            Err(e) if !e.is_signed_out() => Err(anyhow::Error::from(e)),
            Ok(()) | Err(_) => Ok(()),
        }
    });
    told.map_err(|e| {
        let text = format!(
            "the server was not told that the run is over; its access there ends by itself at {}, or an admin ends it: \
             caponier sign-ins end {}",
            sign_in.expires(),
            sign_in.id
        );
        e.context(text)
    })?;
    Ok(Some(state.server))
}
