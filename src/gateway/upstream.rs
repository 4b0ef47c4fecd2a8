//! To the target we are the client: address from the permit, host key against host CA or pin, one certificate, exactly
//! one attempt to authenticate (PerSourcePenalties of sshd 9.8 would lock out everybody behind our address).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::client::{self, Handle};
use russh::keys::PublicKeyOrCertificate;
use russh::keys::ssh_key::PublicKey;
use russh::{Channel, ChannelOpenFailure};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::pressure::{Brake, Gauge, Paced};
use super::wire::{self, Socket};
use crate::ca::verify;
use crate::flow::session::OpenSession;
use crate::policy::{HostKey, Target};
use crate::time::Clock;

/// Why there is no connection to the target. `Display` is one line for the user.
#[derive(Debug, thiserror::Error)]
pub(super) enum UpstreamError {
    #[error("{target} cannot be reached: {why}")]
    Unreachable { target: String, why: String },
    #[error("{target} did not answer within {secs} s")]
    TimedOut { target: String, secs: u64 },
    #[error("{target} showed a host key that is not trusted, so nothing was sent: {why}")]
    HostKey { target: String, why: String },
    #[error(
        "{target} refused the bastion's certificate for {login}: does the account exist there, and is the target CA in its TrustedUserCAKeys?"
    )]
    Refused { target: String, login: String },
    #[error("{target} broke off: {why}")]
    Protocol { target: String, why: String },
}

impl UpstreamError {
    /// The word for the audit.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } => "target-unreachable",
            Self::HostKey { .. } => "host-key",
            Self::Refused { .. } => "target-refused",
            Self::Protocol { .. } => "target-gone",
        }
    }
}

/// A logged-in connection to a target with one session channel.
pub(super) struct Upstream {
    /// The connection; dropping it ends it.
    pub(super) handle: Handle<Trust>,
    /// Its one channel.
    pub(super) channel: Channel<client::Msg>,
}

/// A channel that a target opens, not answered yet.
pub(super) struct Guest {
    pub(super) knock: Knock,
    pub(super) channel: Channel<client::Msg>,
    pub(super) reply: client::ChannelOpenHandle,
}

/// What such a channel is for, as the target says.
pub(super) enum Knock {
    /// Somebody came to a listener (RFC 4254 section 7.2).
    Tcp { address: String, port: u32, from: String, from_port: u32 },
    /// The same for a Unix socket.
    Socket { path: String },
    /// A program wants the client's agent.
    Agent,
    /// A program wants the client's display (RFC 4254 section 6.3.2).
    X11 { from: String, from_port: u32 },
}

impl Knock {
    /// Who came, where that is known.
    pub(super) fn origin(&self) -> Option<String> {
        match self {
            Self::Tcp { from, from_port, .. } | Self::X11 { from, from_port } => {
                let from: String = from.chars().take(64).collect();
                Some(format!("{from} port {from_port}"))
            }
            Self::Socket { .. } | Self::Agent => None,
        }
    }
}

/// What a connection to a target needs besides its session.
pub(super) struct Way<'a> {
    pub(super) host_ca: &'a PublicKey,
    pub(super) clock: &'a Clock,
    /// What comes from the target.
    pub(super) download: Arc<Gauge>,
    /// Cancelled to cut it.
    pub(super) kill: &'a CancellationToken,
    /// Who receives what the target opens; without, every such channel is refused.
    pub(super) guests: Option<mpsc::Sender<Guest>>,
    /// Cancelled when the connection is over.
    pub(super) over: CancellationToken,
    /// How long it may take.
    pub(super) limit: Duration,
}

/// Dials, checks the host key, logs in once and opens a session channel, all within the limit.
pub(super) async fn connect(session: &OpenSession, way: Way<'_>) -> Result<Upstream, UpstreamError> {
    within(session, way.limit, async {
        let handle = dial(session, way).await?;
        let name = &session.permit().target().name;
        let channel = handle.channel_open_session().await.map_err(|e| broken(name.as_str(), &e))?;
        Ok(Upstream { handle, channel })
    })
    .await
}

/// The same without a channel.
pub(super) async fn connect_bare(
    session: &OpenSession,
    way: Way<'_>,
) -> Result<Handle<Trust>, UpstreamError> {
    within(session, way.limit, dial(session, way)).await
}

async fn within<T>(
    session: &OpenSession,
    limit: Duration,
    connecting: impl Future<Output = Result<T, UpstreamError>>,
) -> Result<T, UpstreamError> {
    let target = session.permit().target();
    match timeout(limit, connecting).await {
        Ok(result) => result,
        Err(_) => Err(UpstreamError::TimedOut { target: target.name.to_string(), secs: limit.as_secs() }),
    }
}

