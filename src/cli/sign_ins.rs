//! `caponier sign-ins ls|end`, on the server: who is signed in, and ending that.

use std::io::Write;
use std::process::ExitCode;

use anyhow::bail;

use crate::cli::table::{csv, printable, table};
use crate::flow::end_sign_in;
use crate::ids::SignInId;
use crate::store::{SignIn, Store};
use crate::time::Clock;

/// What to do with sign-ins.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List who is signed in, newest first
    Ls {
        /// One JSON array instead of a table
        #[arg(long)]
        json: bool,
        /// CSV for spreadsheets instead of a table
        #[arg(long, conflicts_with = "json")]
        csv: bool,
    },
    /// End a sign-in: its certificates are refused from now on and its sessions are closed within two seconds
    End {
        /// The sign-in's id
        sign_in: SignInId,
        /// Why; it stands in the audit log
        #[arg(long, default_value = "ended by an admin")]
        reason: String,
    },
}

/// Does what `command` says; lists go to `out`.
pub async fn run(
    command: Command,
    store: &Store,
    clock: &Clock,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    match command {
        Command::Ls { json: as_json, csv: as_csv } => {
            let rows = store.sign_ins(clock.now()).await?;
            if as_json {
                let list: Vec<serde_json::Value> = rows.iter().map(json).collect();
                writeln!(out, "{}", serde_json::to_string_pretty(&list)?)?;
            } else if as_csv {
                let head = [
                    "id", "who", "display", "groups", "method", "key", "from", "client", "created", "expires",
                ];
                out.write_all(csv(head, rows.iter().map(csv_line)).as_bytes())?;
            } else if rows.is_empty() {
                writeln!(out, "nobody is signed in")?;
            } else {
                let head = ["ID", "SINCE", "UNTIL", "WHO", "HOW", "FROM", "MACHINE"];
                out.write_all(table(head, rows.iter().map(line)).as_bytes())?;
            }
        }
        Command::End { sign_in, reason } => {
            if !end_sign_in::end_by_command(store, &sign_in, &reason, clock.now()).await? {
                bail!("{sign_in} is not live; `caponier sign-ins ls` lists those that are");
            }
            writeln!(out, "{sign_in} has ended")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn line(row: &SignIn) -> [String; 7] {
    [
        row.id.to_string(),
        row.created.to_string(),
        row.expires.to_string(),
        printable(&format!("{} ({})", row.who.reference(), row.who.display)),
        row.method.clone(),
        printable(&row.from),
        printable(&row.client),
    ]
}

fn csv_line(row: &SignIn) -> [String; 10] {
    let groups: Vec<String> = row.who.groups.iter().map(ToString::to_string).collect();
    [
        row.id.to_string(),
        row.who.reference(),
        row.who.display.clone(),
        groups.join(" "),
        row.method.clone(),
        row.key_fingerprint.clone().unwrap_or_default(),
        row.from.clone(),
        row.client.clone(),
        row.created.to_string(),
        row.expires.to_string(),
    ]
}

fn json(row: &SignIn) -> serde_json::Value {
    let groups: Vec<String> = row.who.groups.iter().map(ToString::to_string).collect();
    serde_json::json!({
        "id": row.id.as_str(),
        "who": row.who.reference(),
        "display": row.who.display,
        "groups": groups,
        "method": row.method,
        "key": row.key_fingerprint,
        "from": row.from,
        "client": row.client,
        "created": row.created.to_string(),
        "expires": row.expires.to_string(),
    })
}
