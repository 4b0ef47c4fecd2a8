//! Life of the server process: read and check everything, bind the doors, seal what a crash left, serve, drain.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::audit::AuditEvent;
use crate::ca::{self, Signer};
use crate::config::{Config, Problem};
use crate::random::Random;
use crate::recording::Recordings;
use crate::recording::key::RecordingKey;
use crate::store::Store;
use crate::time::Clock;
use crate::{flow, gateway, jobs, policy, web};

/// How long the doors may take to close after a signal.
const STOP: Duration = Duration::from_secs(15);

/// A server whose doors are bound but not yet open.
pub struct Server {
    app: App,
    ssh: TcpListener,
    web: TcpListener,
    host_key: russh::keys::ssh_key::PrivateKey,
}

/// The configuration or the policy is refused; every problem has its line.
#[derive(Debug, thiserror::Error)]
#[error("{}", report(.0))]
pub struct ConfigRefused(pub Vec<Problem>);

/// Problems of a file, one a line.
fn report(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Reads configuration and policy. Every problem of both is in the error.
pub fn read(path: &Path, env: &BTreeMap<String, String>) -> anyhow::Result<(Config, policy::Policy)> {
    let config = Config::load(path, env).map_err(ConfigRefused)?;
    let policy = policy::load_for(&config.policy_file, &config).map_err(ConfigRefused)?;
    Ok((config, policy))
}

/// Opens keys and store and puts the parts together.
pub async fn assemble(
    config: Config,
    policy: policy::Policy,
    clock: Clock,
    random: Random,
) -> anyhow::Result<App> {
    let signer = Signer::open(&config.ca).await.context("certificate authorities")?;
    let store = Store::open(config.store_url.expose()).await.context("store")?;
    let node: Arc<str> = node_name(config.ssh.listen.port()).into();
    let key = RecordingKey::new(ca::init::recording_key(&config.state_dir, &random)?);
    let recordings = Recordings::new(config.recording.clone(), key, Arc::clone(&node));
    let app = App {
        recordings: Arc::new(recordings),
        config: Arc::new(config),
        policy: Arc::new(watch::Sender::new(Arc::new(policy))),
        store,
        signer,
        clock,
        random,
        desk: Arc::new(flow::Desk::default()),
        node,
    };
    flow::recheck::prepare(&app)?;
    Ok(app)
}

/// Stable over restarts, different for every server that can run at the same time.
fn node_name(port: u16) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    format!("{}:{port}", if host.is_empty() { "bastion" } else { host })
}

impl Server {
    /// Binds both doors; nothing is served yet. The addresses are taken from the configuration.
    pub async fn bind(app: App) -> anyhow::Result<Self> {
        let listen = app.config.ssh.listen;
        let ssh = TcpListener::bind(listen)
            .await
            .with_context(|| format!("cannot listen on ssh.listen = {listen}"))?;
        let listen = app.config.web.listen;
        let web = TcpListener::bind(listen)
            .await
            .with_context(|| format!("cannot listen on web.listen = {listen}"))?;
        Self::on(app, ssh, web)
    }

    /// Takes listeners that are bound already.
    pub fn on(app: App, ssh: TcpListener, web: TcpListener) -> anyhow::Result<Self> {
        let host_key = ca::init::host_key(&app.config.state_dir, &app.random)?;
        Ok(Self { app, ssh, web, host_key })
    }

    /// Serves until `stop`; returns when both doors are closed and every session is sealed.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let Self { app, ssh, web, host_key } = self;
        flow::evidence::register_key(&app).await.context("recording key")?;
        let interrupted =
            flow::session::seal_interrupted(&app).await.context("sealing interrupted sessions")?;
        let started = AuditEvent::ServerStarted { version: env!("CARGO_PKG_VERSION").into(), interrupted };
        app.store.note(app.clock.now(), started).await.context("audit")?;
        tracing::info!(
            ssh = %ssh.local_addr()?,
            web = %web.local_addr()?,
            interrupted,
            node = %app.node,
            "ready"
        );
        let seen = flow::change::end_of_log(&app).await.context("audit")?;
        let gateway = tokio::spawn(gateway::serve(app.clone(), host_key, ssh, stop.clone()));
        let web = tokio::spawn(web::serve(app.clone(), web, stop.clone()));
        let jobs = tokio::spawn(jobs::run(app.clone(), seen, stop.clone()));
        stop.cancelled().await;
        let closing = async {
            gateway.await.context("gateway")?;
            web.await.context("web")??;
            jobs.await.context("jobs")?;
            // Signed when everything else of this life has been written.
            if let Err(error) = flow::log::checkpoint::last(&app).await {
                tracing::error!(%error, "the end of the audit log could not be signed");
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(STOP, closing).await.context("the doors did not close in time")?
    }
}

/// `caponier serve`: until SIGTERM or SIGINT.
pub async fn serve(path: &Path, env: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let (config, policy) = read(path, env)?;
    for note in config.notes() {
        tracing::warn!("{note}");
    }
    let app = assemble(config, policy, Clock::System, Random::System).await?;
    let server = Server::bind(app).await?;
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let on_signal = stop.clone();
    let signals = tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        on_signal.cancel();
    });
    let result = server.run(stop).await;
    signals.abort();
    result
}
