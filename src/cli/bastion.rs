//! Commands for the person at the bastion's shell: opens what each of them needs (configuration, store, log) and
//! calls it. What they do and print is decided in their own files.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;

use super::Environment;
use super::{alerts, ca, config, policy, recordings, sessions, sign_ins};
use crate::config::Config;
use crate::random::Random;
use crate::server::ConfigRefused;
use crate::store::Store;
use crate::time::Clock;

/// `caponier serve`
pub fn serve(file: &Path, env: &Environment) -> anyhow::Result<ExitCode> {
    let json = load(file, env)?.log_json;
    start_log(json)?;
    runtime()?.block_on(crate::server::serve(file, env.vars()))?;
    Ok(ExitCode::SUCCESS)
}

/// `caponier config ...`
pub fn config(args: &config::ConfigArgs, file: &Path, env: &Environment) -> anyhow::Result<ExitCode> {
    config::run(args, file, env.vars(), &mut io::stdout().lock())
}

/// `caponier policy ...`
pub fn policy(args: policy::PolicyArgs, file: &Path, env: &Environment) -> anyhow::Result<ExitCode> {
    let open_store = async |config: &Config| open(config).await;
    let mut out = io::stdout();
    runtime()?.block_on(policy::run(args, file, env.vars(), &Clock::System, open_store, &mut out))
}

/// `caponier ca ...`
pub fn ca(args: ca::CaArgs, file: &Path, env: &Environment) -> anyhow::Result<ExitCode> {
    let config = load(file, env)?;
    let open_store = async || open(&config).await;
    runtime()?.block_on(ca::run(
        args,
        &config,
        open_store,
        &Clock::System,
        &Random::System,
        &mut io::stdout(),
    ))
}

/// `caponier sessions`
pub fn sessions(args: sessions::Sessions, file: &Path, env: &Environment) -> anyhow::Result<ExitCode> {
    let config = load(file, env)?;
    runtime()?.block_on(async { sessions::run(args, &open(&config).await?, &mut io::stdout()).await })
}

/// `caponier sign-ins ...`
pub fn sign_ins(command: sign_ins::Command, file: &Path, env: &Environment) -> anyhow::Result<ExitCode> {
    let config = load(file, env)?;
    runtime()?.block_on(async {
        sign_ins::run(command, &open(&config).await?, &Clock::System, &mut io::stdout()).await
    })
}

/// `caponier alerts ...`
pub fn alerts(args: alerts::Alerts, file: &Path, env: &Environment) -> anyhow::Result<ExitCode> {
    let config = load(file, env)?;
    runtime()?
        .block_on(async { alerts::run(args, &open(&config).await?, &Clock::System, &mut io::stdout()).await })
}

/// `caponier recordings ...`
pub fn recordings(command: recordings::Command, file: &Path, env: &Environment) -> anyhow::Result<ExitCode> {
    let config = load(file, env)?;
    runtime()?
        .block_on(async { recordings::run(command, &config, &open(&config).await?, &mut io::stdout()).await })
}

/// The configuration.
pub(super) fn load(file: &Path, env: &Environment) -> anyhow::Result<Config> {
    Ok(Config::load(file, env.vars()).map_err(ConfigRefused)?)
}

/// Its store.
pub(super) async fn open(config: &Config) -> anyhow::Result<Store> {
    Store::open(config.store_url.expose()).await.context("store")
}

/// The log of a server, on standard error: lines for people, or JSON.
fn start_log(json: bool) -> anyhow::Result<()> {
    let log = tracing_subscriber::fmt().with_writer(io::stderr).with_max_level(tracing::Level::INFO);
    let started = if json { log.json().try_init() } else { log.try_init() };
    started.map_err(|e| anyhow::anyhow!("the log cannot be started: {e}"))
}

/// A runtime for a server.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start")
}
