//! `caponier request`: asks for access, says who would be asked, waits for the answer, lists what there is to ask for.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;

use super::super::signed::Signed;
use super::super::{Denied, HomeArgs};
use super::find::{Among, find};
use super::shown::{list, safe, scope, stage_line, text};
use super::{path, span, wait};
use crate::cli::Environment;
use crate::cli::table::table;
use crate::cli::terminal::{print, say};
use crate::config::show_duration;
use crate::time::{Clock, Timestamp};
use crate::web::api::requests::{AskAnswer, AskRequest, EligibleAnswer, OnceWord, PlanAnswer, RequestAnswer};

/// Most roles of a list.
const ROLES_MAX: usize = 1000;

/// Ask for access to targets, for a while and for a reason.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
A target is named by its name, or by a label for all that have it (env=prod). What nobody needs to approve opens at once;
else the people of the role's first stage are asked. Access ends by itself; give it back earlier with: caponier release

Examples:
  caponier request --list                                        what you can ask for
  caponier request web1 --as deploy --for 30m --reason 'OPS-123 rotate the certificate'
  caponier request web1 --as deploy --reason 'OPS-123' --dry-run  who would be asked?
  caponier request web1 --as deploy --reason 'OPS-123' --wait && ssh deploy@web1
  caponier request env=prod --role on-call --reason 'checkout is down' --break-glass
  caponier request web1 --as root --command 'systemctl restart nginx' --once exec --reason 'OPS-9'
  caponier request show req_0123

Exit codes:
  0    granted (with --dry-run, --list and show: shown)
  75   it waits for somebody; with --wait: nobody decided in time
  77   not signed in; run: caponier login
  126  denied, by the policy or by somebody"
)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Targets by name, or KEY=VALUE for all with that label
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// A login there; repeat it for several [default: all that the role opens]
    #[arg(long = "as", value_name = "LOGIN")]
    logins: Vec<String>,
    /// For how long, such as 30m or 2h [default: 30m, or what the role allows]
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    length: Option<Duration>,
    /// Why, on one line
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    /// The ticket behind it
    #[arg(long, value_name = "TICKET", default_value = "", hide_default_value = true)]
    ticket: String,
    /// Only this command line, as it will be sent; repeat it for several
    #[arg(long = "command", value_name = "LINE")]
    commands: Vec<String>,
    /// Under this role, where several would do
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// From when: 2026-11-20T22:00:00+01:00, or +2h
    #[arg(long, value_name = "TIME", value_parser = moment)]
    start: Option<Timestamp>,
    /// For one use: one session, or one command
    #[arg(long, value_enum)]
    once: Option<Once>,
    /// An emergency: open it at once, if the role knows that; everybody named hears of it, and it is reviewed
    #[arg(long)]
    break_glass: bool,
    /// Wait for the answer, at most so long if that is said
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, value_parser = span)]
    wait: Option<Option<Duration>>,
    /// File nothing; show what would become of it
    #[arg(long)]
    dry_run: bool,
    /// A word of 16 to 64 letters and digits for this request: repeating it with the same word files nothing twice
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Show what you can ask for
    #[arg(long, conflicts_with = "targets")]
    list: bool,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    home: HomeArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show one request with everything that happened to it
    Show {
        /// Its id, or enough of its beginning
        id: String,
        /// One JSON object instead of text
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        home: HomeArgs,
    },
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Once {
    /// Over when the first session is closed
    Session,
    /// One command only, and over when it is done
    Exec,
}

