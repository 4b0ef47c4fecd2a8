//! `caponier sessions`, on the server: who was where, and who is there now.

use std::io::Write;
use std::process::ExitCode;

use crate::cli::table::{csv, printable, table};
use crate::store::{SessionFilter, SessionRow, Store};

/// Which sessions to list.
#[derive(Debug, clap::Args)]
pub struct Sessions {
    /// Only those that are open now
    #[arg(long)]
    open: bool,
    /// Only sessions to this target
    #[arg(long)]
    target: Option<String>,
    /// Only sessions of this person, as PROVIDER:SUBJECT
    #[arg(long)]
    user: Option<String>,
    /// At most so many, newest first
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// One JSON array instead of a table
    #[arg(long)]
    json: bool,
    /// CSV for spreadsheets instead of a table
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

/// Lists sessions to `out`.
pub async fn run(args: Sessions, store: &Store, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let filter = SessionFilter { open: args.open, target: args.target, who: args.user, limit: args.limit };
    let rows = store.sessions(&filter).await?;
    if args.json {
        let list: Vec<serde_json::Value> = rows.iter().map(json).collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&list)?)?;
    } else if args.csv {
        out.write_all(csv(CSV_HEAD, rows.iter().map(csv_line)).as_bytes())?;
    } else if rows.is_empty() {
        writeln!(out, "no sessions")?;
    } else {
        let head = ["ID", "OPENED", "WHO", "WHERE", "WHAT", "FROM", "END", "STATUS"];
        out.write_all(table(head, rows.iter().map(line)).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn line(row: &SessionRow) -> [String; 8] {
    let mut what = row.kind.clone();
    if !row.command.is_empty() {
        let short: String = row.command.chars().take(40).collect();
        what = format!("{what}: {short}{}", if short.len() < row.command.len() { "..." } else { "" });
    }
    [
        row.id.to_string(),
        row.opened.to_string(),
        printable(&format!("{} ({})", row.who, row.display)),
        printable(&format!("{}@{}", row.login, row.target)),
        printable(&what),
        printable(&row.from),
        row.close_reason.clone().unwrap_or_else(|| "open".into()),
        row.exit_status.map(|status| status.to_string()).unwrap_or_default(),
    ]
}

/// The columns are those of the JSON.
const CSV_HEAD: [&str; 18] = [
    "id",
    "sign_in",
    "who",
    "display",
    "login",
    "target",
    "kind",
    "command",
    "from",
    "node",
    "opened",
    "closed",
    "close_reason",
    "exit_status",
    "bytes_in",
    "bytes_out",
    "recording",
    "recording_sha256",
];

fn csv_line(row: &SessionRow) -> [String; 18] {
    [
        row.id.to_string(),
        row.sign_in.to_string(),
        row.who.clone(),
        row.display.clone(),
        row.login.clone(),
        row.target.clone(),
        row.kind.clone(),
        row.command.clone(),
        row.from.clone(),
        row.node.clone(),
        row.opened.to_string(),
        row.closed.map(|at| at.to_string()).unwrap_or_default(),
        row.close_reason.clone().unwrap_or_default(),
        row.exit_status.map(|status| status.to_string()).unwrap_or_default(),
        row.bytes_in.to_string(),
        row.bytes_out.to_string(),
        row.recording.clone().unwrap_or_default(),
        row.recording_sha256.clone().unwrap_or_default(),
    ]
}

fn json(row: &SessionRow) -> serde_json::Value {
    serde_json::json!({
        "id": row.id.as_str(),
        "sign_in": row.sign_in.as_str(),
        "who": row.who,
        "display": row.display,
        "login": row.login,
        "target": row.target,
        "kind": row.kind,
        "command": row.command,
        "from": row.from,
        "node": row.node,
        "opened": row.opened.to_string(),
        "closed": row.closed.map(|at| at.to_string()),
        "close_reason": row.close_reason,
        "exit_status": row.exit_status,
        "bytes_in": row.bytes_in,
        "bytes_out": row.bytes_out,
        "recording": row.recording,
        "recording_sha256": row.recording_sha256,
    })
}
