//! `caponier policy test`: asks the policy what files of cases ask, and shows what came of each.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::{Read, Source, refuse};
use crate::cli::config::count;
use crate::cli::table::printable;
use crate::config::Problem;
use crate::names::RoleName;
use crate::policy::cases::{self, Case};
use crate::policy::{Outcome, RefusalCode};

/// What to test.
#[derive(Debug, clap::Args)]
pub struct Test {
    #[command(flatten)]
    pub(super) source: Source,
    /// Files with [[case]] tables
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// A case and what came of it.
struct Asked<'f> {
    file: &'f PathBuf,
    case: Case,
    got: Outcome,
    wrong: Vec<String>,
}

pub(super) fn run(args: &Test, read: &Read, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let mut asked = Vec::new();
    let mut problems: Vec<Problem> = Vec::new();
    for file in &args.files {
        match cases::read(file, &read.policy, &read.env_default()) {
            Ok(cases) => asked.extend(cases.into_iter().map(|case| {
                let (got, wrong) = case.ask(&read.policy);
                Asked { file, case, got, wrong }
            })),
            Err(more) => problems.extend(more),
        }
    }
    if !problems.is_empty() {
        return refuse(&problems, args.source.json, out);
    }
    let failed = asked.iter().filter(|asked| !asked.wrong.is_empty()).count();
    if args.source.json {
        let rows: Vec<Value> = asked.iter().map(json).collect();
        let answer = json!({ "ok": failed == 0, "cases": rows, "failed": failed });
        writeln!(out, "{answer:#}")?;
    } else {
        for asked in &asked {
            writeln!(out, "{}", line(asked))?;
        }
        writeln!(out, "{}, {failed} failed", count(asked.len(), "case"))?;
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn line(asked: &Asked<'_>) -> String {
    let Asked { file, case, got, wrong } = asked;
    let name = printable(&case.name);
    if wrong.is_empty() {
        return format!("ok      {name}");
    }
    let said = got.text.as_ref().map(|text| format!("\n        it says: {}", printable(text)));
    let wrong = printable(&wrong.join("; "));
    format!("FAILED  {name}\n        {}:{}: {wrong}{}", file.display(), case.line, said.unwrap_or_default())
}

fn json(asked: &Asked<'_>) -> Value {
    let Asked { file, case, got, wrong } = asked;
    json!({
        "file": file,
        "line": case.line,
        "name": case.name,
        "ok": wrong.is_empty(),
        "wrong": wrong,
        "got": outcome(got),
    })
}

/// An outcome, for programs.
pub(super) fn outcome(got: &Outcome) -> Value {
    json!({
        "answer": got.answer.as_str(),
        "code": got.code.map(RefusalCode::as_str),
        "rule": got.rule,
        "assurance": got.assurance.map(crate::policy::commands::Assurance::as_str),
        "text": got.text,
        "reason": got.reason,
        "sends": got.sends.as_deref().map(String::from_utf8_lossy),
        "hosts": got.hosts,
        "roles": got.roles.iter().map(RoleName::as_str).collect::<Vec<_>>(),
        "certificate_max_secs": got.terms.certificate_max.map(|span| span.as_secs()),
        "session_max_secs": got.terms.session_max.map(|span| span.as_secs()),
        "idle_max_secs": got.terms.idle_max.map(|span| span.as_secs()),
        "recording": got.terms.recording.as_str(),
        "until": got.until.map(|at| at.to_string()),
    })
}
