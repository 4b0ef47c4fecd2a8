//! The command line: the tree of commands, and which function each one calls. What a command does is decided in its
//! own file. This is also where the environment is read, once.

pub mod alerts;
pub mod api;
pub mod audit;
pub mod bastion;
pub mod ca;
pub mod ci;
pub mod client;
pub mod config;
pub mod demo;
pub mod looking;
pub mod policy;
pub mod recordings;
pub mod revoke;
pub mod sessions;
pub mod sign_ins;
pub mod table;
pub mod terminal;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

/// Where the server's configuration is unless `--config` or `$CAPONIER_CONFIG` says otherwise.
const CONFIG_DEFAULT: &str = "/etc/caponier/caponier.toml";

/// SSH bastion and certificate authority.
#[derive(Debug, Parser)]
#[command(
    name = "caponier",
    version,
    arg_required_else_help = true,
    after_help = "\
On a laptop:
  caponier login https://bastion.example    sign in; sets up ssh
  ssh web1                                  stock ssh, through the bastion
  caponier status                           who you are, until when
  caponier request web1 --as deploy --for 30m --reason 'OPS-123'
  caponier inbox                            what waits for you; then approve ID, or deny ID
  caponier release                          give access back before it ends by itself
  caponier logout

In a job of a CI platform:
  caponier ci login https://bastion.example --ca-fingerprint SHA256:...
  caponier ci done                          in the last step, always

Without either:
  caponier demo                             everything on this machine

On the bastion:
  caponier config check                     is the configuration right?
  caponier policy check                     is the policy meant like that?
  caponier policy explain corp:dora web1    what may she do there, and what is that worth?
  caponier ca init                          make the certificate authorities
  caponier serve                            run

