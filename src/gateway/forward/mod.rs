//! The forwards of one client connection: connections from the target for the client (`-L`, `-D`, `-W`), listeners at the
//! target (`-R`), Unix sockets both ways, and the channels that a target opens for agent and display.
//!
//! Each is asked for and judged by itself, the thousandth as the first; a refusal is a failed channel with one line that
//! says why. What is allowed stands in the audit log before the target hears of it. Forwards have connections to the target
//! of their own (`lane`), so that a session's certificate never permits them and a session never waits behind them.
//!
//! `listen` keeps listeners, `guest` receives what the target opens, `pump` moves bytes.

mod guest;
mod lane;
mod listen;
mod pump;

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};

use russh::server::{self, Msg};
use russh::{Channel, ChannelOpenFailure};
use tokio::sync::{Mutex, Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::desk::Route;
use super::limits::{DESTINATION_MAX, FORWARDS_MAX, LISTENERS_MAX};
use super::overheard::Overheard;
use super::pressure::Pressure;
use super::relay::Limits;
use super::session::limits_of;
use super::shared::Shared;
use crate::flow::authorize::{Answer, Permit, authorize, authorize_among, authorize_in, overruled};
use crate::flow::destination::resolved;
use crate::flow::forward::{self as flow, Direction, Passed};
use crate::flow::session::SessionError;
use crate::ids::SessionId;
use crate::policy::{Act, Ask, RefusalCode};
use crate::store::StoreError;
use lane::{LaneUse, Pool};
use listen::Listener;
use pump::{Ends, Watch};

pub(super) use guest::Invitation;

/// The forwards of one connection.
pub(super) struct Forwards {
    shared: Arc<Shared>,
    route: Route,
    pressure: Arc<Pressure>,
    /// Cancelled when the client's connection is over.
    over: CancellationToken,
    /// The way to open channels towards the client; known once it is authenticated.
    handle: OnceLock<server::Handle>,
    room: Arc<Semaphore>,
    /// Every forwarded channel, to be waited for.
    open: TaskTracker,
    pool: Mutex<Pool>,
    listeners: std::sync::Mutex<Vec<Arc<Listener>>>,
    listeners_room: Arc<Semaphore>,
    /// Listeners being registered; `registered` is woken when one is done.
    registering: AtomicUsize,
    registered: Notify,
    /// Held by every session of this connection.
    sessions: Arc<()>,
}

/// Why a forward does not come about. `Display` is for the user.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The policy says no.
    #[error("{text} [{code}]")]
    Refused { text: String, code: &'static str },
    /// Too many at once.
    #[error("at most {0} at once over one connection [limit]")]
    Limit(usize),
    /// No connection to the target.
    #[error("{0}")]
    Target(String),
    /// The target says no, or cannot connect.
    #[error("{0}")]
    TargetRefused(String),
    /// We are broken; the log has the rest under this number.
    #[error("the bastion cannot open forwards right now (reference {0}); nothing was sent")]
    Broken(String),
    /// Something ended it before it began: the word for the audit.
    #[error("it ended before it began: {0}")]
    Ended(&'static str),
}

impl Failure {
    /// What the peer that asked for the channel hears.
    fn answer(&self) -> ChannelOpenFailure {
        let code = match self {
            Self::Refused { .. } => 1,
            Self::Target(_) | Self::TargetRefused(_) => 2,
            Self::Limit(_) | Self::Broken(_) | Self::Ended(_) => 4,
        };
        // Parts of the text can come from the client itself.
        let plain = crate::plain::shown(&self.to_string());
        ChannelOpenFailure::Other { code, reason: format!("caponier: {plain}") }
    }

    /// The word for the audit.
    fn word(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "policy",
            Self::Limit(_) => "limit",
            Self::Target(_) => "target-unreachable",
            Self::TargetRefused(_) => "refused",
            Self::Broken(_) => "broken",
            Self::Ended(word) => word,
        }
    }
}

impl Forwards {
    pub(super) fn new(
        shared: Arc<Shared>,
        route: Route,
        pressure: Arc<Pressure>,
        over: CancellationToken,
    ) -> Self {
        Self {
            shared,
            route,
            pressure,
            over,
            handle: OnceLock::new(),
            room: Arc::new(Semaphore::new(FORWARDS_MAX)),
            open: TaskTracker::new(),
            pool: Mutex::default(),
            listeners: std::sync::Mutex::default(),
            listeners_room: Arc::new(Semaphore::new(LISTENERS_MAX)),
            registering: AtomicUsize::new(0),
            registered: Notify::new(),
            sessions: Arc::default(),
        }
    }

    /// The client is authenticated; channels can be opened towards it. What it asks for and russh does not know is written
    /// down from now on.
    pub(super) fn ready(self: &Arc<Self>, handle: server::Handle, overheard: Arc<Overheard>) {
        let this = Arc::clone(self);
        self.shared.sessions.spawn(async move { this.note_unknown(&overheard).await });
        if self.handle.set(handle).is_err() {
            tracing::debug!("a client was authenticated twice");
        }
    }

    async fn note_unknown(&self, overheard: &Overheard) {
        let mut last = false;
        while !last {
            let names = tokio::select! {
                names = overheard.unknown() => names,
                () = self.over.cancelled() => {
                    last = true;
                    overheard.unknown_so_far()
                }
                () = self.shared.drain.cancelled() => {
                    last = true;
                    overheard.unknown_so_far()
                }
            };
            for name in names {
                let act = if name == "channel tun@openssh.com" { Act::Tun } else { Act::Unknown { name } };
                self.refuse(act).await;
            }
        }
    }

    /// To be held as long as a session of this connection lasts.
    pub(super) fn session(&self) -> Arc<()> {
        Arc::clone(&self.sessions)
    }

    /// A question about this connection's target and login.
    pub(super) fn ask(&self, act: Act) -> Ask {
        Ask { target: self.route.target.clone(), login: self.route.login.clone(), act }
    }

    /// `direct-tcpip`: the target is to connect to `host`. Answers when it has.
    pub(super) fn open_tcp(
        self: &Arc<Self>,
        channel: Channel<Msg>,
        (host, port): (&str, u32),
        origin: (&str, u32),
        reply: server::ChannelOpenHandle,
    ) {
        let ask = self.ask(Act::LocalForward { host: cut(host), port, resolved: Vec::new() });
        self.open(ask, channel, (cut(origin.0), origin.1), reply);
    }

    /// `direct-streamlocal@openssh.com`: the target is to connect to a Unix socket.
    pub(super) fn open_socket(
        self: &Arc<Self>,
        channel: Channel<Msg>,
        path: &str,
        reply: server::ChannelOpenHandle,
    ) {
        let ask = self.ask(Act::LocalSocket { path: cut(path) });
        self.open(ask, channel, (String::new(), 0), reply);
    }

    /// What a program may use while it runs: agent or display.
    pub(super) async fn beside(&self, act: Act) -> Option<Permit> {
        // Of the session that is to begin, which takes what is for one use, or does without.
        match self.permit_in(self.ask(act), None).await {
            Ok(permit) => Some(permit),
            Err(failure) => {
                tracing::info!(target = %self.route.target, %failure, "not passed on");
                None
            }
        }
    }

    /// A request or channel that nobody opens here; the refusal is on record when this is ready.
    pub(super) async fn refuse(&self, act: Act) {
        match authorize(&self.shared.app, &self.route.caller, self.ask(act)).await {
            Ok(Err(_)) => {}
            Ok(Ok(permit)) => {
                tracing::error!(act = ?permit.ask().act, "allowed, but there is no way to do it")
            }
            Err(error) => tracing::error!(%error, "a refusal could not be audited"),
        }
    }

    fn open(
        self: &Arc<Self>,
        ask: Ask,
        channel: Channel<Msg>,
        origin: (String, u32),
        reply: server::ChannelOpenHandle,
    ) {
        let this = Arc::clone(self);
        self.shared.sessions.spawn(async move {
            match this.room() {
                Ok(_room) => this.carry_out(ask, channel, origin, reply).await,
                Err(failure) => reply.reject(failure.answer()).await,
            }
        });
    }

    async fn carry_out(
        self: &Arc<Self>,
        ask: Ask,
        channel: Channel<Msg>,
        origin: (String, u32),
        reply: server::ChannelOpenHandle,
    ) {
        let app = &self.shared.app;
        // Watching begins before judging, so that no end of the sign-in and no other policy falls between the two.
        let sign_in = self.shared.watch_sign_in(self.route.caller.sign_in());
        let changes = app.changes();
        let ask = resolved(app, &self.route.caller, ask).await;
        let begun = async {
            let permit = self.permit(ask).await?;
            let lane = self.lane(&permit).await?;
            let permit = permit.of_session(lane.session());
            let opened =
                flow::opened(app, lane.session(), &permit, Direction::Local, permit.hosts().to_vec())
                    .await
                    .map_err(|error| self.broken(&error))?;
            Ok((permit, lane, opened))
        };
        let (permit, lane, opened) = match begun.await {
            Ok(begun) => begun,
            Err(failure) => return reply.reject(Failure::answer(&failure)).await,
        };
        let (renewed, limits) = self.limits(&permit);
        let overruled = overruled(app, &permit, changes, renewed, |_| {});
        tokio::pin!(overruled);
        let watch = self.watch(limits, sign_in.ended.clone(), lane.end());
        let connected = tokio::select! {
            connected = lane.connect(&permit, origin) => connected,
            _refusal = &mut overruled => Err(Failure::Ended("policy")),
            word = pump::ended(&watch) => Err(Failure::Ended(word)),
        };
        let passed = match connected {
            Ok(target) => {
                reply.accept().await;
                let ends = Ends {
                    client: channel,
                    target,
                    pressure: Arc::clone(&self.pressure),
                    download: lane.download(),
                };
                pump::pump(ends, &watch, overruled).await
            }
            Err(failure) => {
                reply.reject(failure.answer()).await;
                Passed::nothing(failure.word())
            }
        };
        if passed.reason == "policy" {
            // The connection goes as soon as nobody else needs it.
            lane.retire();
        }
        lane.count(passed);
        flow::closed(app, opened, passed).await;
    }

    /// A place for one more channel, to be held until it is closed.
    fn room(&self) -> Result<(OwnedSemaphorePermit, TaskTrackerToken), Failure> {
        let place = Arc::clone(&self.room).try_acquire_owned().map_err(|_| Failure::Limit(FORWARDS_MAX))?;
        Ok((place, self.open.token()))
    }

    async fn permit(&self, ask: Ask) -> Result<Permit, Failure> {
        // A grant for one use may have been taken by a connection for forwards.
        let sessions = self.pool.lock().await.sessions();
        self.permitted(authorize_among(&self.shared.app, &self.route.caller, ask, &sessions).await)
    }

    /// The same as part of a session that has begun.
    async fn permit_in(&self, ask: Ask, session: Option<&SessionId>) -> Result<Permit, Failure> {
        self.permitted(authorize_in(&self.shared.app, &self.route.caller, ask, session).await)
    }

    fn permitted(&self, answer: Result<Answer, StoreError>) -> Result<Permit, Failure> {
        match answer {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(refusal)) => Err(Failure::Refused { text: refusal.text, code: refusal.code.as_str() }),
            Err(error) => Err(self.broken(&error)),
        }
    }

    /// We are broken: the user gets a number, the log gets the rest.
    fn broken(&self, error: &dyn std::error::Error) -> Failure {
        let reference = format!("{:08x}", self.shared.app.random.u64() >> 32);
        tracing::error!(reference, %error, "a forward could not begin");
        Failure::Broken(reference)
    }

    /// What ends by itself what is begun now under this permit, and what tells of a new permit.
    fn limits(&self, permit: &Permit) -> (impl Fn(&Permit), watch::Receiver<Limits>) {
        let app = &self.shared.app;
        let started = Instant::now();
        let sign_in_ends = started + self.route.caller.sign_in_expires().since(app.clock.now());
        let of = move |permit: &Permit| limits_of(app, permit, started, sign_in_ends);
        let (renew, limits) = watch::channel(of(permit));
        let renewed = move |new: &Permit| {
            renew.send_replace(of(new));
        };
        (renewed, limits)
    }

    fn watch(
        &self,
        limits: watch::Receiver<Limits>,
        sign_in_ended: CancellationToken,
        (target_over, target_end): End,
    ) -> Watch {
        Watch {
            limits,
            sign_in_ended,
            drain: self.shared.drain.clone(),
            over: self.over.clone(),
            target_over,
            target_end,
        }
    }

    /// A session could not begin: there is nothing granted any more, or we are broken.
    fn not_begun(&self, error: &SessionError) -> Failure {
        match error {
            SessionError::GrantOver => {
                Failure::Refused { text: error.to_string(), code: RefusalCode::ByRequest.as_str() }
            }
            SessionError::DiskFull => Failure::Refused { text: error.to_string(), code: "no-room" },
            SessionError::Store(_)
            | SessionError::Recorder(_)
            | SessionError::Signer(_)
            | SessionError::Draft(_)
            | SessionError::Key(_) => self.broken(error),
        }
    }

    async fn lane(self: &Arc<Self>, permit: &Permit) -> Result<LaneUse, Failure> {
        tokio::select! {
            lane = lane::take(self, permit) => lane,
            () = self.over.cancelled() => Err(Failure::Ended("client-gone")),
            () = self.shared.drain.cancelled() => Err(Failure::Ended("drain")),
        }
    }
}

/// The end of a connection to a target, and what word the audit has for it.
type End = (CancellationToken, Arc<OnceLock<&'static str>>);

/// What is longer than any host or path is cut, and is none after that either.
fn cut(text: &str) -> String {
    text.chars().take(DESTINATION_MAX).collect()
}
