//! `caponier kill`: over the API as somebody who may and is signed in here, or with `--on-server` straight in the store, for
//! emergencies. What it does is decided by `flow::kill`.

use std::path::Path;
use std::process::ExitCode;

use super::HomeArgs;
use super::signed::Signed;
use crate::cli::table::printable;
use crate::cli::terminal::print;
use crate::cli::{Environment, bastion};
use crate::flow::kill::kill_by_command;
use crate::ids::SessionId;
use crate::time::Clock;
use crate::web::api::sessions::{KillRequest, KilledSession};

/// End a live session, now and with a reason that its user is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
For admins and sign_in.killers. It ends at whichever bastion of the same database holds it, within a second. Whoever it
was may connect again; to keep them out, use: caponier lock.

Examples:
  caponier kill ses_0123456789abcdefghjkmnpqrs --reason 'wrong machine'
  caponier kill ses_0123456789abcdefghjkmnpqrs --reason 'wrong machine' --on-server")]
pub struct Args {
    /// The session's id: `caponier sessions --open` and `caponier access now` show it
    session: SessionId,
    /// Why, on one line; the user is shown it, and it stands in the audit log
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
    /// On the server, without being signed in: straight in the database of the configuration
    #[arg(long)]
    on_server: bool,
    #[command(flatten)]
    home: HomeArgs,
}

/// Runs it.
pub fn run(args: &Args, file: &Path, env: &Environment) -> anyhow::Result<ExitCode> {
    let killed: KilledSession = if args.on_server {
        let config = bastion::load(file, env)?;
        let row = bastion::runtime()?.block_on(async {
            let store = bastion::open(&config).await?;
            let row = kill_by_command(&store, &args.session, &args.reason, Clock::System.now()).await?;
            Ok::<_, anyhow::Error>(row)
        })?;
        KilledSession::from(&row)
    } else {
        let request = KillRequest { reason: args.reason.clone() };
        Signed::open(&args.home, env)?.post(&format!("/v1/sessions/{}/kill", args.session), &request)?
    };
    if args.json {
        print(serde_json::to_string_pretty(&killed)?)?;
    } else {
        let place = format!("{}@{}", killed.login, killed.target);
        print(format_args!(
            "{} of {} at {} ends now",
            printable(&killed.session),
            printable(&killed.who),
            printable(&place)
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
