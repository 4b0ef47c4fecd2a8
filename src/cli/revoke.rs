//! `caponier revoke`: over the API as whoever is signed in here, or with `--on-server` straight in the store. Reads what
//! is asked for and prints what came of it; what may be revoked, and what follows, is decided by `flow::revoke`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use super::Environment;
use super::bastion;
use super::client::api::{Api, ApiError, server_url};
use super::client::state::{self, State};
use super::client::{HomeArgs, NotSignedIn, requests};
use super::table::{printable, table};
use crate::ca::{Authority, init};
use crate::config::Config;
use crate::flow::revoke::{Ground, Order, What, revoke_by_command};
use crate::random::Random;
use crate::time::{Clock, Timestamp};
use crate::web::api::revocations::{Revocation, RevocationAnswer, RevocationKind, RevocationRequest};

/// Largest key file, in bytes.
const KEY_BYTES_MAX: u64 = 64 * 1024;
/// Most rows of a list.
const LIST_MAX: u32 = 1000;

/// Revoke people's sign-ins, keys, certificates, sessions or old authorities.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Sessions that were opened with what is revoked are closed within two seconds, at every bastion of the same database;
targets refuse it as soon as they have fetched the new list (contrib/krl-update). Anybody may revoke keys, certificates
and sessions of their own; everything else is for admins. Whoever is revoked may sign in again; a key never works again.

Examples:
  caponier revoke --user corp:erin --reason 'left the company'
  caponier revoke --key ~/.caponier/id.pub --reason 'laptop stolen'
  caponier revoke --session ses_0123456789abcdefghjkmnpqrs --reason 'wrong machine'
  caponier revoke --serial 1234567890 --reason 'copied by mistake'
  caponier revoke --grant req_0123 --reason 'not needed any more'
  caponier revoke --ca old_target_ca.pub --reason 'replaced' --on-server
  caponier revoke ls"
)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    what: WhatArgs,
    /// Why, on one line; it stands in the audit log
    #[arg(long, value_name = "TEXT", required = true)]
    reason: Option<String>,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    via: Via,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List what was revoked, newest first (auditors and admins)
    Ls {
        /// One JSON array instead of a table
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        via: Via,
    },
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct WhatArgs {
    /// A person, as PROVIDER:SUBJECT: ends all their sign-ins, certificates and sessions
    #[arg(long, value_name = "WHO")]
    user: Option<String>,
    /// A job or service, as PROVIDER:SUBJECT, likewise
    #[arg(long, value_name = "WHO")]
    workload: Option<String>,
    /// A key for good: its SHA256:... fingerprint or its public key file
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// All certificates with this key id
    #[arg(long, value_name = "TEXT")]
    key_id: Option<String>,
    /// One certificate
    #[arg(long, value_name = "NUMBER")]
    serial: Option<String>,
    /// A session: its certificate, and it is closed
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// What a request opened, by the request's id (`caponier access now` shows it): approvers of it and admins
    #[arg(long, value_name = "REQUEST")]
    grant: Option<String>,
    /// An authority that is not in use any more: its public key file or SHA256:... fingerprint
    #[arg(long, value_name = "KEY")]
    ca: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Via {
    /// On the server, without being signed in: straight in the database of the configuration
    #[arg(long)]
    on_server: bool,
    #[command(flatten)]
    home: HomeArgs,
}

/// Runs it.
pub fn run(args: Args, file: &Path, env: &Environment) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout();
    if let Some(Command::Ls { json, via }) = args.command {
        let list = if via.on_server { listed_here(file, env)? } else { listed(&via, env)? };
        return show(&list, json, &mut out);
    }
    if let Some(request) = &args.what.grant {
        if args.via.on_server {
            bail!("--grant goes over the API; on the server, lock the person, or revoke --user");
        }
        let reason = args.reason.unwrap_or_default();
        return requests::end::revoke(&args.via.home, request, &reason, args.json, env);
    }
    let Some((kind, value)) = args.what.asked()? else { bail!("say what to revoke") };
    let reason = args.reason.unwrap_or_default();
    // Read here too, so that a wrong word is told before anybody is asked.
    let order = Order::new(What::parse(kind.as_str(), &value)?, &reason)?;
    let answer = if args.via.on_server {
        revoke_here(&order, file, env)?
    } else {
        let request = RevocationRequest { kind, value, reason };
        let (api, key) = signed_in(&args.via, env)?;
        super::runtime()?.block_on(api.revoke(&key, &request)).map_err(told)?
    };
    tell(&answer, args.json, &mut out)
}

