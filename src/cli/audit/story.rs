//! `caponier audit story`: one session as a page, in order of time, or as JSON.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::show;
use crate::audit::schema;
use crate::cli::table::printable;
use crate::flow::log::story::{Part, Story, What, story};
use crate::ids::SessionId;
use crate::recording::event::Event;
use crate::store::Store;
use crate::time::Timestamp;

/// Writes the story of a session to `out`.
pub(super) async fn run(
    store: &Store,
    recordings: &Path,
    id: &SessionId,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let found = story(store, recordings, id).await?;
    let story =
        found.ok_or_else(|| anyhow::anyhow!("there is no session {id}; `caponier sessions` lists them"))?;
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&object(&story)?)?)?;
    } else {
        out.write_all(page(&story).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn object(story: &Story) -> serde_json::Result<Value> {
    let mut parts = Vec::new();
    for Part { at, what } in &story.parts {
        parts.push(match what {
            What::Entry(row, fields) => json!({
                "at": at.to_string(), "from": "audit", "seq": row.seq, "kind": row.kind, "fields": fields, "hash": row.hash,
            }),
            What::Recorded(line) => {
                json!({ "at": at.to_string(), "from": "recording", "event": serde_json::to_value(line)? })
            }
        });
    }
    let row = &story.session;
    Ok(json!({
        "session": row.id.as_str(), "who": row.who, "display": row.display, "target": row.target, "login": row.login,
        "kind": row.kind, "opened": row.opened.to_string(), "closed": row.closed.map(|at| at.to_string()),
        "recording": row.recording, "recording_sha256": row.recording_sha256,
        "without_recording": story.without_recording, "cut": story.cut, "parts": parts,
    }))
}

fn page(story: &Story) -> String {
    let row = &story.session;
    let who = printable(&format!("{} ({}) as {} on {}", row.who, row.display, row.login, row.target));
    let mut text = format!("{}: {who}, {}\n\n", row.id, row.kind);
    for Part { at, what } in &story.parts {
        let (number, said) = match what {
            What::Entry(entry, fields) => {
                (format!("#{}", entry.seq), sentence(&entry.kind, fields, &entry.json))
            }
            What::Recorded(line) => (String::new(), recorded(&line.event)),
        };
        text.push_str(&format!("{at}  {number:>8}  {}\n", printable(&said)));
    }
    text.push('\n');
    if let Some(why) = &story.without_recording {
        text.push_str(&format!("Without what the recording would add: {}\n", printable(why)));
    }
    if story.cut {
        text.push_str("There are more entries than are shown; caponier audit search --session shows them.\n");
    }
    text
}

/// An entry in words.
fn sentence(kind: &str, fields: &Value, json: &str) -> String {
    let f = Fields(fields);
    access(kind, &f).or_else(|| session(kind, &f)).unwrap_or_else(|| {
        // By its fields: no words are known for it here.
        let about = schema::about(kind).unwrap_or_default();
        let shown = show::entry(0, Timestamp::from_secs(0), kind, json);
        format!("{kind}: {about} {}", shown.splitn(4, ' ').nth(3).unwrap_or_default())
    })
}

/// What led to a session.
fn access(kind: &str, f: &Fields<'_>) -> Option<String> {
    let by = |what: &str| format!("{} {what}{}", f.or("by", "time"), f.quoted("note"));
    Some(match kind {
        "signed_in" => {
            let [who, display, from, how] = ["who", "display", "from", "method"].map(|name| f.get(name));
            format!("{who} ({display}) signed in from {from} ({how})")
        }
        "workload_signed_in" => {
            let [who, display, from] = ["who", "display", "from"].map(|name| f.get(name));
            format!("{who} ({display}) signed in from {from}")
        }
        "sign_in_ended" => format!("the sign-in was ended by {}: {}", f.get("by"), f.get("reason")),
        "case_filed" => {
            let [who, role, logins, targets] = ["who", "role", "logins", "targets"].map(|name| f.get(name));
            let (secs, reason, ticket) = (f.get("length_secs"), f.get("reason"), f.quoted("ticket"));
            format!("{who} asked for {role} as {logins} on {targets} for {secs} s: {reason}{ticket}")
        }
        "case_approved" => by(&format!("approved ({})", f.get("stage_name"))),
        "case_closed" => by(&format!("closed the request: {}", f.get("close"))),
        "grant_opened" => format!("access was opened ({}) until {}", f.get("how"), f.time("until")),
        "grant_ended" => by(&format!("ended the access: {}", f.get("close"))),
        "certificate_issued" => {
            let until = f.time("valid_before");
            format!("certificate {} for {}, until {until}", f.get("serial"), f.get("principals"))
        }
        _ => return None,
    })
}

/// What happened in it.
fn session(kind: &str, f: &Fields<'_>) -> Option<String> {
    let bytes = || format!("{} bytes in, {} bytes out", f.get("bytes_in"), f.get("bytes_out"));
    Some(match kind {
        "session_opened" => {
            let [from, act, role, serial] = ["from", "act", "role", "target_serial"].map(|name| f.get(name));
            let (rule, own) = (f.quoted("rule"), f.or("client_serial", "none"));
            format!(
                "the session was opened from {from}: {act}, by {role}{rule}, with certificate {own} (at the target: {serial})"
            )
        }
        "session_closed" => {
            let (status, seal) = (f.or("exit_status", "none"), f.or("recording_sha256", "none"));
            format!(
                "the session was closed: {}, exit status {status}, {}; seal {seal}",
                f.get("reason"),
                bytes()
            )
        }
        "forward_opened" => {
            let [number, way, kind, what] = ["number", "direction", "kind", "what"].map(|name| f.get(name));
            format!("forward {number} was opened: {way} {kind} {what}")
        }
        "forward_closed" => {
            let [number, reason, lasted] = ["number", "reason", "lasted_ms"].map(|name| f.get(name));
            format!("forward {number} was closed: {reason}, {}, {lasted} ms", bytes())
        }
        "file_operation" => {
            let verdict = if f.get("allowed") == "true" { "file" } else { "REFUSED file" };
            format!("{verdict} {} {}{} ({})", f.get("op"), f.get("path"), f.quoted("second"), f.get("rule"))
        }
        "file_transferred" => {
            let [way, path, bytes] = ["direction", "path", "bytes"].map(|name| f.get(name));
            format!("file {way} {path}: {bytes} bytes, sha256 {}", f.or("sha256", "none"))
        }
        _ => return None,
    })
}

fn recorded(event: &Event) -> String {
    match event {
        Event::Command { command, sent, verdict, rule, assurance, .. } => {
            let more = |name: &str, value: &Option<String>| {
                value.as_ref().map(|value| format!(", {name} {value}")).unwrap_or_default()
            };
            format!(
                "command ({verdict}{}{}): {command}{}",
                more("rule", rule),
                more("assurance", assurance),
                more("sent", sent)
            )
        }
        Event::Note { text } => format!("note: {text}"),
        Event::Lost { why } => format!("not recorded from here on: {why}"),
        Event::Stream { stream, bytes, sha256, kept } => {
            let kept = if *kept { "in the recording" } else { "not in the recording" };
            format!("{stream}: {bytes} bytes, sha256 {sha256}, {kept}")
        }
        Event::Interrupted {} => "the bastion stopped here without an end of the session".to_owned(),
        Event::File { .. }
        | Event::Transfer { .. }
        | Event::ForwardOpened { .. }
        | Event::ForwardClosed { .. }
        | Event::Closed { .. }
        | Event::Part { .. } => String::new(),
    }
}

/// Fields of an entry as text.
struct Fields<'f>(&'f Value);

impl Fields<'_> {
    fn get(&self, name: &str) -> String {
        self.or(name, "?")
    }

    fn or(&self, name: &str, none: &str) -> String {
        match self.0.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(items)) => {
                items.iter().map(|item| item.as_str().unwrap_or("?")).collect::<Vec<_>>().join(", ")
            }
            None | Some(Value::Null) => none.to_owned(),
            Some(other @ (Value::Bool(_) | Value::Number(_) | Value::Object(_))) => other.to_string(),
        }
    }

    /// `: "TEXT"` where there is one.
    fn quoted(&self, name: &str) -> String {
        match self.0.get(name).and_then(Value::as_str) {
            Some(text) if !text.is_empty() => format!(", {name} \"{text}\""),
            Some(_) | None => String::new(),
        }
    }

    fn time(&self, name: &str) -> String {
        let secs = self.0.get(name).and_then(Value::as_u64);
        secs.map_or_else(|| "?".to_owned(), |secs| Timestamp::from_secs(secs).to_string())
    }
}
