//! `caponier recordings search`: where something was typed, shown or done. What a hit is decides `flow::find`.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use crate::cli::client::requests::span;
use crate::cli::table::{printable, table};
use crate::config::Config;
use crate::flow::find::{Asked, Found, Hit, search_by_command};
use crate::store::Store;
use crate::time::Clock;

/// Characters of a line that are shown around what was found.
const AROUND: usize = 60;

/// What to search for.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Texts are found from the beginning of a word on, in any case; several must be on the same line. What is searched: commands,
files of sftp, forwards, notes, and every line that stood on a screen for half a second. A session can be found a few
seconds after its end. Exit code 1: nothing was found.

Examples:
  caponier recordings search /etc/shadow
  caponier recordings search 'drop table' customers --since 7d
  caponier recordings search --command 'systemctl stop *' --target web1
  caponier recordings play ses_0123456789abcdefghjkmnpqrs --at 0:12:07")]
pub struct Search {
    /// Texts
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,
    /// Only commands that are like this as a whole: * is any text, ? any character
    #[arg(long, value_name = "PATTERN")]
    command: Option<String>,
    /// Only sessions of this person, as PROVIDER:SUBJECT
    #[arg(long)]
    user: Option<String>,
    /// Only sessions to this target
    #[arg(long)]
    target: Option<String>,
    /// Only sessions that were open in the last, such as 7d
    #[arg(long, value_name = "TIME", value_parser = span)]
    since: Option<Duration>,
    /// Only sessions that were opened longer ago than this, such as 1d
    #[arg(long, value_name = "TIME", value_parser = span)]
    until: Option<Duration>,
    /// At most so many hits
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// Searches, and shows what was found.
pub(super) async fn run(
    args: Search,
    config: &Config,
    store: &Store,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let now = Clock::System.now();
    let json = args.json;
    let asked = Asked {
        texts: args.texts,
        command: args.command,
        user: args.user,
        target: args.target,
        since: args.since.map(|since| now.minus(since)),
        until: args.until.map(|until| now.minus(until)),
        limit: usize::try_from(args.limit).unwrap_or(usize::MAX),
    };
    let found = search_by_command(store, config, &asked, now).await?;
    if json {
        writeln!(out, "{}", as_json(&found))?;
    } else {
        out.write_all(shown(&found).as_bytes())?;
    }
    Ok(if found.hits.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn shown(found: &Found) -> String {
    let mut text = if found.hits.is_empty() {
        "nothing was found\n".to_owned()
    } else {
        table(["SESSION", "AT", "OPENED", "WHO", "WHERE", "OF", "LINE"], found.hits.iter().map(row))
    };
    if found.more {
        text.push_str("there may be more: narrow it, or raise --limit\n");
    }
    let unread = found.unread;
    for (count, what) in [
        (unread.waiting, "not read yet"),
        (unread.failed, "could not be read"),
        (unread.cut, "longer than what is kept of them for searching"),
    ] {
        if count > 0 {
            text.push_str(&format!("sessions whose recording was {what}: {count}\n"));
        }
    }
    text
}

fn row(hit: &Hit) -> [String; 7] {
    [
        hit.session.to_string(),
        clock(hit.at_millis / 1000),
        hit.opened.to_string(),
        printable(&format!("{} ({})", hit.who, hit.display)),
        printable(&format!("{}@{}", hit.login, hit.target)),
        hit.kind.map_or("session", |kind| kind.as_str()).to_owned(),
        printable(&marked(hit)),
    ]
}

/// Hours, minutes and seconds, as `play --at` takes them.
fn clock(secs: u64) -> String {
    format!("{}:{:02}:{:02}", secs / 3600, secs / 60 % 60, secs % 60)
}

/// The line around what was found, and that between two marks.
fn marked(hit: &Hit) -> String {
    let mut chars: Vec<char> = Vec::new();
    let mut open = None;
    let mut ends = 0;
    for (at, c) in hit.line.char_indices() {
        // Marks may overlap: one ends where the last of those that touch does.
        if ends > 0 && at >= ends {
            chars.push('»');
            ends = 0;
        }
        if let Some(mark) = hit.marks.iter().filter(|mark| mark.start == at).max_by_key(|mark| mark.end) {
            if ends == 0 {
                open = open.or(Some(chars.len()));
                chars.push('«');
            }
            ends = ends.max(mark.end);
        }
        chars.push(c);
    }
    if ends > 0 {
        chars.push('»');
    }
    let begin = open.unwrap_or_default().saturating_sub(AROUND);
    let line: String = chars.iter().skip(begin).take(3 * AROUND).collect();
    let before = if begin > 0 { "…" } else { "" };
    let after = if chars.len() > begin + 3 * AROUND { "…" } else { "" };
    format!("{before}{line}{after}")
}

fn as_json(found: &Found) -> String {
    let hit = |hit: &Hit| {
        let chars = |bytes: usize| hit.line.get(..bytes).map_or(0, |text| text.chars().count());
        let marks: Vec<[usize; 2]> =
            hit.marks.iter().map(|mark| [chars(mark.start), chars(mark.end)]).collect();
        json!({
            "session": hit.session.as_str(), "second": hit.at_millis as f64 / 1000.0, "opened": hit.opened.to_string(),
            "who": hit.who, "display": hit.display, "login": hit.login, "target": hit.target,
            "kind": hit.kind.map_or("session", |kind| kind.as_str()), "line": hit.line, "marks": marks,
        })
    };
    let hits: Vec<serde_json::Value> = found.hits.iter().map(hit).collect();
    let unread =
        json!({ "waiting": found.unread.waiting, "failed": found.unread.failed, "cut": found.unread.cut });
    json!({ "hits": hits, "more": found.more, "sessions_not_searched": unread }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::text::Kind;
    use crate::time::Timestamp;

    fn hit(line: &str, marks: &[(usize, usize)]) -> Hit {
        Hit {
            session: "ses_00000000000000000000000000".parse().unwrap(),
            who: "corp:erin".into(),
            display: "Erin\u{1b}[2J".into(),
            target: "web1".into(),
            login: "root".into(),
            opened: Timestamp::from_secs(1_700_000_000),
            at_millis: 3_723_900,
            kind: Some(Kind::Screen),
            line: line.into(),
            marks: marks.iter().map(|(start, end)| *start..*end).collect(),
        }
    }

    #[test]
    fn what_was_found_is_marked() {
        type Row<'t> = (&'t str, &'t [(usize, usize)], &'t str);
        let rows: [Row<'_>; 5] = [
            ("cat /etc/shadow", &[(4, 15)], "cat «/etc/shadow»"),
            ("drop table x", &[(0, 4), (5, 10)], "«drop» «table» x"),
            ("abcdef", &[(0, 3), (2, 5)], "«abcde»f"),
            ("你好世界", &[(3, 9)], "你«好世»界"),
            ("plain", &[], "plain"),
        ];
        for (line, marks, expect) in rows {
            assert_eq!(marked(&hit(line, marks)), expect);
        }
        let long = format!("{}needle{}", "a".repeat(500), "b".repeat(500));
        let short = marked(&hit(&long, &[(500, 506)]));
        assert!(short.starts_with('…') && short.ends_with('…') && short.contains("«needle»"), "{short}");
    }

    #[test]
    fn a_table_and_json() {
        let mut found = Found { hits: vec![hit("a \u{1b}[31mb", &[(0, 1)])], ..Found::default() };
        let text = shown(&found);
        assert!(text.contains("1:02:03") && text.contains("«a»") && !text.contains('\u{1b}'), "{text}");
        found.more = true;
        found.unread.cut = 2;
        let text = shown(&found);
        assert!(text.contains("raise --limit") && text.contains("longer than what is kept"), "{text}");
        let value: serde_json::Value = serde_json::from_str(&as_json(&found)).unwrap();
        assert_eq!(value["hits"][0]["second"], 3723.9);
        assert_eq!(value["hits"][0]["marks"], json!([[0, 1]]));
        assert_eq!((&value["more"], &value["sessions_not_searched"]["cut"]), (&json!(true), &json!(2)));
        assert!(shown(&Found::default()).starts_with("nothing was found"));
    }
}
