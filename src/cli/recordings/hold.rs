//! `caponier recordings hold set|release|ls`: recordings that nobody may delete.

use std::io::Write;
use std::process::ExitCode;

use anyhow::bail;

use super::find;
use crate::cli::table::{printable, table};
use crate::flow::archive::hold;
use crate::ids::HoldId;
use crate::names::{SubjectName, TargetName};
use crate::random::Random;
use crate::store::{Held, HoldRow, Store};
use crate::time::Clock;

/// Who did it, in the audit log: whoever may run commands on the server.
const ADMIN: &str = "admin";

/// What to do with holds.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// From now on these recordings stay, here and in the archive, whatever their time
    Set(Set),
    /// They may be deleted again when their time is over
    Release {
        /// The hold's id
        hold: HoldId,
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// List holds, newest first
    Ls {
        /// Released ones too
        #[arg(long)]
        all: bool,
        /// One JSON array instead of a table
        #[arg(long)]
        json: bool,
    },
}

/// What to hold.
#[derive(Debug, clap::Args)]
pub struct Set {
    #[command(flatten)]
    what: What,
    /// Why
    #[arg(long)]
    reason: String,
    /// Also when there is no recording yet that it would keep
    #[arg(long)]
    future: bool,
}

/// One of them.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct What {
    /// The recording of this session: its id, or enough of its beginning
    #[arg(long)]
    session: Option<String>,
    /// All of this person, as PROVIDER:SUBJECT, also those to come
    #[arg(long)]
    user: Option<SubjectName>,
    /// All of sessions to this target, also those to come
    #[arg(long)]
    target: Option<TargetName>,
}

/// Does what `command` says.
pub(super) async fn run(command: Command, store: &Store, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let (random, now) = (Random::System, Clock::System.now());
    match command {
        Command::Set(Set { what, reason, future }) => {
            let held = match what {
                What { session: Some(session), .. } => Held::Session(find::find(store, &session).await?.id),
                What { user: Some(user), .. } => Held::User(user.to_string()),
                What { target: Some(target), .. } => Held::Target(target.to_string()),
                What { .. } => bail!("say what: --session, --user or --target"),
            };
            if let Held::Session(id) = &held
                && let Some(row) = store.archive_row(id).await?
                && matches!(row.state.as_str(), "deleting" | "deleted")
            {
                bail!("the recording of session {id} is deleted: its time was over");
            }
            let (row, covered) = hold::set(store, &random, now, held, reason, ADMIN, future).await?;
            writeln!(
                out,
                "{} holds the recordings of {} {}: {} now",
                row.id,
                row.held.kind(),
                printable(row.held.subject()),
                covered.kept
            )?;
            if covered.deleting > 0 {
                writeln!(out, "{} more are being deleted already: that is not stopped", covered.deleting)?;
            }
            if covered.deleted > 0 {
                writeln!(out, "{} more are deleted", covered.deleted)?;
            }
        }
        Command::Release { hold, reason } => {
            let Some(row) = hold::release(store, now, &hold, reason, ADMIN).await? else {
                bail!("there is no hold {hold} in force (`caponier recordings hold ls` lists them)");
            };
            writeln!(
                out,
                "{} is released; {} {} is held by it no more",
                row.id,
                row.held.kind(),
                printable(row.held.subject())
            )?;
        }
        Command::Ls { all, json } => {
            let rows = store.holds(all).await?;
            if json {
                let list: Vec<serde_json::Value> = rows.iter().map(as_json).collect();
                writeln!(out, "{}", serde_json::to_string_pretty(&list)?)?;
            } else if rows.is_empty() {
                writeln!(out, "no holds")?;
            } else {
                let head = ["ID", "WHAT", "WHICH", "SINCE", "BY", "REASON", "RELEASED"];
                out.write_all(table(head, rows.iter().map(line)).as_bytes())?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn line(row: &HoldRow) -> [String; 7] {
    [
        row.id.to_string(),
        row.held.kind().to_owned(),
        printable(row.held.subject()),
        row.set_at.to_string(),
        printable(&row.set_by),
        printable(&row.reason),
        row.released.as_ref().map(|(by, at)| format!("{at} by {}", printable(by))).unwrap_or_default(),
    ]
}

fn as_json(row: &HoldRow) -> serde_json::Value {
    serde_json::json!({
        "id": row.id.as_str(),
        "what": row.held.kind(),
        "subject": row.held.subject(),
        "reason": row.reason,
        "set_by": row.set_by,
        "set_at": row.set_at.to_string(),
        "released_by": row.released.as_ref().map(|(by, _)| by),
        "released_at": row.released.as_ref().map(|(_, at)| at.to_string()),
    })
}
