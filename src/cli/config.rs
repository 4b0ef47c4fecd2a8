//! `caponier config check` and `caponier config show`: what the two files say, before a server believes them.
//! What is right is decided by `config` and `policy`; here it is only shown.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use crate::config::{self, Config, Problem};
use crate::policy::{self, Policy};

/// Exit status for a configuration or policy that is refused: `EX_CONFIG` of sysexits(3).
pub const EXIT_BAD_CONFIG: u8 = 78;

/// `caponier config ...`
#[derive(Debug, clap::Args)]
pub struct ConfigArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// The subcommands.
#[derive(Debug, clap::Subcommand)]
pub enum ConfigCommand {
    /// Check the configuration and the policy it names; every problem on its own line as FILE:LINE:COLUMN.
    /// Exit status: 0 when all is well, 78 when something must be changed.
    Check(Format),
    /// Show the values in force, defaults included; secrets are hidden. Exit status: 0, or 78 when the
    /// configuration is refused.
    Show(Format),
}

/// How to print.
#[derive(Debug, clap::Args)]
pub struct Format {
    /// Print JSON, for programs.
    #[arg(long)]
    pub json: bool,
}

/// Runs the subcommand on the configuration at `path` with the environment `env`, and writes what it has to say to
/// `out`. Fails only when `out` cannot be written to.
pub fn run(
    args: &ConfigArgs,
    path: &Path,
    env: &BTreeMap<String, String>,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    match &args.command {
        ConfigCommand::Check(format) => check(format, path, env, out),
        ConfigCommand::Show(format) => show(format, path, env, out),
    }
}

fn check(
    format: &Format,
    path: &Path,
    env: &BTreeMap<String, String>,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let (config, policy) = match both(path, env) {
        Ok(both) => both,
        Err(problems) => return refuse(format, &problems, out),
    };
    let policy_file = config.policy_file.display();
    if format.json {
        let uri = |one: &config::Provider| (one.name.to_string(), config.redirect_uri(&one.name));
        let uris: BTreeMap<String, String> = config.providers.iter().map(uri).collect();
        let uri = |one: &config::Provider| (one.name.to_string(), config.logout_uri(&one.name));
        let logouts: BTreeMap<String, String> = config.providers.iter().map(uri).collect();
        let hooks = config.issuers.iter().filter(|one| one.webhook_secret.is_some());
        let hooks: BTreeMap<String, String> =
            hooks.map(|one| (one.name.to_string(), config.webhook_uri(&one.name))).collect();
        let counts = json!({
            "ok": true,
            "config": path,
            "policy": config.policy_file,
            "policy_digest": policy.digest,
            "providers": config.providers.len(),
            "targets": policy.targets.len(),
            "roles": policy.roles.len(),
            "redirect_uris": uris,
            "logout_uris": logouts,
            "issuers": config.issuers.len(),
            "webhook_uris": hooks,
            "problems": [],
        });
        writeln!(out, "{counts:#}")?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "ok: {} ({})", path.display(), count(config.providers.len(), "provider"))?;
    let (targets, roles) = (count(policy.targets.len(), "target"), count(policy.roles.len(), "role"));
    writeln!(out, "ok: {policy_file} ({targets}, {roles})")?;
    for provider in &config.providers {
        let uri = config.redirect_uri(&provider.name);
        writeln!(out, "the redirect URI to register at {}: {uri}", provider.name)?;
        let uri = config.logout_uri(&provider.name);
        writeln!(
            out,
            "the back-channel logout URI to register at {}, if it can send one: {uri}",
            provider.name
        )?;
    }
    for issuer in &config.issuers {
        let audience = &issuer.audience;
        writeln!(out, "the audience of tokens from {} ({}): {audience}", issuer.name, issuer.platform)?;
        if issuer.webhook_secret.is_some() {
            let uri = config.webhook_uri(&issuer.name);
            writeln!(out, "the webhook URI to register at {}: {uri}", issuer.name)?;
        }
    }
    for note in config.notes() {
        writeln!(out, "note: {note}")?;
    }
    notes_on_checks(&config, out)?;
    if policy.roles.is_empty() {
        writeln!(out, "note: {policy_file} has no role, so nobody may do anything yet")?;
    } else {
        writeln!(out, "what is legal in the policy and hardly meant: caponier policy check")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What the configuration alone can say about how people are looked for again at their providers.
fn notes_on_checks(config: &Config, out: &mut dyn Write) -> anyhow::Result<()> {
    let never = |one: &&config::Provider| one.refresh_token == config::RefreshToken::Never;
    let life = config::show_duration(config.sign_in_life);
    for provider in config.providers.iter().filter(never) {
        writeln!(
            out,
            "note: {} is asked for no refresh token, so a sign-in there lasts its {life} whatever happens to the account, \
             but for a logout that it sends or an admin who ends it",
            provider.name
        )?;
    }
    let shares = config.store_url.expose().starts_with("postgres");
    if shares && matches!(config.checks.keys, config::KeySource::Own(_)) {
        writeln!(
            out,
            "note: servers that share this PostgreSQL need the same keys for refresh tokens: set \"key_file\" or \
             \"key_env\" in [sign_in] on all of them"
        )?;
    }
    Ok(())
}

/// Both files, or every problem of both.
fn both(path: &Path, env: &BTreeMap<String, String>) -> Result<(Config, Policy), Vec<Problem>> {
    match Config::load(path, env) {
        Ok(config) => {
            let policy = policy::load_for(&config.policy_file, &config)?;
            Ok((config, policy))
        }
        Err(mut problems) => {
            if let Some(file) = config::policy_file_of(path) {
                problems.extend(policy::load(&file).err().unwrap_or_default());
            }
            Err(problems)
        }
    }
}

pub(super) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn refuse(format: &Format, problems: &[Problem], out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    if format.json {
        let rows: Vec<serde_json::Value> = problems
            .iter()
            .map(|p| json!({ "file": p.file, "line": p.line, "column": p.column, "message": p.message }))
            .collect();
        writeln!(out, "{:#}", json!({ "ok": false, "problems": rows }))?;
    } else {
        for problem in problems {
            writeln!(out, "{problem}")?;
        }
    }
    Ok(ExitCode::from(EXIT_BAD_CONFIG))
}

fn show(
    format: &Format,
    path: &Path,
    env: &BTreeMap<String, String>,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let config = match Config::load(path, env) {
        Ok(config) => config,
        Err(problems) => return refuse(format, &problems, out),
    };
    let view = config.view();
    if format.json {
        writeln!(out, "{view:#}")?;
    } else {
        write!(out, "{}", toml::to_string(&view)?)?;
    }
    Ok(ExitCode::SUCCESS)
}
