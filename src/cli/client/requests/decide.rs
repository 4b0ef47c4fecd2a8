//! `caponier approve`, `deny` and `review`: what other people decide about a request.

use std::process::ExitCode;
use std::time::Duration;

use super::super::HomeArgs;
use super::super::signed::Signed;
use super::find::{Among, find};
use super::shown::{person, safe, scope};
use super::{path, span, wait};
use crate::cli::Environment;
use crate::cli::terminal::print;
use crate::web::api::requests::{ApproveRequest, ReasonRequest, RequestAnswer, ReviewRequest};

/// Say yes to a request, and perhaps to less than it asks for.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
What you give here takes away from what was asked for; nobody can add to it. Nobody approves their own request.

Examples:
  caponier approve req_0123
  caponier approve req_0123 --for 10m --as deploy --note 'ten minutes will do'
  caponier approve req_0123 --command 'systemctl restart nginx'

Exit codes:
  0    approved
  77   not signed in; run: caponier login
  126  you may not approve it")]
pub struct ApproveArgs {
    /// The request's id, or enough of its beginning
    id: String,
    /// At most so long, such as 10m
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    length: Option<Duration>,
    /// Only this login; repeat it for several
    #[arg(long = "as", value_name = "LOGIN")]
    logins: Vec<String>,
    /// Only this command line, as it will be sent; repeat it for several
    #[arg(long = "command", value_name = "LINE")]
    commands: Vec<String>,
    /// Something to say
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    note: String,
    #[command(flatten)]
    out: OutArgs,
}

/// Say no to a request.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  caponier deny req_0123 --reason 'not during the freeze'")]
pub struct DenyArgs {
    /// The request's id, or enough of its beginning
    id: String,
    /// Why, on one line; they read it
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    out: OutArgs,
}

/// Close the review of an emergency: say what you found.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Whoever opened it cannot close its review.

Example:
  caponier review req_0123 --note 'restarted nginx, nothing else; the recording shows it'")]
pub struct ReviewArgs {
    /// The request's id, or enough of its beginning
    id: String,
    /// What you found, on one line
    #[arg(long, value_name = "TEXT")]
    note: String,
    #[command(flatten)]
    out: OutArgs,
}

/// What commands that change one request have in common.
#[derive(Debug, clap::Args)]
pub struct OutArgs {
    /// The request as JSON instead of text
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) home: HomeArgs,
}

/// `caponier approve`
pub fn approve(args: &ApproveArgs, env: &Environment) -> anyhow::Result<ExitCode> {
    let some = |texts: &Vec<String>| (!texts.is_empty()).then(|| texts.clone());
    let request = ApproveRequest {
        seconds: args.length.map(|length| length.as_secs()),
        logins: some(&args.logins),
        commands: some(&args.commands),
        note: args.note.clone(),
    };
    let signed = Signed::open(&args.out.home, env)?;
    let id = find(&signed, &args.id, Among::Inbox)?;
    let one: RequestAnswer = signed.post(&path(&id, "approve"), &request)?;
    let (text, _) = wait::outcome(&one);
    let what = format!("Approved, for {}: {}.\n{text}", person(&one.by), scope(&one.scope));
    told(&one, &what, args.out.json)
}

/// `caponier deny`
pub fn deny(args: &DenyArgs, env: &Environment) -> anyhow::Result<ExitCode> {
    let signed = Signed::open(&args.out.home, env)?;
    let id = find(&signed, &args.id, Among::Inbox)?;
    let one: RequestAnswer =
        signed.post(&path(&id, "deny"), &ReasonRequest { reason: args.reason.clone() })?;
    told(&one, &format!("Denied: {} of {}.", safe(&one.id), person(&one.by)), args.out.json)
}

/// `caponier review`
pub fn review(args: &ReviewArgs, env: &Environment) -> anyhow::Result<ExitCode> {
    let signed = Signed::open(&args.out.home, env)?;
    let id = find(&signed, &args.id, Among::Inbox)?;
    let one: RequestAnswer = signed.post(&path(&id, "review"), &ReviewRequest { note: args.note.clone() })?;
    told(&one, &format!("Reviewed: {} of {}.", safe(&one.id), person(&one.by)), args.out.json)
}

/// Says what became of it.
pub(super) fn told(one: &RequestAnswer, what: &str, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        print(serde_json::to_string_pretty(one)?)?
    } else {
        print(what)?
    }
    Ok(ExitCode::SUCCESS)
}
