//! `caponier recordings ls`: the sessions that have a recording, as a table, JSON or CSV.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use super::SESSIONS_SEARCHED;
use crate::cli::table::{self, printable};
use crate::store::{SessionFilter, SessionRow, Store};

/// Which recordings to list.
#[derive(Debug, clap::Args)]
pub struct Ls {
    /// Only sessions to this target
    #[arg(long)]
    target: Option<String>,
    /// Only sessions of this person, as PROVIDER:SUBJECT
    #[arg(long)]
    user: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// One JSON array instead of a table
    #[arg(long)]
    json: bool,
    /// CSV for spreadsheets instead of a table
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

/// Lists them to `out`; `dir` is the folder of the recordings.
pub(super) async fn run(ls: Ls, dir: &Path, store: &Store, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let filter = SessionFilter {
        open: false,
        target: ls.target,
        who: ls.user,
        limit: ls.limit.max(SESSIONS_SEARCHED),
    };
    let mut rows = store.sessions(&filter).await?;
    rows.retain(|row| row.recording.is_some());
    rows.truncate(usize::try_from(ls.limit).unwrap_or(usize::MAX));
    let text = match (ls.json, ls.csv) {
        (true, _) => json(dir, &rows),
        (false, true) => csv(dir, &rows),
        (false, false) => listed(&rows),
    };
    out.write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// How the recording of a session stands.
fn state(row: &SessionRow) -> &'static str {
    match (row.closed, row.close_reason.as_deref(), &row.recording_sha256) {
        (None, _, _) => "open",
        (Some(_), Some("interrupted"), _) => "interrupted",
        (Some(_), _, Some(_)) => "sealed",
        (Some(_), _, None) => "unsealed",
    }
}

fn listed(rows: &[SessionRow]) -> String {
    if rows.is_empty() {
        return "no recordings\n".to_owned();
    }
    let head = ["ID", "OPENED", "WHO", "WHERE", "LENGTH", "STATE"];
    table::table(
        head,
        rows.iter().map(|row| {
            [
                row.id.to_string(),
                row.opened.to_string(),
                printable(&format!("{} ({})", row.who, row.display)),
                printable(&format!("{}@{}", row.login, row.target)),
                length(row),
                state(row).to_owned(),
            ]
        }),
    )
}

fn length(row: &SessionRow) -> String {
    let Some(closed) = row.closed else { return "-".to_owned() };
    let secs = closed.since(row.opened).as_secs();
    let (hours, minutes, rest) = (secs / 3600, secs / 60 % 60, secs % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest:02}s"),
        _ => format!("{hours}h{minutes:02}m{rest:02}s"),
    }
}

/// The sessions as CSV, with the columns of the JSON.
fn csv(dir: &Path, rows: &[SessionRow]) -> String {
    let head = [
        "id",
        "opened",
        "closed",
        "close_reason",
        "exit_status",
        "who",
        "display",
        "login",
        "target",
        "kind",
        "command",
        "state",
        "path",
        "sha256",
    ];
    let line = |row: &SessionRow| {
        [
            row.id.to_string(),
            row.opened.to_string(),
            row.closed.map(|at| at.to_string()).unwrap_or_default(),
            row.close_reason.clone().unwrap_or_default(),
            row.exit_status.map(|status| status.to_string()).unwrap_or_default(),
            row.who.clone(),
            row.display.clone(),
            row.login.clone(),
            row.target.clone(),
            row.kind.clone(),
            row.command.clone(),
            state(row).to_owned(),
            row.recording.as_ref().map(|path| dir.join(path).display().to_string()).unwrap_or_default(),
            row.recording_sha256.clone().unwrap_or_default(),
        ]
    };
    table::csv(head, rows.iter().map(line))
}

/// The sessions as a JSON array, one object a line; `path` is where the file is expected.
fn json(dir: &Path, rows: &[SessionRow]) -> String {
    let objects: Vec<String> = rows
        .iter()
        .map(|row| {
            serde_json::json!({
                "id": row.id.as_str(),
                "opened": row.opened.to_string(),
                "closed": row.closed.map(|at| at.to_string()),
                "close_reason": row.close_reason,
                "exit_status": row.exit_status,
                "who": row.who,
                "display": row.display,
                "login": row.login,
                "target": row.target,
                "kind": row.kind,
                "command": row.command,
                "state": state(row),
                "path": row.recording.as_ref().map(|relative| dir.join(relative).display().to_string()),
                "sha256": row.recording_sha256,
            })
            .to_string()
        })
        .collect();
    format!("[{}]\n", objects.join(",\n"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::row;
    use super::*;

    #[test]
    fn table_shows_states_and_lengths_and_no_escapes() {
        let rows = [
            row("a", None, None, false),
            row("b", Some(59), Some("finished"), true),
            row("c", Some(61), Some("interrupted"), true),
            row("d", Some(7325), Some("recorder"), false),
        ];
        let text = listed(&rows);
        let expect = "\
ID                              OPENED                WHO                      WHERE      LENGTH    STATE
ses_a0000000000000000000000000  2023-11-14T22:13:20Z  corp:u1 (Eve\u{fffd}[2J\u{fffd})  root@web1  -         open
ses_b0000000000000000000000000  2023-11-14T22:13:20Z  corp:u1 (Eve\u{fffd}[2J\u{fffd})  root@web1  59s       sealed
ses_c0000000000000000000000000  2023-11-14T22:13:20Z  corp:u1 (Eve\u{fffd}[2J\u{fffd})  root@web1  1m01s     interrupted
ses_d0000000000000000000000000  2023-11-14T22:13:20Z  corp:u1 (Eve\u{fffd}[2J\u{fffd})  root@web1  2h02m05s  unsealed
";
        let squeezed = |text: &str| -> Vec<String> {
            text.lines()
                .map(|l| l.split("  ").map(str::trim).filter(|c| !c.is_empty()).collect::<Vec<_>>().join("|"))
                .collect()
        };
        assert_eq!(squeezed(&text), squeezed(expect));
        let column = |line: &str| line.find("root@").map(|at| line[..at].chars().count());
        let starts: Vec<_> = text.lines().skip(1).map(column).collect();
        assert!(starts.windows(2).all(|two| two[0] == two[1]), "columns stand below each other:\n{text}");
        assert_eq!(listed(&[]), "no recordings\n");
    }

    #[test]
    fn json_is_json() {
        let rows = [row("a", None, None, false), row("b", Some(5), Some("finished"), true)];
        let value: serde_json::Value = serde_json::from_str(&json(Path::new("/r"), &rows)).unwrap();
        assert_eq!(value[0]["state"], "open");
        assert_eq!(value[1]["path"], "/r/2023/11/14/ses_b0000000000000000000000000.cast");
        assert_eq!(value[1]["display"], "Eve\x1b[2J\u{202e}");
        assert_eq!(json(Path::new("/r"), &[]), "[]\n");
    }

    #[test]
    fn csv_has_what_json_has_and_no_formula() {
        let mut bad = row("a", Some(5), Some("finished"), true);
        bad.command = "=cmd|' /C calc'!A0".to_owned();
        let text = csv(Path::new("/r"), &[bad.clone()]);
        let value: serde_json::Value = serde_json::from_str(&json(Path::new("/r"), &[bad])).unwrap();
        let head = text.lines().next().unwrap();
        assert_eq!(head.split(',').count(), value[0].as_object().unwrap().len(), "{head}");
        assert!(text.contains("\"'=cmd|' /C calc'!A0\"") && !text.contains('\u{1b}'), "{text}");
    }
}
