//! A connection to the target for forwards: opened with the first one, shared by a few channels, closed when nobody needs
//! it. In the store it is a session of its own (kind `forward`), with a certificate that permits forwards and nothing else.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use russh::client::{self, Handle};
use russh::{Channel, ChannelOpenFailure};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::pump::ended;
use super::{End, Failure, Forwards};
use crate::flow::authorize::{Permit, lost};
use crate::flow::change::Changes;
use crate::flow::forward::Passed;
use crate::flow::session::{self as flow, OpenSession, Outcome};
use crate::gateway::limits::{
    DRAIN, FORWARD_CONNECT, GUESTS_MAX, LANE_CHANNELS_MAX, LANE_FAILURE_LIFE, LANE_LINGER, LANES_MAX,
};
use crate::gateway::pressure::Gauge;
use crate::gateway::relay::{Limits, changed};
use crate::gateway::upstream::{self, Guest, Trust, Way};
use crate::ids::{GrantId, SessionId};
use crate::policy::{Act, RefusalCode, Target};

/// The lanes of one client connection.
#[derive(Default)]
pub(super) struct Pool {
    lanes: Vec<Arc<Lane>>,
    /// The last failure to open one, and when.
    failed: Option<(Instant, String)>,
}

impl Pool {
    /// The sessions of open connections that have taken something for one use.
    pub(super) fn sessions(&self) -> Vec<SessionId> {
        let taken = self.lanes.iter().filter(|lane| !lane.over.is_cancelled() && !lane.once.is_empty());
        taken.map(|lane| lane.session.clone()).collect()
    }
}

/// One connection.
pub(super) struct Lane {
    handle: Handle<Trust>,
    target: Target,
    session: SessionId,
    /// What is for one use and taken by its session. Channels that hang on that are on this connection and on no other, and
    /// no others are on it: whatever is on it is judged as part of its session.
    once: Vec<GrantId>,
    download: Arc<Gauge>,
    uses: AtomicUsize,
    listeners: AtomicUsize,
    changed: Notify,
    /// No more channels: something on it got stuck.
    retired: AtomicBool,
    over: CancellationToken,
    /// Why it is over, when that was our doing.
    why: Arc<OnceLock<&'static str>>,
    tasks: TaskTracker,
    bytes: Mutex<(u64, u64)>,
}

/// One channel's place on a lane.
pub(super) struct LaneUse(Arc<Lane>);

impl Drop for LaneUse {
    fn drop(&mut self) {
        self.0.uses.fetch_sub(1, Ordering::Relaxed);
        self.0.changed.notify_one();
    }
}

/// A listener's place on a lane.
pub(super) struct ListenerUse(Arc<Lane>);

impl Drop for ListenerUse {
    fn drop(&mut self) {
        self.0.listeners.fetch_sub(1, Ordering::Relaxed);
        self.0.changed.notify_one();
    }
}

/// A place on a lane that has room and is not congested, or on a new one. What is for one use is taken by the lane that is
/// opened for it, and its channels are all on that one.
pub(super) async fn take(forwards: &Arc<Forwards>, permit: &Permit) -> Result<LaneUse, Failure> {
    let asked = Instant::now();
    // Held while dialling: whoever comes meanwhile wants the same connection.
    let mut pool = forwards.pool.lock().await;
    pool.lanes.retain(|lane| !lane.over.is_cancelled());
    let fits = |lane: &&Arc<Lane>| {
        lane.once.iter().eq(permit.once())
            && lane.target == *permit.target()
            && !lane.retired.load(Ordering::Relaxed)
            && (!lane.download.is_slow() || !lane.once.is_empty())
    };
    let least = pool.lanes.iter().filter(fits).min_by_key(|lane| lane.uses.load(Ordering::Relaxed));
    if let Some(lane) = least.filter(|lane| lane.uses.load(Ordering::Relaxed) < LANE_CHANNELS_MAX) {
        return Ok(lane.take());
    }
    if pool.lanes.iter().any(|lane| permit.once().any(|one| lane.once.contains(one))) {
        return Err(Failure::Limit(LANE_CHANNELS_MAX));
    }
    if pool.lanes.len() >= LANES_MAX {
        return Err(Failure::Limit(LANES_MAX * LANE_CHANNELS_MAX));
    }
    if let Some((at, text)) = &pool.failed
        && *at >= asked
        && at.elapsed() < LANE_FAILURE_LIFE
    {
        return Err(Failure::Target(text.clone()));
    }
    match open(forwards, permit.clone()).await {
        Ok(lane) => {
            pool.lanes.push(Arc::clone(&lane));
            Ok(lane.take())
        }
        Err(failure) => {
            pool.failed = Some((Instant::now(), failure.to_string()));
            Err(failure)
        }
    }
}

