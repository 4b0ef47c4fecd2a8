//! `caponier recordings ls|play|path`, on the server: which recordings there are, where one is, and playing it with
//! the installed `asciinema`. Decides how they are named and shown; rows come from the store, and whether a path from
//! the database may be followed is `recording::locate`'s matter.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};

use anyhow::{Context as _, bail};
use tokio::process::Command as Process;

use crate::cli::table::{self, printable};
use crate::config::Config;
use crate::ids::SessionId;
use crate::recording::locate;
use crate::store::{SessionFilter, SessionRow, Store};

/// How many of the newest sessions are looked through, for a listing or for the beginning of an id.
const SESSIONS_SEARCHED: u32 = 10_000;
/// Exit code when `asciinema` is not installed, as a shell gives it.
const NOT_INSTALLED: u8 = 127;

/// What to do with recordings.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List sessions that have a recording, newest first
    Ls(Ls),
    /// Play a recording in this terminal, with the installed asciinema
    Play(Play),
    /// Print the path of a recording
    Path {
        /// The session's id, or enough of its beginning
        session: String,
    },
}

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

/// How to play.
#[derive(Debug, clap::Args)]
pub struct Play {
    /// The session's id, or enough of its beginning
    session: String,
    /// So many times as fast
    #[arg(long, value_parser = above_zero)]
    speed: Option<f64>,
    /// Pauses last at most so many seconds
    #[arg(long, value_name = "SECS", value_parser = above_zero)]
    idle_time_limit: Option<f64>,
}