async fn dial(session: &OpenSession, way: Way<'_>) -> Result<Handle<Trust>, UpstreamError> {
    let permit = session.permit();
    let target = permit.target();
    let name = || target.name.to_string();
    let unreachable = |e: std::io::Error| UpstreamError::Unreachable { target: name(), why: plain(&e) };
    let stream = TcpStream::connect((target.host.as_str(), target.port)).await.map_err(unreachable)?;
    let stream = Paced::new(Socket::new(stream).map_err(unreachable)?, Brake::Target(way.download), way.kill);
    let objection = Arc::new(Mutex::new(None));
    let trust = Trust {
        target: target.clone(),
        host_ca: way.host_ca.clone(),
        clock: way.clock.clone(),
        objection: Arc::clone(&objection),
        guests: way.guests,
        _over: way.over.drop_guard(),
    };
    let mut handle =
        client::connect_stream(wire::client(&target.host_key), stream, trust).await.map_err(|e| {
            match objection.lock().unwrap_or_else(PoisonError::into_inner).take() {
                Some(why) => UpstreamError::HostKey { target: name(), why },
                None => broken(&name(), &e),
            }
        })?;
    let (key, certificate) = session.credential();
    let login = &permit.ask().login;
    let answer = handle
        .authenticate_openssh_cert(login.as_str(), Arc::new(key.clone()), certificate.clone())
        .await
        .map_err(|e| broken(&name(), &e))?;
    if !answer.success() {
        return Err(UpstreamError::Refused { target: name(), login: login.to_string() });
    }
    Ok(handle)
}

/// russh's errors in words for a user.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "russh's list of errors is open; the rest speak for themselves"
)]
fn broken(target: &str, error: &russh::Error) -> UpstreamError {
    let target = target.to_owned();
    match error {
        russh::Error::NoCommonAlgo { kind: russh::AlgorithmKind::Key, .. } => UpstreamError::HostKey {
            target,
            why: "it has no host key of the kind the policy asks for (host certificate or pinned key)".into(),
        },
        russh::Error::IO(e) => UpstreamError::Protocol { target, why: plain(e) },
        other => UpstreamError::Protocol { target, why: other.to_string() },
    }
}

/// The operating system's words without its error number.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// Decides about the target's host key, and hands on the channels that a target opens where somebody receives them; every
/// other is refused.
pub(super) struct Trust {
    target: Target,
    host_ca: PublicKey,
    clock: Clock,
    objection: Arc<Mutex<Option<String>>>,
    guests: Option<mpsc::Sender<Guest>>,
    _over: DropGuard,
}

impl Trust {
    /// Never waits: the connection's loop runs this. A guest nobody has room for is refused by being dropped.
    fn announce(&self, knock: Knock, channel: Channel<client::Msg>, reply: client::ChannelOpenHandle) {
        if let Some(guests) = &self.guests
            && guests.try_send(Guest { knock, channel, reply }).is_err()
        {
            tracing::warn!(target = %self.target.name, "the target opens too many channels at once; refused");
        }
    }

    fn judge(&self, shown: &PublicKeyOrCertificate) -> Result<(), String> {
        match (&self.target.host_key, shown) {
            (HostKey::Ca { principal }, PublicKeyOrCertificate::Certificate(certificate)) => {
                verify::verify_host(certificate, &self.host_ca, principal, self.clock.now()).map_err(|e| e.reason)
            }
            (HostKey::Ca { .. }, PublicKeyOrCertificate::PublicKey { .. }) => {
                Err("it has no host certificate; run `caponier ca sign-host` for it, or pin its key in the policy".into())
            }
            (HostKey::Pinned(lines), PublicKeyOrCertificate::PublicKey { key, .. }) => {
                let known = lines
                    .iter()
                    .filter_map(|line| PublicKey::from_openssh(line).ok())
                    .any(|pinned| pinned.key_data() == key.key_data());
                known.then_some(()).ok_or_else(|| {
                    format!("its key {} is not pinned in the policy", key.fingerprint(russh::keys::HashAlg::Sha256))
                })
            }
            (HostKey::Pinned(_), PublicKeyOrCertificate::Certificate(_)) => {
                Err("it showed a certificate where the policy pins a key".into())
            }
        }
    }
}

impl client::Handler for Trust {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        match self.judge(shown) {
            Ok(()) => Ok(true),
            Err(why) => {
                *self.objection.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
                Ok(false)
            }
        }
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        channel: Channel<client::Msg>,
        address: &str,
        port: u32,
        from: &str,
        from_port: u32,
        reply: client::ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        let (address, from) = (address.to_owned(), from.to_owned());
        self.announce(Knock::Tcp { address, port, from, from_port }, channel, reply);
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        channel: Channel<client::Msg>,
        path: &str,
        reply: client::ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        self.announce(Knock::Socket { path: path.to_owned() }, channel, reply);
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        channel: Channel<client::Msg>,
        reply: client::ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        self.announce(Knock::Agent, channel, reply);
        Ok(())
    }

    async fn server_channel_open_unknown(
        &mut self,
        _: Channel<client::Msg>,
        reply: client::ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        refuse(reply).await
    }

    async fn server_channel_open_session(
        &mut self,
        _: Channel<client::Msg>,
        reply: client::ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        refuse(reply).await
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _: Channel<client::Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        reply: client::ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        refuse(reply).await
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _: Channel<client::Msg>,
        _: &str,
        reply: client::ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        refuse(reply).await
    }

    async fn server_channel_open_x11(
        &mut self,
        channel: Channel<client::Msg>,
        from: &str,
        from_port: u32,
        reply: client::ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        self.announce(Knock::X11 { from: from.to_owned(), from_port }, channel, reply);
        Ok(())
    }
}

/// russh's client accepts such channels unless told otherwise.
async fn refuse(reply: client::ChannelOpenHandle) -> Result<(), russh::Error> {
    reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
    Ok(())
}