/// Runs it.
pub fn run(args: &Args, env: &Environment) -> anyhow::Result<ExitCode> {
    if let Some(Command::Show { id, json, home }) = &args.command {
        let signed = Signed::open(home, env)?;
        let one: RequestAnswer = signed.get(&path(&find(&signed, id, Among::Seen)?, ""))?;
        if *json {
            print(serde_json::to_string_pretty(&one)?)?
        } else {
            print(text(&one).trim_end())?
        }
        return Ok(ExitCode::SUCCESS);
    }
    if args.list {
        return listed(args, env);
    }
    if args.targets.is_empty() {
        bail!("name a target; see what you can ask for with: caponier request --list");
    }
    let signed = Signed::open(&args.home, env)?;
    let request = asked(args);
    let answer: AskAnswer = match &args.key {
        Some(key) => signed.post_once("/v1/requests", &request, key)?,
        None => signed.post("/v1/requests", &request)?,
    };
    if let Some(plan) = &answer.plan {
        if args.json {
            print(serde_json::to_string_pretty(plan)?)?
        } else {
            print(planned(plan))?
        }
        return Ok(ExitCode::SUCCESS);
    }
    let Some(mut one) = answer.request else { bail!("the server filed nothing and does not say why") };
    if answer.again {
        say("This was asked for before; nothing new was filed.");
    }
    if let Some(patience) = args.wait {
        one = wait::wait(&signed, one, patience, None)?;
    }
    let (text, code) = wait::outcome(&one);
    if args.json {
        print(serde_json::to_string_pretty(&one)?)?;
    } else if code == ExitCode::from(super::super::EXIT_DENIED) {
        return Err(Denied(text).into());
    } else {
        print(text)?;
    }
    Ok(code)
}

fn asked(args: &Args) -> AskRequest {
    AskRequest {
        targets: args.targets.clone(),
        logins: args.logins.clone(),
        role: args.role.clone(),
        commands: args.commands.clone(),
        seconds: args.length.map(|length| length.as_secs()),
        start: args.start.map(Timestamp::as_secs),
        once: args.once.map(|once| match once {
            Once::Session => OnceWord::Session,
            Once::Exec => OnceWord::Exec,
        }),
        reason: args.reason.clone(),
        ticket: args.ticket.clone(),
        break_glass: args.break_glass,
        dry_run: args.dry_run,
    }
}

/// What would become of it.
fn planned(plan: &PlanAnswer) -> String {
    let mut lines = vec![format!("You would ask for {}.", scope(&plan.scope))];
    if let Some(told) = &plan.break_glass {
        lines.push(format!("It would open at once; told, and asked to review it: {}", list(told)));
    } else if let Some(number) = plan.automatic {
        lines.push(format!("It would open at once: automatic condition {number} of the role holds."));
    } else {
        lines.push("These would be asked, in this order:".to_owned());
        lines.extend(
            (1..).zip(&plan.stages).map(|(number, stage)| format!("  {}", stage_line(number, stage))),
        );
        lines.push(format!("It may wait for {}.", show_duration(Duration::from_secs(plan.pending))));
    }
    lines.join("\n")
}

fn listed(args: &Args, env: &Environment) -> anyhow::Result<ExitCode> {
    let roles: Vec<EligibleAnswer> = Signed::open(&args.home, env)?.list("/v1/eligible", &[], ROLES_MAX)?;
    if args.json {
        print(serde_json::to_string_pretty(&roles)?)?;
    } else if roles.is_empty() {
        print("no role is for you; ask an administrator")?;
    } else {
        let head = ["ROLE", "WHERE", "AS", "CHANNELS", "LONGEST", "HOW"];
        print(table(head, roles.iter().map(role_line)).trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn role_line(one: &EligibleAnswer) -> [String; 6] {
    let shown = one.targets.iter().take(5).cloned().collect::<Vec<_>>();
    let more = usize::try_from(one.target_count).unwrap_or(usize::MAX).saturating_sub(shown.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let (longest, how) = match &one.asking {
        None => (String::new(), "yours without asking".to_owned()),
        Some(asking) => {
            let mut how = Vec::new();
            if asking.automatic {
                how.push("at once under conditions".to_owned());
            }
            if !asking.stages.is_empty() {
                how.push(format!("approved by: {}", list(&asking.stages)));
            }
            if asking.break_glass {
                how.push("knows --break-glass".to_owned());
            }
            if asking.ticket.required {
                how.push("wants --ticket".to_owned());
            }
            (show_duration(Duration::from_secs(asking.max)), how.join("; "))
        }
    };
    [safe(&one.role), format!("{}{more}", list(&shown)), list(&one.logins), list(&one.channels), longest, how]
}

/// A moment as people write it: RFC 3339, or `+2h` from now.
fn moment(text: &str) -> Result<Timestamp, String> {
    match text.strip_prefix('+') {
        Some(later) => Ok(Clock::System.now().plus(span(later)?)),
        None => text.parse().map_err(|error| format!("{error}, or +2h for two hours from now")),
    }
}
