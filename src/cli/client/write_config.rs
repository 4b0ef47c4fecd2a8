//! `caponier ssh-config`: writes (or prints) the ssh configuration again, e.g. after caponier moved.

use std::path::Path;
use std::process::ExitCode;

use super::home;
use super::include;
use super::settings::Settings;
use super::ssh_config::{self, Places};
use super::state::State;
use super::{HomeArgs, NotSignedIn};
use crate::cli::Environment;
use crate::cli::terminal::{print, say};

/// Write the ssh configuration that `~/.ssh/config` includes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
`caponier login` does this by itself. Run it again after caponier was moved to another folder.

Examples:
  caponier ssh-config            write ~/.caponier/ssh_config
  caponier ssh-config --print    show it, write nothing")]
pub struct Args {
    /// Print it instead of writing it
    #[arg(long)]
    print: bool,
    #[command(flatten)]
    home: HomeArgs,
}

/// Runs it.
pub fn run(args: &Args, env: &Environment) -> anyhow::Result<ExitCode> {
    let home = args.home.locate(env)?;
    home.check()?;
    let state = State::load(&home)?.ok_or_else(NotSignedIn::never)?;
    // Judged again: the file may have been changed by somebody else's program.
    let settings = Settings::check(&state.ssh)?;
    let places = Places::find(&home, env)?;
    if args.print {
        print(ssh_config::config_text(&settings, &places, &state.server, state.key_place()).trim_end())?;
        return Ok(ExitCode::SUCCESS);
    }
    let _lock = home.lock()?;
    ssh_config::write(&home, &settings, &places, &state.server, state.key_place())?;
    let written = home.path(home::SSH_CONFIG);
    say(format_args!("Written: {}", written.display()));
    let is_included = env.get("HOME").map(Path::new).is_some_and(|user_home| {
        let config = std::fs::read(user_home.join(".ssh/config")).unwrap_or_default();
        include::is_included(&config, &written, user_home)
    });
    if !is_included {
        say(format_args!("Add this line to the top of ~/.ssh/config:\n    {}", places.include_line()));
    }
    Ok(ExitCode::SUCCESS)
}
