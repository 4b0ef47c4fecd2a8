//! `caponier alerts`, on the server: what rules found in the audit log, and who has looked at it.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use crate::cli::table::{csv, printable, table};
use crate::cli::terminal::span;
use crate::flow::alert::{self, Means};
use crate::ids::AlertId;
use crate::store::{AlertFilter, AlertRow, Store};
use crate::time::{Clock, Timestamp};

/// Which alerts to list, or what to do with one.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Alerts {
    #[command(subcommand)]
    command: Option<Command>,
    /// Only those that nobody has acknowledged; so it is also without --all
    #[arg(long, conflicts_with = "all")]
    open: bool,
    /// Those that somebody has acknowledged too
    #[arg(long)]
    all: bool,
    /// At most so many, newest first
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// One JSON object instead of a table
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// CSV instead of a table
    #[arg(long)]
    csv: bool,
}

/// What to do with an alert.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Say that you have looked at an alert, and what it was
    Ack {
        /// The alert's id
        alert: AlertId,
        /// What you found, or what you do; it stands in the audit log
        #[arg(long)]
        note: String,
    },
}

/// Does what `args` say; lists go to `out`.
pub async fn run(
    args: Alerts,
    store: &Store,
    clock: &Clock,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    if let Some(Command::Ack { alert, note }) = args.command {
        let row = alert::acknowledge(store, &alert, "admin", &note, clock.now()).await?;
        let after = row.acknowledged.map(|at| at.since(row.raised)).unwrap_or_default();
        writeln!(out, "{alert} is acknowledged, {} after it was raised", span(after.as_secs()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = store.alerts(&AlertFilter { open: !args.all, limit: args.limit, after: None }).await?;
    let means = alert::means(&rows);
    if args.json {
        let list: Vec<serde_json::Value> = rows.iter().map(json).collect();
        let all = serde_json::json!({ "alerts": list, "summary": summary_json(&means) });
        writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?;
    } else if args.csv {
        out.write_all(csv(COLUMNS, rows.iter().map(cells)).as_bytes())?;
    } else if rows.is_empty() {
        writeln!(out, "{}", if args.all { "no alerts" } else { "no open alerts" })?;
    } else {
        let head = ["ID", "RAISED", "RULE", "EVENTS", "WHAT", "ACKNOWLEDGED"];
        out.write_all(table(head, rows.iter().map(line)).as_bytes())?;
        writeln!(out, "{}", summary(&means))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn line(row: &AlertRow) -> [String; 6] {
    let by = row.acknowledged_by.as_ref().map(|by| {
        let note: String = row.note.iter().flat_map(|note| note.chars()).take(60).collect();
        format!("{by}: {note}")
    });
    [
        row.id.to_string(),
        row.raised.to_string(),
        row.rule.word().to_owned(),
        row.events.to_string(),
        printable(&row.title),
        by.map_or_else(|| "no".to_owned(), |by| printable(&by)),
    ]
}

/// The columns of the CSV, which are the members of the JSON.
const COLUMNS: [&str; 13] = [
    "id",
    "rule",
    "subject",
    "title",
    "events",
    "first_seq",
    "last_seq",
    "happened",
    "last_happened",
    "raised",
    "acknowledged",
    "acknowledged_by",
    "note",
];

fn cells(row: &AlertRow) -> [String; 13] {
    let time = |at: Option<Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
    [
        row.id.to_string(),
        row.rule.word().to_owned(),
        row.subject.clone(),
        row.title.clone(),
        row.events.to_string(),
        row.first_seq.to_string(),
        row.last_seq.to_string(),
        row.happened.to_string(),
        row.last_happened.to_string(),
        row.raised.to_string(),
        time(row.acknowledged),
        row.acknowledged_by.clone().unwrap_or_default(),
        row.note.clone().unwrap_or_default(),
    ]
}

fn json(row: &AlertRow) -> serde_json::Value {
    serde_json::json!({
        "id": row.id.as_str(),
        "rule": row.rule.word(),
        "subject": row.subject,
        "title": row.title,
        "events": row.events,
        "first_seq": row.first_seq,
        "last_seq": row.last_seq,
        "happened": row.happened.to_string(),
        "last_happened": row.last_happened.to_string(),
        "raised": row.raised.to_string(),
        "acknowledged": row.acknowledged.map(|at| at.to_string()),
        "acknowledged_by": row.acknowledged_by,
        "note": row.note,
    })
}

fn summary_json(means: &Means) -> serde_json::Value {
    let secs = |span: Option<Duration>| span.map(|span| span.as_secs_f64());
    serde_json::json!({
        "alerts": means.alerts,
        "open": means.open,
        "mean_secs_to_detect": secs(means.to_detect),
        "mean_secs_to_acknowledge": secs(means.to_acknowledge),
    })
}

fn summary(means: &Means) -> String {
    let shown = |mean: Option<Duration>| mean.map_or_else(|| "-".to_owned(), |mean| span(mean.as_secs()));
    format!(
        "{} listed, {} open; mean time to detect {}, to acknowledge {}",
        means.alerts,
        means.open,
        shown(means.to_detect),
        shown(means.to_acknowledge)
    )
}
