//! `caponier lock`, `unlock` and `locks`: over the API as an administrator who is signed in here, or with `--on-server` straight
//! in the store, for emergencies. What a lock does is decided by `flow::locks`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::HomeArgs;
use super::requests::list::Form;
use super::requests::span;
use super::signed::Signed;
use crate::access::LockOn;
use crate::cli::table::csv;
use crate::cli::table::{printable, table};
use crate::cli::terminal::{print, say};
use crate::cli::{Environment, bastion};
use crate::config::Config;
use crate::flow::locks::{LockWish, is_known, lock_by_command, unlock_by_command, warning};
use crate::ids::LockId;
use crate::policy;
use crate::random::Random;
use crate::time::{Clock, Timestamp};
use crate::web::api::locks::{LockAnswer, LockKind, LockRequest};

/// Most locks of a list.
const LOCKS_MAX: usize = 10_000;

/// Lock a person, a target or a role: what is open under it ends at once, and nothing opens.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
For admins. A lock stands above roles and grants, and above admins: who is locked lifts no locks.

Examples:
  caponier lock user corp:erin --reason 'laptop stolen'
  caponier lock target web1 --reason 'incident 42' --for 2h
  caponier lock role on-call --reason 'misused'
  caponier lock user corp:erin --reason 'laptop stolen' --on-server")]
pub struct LockArgs {
    /// What to lock
    #[arg(value_enum)]
    on: Kind,
    /// Whom (PROVIDER:SUBJECT) or which target or role
    name: String,
    /// Why, on one line; it stands in the audit log
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// For how long, such as 2h [default: until it is lifted]
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    length: Option<Duration>,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    via: Via,
}

/// Lift a lock.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  caponier unlock lck_0123456789abcdefghjkmnpqrs")]
pub struct UnlockArgs {
    /// The lock's id
    id: LockId,
    #[command(flatten)]
    via: Via,
}

/// List the locks that hold, oldest first.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
For auditors and admins.

Examples:
  caponier locks
  caponier locks --csv --on-server")]
pub struct LocksArgs {
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    via: Via,
}

/// Which way.
#[derive(Debug, clap::Args)]
struct Via {
    /// On the server, without being signed in: straight in the database of the configuration
    #[arg(long)]
    on_server: bool,
    #[command(flatten)]
    home: HomeArgs,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kind {
    /// A person or a workload
    User,
    /// A target
    Target,
    /// A role
    Role,
}

/// `caponier lock`
pub fn lock(args: &LockArgs, file: &Path, env: &Environment) -> anyhow::Result<ExitCode> {
    let lock = if args.via.on_server {
        lock_here(args, file, env)?
    } else {
        let on = match args.on {
            Kind::User => LockKind::User,
            Kind::Target => LockKind::Target,
            Kind::Role => LockKind::Role,
        };
        let seconds = args.length.map(|length| length.as_secs());
        let request = LockRequest { on, name: args.name.clone(), reason: args.reason.clone(), seconds };
        Signed::open(&args.via.home, env)?.post("/v1/locks", &request)?
    };
    if let Some(warning) = &lock.warning {
        say(format_args!("caponier: {}", printable(warning)));
    }
    if args.json {
        print(serde_json::to_string_pretty(&lock)?)?;
    } else {
        let [id, _, until, kind, name, ..] = row(&lock);
        let until = if until.is_empty() { "until it is lifted".to_owned() } else { format!("until {until}") };
        print(format_args!("{kind} {name} is locked {until}: {id}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `caponier unlock`
pub fn unlock(args: &UnlockArgs, file: &Path, env: &Environment) -> anyhow::Result<ExitCode> {
    if args.via.on_server {
        let config = bastion::load(file, env)?;
        bastion::runtime()?.block_on(async {
            let store = bastion::open(&config).await?;
            unlock_by_command(&store, &args.id, Clock::System.now()).await?;
            Ok::<_, anyhow::Error>(())
        })?;
    } else {
        Signed::open(&args.via.home, env)?.delete(&format!("/v1/locks/{}", args.id))?;
    }
    print(format_args!("{} is lifted", args.id))?;
    Ok(ExitCode::SUCCESS)
}

/// `caponier locks`
pub fn locks(args: &LocksArgs, file: &Path, env: &Environment) -> anyhow::Result<ExitCode> {
    let locks: Vec<LockAnswer> = if args.via.on_server {
        let config = bastion::load(file, env)?;
        let held = bastion::runtime()?.block_on(async {
            let store = bastion::open(&config).await?;
            Ok::<_, anyhow::Error>(store.locks(Clock::System.now()).await?)
        })?;
        held.iter().map(LockAnswer::from).collect()
    } else {
        Signed::open(&args.via.home, env)?.list("/v1/locks", &[], LOCKS_MAX)?
    };
    let head = ["ID", "SINCE", "UNTIL", "WHAT", "WHICH", "BY", "WHY"];
    if args.form.json {
        print(serde_json::to_string_pretty(&locks)?)?;
    } else if args.form.csv {
        print(
            csv(head.map(str::to_lowercase).each_ref().map(String::as_str), locks.iter().map(row)).trim_end(),
        )?;
    } else if locks.is_empty() {
        print("nothing is locked")?;
    } else {
        print(table(head, locks.iter().map(row)).trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn lock_here(args: &LockArgs, file: &Path, env: &Environment) -> anyhow::Result<LockAnswer> {
    let config = bastion::load(file, env)?;
    let on = match args.on {
        Kind::User => LockOn::User(args.name.clone()),
        Kind::Target => LockOn::Target(args.name.parse()?),
        Kind::Role => LockOn::Role(args.name.parse()?),
    };
    warn_of_unknown(&on, &config);
    let wish = LockWish { on, reason: args.reason.clone(), length: args.length };
    bastion::runtime()?.block_on(async {
        let store = bastion::open(&config).await?;
        let lock = lock_by_command(&store, &Random::System, wish, Clock::System.now()).await?;
        Ok(LockAnswer { warning: warning(&store, &lock.on).await?, ..LockAnswer::from(&lock) })
    })
}

/// In an emergency a policy that does not load keeps nobody from locking; a slip of the pen is told all the same.
fn warn_of_unknown(on: &LockOn, config: &Config) {
    match policy::load_for(&config.policy_file, config) {
        Ok(policy) => {
            if let Err(why) = is_known(on, &policy, config) {
                say(format_args!("caponier: {why}; it is locked all the same"));
            }
        }
        Err(_) => say("caponier: the policy does not load, so it is not known whether there is such a thing"),
    }
}

fn row(lock: &LockAnswer) -> [String; 7] {
    let at = |secs: u64| Timestamp::from_secs(secs).to_string();
    let kind = match lock.on {
        LockKind::User => "user",
        LockKind::Target => "target",
        LockKind::Role => "role",
    };
    [
        printable(&lock.id),
        at(lock.created),
        lock.until.map(at).unwrap_or_default(),
        kind.to_owned(),
        printable(&lock.name),
        printable(&lock.by),
        printable(&lock.reason),
    ]
}