Exit codes:
  0   done
  1   failed; one line on standard error says why and what to do. Of policy test: a case came out
      otherwise; of policy check --strict: there are warnings
  2   wrong usage
  75  a request waits for somebody, or nobody decided in time
  77  not signed in; run: caponier login
  78  the server's configuration, a policy or a file of cases is refused
  126 denied: by the policy, or by somebody"
)]
pub struct Cli {
    /// The server's configuration file [default: $CAPONIER_CONFIG, else /etc/caponier/caponier.toml]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Server options")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

/// The commands, in the order of `--help`.
#[derive(Debug, Subcommand)]
enum Command {
    Login(client::login::Args),
    Status(client::status::Args),
    Logout(client::logout::Args),
    SshConfig(client::write_config::Args),
    Ensure(client::ensure::Args),
    Request(client::requests::ask::Args),
    Requests(client::requests::list::RequestsArgs),
    Inbox(client::requests::list::InboxArgs),
    Approve(client::requests::decide::ApproveArgs),
    Deny(client::requests::decide::DenyArgs),
    Cancel(client::requests::end::CancelArgs),
    Release(client::requests::end::ReleaseArgs),
    Review(client::requests::decide::ReviewArgs),
    Lock(client::locks::LockArgs),
    Unlock(client::locks::UnlockArgs),
    Locks(client::locks::LocksArgs),
    Revoke(revoke::Args),
    /// In a job of a CI platform, or a service: sign in for one run, and end it
    #[command(after_help = "\
Examples:
  caponier ci login https://bastion.example --ca-fingerprint SHA256:...
  caponier ci done")]
    Ci {
        #[command(subcommand)]
        command: ci::Command,
    },
    /// Run the bastion
    #[command(after_help = "Example:\n  caponier serve --config /etc/caponier/caponier.toml")]
    Serve,
    /// Try everything on this machine: an OpenID provider, the bastion, two targets, all on loopback
    #[command(after_help = "\
Examples:
  caponier demo
  caponier demo --dir /tmp/demo --login reviewer
  caponier demo --check                     play the whole story and end; exit code 0 or 1")]
    Demo(demo::Demo),
    /// Check or show the server's configuration
    #[command(after_help = "\
Examples:
  caponier config check
  caponier config show --json")]
    Config(config::ConfigArgs),
    /// What the policy says: check it, test it, explain it
    #[command(after_help = "\
Examples:
  caponier policy check
  caponier policy test --policy policy.toml cases.toml
  caponier policy explain corp:dora web1 'systemctl restart nginx' --group dev")]
    Policy(policy::PolicyArgs),
    /// The certificate authorities: make them, show their public keys, sign a target's host key
    #[command(after_help = "\
Examples:
  caponier ca init
  caponier ca show
  caponier ca sign-host web1_host_key.pub --name web1")]
    Ca(ca::CaArgs),
    /// Who has access now, who could get it, and who had it
    #[command(after_help = "\
Examples:
  caponier access now --target web1
  caponier access history --user corp:ann --since 7d --csv")]
    Access {
        #[command(subcommand)]
        command: looking::AccessCommand,
    },
    /// Reports for those who tidy up
    #[command(after_help = "\
Example:
  caponier report unused --days 90")]
    Report {
        #[command(subcommand)]
        command: looking::ReportCommand,
    },
    /// List sessions, newest first
    #[command(after_help = "\
Examples:
  caponier sessions --open
  caponier sessions --target web1 --json
  caponier sessions --limit 10000 --csv > sessions.csv")]
    Sessions(sessions::Sessions),
    /// Who is signed in, and ending that
    #[command(after_help = "\
Examples:
  caponier sign-ins ls --csv
  caponier sign-ins end sgn_0123456789abcdefghjkmnpqrs --reason 'laptop stolen'")]
    SignIns {
        #[command(subcommand)]
        command: sign_ins::Command,
    },
    /// What rules found in the audit log that somebody should look at, and who has
    #[command(after_help = "\
Examples:
  caponier alerts
  caponier alerts --all --csv > alerts.csv
  caponier alerts ack alr_0123456789abcdefghjkmnpqrs --note 'a new laptop, asked Ann'")]
    Alerts(alerts::Alerts),
    /// The audit log: follow it, find in it, export it, prove that nothing in it was altered
    #[command(after_help = "\
Examples:
  caponier audit tail -f
  caponier audit search --who corp:ann --since 7d
  caponier audit verify
  caponier audit story ses_0123456789abcdefghjkmnpqrs")]
    Audit {
        #[command(subcommand)]
        command: audit::Command,
    },
    /// List, find and play recordings
    #[command(after_help = "\
Examples:
  caponier recordings ls --target web1
  caponier recordings play ses_0123
  caponier recordings export ses_0123 -o ses_0123.cast")]
    Recordings {
        #[command(subcommand)]
        command: recordings::Command,
    },
    /// The HTTP API that the server speaks
    #[command(after_help = "\
Example:
  caponier api openapi > caponier-openapi.json")]
    Api {
        #[command(subcommand)]
        command: api::Command,
    },
    /// Print the version
    Version,
}

fn run(cli: Cli, env: &Environment) -> anyhow::Result<ExitCode> {
    let file = config_file(&cli, env);
    match cli.command {
        Command::Login(args) => client::login::run(&args, env),
        Command::Status(args) => client::status::run(&args, env),
        Command::Logout(args) => client::logout::run(&args, env),
        Command::SshConfig(args) => client::write_config::run(&args, env),
        Command::Ensure(args) => client::ensure::run(&args, env),
        Command::Request(args) => client::requests::ask::run(&args, env),
        Command::Requests(args) => client::requests::list::requests(&args, env),
        Command::Inbox(args) => client::requests::list::inbox(&args, env),
        Command::Approve(args) => client::requests::decide::approve(&args, env),
        Command::Deny(args) => client::requests::decide::deny(&args, env),
        Command::Cancel(args) => client::requests::end::cancel(&args, env),
        Command::Release(args) => client::requests::end::release(&args, env),
        Command::Review(args) => client::requests::decide::review(&args, env),
        Command::Lock(args) => client::locks::lock(&args, &file, env),
        Command::Unlock(args) => client::locks::unlock(&args, &file, env),
        Command::Locks(args) => client::locks::locks(&args, &file, env),
        Command::Revoke(args) => revoke::run(args, &file, env),
        Command::Ci { command } => ci::run(&command, env),
        Command::Serve => bastion::serve(&file, env),
        Command::Demo(args) => demo::run(args, env),
        Command::SignIns { command } => bastion::sign_ins(command, &file, env),
        Command::Config(args) => bastion::config(&args, &file, env),
        Command::Policy(args) => bastion::policy(args, &file, env),
        Command::Ca(args) => bastion::ca(args, &file, env),
        Command::Access { command } => looking::access(command, &file, env),
        Command::Report { command } => looking::report(command, &file, env),
        Command::Sessions(args) => bastion::sessions(args, &file, env),
        Command::Alerts(args) => bastion::alerts(args, &file, env),
        Command::Audit { command } => audit::run(command, &file, env),
        Command::Recordings { command } => bastion::recordings(command, &file, env),
        Command::Api { command } => api::run(&command),
        Command::Version => {
            terminal::print(concat!("caponier ", env!("CARGO_PKG_VERSION")))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The whole program: reads arguments and environment, runs the command, prints its error.
pub fn main() -> ExitCode {
    let env = Environment::of_process();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if client::ensure::is_done_at_once(&arguments, &env) {
        return ExitCode::SUCCESS;
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(e) => {
            // Help goes to standard output, errors to standard error; when that is closed there is nobody to tell.
            drop(e.print());
            return ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(2));
        }
    };
    match run(cli, &env) {
        Ok(code) => code,
        Err(e) => {
            terminal::say(format_args!("caponier: {e:#}"));
            if e.is::<crate::server::ConfigRefused>() {
                return ExitCode::from(config::EXIT_BAD_CONFIG);
            }
            client::exit_code(&e)
        }
    }
}

/// The server's configuration file.
pub fn config_file(cli: &Cli, env: &Environment) -> PathBuf {
    let said = cli.config.clone().or_else(|| env.get("CAPONIER_CONFIG").map(PathBuf::from));
    said.unwrap_or_else(|| PathBuf::from(CONFIG_DEFAULT))
}

/// A runtime for one or two requests.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")
}

/// The environment as it was at start. Variables that are not Unicode are left out: nothing of ours is.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    vars: BTreeMap<String, String>,
}

impl Environment {
    /// This process's.
    pub fn of_process() -> Self {
        let unicode =
            |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        Self { vars: std::env::vars_os().filter_map(unicode).collect() }
    }

    /// One made of these pairs.
    pub fn of(pairs: &[(&str, &str)]) -> Self {
        Self { vars: pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect() }
    }

    /// A variable; an empty one counts as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// All of them.
    pub fn vars(&self) -> &BTreeMap<String, String> {
        &self.vars
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_tree_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn where_the_configuration_is() {
        let check = |words: &[&str], env: &[(&str, &str)], expect: &str| {
            let cli = Cli::try_parse_from(words).unwrap();
            assert_eq!(config_file(&cli, &Environment::of(env)), PathBuf::from(expect));
        };
        check(&["caponier", "version"], &[], CONFIG_DEFAULT);
        check(&["caponier", "version"], &[("CAPONIER_CONFIG", "/e")], "/e");
        check(&["caponier", "version", "--config", "/f"], &[("CAPONIER_CONFIG", "/e")], "/f");
    }
}