impl WhatArgs {
    /// What, and which one.
    fn asked(&self) -> anyhow::Result<Option<(RevocationKind, String)>> {
        let plain = [
            (RevocationKind::User, &self.user),
            (RevocationKind::Workload, &self.workload),
            (RevocationKind::KeyId, &self.key_id),
            (RevocationKind::Serial, &self.serial),
            (RevocationKind::Session, &self.session),
        ];
        if let Some((kind, Some(value))) = plain.into_iter().find(|(_, value)| value.is_some()) {
            return Ok(Some((kind, value.clone())));
        }
        for (kind, key) in [(RevocationKind::Key, &self.key), (RevocationKind::Ca, &self.ca)] {
            if let Some(key) = key {
                return Ok(Some((kind, key_text(key)?)));
            }
        }
        Ok(None)
    }
}

/// A fingerprint as it is, else what is in the file.
fn key_text(key: &str) -> anyhow::Result<String> {
    if key.starts_with("SHA256:") || key.starts_with("ssh-") || key.starts_with("ecdsa-") {
        return Ok(key.to_owned());
    }
    let path = PathBuf::from(key);
    let mut text = String::new();
    let read = std::fs::File::open(&path).and_then(|file| {
        std::io::Read::read_to_string(&mut std::io::Read::take(file, KEY_BYTES_MAX), &mut text)
    });
    read.with_context(|| format!("{}: give SHA256:... or a public key file", path.display()))?;
    Ok(text)
}

fn signed_in(via: &Via, env: &Environment) -> anyhow::Result<(Api, super::client::sign::Key)> {
    let home = via.home.locate(env)?;
    home.check()?;
    let state = State::load(&home)?.ok_or_else(NotSignedIn::never)?;
    let sign_in = state.sign_in.clone().ok_or_else(NotSignedIn::never)?;
    let key = state::key(&home, sign_in.key, env)?;
    Ok((Api::new(server_url(&state.server)?, state.ca_pem.as_deref())?, key))
}

fn told(error: ApiError) -> anyhow::Error {
    if error.is_signed_out() { NotSignedIn::ended().into() } else { error.into() }
}

fn listed(via: &Via, env: &Environment) -> anyhow::Result<Vec<Revocation>> {
    let (api, key) = signed_in(via, env)?;
    let runtime = super::runtime()?;
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = runtime.block_on(api.revocations(&key, after.as_deref())).map_err(told)?;
        all.extend(page.items);
        after = page.next;
        if after.is_none() || all.len() >= LIST_MAX as usize {
            return Ok(all);
        }
    }
}

fn listed_here(file: &Path, env: &Environment) -> anyhow::Result<Vec<Revocation>> {
    let config = bastion::load(file, env)?;
    let rows = bastion::runtime()?.block_on(async {
        let store = bastion::open(&config).await?;
        Ok::<_, anyhow::Error>(store.revocations(None, LIST_MAX).await?)
    })?;
    Ok(rows.iter().map(Revocation::from).collect())
}

fn revoke_here(order: &Order, file: &Path, env: &Environment) -> anyhow::Result<RevocationAnswer> {
    let config = bastion::load(file, env)?;
    let ground = ground(&config)?;
    let done = bastion::runtime()?.block_on(async {
        let store = bastion::open(&config).await?;
        let done = revoke_by_command(&store, &ground, order, Clock::System.now()).await?;
        Ok::<_, anyhow::Error>(done)
    })?;
    Ok(RevocationAnswer {
        revoked: done.revoked.iter().map(Revocation::from).collect(),
        sign_ins: done.sign_ins.iter().map(ToString::to_string).collect(),
        version: done.version.to_string(),
    })
}

/// The public keys that sign now, from beside the private ones: no passphrase is needed.
fn ground(config: &Config) -> anyhow::Result<Ground> {
    let made = init::made(&config.ca.dir)
        .with_context(|| format!("the authorities in {} cannot be read", config.ca.dir.display()))?;
    let active = Authority::ALL.map(|authority| (authority, made.public_key(authority).clone()));
    Ok(Ground { active: active.into(), session_max: config.sessions.max, random: Random::System })
}

fn tell(answer: &RevocationAnswer, json: bool, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(answer)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    for sign_in in &answer.sign_ins {
        writeln!(out, "ended    {}", printable(sign_in))?;
    }
    for one in &answer.revoked {
        writeln!(
            out,
            "revoked  {} {} ({})",
            printable(&one.kind),
            printable(&one.value),
            printable(&one.id)
        )?;
    }
    if answer.sign_ins.is_empty() && answer.revoked.is_empty() {
        writeln!(out, "nothing was left to revoke")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(list: &[Revocation], json: bool, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(list)?)?;
    } else if list.is_empty() {
        writeln!(out, "nothing was revoked")?;
    } else {
        let head = ["ID", "SINCE", "UNTIL", "WHAT", "WHICH", "BY", "WHY"];
        let at = |secs: u64| Timestamp::from_secs(secs).to_string();
        let line = |one: &Revocation| {
            [
                printable(&one.id),
                at(one.created),
                one.until.map_or_else(|| "for good".to_owned(), at),
                printable(&one.kind),
                printable(&one.value),
                printable(&one.by),
                printable(&one.reason),
            ]
        };
        out.write_all(table(head, list.iter().map(line)).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}
