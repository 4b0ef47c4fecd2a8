//! `caponier recordings archive`: what becomes of recordings, and what keeps them from it.

use std::io::Write;
use std::process::ExitCode;

use crate::cli::table::{printable, table};
use crate::store::{ArchiveRow, Here, Store};

/// Which recordings to list.
#[derive(Debug, clap::Args)]
pub struct Archive {
    /// All of them, not only those that something waits for
    #[arg(long)]
    all: bool,
    /// At most so many, newest first
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// One JSON array instead of a table
    #[arg(long)]
    json: bool,
}

/// Lists them to `out`.
pub(super) async fn run(args: &Archive, store: &Store, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let rows = store.archive_rows(args.all, args.limit).await?;
    if args.json {
        let list: Vec<serde_json::Value> = rows.iter().map(as_json).collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&list)?)?;
    } else if rows.is_empty() {
        writeln!(out, "{}", if args.all { "no recordings" } else { "nothing waits for the archive" })?;
    } else {
        let head = ["SESSION", "STATE", "HERE", "TRIED", "AGAIN AT", "DELETED AFTER", "PROBLEM"];
        out.write_all(table(head, rows.iter().map(line)).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn here(row: &ArchiveRow) -> &'static str {
    match row.here {
        Here::Yes => "yes",
        Here::Going => "going",
        Here::No => "no",
    }
}

fn line(row: &ArchiveRow) -> [String; 7] {
    let waits = matches!(row.state.as_str(), "waiting" | "deleting") || row.problem.is_some();
    [
        row.session.to_string(),
        row.state.clone(),
        here(row).to_owned(),
        row.attempts.to_string(),
        if waits { row.due.to_string() } else { String::new() },
        row.delete_after.map(|at| at.to_string()).unwrap_or_default(),
        row.problem.as_deref().map(printable).unwrap_or_default(),
    ]
}

fn as_json(row: &ArchiveRow) -> serde_json::Value {
    let time = |at: Option<crate::time::Timestamp>| at.map(|at| at.to_string());
    serde_json::json!({
        "session": row.session.as_str(),
        "node": row.node,
        "state": row.state,
        "here": here(row),
        "attempts": row.attempts,
        "due": row.due.to_string(),
        "problem": row.problem,
        "stored_bytes": row.stored_bytes,
        "index_sha256": row.index_sha256,
        "confirmed": time(row.confirmed),
        "delete_after": time(row.delete_after),
        "removed": time(row.removed),
        "deleted": time(row.deleted),
    })
}
