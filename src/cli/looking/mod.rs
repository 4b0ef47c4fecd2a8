//! `caponier access now|history` and `caponier report unused`: over the API, as whoever is signed in here, or on the server
//! beside the running one. Decides where the answer comes from and how it is written; who sees whom is decided by the
//! server, and what was found by `flow::look`.

mod show;

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::ArgGroup;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;
use url::form_urlencoded;

use super::bastion;
use super::client::HomeArgs;
use super::client::signed::Signed;
use super::terminal::say;
use crate::cli::Environment;
use crate::config::parse_duration;
use crate::policy::{Policy, load_for};
use crate::server::ConfigRefused;
use crate::store::Store;
use crate::time::{Clock, Timestamp};
use crate::web::api::looking::{
    AccessAnswer, AccessGrant, AccessQuery, HistoryQuery, UnusedAnswer, UnusedQuery,
};
use crate::web::shape::{Page, Paging};
use crate::web::v1::looking::Here;

/// Most rows of one page.
const PAGE_MAX: u32 = 200;

/// `caponier access`.
#[derive(Debug, clap::Subcommand)]
pub enum AccessCommand {
    /// Who has access at this moment; with --user or --target also who could get there
    #[command(after_help = "\
Shows access by request that exists (whose, where, until when, why, approved by whom, with open sessions) and open
sessions by standing roles. With --user or --target it also shows which roles lead there, whom they are for, and who
approves where they are by request. Auditors see everybody, others themselves; a look at everybody is in the audit log.

Examples:
  caponier access now
  caponier access now --target web1         who is on web1, and who could get there?
  caponier access now --user corp:ann --csv
  caponier access now --on-server           on the bastion, without a sign-in

Exit codes:
  0    done, also when there is nothing
  1    failed
  77   not signed in; run: caponier login
  126  you may not see that")]
    Now(Now),
    /// Past access by request: how it ended, and the sessions under it
    #[command(after_help = "\
Newest first, what ended in the last 30 days unless --since says otherwise. When there is more than --limit, a line on
standard error says how to go on. Auditors see everybody, others themselves.

Examples:
  caponier access history --since 7d
  caponier access history --target web1 --user corp:ann --json
  caponier access history --limit 1000 --csv > access.csv

Exit codes:
  0    done, also when there is nothing
  1    failed
  77   not signed in; run: caponier login
  126  you may not see that")]
    History(History),
}

/// `caponier report`.
#[derive(Debug, clap::Subcommand)]
pub enum ReportCommand {
    /// Roles, memberships, access, people and workloads that nobody used
    #[command(after_help = "\
Names roles that nobody used; members who did not use a role, and groups that nobody signed in from; access that was
opened and never used; people who did not sign in or are gone at their provider; workloads that did not sign in. It takes
nothing away. Auditors see everybody, others what is about themselves.

Examples:
  caponier report unused
  caponier report unused --days 30 --json
  caponier report unused --csv > unused.csv

Exit codes:
  0    done, also when everything was used
  1    failed
  77   not signed in; run: caponier login")]
    Unused(Unused),
}

/// At whom and what.
#[derive(Debug, clap::Args)]
struct Whose {
    /// Only what reaches this target
    #[arg(long)]
    target: Option<String>,
    /// Only this person, as PROVIDER:SUBJECT
    #[arg(long)]
    user: Option<String>,
}

/// How the answer is got and written.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("form").args(["json", "csv"]))]
struct How {
    /// JSON as the API gives it, times in Unix seconds
    #[arg(long)]
    json: bool,
    /// CSV for spreadsheets
    #[arg(long)]
    csv: bool,
    /// On the bastion: straight from its store, as its administrator; needs its configuration
    #[arg(long)]
    on_server: bool,
    #[command(flatten)]
    home: HomeArgs,
}

/// `access now`.
#[derive(Debug, clap::Args)]
pub struct Now {
    #[command(flatten)]
    whose: Whose,
    #[command(flatten)]
    how: How,
}

/// `access history`.
#[derive(Debug, clap::Args)]
pub struct History {
    #[command(flatten)]
    whose: Whose,
    /// Only what ended in this time, such as 12h or 90d
    #[arg(long, default_value = "30d", value_parser = parse_duration)]
    since: Duration,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Go on where the list before ended
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
    #[command(flatten)]
    how: How,
}

/// `report unused`.
#[derive(Debug, clap::Args)]
pub struct Unused {
    /// Not used for so many days
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    #[command(flatten)]
    how: How,
}

/// `caponier access ...`
pub fn access(command: AccessCommand, file: &Path, env: &Environment) -> anyhow::Result<ExitCode> {
    match command {
        AccessCommand::Now(args) => now(args, file, env),
        AccessCommand::History(args) => history(args, file, env),
    }
}

/// `caponier report ...`
pub fn report(command: ReportCommand, file: &Path, env: &Environment) -> anyhow::Result<ExitCode> {
    let ReportCommand::Unused(args) = command;
    unused(&args, file, env)
}