/// Writes the session down, dials and logs in. The lane then keeps itself.
async fn open(forwards: &Arc<Forwards>, permit: Permit) -> Result<Arc<Lane>, Failure> {
    // In a task of its own: whoever asked may lose patience, and the session must be closed in the store all the same.
    let this = Arc::clone(forwards);
    let opening = forwards.shared.sessions.spawn(async move { this.dial(permit).await });
    opening.await.unwrap_or_else(|error| Err(forwards.broken(&error)))
}

impl Forwards {
    async fn dial(self: Arc<Self>, permit: Permit) -> Result<Arc<Lane>, Failure> {
        let app = &self.shared.app;
        let changes = app.changes();
        let recorder_failed = CancellationToken::new();
        let session = flow::open(app, permit, None, &[], recorder_failed.clone())
            .await
            .map_err(|error| self.not_begun(&error))?;
        let kill = CancellationToken::new();
        let over = CancellationToken::new();
        let download = Arc::new(Gauge::of_lane(Arc::clone(&self.pressure)));
        let (guests_in, guests) = mpsc::channel(GUESTS_MAX);
        let host_ca = app.signer.public_key(crate::ca::Authority::Host);
        let way = Way {
            host_ca,
            clock: &app.clock,
            download: Arc::clone(&download),
            kill: &kill,
            guests: Some(guests_in),
            over: over.clone(),
            limit: app.config.sessions.dial,
        };
        let connecting = upstream::connect_bare(&session, way);
        let connected = tokio::select! {
            connected = connecting => connected.map_err(|error| (error.reason(), Failure::Target(error.to_string()))),
            () = self.over.cancelled() => Err(("client-gone", Failure::Ended("client-gone"))),
            () = self.shared.drain.cancelled() => Err(("drain", Failure::Ended("drain"))),
        };
        let handle = match connected {
            Ok(handle) => handle,
            Err((reason, failure)) => {
                kill.cancel();
                self.close(session, Outcome { reason, ..Outcome::default() }).await;
                return Err(failure);
            }
        };
        let lane = Arc::new(Lane {
            handle,
            target: session.permit().target().clone(),
            session: session.id().clone(),
            once: session.permit().once().cloned().collect(),
            download,
            uses: AtomicUsize::new(0),
            listeners: AtomicUsize::new(0),
            changed: Notify::new(),
            retired: AtomicBool::new(false),
            over,
            why: Arc::default(),
            tasks: TaskTracker::new(),
            bytes: Mutex::default(),
        });
        tracing::info!(session.id = %session.id(), target = %self.route.target, "connection for forwards opened");
        let this = Arc::clone(&self);
        let kept = Arc::clone(&lane);
        self.shared
            .sessions
            .spawn(async move { this.keep(kept, session, (guests, changes), (kill, recorder_failed)).await });
        Ok(lane)
    }

