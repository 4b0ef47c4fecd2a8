//! `caponier policy`: what a policy says, before a server or a user finds out. Which files are read is decided here;
//! what is right, unwise or allowed is `policy`'s, and each command's file shows it.

mod asker;
mod check;
mod explain;
mod test;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::config::EXIT_BAD_CONFIG;
use crate::config::{self, Config, Problem};
use crate::policy::{self, Outline, Policy};
use crate::store::Store;
use crate::time::Clock;

pub use check::Check;
pub use explain::Explain;
pub use test::Test;

/// `caponier policy ...`
#[derive(Debug, clap::Args)]
pub struct PolicyArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: PolicyCommand,
}

/// The subcommands.
#[derive(Debug, clap::Subcommand)]
pub enum PolicyCommand {
    /// Check the policy: every problem on its own line as FILE:LINE:COLUMN, then what is legal and hardly meant
    #[command(after_help = "\
Examples:
  caponier policy check
  caponier policy check --policy policy.toml --strict      in CI, without a configuration
  caponier policy check --strict --allow every-target

Exit status: 0, also with warnings; 1 with warnings and --strict; 78 when the policy is refused.")]
    Check(Check),
    /// Ask the policy the questions of a file of cases, and compare the answers
    #[command(after_help = "\
Example:
  caponier policy test --policy policy.toml cases.toml

A file of cases:
  [[case]]
  name = \"developers cannot restart nginx in production\"     # may be left out
  who = { provider = \"corp\", subject = \"dora\", groups = [\"dev\"] }   # or workload or service, see below
  target = \"web1\"
  login = \"deploy\"
  act = \"exec\"         # shell exec sftp subsystem env forward listen agent x11 tun
  command = \"systemctl restart nginx\"
  expect = \"refuse\"    # allow refuse review
  # Any of these may be added:
  code = \"command\"                    the code of the refusal
  rule = \"web-care: default\"          the rule that decides
  sends = \"systemctl restart nginx\"   what goes to the target
  from = \"10.1.2.3\"                   the client [default: 192.0.2.1, of no network]
  at = \"2026-11-20T12:00:00+01:00\"    the moment [default: a Wednesday at noon, UTC]

With each act go: exec: command, pty. shell: pty. sftp: operation, path, home, for one operation on a file.
subsystem: subsystem. env: variable. forward: to = \"HOST:PORT\" or a socket's path, resolved = [ADDRESS, ...].
listen: on = \"HOST:PORT\" or a socket's path.

Instead of who: workload = { issuer = \"github\", claims = { repository_id = 123456, ... } } is a job with a token that
says so; service = \"backup\" is that service account.

Exit status: 0 when every case came out as expected, 1 when one did not, 78 when a file is refused.")]
    Test(Test),
    /// Show what the policy means for one person, job or service account at one target: which roles hold and why, what becomes of a command,
    /// and what of it is enforced, detected or not controlled
    #[command(after_help = "\
Examples:
  caponier policy explain corp:dora web1
  caponier policy explain corp:dora web1 'systemctl restart nginx' --group dev --from 10.1.2.3
  caponier policy explain corp:dora web1 --policy policy.toml --group dev --at 2026-11-21T23:00:00Z
  caponier policy explain github:repository/123456 web1 --claim ref=refs/heads/main --claim event_name=push

Exit status: 0, whatever the verdict; 1 when there is no such target; 78 when a file is refused.")]
    Explain(Explain),
}

/// Which policy.
#[derive(Debug, clap::Args)]
pub struct Source {
    /// The policy, a file or a folder, by itself: without a configuration and its secrets
    #[arg(long, value_name = "PATH")]
    policy: Option<PathBuf>,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

/// What was read.
struct Read {
    policy: Policy,
    outline: Outline,
    /// Where the policy is.
    path: PathBuf,
    /// None with `--policy`.
    config: Option<Config>,
}

impl Read {
    /// Variables that pass where a role does not say.
    fn env_default(&self) -> Vec<String> {
        match &self.config {
            Some(config) => config.sessions.env.clone(),
            None => config::SESSION_ENV.map(str::to_owned).into(),
        }
    }
}

/// Runs the command; `file` is the configuration. `open` opens the store of a configuration, for the groups of people.
pub async fn run(
    args: PolicyArgs,
    file: &Path,
    env: &BTreeMap<String, String>,
    clock: &Clock,
    open: impl AsyncFnOnce(&Config) -> anyhow::Result<Store>,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let source = match &args.command {
        PolicyCommand::Check(check) => &check.source,
        PolicyCommand::Test(test) => &test.source,
        PolicyCommand::Explain(explain) => &explain.source,
    };
    let json = source.json;
    let read = match read(source, file, env) {
        Ok(read) => read,
        Err(problems) => return refuse(&problems, json, out),
    };
    match args.command {
        PolicyCommand::Check(check) => check::run(&check, &read, out),
        PolicyCommand::Test(test) => test::run(&test, &read, out),
        PolicyCommand::Explain(explain) => explain::run(explain, &read, clock, open, out).await,
    }
}

/// The policy by itself, or with its configuration; or every problem of both.
fn read(source: &Source, file: &Path, env: &BTreeMap<String, String>) -> Result<Read, Vec<Problem>> {
    if let Some(path) = &source.policy {
        let (policy, outline) = policy::load_outlined(path, None)?;
        return Ok(Read { policy, outline, path: path.clone(), config: None });
    }
    match Config::load(file, env) {
        Ok(config) => {
            let path = config.policy_file.clone();
            let (policy, outline) = policy::load_outlined(&path, Some(&config))?;
            Ok(Read { policy, outline, path, config: Some(config) })
        }
        Err(mut problems) => {
            if let Some(path) = config::policy_file_of(file) {
                problems.extend(policy::load(&path).err().unwrap_or_default());
            }
            Err(problems)
        }
    }
}

/// Shows why a file is refused.
fn refuse(problems: &[Problem], json: bool, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    if json {
        let rows: Vec<Value> = problems.iter().map(problem_json).collect();
        writeln!(out, "{:#}", json!({ "ok": false, "problems": rows }))?;
    } else {
        for problem in problems {
            writeln!(out, "{problem}")?;
        }
    }
    Ok(ExitCode::from(EXIT_BAD_CONFIG))
}

fn problem_json(problem: &Problem) -> Value {
    json!({ "file": problem.file, "line": problem.line, "column": problem.column, "message": problem.message })
}
