//! `caponier requests` and `caponier inbox`: lists of requests.

use std::process::ExitCode;

use super::super::HomeArgs;
use super::super::signed::Signed;
use super::shown::{as_csv, as_table, text};
use crate::cli::Environment;
use crate::cli::terminal::print;
use crate::web::api::requests::RequestAnswer;

/// List requests, newest first: yours, or everybody's.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  caponier requests
  caponier requests --state waiting
  caponier requests --all --csv > requests.csv     auditors and admins only")]
pub struct RequestsArgs {
    /// Everybody's; for auditors and admins
    #[arg(long)]
    all: bool,
    /// Only those in this state
    #[arg(long, value_name = "STATE", value_parser = STATES)]
    state: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    home: HomeArgs,
}

const STATES: [&str; 11] = [
    "waiting",
    "granted",
    "denied",
    "expired",
    "cancelled",
    "outdated",
    "lapsed",
    "released",
    "revoked",
    "used",
    "finished",
];

/// Show what waits for you: requests to decide, emergencies to review.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Then: caponier approve ID, caponier deny ID --reason '...', caponier review ID --note '...'

Examples:
  caponier inbox
  caponier inbox --json")]
pub struct InboxArgs {
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    home: HomeArgs,
}

/// How a list is printed.
#[derive(Debug, Clone, Copy, clap::Args)]
#[group(multiple = false)]
pub struct Form {
    /// One JSON array instead of text
    #[arg(long)]
    pub json: bool,
    /// CSV instead of text
    #[arg(long)]
    pub csv: bool,
}

/// Most rows of an inbox.
const INBOX_MAX: usize = 1000;

/// `caponier requests`
pub fn requests(args: &RequestsArgs, env: &Environment) -> anyhow::Result<ExitCode> {
    let mut query = Vec::new();
    if args.all {
        query.push(("scope", "all"));
    }
    if let Some(state) = &args.state {
        query.push(("state", state.as_str()));
    }
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let rows: Vec<RequestAnswer> = Signed::open(&args.home, env)?.list("/v1/requests", &query, limit)?;
    listed(&rows, args.form, "no requests", as_table)
}

/// `caponier inbox`
pub fn inbox(args: &InboxArgs, env: &Environment) -> anyhow::Result<ExitCode> {
    let rows: Vec<RequestAnswer> = Signed::open(&args.home, env)?.list("/v1/inbox", &[], INBOX_MAX)?;
    let blocks = |rows: &[RequestAnswer]| rows.iter().map(text).collect::<Vec<_>>().join("\n");
    listed(&rows, args.form, "nothing waits for you", blocks)
}

fn listed(
    rows: &[RequestAnswer],
    form: Form,
    none: &str,
    for_people: impl Fn(&[RequestAnswer]) -> String,
) -> anyhow::Result<ExitCode> {
    if form.json {
        print(serde_json::to_string_pretty(rows)?)?;
    } else if form.csv {
        print(as_csv(rows).trim_end())?;
    } else if rows.is_empty() {
        print(none)?;
    } else {
        print(for_people(rows).trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}