    /// Until the lane is over: receives what the target opens, and watches.
    async fn keep(
        self: Arc<Self>,
        lane: Arc<Lane>,
        session: OpenSession,
        (mut guests, changes): (mpsc::Receiver<Guest>, Changes),
        (kill, recorder_failed): (CancellationToken, CancellationToken),
    ) {
        let sign_in = self.shared.watch_sign_in(self.route.caller.sign_in());
        let permit = session.permit().clone();
        let (renewed, limits) = self.limits(&permit);
        // Each forward is judged by itself; of this permit the limits are of interest, and that the connection does not
        // outlast what it was opened for.
        let mut lost = Box::pin(lost(&self.shared.app, &permit, changes, renewed));
        let watch =
            self.watch(limits.clone(), sign_in.ended.clone(), (lane.over.clone(), Arc::clone(&lane.why)));
        let mut is_lost = false;
        let reason = loop {
            tokio::select! {
                reason = ended(&watch) => break reason,
                () = recorder_failed.cancelled() => break "recorder",
                refusal = &mut lost, if !is_lost => {
                    // An order is about the session, with everything on it.
                    if refusal.code == RefusalCode::Killed {
                        break refusal.end_word();
                    }
                    is_lost = true;
                    lane.retire();
                }
                guest = guests.recv() => match guest {
                    Some(guest) => self.receive(&lane, guest),
                    None => break "target-gone",
                },
                () = lane.unused(limits.clone()) => {
                    let mut pool = self.pool.lock().await;
                    if lane.uses.load(Ordering::Relaxed) == 0 {
                        pool.lanes.retain(|other| !Arc::ptr_eq(other, &lane));
                        break lane.last_word(is_lost);
                    }
                }
            }
        };
        // What it reads holds a connection to the store, and the end is written by another.
        drop(lost);
        if lane.why.set(reason).is_err() {
            tracing::debug!("a connection for forwards ended twice");
        }
        lane.over.cancel();
        lane.tasks.close();
        // Each writes its end down before it leaves: after the seal nothing can be written.
        let all_gone = async {
            lane.tasks.wait().await;
            lane.left().await;
        };
        if timeout(DRAIN, all_gone).await.is_err() {
            tracing::warn!(session.id = %session.id(), "some forwards did not end in time");
        }
        kill.cancel();
        let (bytes_in, bytes_out) = *lane.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        tracing::info!(session.id = %session.id(), reason, "connection for forwards closed");
        self.close(session, Outcome { reason, exit_status: None, bytes_in, bytes_out }).await;
    }

    async fn close(&self, session: OpenSession, outcome: Outcome) {
        if let Err(error) = flow::close(&self.shared.app, session, outcome).await {
            tracing::error!(%error, "a session could not be closed in order; the next start seals it as interrupted");
        }
    }

    fn receive(self: &Arc<Self>, lane: &Arc<Lane>, guest: Guest) {
        let this = Arc::clone(self);
        let place = lane.take();
        lane.tasks.spawn(async move { this.arrive(place, guest).await });
    }
}

impl Lane {
    fn take(self: &Arc<Self>) -> LaneUse {
        self.uses.fetch_add(1, Ordering::Relaxed);
        LaneUse(Arc::clone(self))
    }

    /// Ready when nobody uses it any more.
    async fn left(&self) {
        loop {
            let used = self.changed.notified();
            if self.uses.load(Ordering::Relaxed) == 0 {
                return;
            }
            used.await;
        }
    }

    /// Ready when nobody has used it for a while. With a listener, that is the longest silence; without, not long.
    async fn unused(&self, mut limits: watch::Receiver<Limits>) {
        loop {
            let used = self.changed.notified();
            if self.uses.load(Ordering::Relaxed) > 0 {
                used.await;
                continue;
            }
            let idle = limits.borrow_and_update().idle;
            let listens = self.listeners.load(Ordering::Relaxed) > 0;
            if !listens && self.retired.load(Ordering::Relaxed) {
                return;
            }
            tokio::select! {
                () = used => {}
                () = changed(&mut limits) => {}
                () = sleep(if listens { idle } else { idle.min(LANE_LINGER) }) => return,
            }
        }
    }
}

impl Deref for LaneUse {
    type Target = Lane;

    fn deref(&self) -> &Lane {
        &self.0
    }
}