fn now(args: Now, file: &Path, env: &Environment) -> anyhow::Result<ExitCode> {
    let query = AccessQuery { user: args.whose.user, target: args.whose.target };
    let asked = query.user.is_some() || query.target.is_some();
    let answer: AccessAnswer = match Source::open(&args.how, file, env)? {
        Source::Signed(signed) => get(&signed, "/v1/access", &query)?,
        Source::Here(here) => here.runtime.block_on(here.look().access(query))?,
    };
    if answer.cut {
        say("caponier: there are more than 500 rows of one kind; ask about one --user or --target");
    }
    write(&args.how, &answer, || show::now_text(&answer, asked), || show::now_csv(&answer))
}

fn history(args: History, file: &Path, env: &Environment) -> anyhow::Result<ExitCode> {
    let since = Some(Clock::System.now().minus(args.since).as_secs());
    let query = HistoryQuery { user: args.whose.user, target: args.whose.target, since };
    let source = Source::open(&args.how, file, env)?;
    let mut all: Page<AccessGrant> = Page { items: Vec::new(), next: args.after };
    let mut left = args.limit;
    while left > 0 {
        let limit = left.min(PAGE_MAX);
        let page = match &source {
            Source::Signed(signed) => {
                let place = Place { limit, after: all.next.as_deref() };
                get(signed, &format!("/v1/access/history?{}", pairs(&place)?), &query)?
            }
            Source::Here(here) => {
                let paging = Paging::of(Some(limit), all.next.as_deref()).map_err(anyhow::Error::msg)?;
                here.runtime.block_on(here.look().history(query.clone(), &paging))?
            }
        };
        left = left.saturating_sub(limit);
        all.items.extend(page.items);
        all.next = page.next;
        if all.next.is_none() {
            break;
        }
    }
    if let Some(next) = &all.next {
        say(format_args!("caponier: there is more; go on with --after {next}"));
    }
    write(&args.how, &all, || show::history_text(&all.items), || show::history_csv(&all.items))
}

fn unused(args: &Unused, file: &Path, env: &Environment) -> anyhow::Result<ExitCode> {
    let query = UnusedQuery { days: Some(args.days) };
    let answer: UnusedAnswer = match Source::open(&args.how, file, env)? {
        Source::Signed(signed) => get(&signed, "/v1/reports/unused", &query)?,
        Source::Here(here) => here.runtime.block_on(here.look().unused(&query))?,
    };
    if answer.cut {
        say("caponier: there is more than fits; the longest lists are cut");
    }
    if let Some(until) = answer.uncounted_until {
        say(format_args!(
            "caponier: sessions up to {} were opened by an older bastion, which did not count by role; a role that was \
             used then may be listed",
            Timestamp::from_secs(until)
        ));
    }
    write(&args.how, &answer, || show::unused_text(&answer), || show::unused_csv(&answer))
}

/// Where answers come from.
enum Source {
    Signed(Box<Signed>),
    Here(Box<Beside>),
}

/// The store and the policy of the bastion on this machine.
struct Beside {
    store: Store,
    policy: Policy,
    runtime: Runtime,
}

impl Source {
    fn open(how: &How, file: &Path, env: &Environment) -> anyhow::Result<Self> {
        if !how.on_server {
            return Ok(Self::Signed(Box::new(Signed::open(&how.home, env)?)));
        }
        let config = bastion::load(file, env)?;
        let policy = load_for(&config.policy_file, &config).map_err(ConfigRefused)?;
        let runtime = super::runtime()?;
        let store = runtime.block_on(bastion::open(&config))?;
        Ok(Self::Here(Box::new(Beside { store, policy, runtime })))
    }
}

impl Beside {
    fn look(&self) -> Here<'_> {
        Here { store: &self.store, policy: &self.policy, now: Clock::System.now() }
    }
}

/// Which page.
#[derive(Serialize)]
struct Place<'a> {
    limit: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<&'a str>,
}

fn get<A: DeserializeOwned>(signed: &Signed, path: &str, query: &impl Serialize) -> anyhow::Result<A> {
    let pairs = pairs(query)?;
    if pairs.is_empty() {
        return signed.get(path);
    }
    signed.get(&format!("{path}{}{pairs}", if path.contains('?') { '&' } else { '?' }))
}

/// The fields of a query, form-encoded; those that are none are left out.
fn pairs(query: &impl Serialize) -> anyhow::Result<String> {
    let fields = serde_json::to_value(query)?;
    let mut out = form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields.as_object().into_iter().flatten() {
        match value.as_str() {
            Some(text) => out.append_pair(name, text),
            None => out.append_pair(name, &value.to_string()),
        };
    }
    Ok(out.finish())
}

fn write(
    how: &How,
    answer: &impl Serialize,
    text: impl FnOnce() -> String,
    csv: impl FnOnce() -> String,
) -> anyhow::Result<ExitCode> {
    let shown = if how.json {
        serde_json::to_string_pretty(answer)? + "\n"
    } else if how.csv {
        csv()
    } else {
        text()
    };
    let mut out = io::stdout().lock();
    match out.write_all(shown.as_bytes()).and_then(|()| out.flush()) {
        // The reader has what it wanted.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(ExitCode::SUCCESS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_encoded_and_empty_fields_left_out() {
        let query = AccessQuery { user: Some("corp:a&b=c d".into()), target: None };
        assert_eq!(pairs(&query).unwrap(), "user=corp%3Aa%26b%3Dc+d");
        assert_eq!(pairs(&AccessQuery::default()).unwrap(), "");
        assert_eq!(pairs(&Place { limit: 7, after: None }).unwrap(), "limit=7");
    }
}
