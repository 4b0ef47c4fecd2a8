//! `caponier cancel` and `release`: withdrawing what waits, and giving back what was granted.

use std::process::ExitCode;

use anyhow::bail;

use super::super::HomeArgs;
use super::super::signed::Signed;
use super::decide::{OutArgs, told};
use super::find::{Among, find};
use super::path;
use super::shown::{as_table, safe};
use crate::cli::Environment;
use crate::web::api::requests::{ReasonRequest, RequestAnswer};

/// Most grants that somebody could have at once and that are looked through.
const GRANTS_MAX: usize = 1000;

/// Withdraw a request that waits.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Your own; admins may withdraw anybody's, by its whole id.

Example:
  caponier cancel req_0123")]
pub struct CancelArgs {
    /// The request's id, or enough of its beginning
    id: String,
    #[command(flatten)]
    out: OutArgs,
}

/// Give back what was granted, before its time is over.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
What still runs under it is closed at once.

Examples:
  caponier release              the only one you have
  caponier release req_0123")]
pub struct ReleaseArgs {
    /// The request's id, or enough of its beginning [default: the only one that is granted]
    id: Option<String>,
    #[command(flatten)]
    out: OutArgs,
}

/// `caponier cancel`
pub fn cancel(args: &CancelArgs, env: &Environment) -> anyhow::Result<ExitCode> {
    let signed = Signed::open(&args.out.home, env)?;
    let id = find(&signed, &args.id, Among::Own)?;
    let one: RequestAnswer = signed.post_bare(&path(&id, "cancel"))?;
    told(&one, &format!("Withdrawn: {}.", safe(&one.id)), args.out.json)
}

/// `caponier release`
pub fn release(args: &ReleaseArgs, env: &Environment) -> anyhow::Result<ExitCode> {
    let signed = Signed::open(&args.out.home, env)?;
    let id = match &args.id {
        Some(id) => find(&signed, id, Among::Own)?,
        None => only(&signed)?,
    };
    let one: RequestAnswer = signed.post_bare(&path(&id, "release"))?;
    told(&one, &format!("Given back: {}.", safe(&one.id)), args.out.json)
}

/// `caponier revoke --grant`: takes away what was granted to somebody.
pub fn revoke(
    home: &HomeArgs,
    id: &str,
    reason: &str,
    json: bool,
    env: &Environment,
) -> anyhow::Result<ExitCode> {
    let signed = Signed::open(home, env)?;
    let id = find(&signed, id, Among::Seen)?;
    let one: RequestAnswer =
        signed.post(&path(&id, "revoke"), &ReasonRequest { reason: reason.to_owned() })?;
    told(&one, &format!("Revoked: {}. What ran under it is closed.", safe(&one.id)), json)
}

/// The only one that is granted.
fn only(signed: &Signed) -> anyhow::Result<String> {
    let granted: Vec<RequestAnswer> = signed.list("/v1/requests", &[("state", "granted")], GRANTS_MAX)?;
    match granted.as_slice() {
        [one] => Ok(one.id.clone()),
        [] => bail!("nothing is granted to you now"),
        several => bail!("say which one:\n{}", as_table(several).trim_end()),
    }
}