/// Does what `command` says; lists and paths go to `out`. The exit code is asciinema's own after `play`.
///
/// Errors: the store, no or no single session of that name, a recording that is missing or whose path is refused.
pub async fn run(
    command: Command,
    config: &Config,
    store: &Store,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let dir = &config.recording.dir;
    match command {
        Command::Ls(ls) => {
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
        Command::Path { session } => {
            let path = file_of(&find(store, &session).await?, dir)?;
            writeln!(out, "{}", path.display())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Play(play) => {
            let path = file_of(&find(store, &play.session).await?, dir)?;
            play_with(Path::new("asciinema"), &play, &path, out).await
        }
    }
}

/// The session called `name`: its id, or a beginning of it that no other recent session with a recording has.
async fn find(store: &Store, name: &str) -> anyhow::Result<SessionRow> {
    if let Ok(id) = name.parse::<SessionId>() {
        return store.session(&id).await?.with_context(|| format!("there is no session {id}"));
    }
    let filter = SessionFilter { limit: SESSIONS_SEARCHED, ..SessionFilter::default() };
    pick(store.sessions(&filter).await?, name)
}

/// The one row with a recording whose id begins with `name`, with or without its `ses_`.
fn pick(rows: Vec<SessionRow>, name: &str) -> anyhow::Result<SessionRow> {
    let beginning = name.strip_prefix("ses_").unwrap_or(name);
    if beginning.is_empty() {
        bail!("say which session: its id or the beginning of it (`caponier recordings ls` lists them)");
    }
    let begins = |row: &SessionRow| {
        let id = row.id.as_str();
        row.recording.is_some() && id.strip_prefix("ses_").is_some_and(|rest| rest.starts_with(beginning))
    };
    let mut found = rows.into_iter().filter(begins);
    let Some(first) = found.next() else {
        bail!(
            "none of the {SESSIONS_SEARCHED} newest sessions with a recording begins with {name:?}; give the full id of \
             an older one (`caponier recordings ls` lists them)"
        );
    };
    if let Some(second) = found.next() {
        bail!("{name:?} could be {} or {} or more; give more of it", first.id, second.id);
    }
    Ok(first)
}

fn file_of(row: &SessionRow, dir: &Path) -> anyhow::Result<PathBuf> {
    let Some(relative) = &row.recording else { bail!("session {} has no recording", row.id) };
    let path = locate(dir, relative).with_context(|| format!("session {}", row.id))?;
    Ok(path)
}

/// Runs `program play ... path` in this terminal.
async fn play_with(
    program: &Path,
    play: &Play,
    path: &Path,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let mut process = Process::new(program);
    process.arg("play");
    // The short options mean the same in asciinema 2 and 3.
    for (option, value) in [("-s", play.speed), ("-i", play.idle_time_limit)] {
        if let Some(value) = value {
            process.arg(option).arg(value.to_string());
        }
    }
    match process.arg(path).status().await {
        Ok(status) => Ok(ExitCode::from(code_of(status))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            writeln!(
                out,
                "asciinema is not installed here. `apt install asciinema` (Debian, Ubuntu) installs it; or see \
                 https://docs.asciinema.org/manual/cli/installation/\nThe recording is {}",
                path.display()
            )?;
            Ok(ExitCode::from(NOT_INSTALLED))
        }
        Err(error) => Err(error).context("cannot run asciinema"),
    }
}

/// The exit code as a shell reports it: 128 and the signal for a process that was killed.
fn code_of(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status.code().or_else(|| status.signal().map(|signal| signal.saturating_add(128)));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

fn above_zero(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number),
        _ => Err("give a number above 0".to_owned()),
    }
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
    use super::*;
    use crate::random::Random;
    use crate::time::Timestamp;
    use clap::Parser;

    fn row(id: &str, closed_after: Option<u64>, reason: Option<&str>, sealed: bool) -> SessionRow {
        let opened = Timestamp::from_secs(1_700_000_000);
        SessionRow {
            id: format!("ses_{id:0<26}").parse().unwrap(),
            sign_in: crate::ids::SignInId::random(&Random::seeded(1)),
            who: "corp:u1".to_owned(),
            display: "Eve\x1b[2J\u{202e}".to_owned(),
            target: "web1".to_owned(),
            login: "root".to_owned(),
            kind: "shell".to_owned(),
            command: String::new(),
            from: "192.0.2.1".to_owned(),
            node: "n".to_owned(),
            recording: Some(format!("2023/11/14/ses_{id:0<26}.cast")),
            opened,
            closed: closed_after.map(|secs| opened.plus(std::time::Duration::from_secs(secs))),
            close_reason: reason.map(str::to_owned),
            exit_status: Some(0),
            bytes_in: 0,
            bytes_out: 0,
            recording_sha256: sealed.then(|| "ab".to_owned()),
        }
    }

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

    #[test]
    fn beginnings_of_ids() {
        let mut without = row("ac", None, None, false);
        without.recording = None;
        let rows = vec![row("ab1", None, None, false), row("ab2", None, None, false), without];
        let picked = |name: &str| pick(rows.clone(), name).map(|row| row.id.to_string());
        assert_eq!(picked("ab1").unwrap(), rows[0].id.to_string());
        assert_eq!(picked("ses_ab2").unwrap(), rows[1].id.to_string());
        for (name, says) in [
            ("ab", "could be"),
            ("", "say which"),
            ("ses_", "say which"),
            ("ac", "none of"),
            ("x", "none of"),
            ("../", "none of"),
        ] {
            let error = picked(name).unwrap_err().to_string();
            assert!(error.contains(says), "{name:?}: {error}");
        }
    }

    #[test]
    fn arguments() {
        #[derive(Debug, Parser)]
        struct Line {
            #[command(subcommand)]
            command: Command,
        }
        for good in [
            "x ls --json --target web1 --user corp:u1 --limit 3",
            "x play ses_1 --speed 2 --idle-time-limit 0.5",
            "x path abc",
        ] {
            assert!(Line::try_parse_from(good.split(' ')).is_ok(), "{good}");
        }
        for bad in [
            "x ls --limit 0",
            "x play a --speed 0",
            "x play a --speed nan",
            "x play a --idle-time-limit -1",
            "x path",
        ] {
            assert!(Line::try_parse_from(bad.split(' ')).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn plays_with_the_installed_player() {
        let dir = tempfile::tempdir().unwrap();
        let play = Play { session: String::new(), speed: Some(2.5), idle_time_limit: None };
        for (program, code) in [("/bin/true", 0), ("/bin/false", 1)] {
            let got =
                play_with(Path::new(program), &play, Path::new("/x.cast"), &mut Vec::new()).await.unwrap();
            assert_eq!(got, ExitCode::from(code), "{program}");
        }
        let mut out = Vec::new();
        let missing = dir.path().join("asciinema");
        let got = play_with(&missing, &play, Path::new("/x.cast"), &mut out).await.unwrap();
        assert_eq!(got, ExitCode::from(127));
        let said = String::from_utf8(out).unwrap();
        assert!(said.contains("apt install asciinema") && said.contains("/x.cast"), "{said}");
    }

    #[test]
    fn exit_codes() {
        use std::os::unix::process::ExitStatusExt as _;
        for (raw, code) in [(0, 0), (1 << 8, 1), (42 << 8, 42), (2, 130), (9, 137)] {
            assert_eq!(code_of(ExitStatus::from_raw(raw)), code, "{raw}");
        }
    }
}