impl Deref for ListenerUse {
    type Target = Lane;

    fn deref(&self) -> &Lane {
        &self.0
    }
}

impl LaneUse {
    /// The place of a listener, which keeps the lane for longer.
    pub(super) fn listen(&self) -> ListenerUse {
        self.0.listeners.fetch_add(1, Ordering::Relaxed);
        ListenerUse(Arc::clone(&self.0))
    }

    pub(super) fn is_of(&self, listener: &ListenerUse) -> bool {
        Arc::ptr_eq(&self.0, &listener.0)
    }
}

impl Lane {
    pub(super) fn handle(&self) -> &Handle<Trust> {
        &self.handle
    }

    pub(super) fn session(&self) -> &SessionId {
        &self.session
    }

    /// Its end, and the word for that once there is one.
    pub(super) fn end(&self) -> End {
        (self.over.clone(), Arc::clone(&self.why))
    }

    pub(super) fn download(&self) -> Arc<Gauge> {
        Arc::clone(&self.download)
    }

    /// No more channels after those that are there.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// The word for the end of one that nobody uses.
    fn last_word(&self, is_lost: bool) -> &'static str {
        if self.listeners.load(Ordering::Relaxed) > 0 {
            "idle"
        } else if is_lost {
            "policy"
        } else {
            "finished"
        }
    }

    /// Adds to what the session has carried.
    pub(super) fn count(&self, passed: Passed) {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.0 += passed.bytes_in;
        bytes.1 += passed.bytes_out;
    }

    /// The target opens a channel for this permit.
    pub(super) async fn connect(
        &self,
        permit: &Permit,
        origin: (String, u32),
    ) -> Result<Channel<client::Msg>, Failure> {
        match timeout(FORWARD_CONNECT, self.try_hosts(permit, origin)).await {
            Ok(connected) => connected,
            Err(_) => {
                // The target may still open it when nobody waits any more; such a channel goes with the lane.
                self.retire();
                Err(Failure::TargetRefused(format!("{} does not get through", permit.target().name)))
            }
        }
    }

    async fn try_hosts(
        &self,
        permit: &Permit,
        (from, from_port): (String, u32),
    ) -> Result<Channel<client::Msg>, Failure> {
        let target = &permit.target().name;
        #[expect(clippy::wildcard_enum_match_arm, reason = "no other act is a connection from the target")]
        match &permit.ask().act {
            Act::LocalForward { port, .. } => {
                let mut failure = Failure::TargetRefused(format!("nothing to connect {target} to"));
                for host in permit.hosts() {
                    let opened = self.handle.channel_open_direct_tcpip(host, *port, &from, from_port).await;
                    match opened {
                        Ok(channel) => return Ok(channel),
                        Err(error) => {
                            failure = refused(&error, target.as_str(), &format!("{host} port {port}"))
                        }
                    }
                    if !matches!(&failure, Failure::TargetRefused(_)) {
                        break;
                    }
                }
                Err(failure)
            }
            Act::LocalSocket { path } => self
                .handle
                .channel_open_direct_streamlocal(path)
                .await
                .map_err(|error| refused(&error, target.as_str(), path)),
            _ => Err(Failure::Ended("unknown")),
        }
    }
}

/// russh's answer to an open, for people.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "russh's list of errors is open; the rest speak for themselves"
)]
fn refused(error: &russh::Error, target: &str, what: &str) -> Failure {
    match error {
        russh::Error::ChannelOpenFailure(ChannelOpenFailure::AdministrativelyProhibited) => {
            Failure::TargetRefused(format!(
                "{target} does not allow this forward to {what}: see AllowTcpForwarding, AllowStreamLocalForwarding and PermitOpen in its sshd_config"
            ))
        }
        russh::Error::ChannelOpenFailure(_) => {
            Failure::TargetRefused(format!("{target} cannot connect to {what}"))
        }
        other => Failure::Target(format!("{target} broke off: {other}")),
    }
}
