//! `caponier policy check`: problems are shown by the caller, hints here.

use std::io::Write;
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use serde_json::{Value, json};

use super::{Read, Source};
use crate::cli::config::count;
use crate::policy::lint::{self, Lint};

/// How to check.
#[derive(Debug, clap::Args)]
pub struct Check {
    #[command(flatten)]
    pub(super) source: Source,
    /// Exit with 1 when there are warnings
    #[arg(long)]
    strict: bool,
    /// Do not warn of this kind; may be repeated
    #[arg(long, value_name = "CODE", hide_possible_values = true,
          value_parser = PossibleValuesParser::new(lint::CODES.map(|(code, _)| code)))]
    allow: Vec<String>,
}

pub(super) fn run(args: &Check, read: &Read, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    // The defaults need no hint, and a policy by itself has no configuration to blame.
    let env = read.config.as_ref().map(|config| config.sessions.env.clone()).unwrap_or_default();
    let mut lints = lint::lints(&read.policy, &read.outline, &env);
    lints.retain(|lint| !args.allow.iter().any(|code| code == lint.code));
    let policy = &read.policy;
    if args.source.json {
        let rows: Vec<Value> = lints.iter().map(json).collect();
        let answer = json!({
            "ok": true,
            "policy": read.path,
            "policy_digest": policy.digest,
            "targets": policy.targets.len(),
            "roles": policy.roles.len(),
            "problems": [],
            "warnings": rows,
        });
        writeln!(out, "{answer:#}")?;
    } else {
        for lint in &lints {
            writeln!(out, "{}", line(lint))?;
        }
        let (targets, roles) = (count(policy.targets.len(), "target"), count(policy.roles.len(), "role"));
        let warnings = count(lints.len(), "warning");
        writeln!(out, "ok: {} ({targets}, {roles}), {warnings}", read.path.display())?;
    }
    let strict = args.strict && !lints.is_empty();
    Ok(if strict { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn line(lint: &Lint) -> String {
    let place =
        lint.place.as_ref().map(|spot| format!("{}:{}:{}: ", spot.file.display(), spot.line, spot.column));
    format!("{}warning: {}: {} [{}]", place.unwrap_or_default(), lint.subject, lint.text, lint.code)
}

fn json(lint: &Lint) -> Value {
    let place = lint.place.as_ref();
    json!({
        "code": lint.code,
        "file": place.map(|spot| &spot.file),
        "line": place.map(|spot| spot.line),
        "column": place.map(|spot| spot.column),
        "subject": lint.subject,
        "text": lint.text,
    })
}
