//! Listeners at the target (`-R`): asked for by global requests, whose answers must come in order, so they are given within
//! the callback and a deadline.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use russh::Disconnect;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::lane::{Lane, LaneUse, ListenerUse};
use super::{Direction, Failure, Forwards, cut, flow};
use crate::flow::authorize::{Permit, overruled};
use crate::flow::change::Changes;
use crate::flow::forward::{OpenForward, Passed};
use crate::gateway::limits::{GUEST_PATIENCE, LISTEN_GRACE, LISTENERS_MAX};
use crate::policy::Act;
use crate::policy::forwards::Host;

/// One listener.
pub(super) struct Listener {
    /// As the client asked for it; what it hears of connections names it so.
    pub(super) asked: String,
    /// As the target was asked; what comes from the target names it so.
    sent: String,
    /// The port it listens on; 0 for a socket, and while the target has not said which it chose.
    pub(super) port: u32,
    pub(super) permit: Permit,
    place: ListenerUse,
    /// Cancelled to end it.
    end: CancellationToken,
    /// Cancelled when the target has been told.
    ended: CancellationToken,
    _room: OwnedSemaphorePermit,
}

impl Forwards {
    /// `tcpip-forward`: the port it listens on, or no.
    pub(in crate::gateway) async fn listen_tcp(self: &Arc<Self>, address: &str, port: u32) -> Option<u32> {
        self.listen(Act::RemoteForward { host: cut(address), port }).await
    }

    /// `streamlocal-forward@openssh.com`.
    pub(in crate::gateway) async fn listen_socket(self: &Arc<Self>, path: &str) -> bool {
        self.listen(Act::RemoteSocket { path: cut(path) }).await.is_some()
    }

    /// `cancel-tcpip-forward`: false when there is no such listener. Connections that are open stay.
    pub(in crate::gateway) async fn cancel_tcp(&self, address: &str, port: u32) -> bool {
        self.cancel(|listener| listener.is_tcp() && listener.asked == address && listener.port == port).await
    }

    /// `cancel-streamlocal-forward@openssh.com`.
    pub(in crate::gateway) async fn cancel_socket(&self, path: &str) -> bool {
        self.cancel(|listener| !listener.is_tcp() && listener.asked == path).await
    }

    /// The listener that a connection from the target came to. While one is being registered it may come a moment early.
    pub(super) async fn listener(
        &self,
        lane: &LaneUse,
        sent: &str,
        port: Option<u32>,
    ) -> Option<Arc<Listener>> {
        let fits = |listener: &&Arc<Listener>| {
            lane.is_of(&listener.place)
                && match port {
                    None => !listener.is_tcp() && listener.sent == sent,
                    Some(port) => listener.is_tcp() && listener.sent == sent && listener.port == port,
                }
        };
        let search = async {
            loop {
                let registered = self.registered.notified();
                tokio::pin!(registered);
                registered.as_mut().enable();
                let waits = self.registering.load(Ordering::Acquire) > 0;
                if let Some(found) = self.listeners().iter().find(fits) {
                    return Some(Arc::clone(found));
                }
                if !waits {
                    return None;
                }
                registered.await;
            }
        };
        timeout(GUEST_PATIENCE, search).await.ok().flatten()
    }

    async fn listen(self: &Arc<Self>, act: Act) -> Option<u32> {
        match self.try_listen(act).await {
            Ok(port) => Some(port),
            Err(failure) => {
                tracing::info!(target = %self.route.target, %failure, "no listener");
                None
            }
        }
    }

    async fn try_listen(self: &Arc<Self>, act: Act) -> Result<u32, Failure> {
        let Ok(room) = Arc::clone(&self.listeners_room).try_acquire_owned() else {
            return Err(Failure::Limit(LISTENERS_MAX));
        };
        let changes = self.shared.app.changes();
        let permit = self.permit(self.ask(act)).await?;
        let (asked, port) = place_of(&permit.ask().act);
        if self.listeners().iter().any(|known| known.asked == asked && known.port == port && port != 0) {
            return Err(Failure::TargetRefused(format!("{asked} port {port} is forwarded already")));
        }
        let is_tcp = matches!(permit.ask().act, Act::RemoteForward { .. });
        let sent = if is_tcp { sent(&asked) } else { asked.clone() };
        let lane = self.lane(&permit).await?;
        let permit = permit.of_session(lane.session());
        let app = &self.shared.app;
        let opened = flow::opened(app, lane.session(), &permit, Direction::Listen, Vec::new())
            .await
            .map_err(|error| self.broken(&error))?;
        let registering = Registering::begin(self);
        let requested =
            timeout(LISTEN_GRACE, self.request(&lane, &sent, permit)).await.unwrap_or_else(|_| {
                // It may still listen some day; that goes with the connection.
                lane.retire();
                Err(Failure::TargetRefused(format!(
                    "{} did not answer a request to listen",
                    self.route.target
                )))
            });
        let (permit, port) = match requested {
            Ok(listening) => listening,
            Err(failure) => {
                flow::closed(app, opened, Passed::nothing(failure.word())).await;
                return Err(failure);
            }
        };
        let listener = Arc::new(Listener {
            asked,
            sent,
            port,
            permit,
            place: lane.listen(),
            end: CancellationToken::new(),
            ended: CancellationToken::new(),
            _room: room,
        });
        self.listeners().push(Arc::clone(&listener));
        drop(registering);
        let this = Arc::clone(self);
        self.shared.sessions.spawn(async move { this.stand(listener, changes, opened).await });
        Ok(port)
    }

    /// Asks the target to listen. When it chooses the port, its choice is judged as if it had been asked for.
    async fn request(&self, lane: &LaneUse, sent: &str, permit: Permit) -> Result<(Permit, u32), Failure> {
        let target = &permit.target().name;
        let refused = |error: russh::Error| {
            #[expect(clippy::wildcard_enum_match_arm, reason = "russh's list of errors is open")]
            let why = match error {
                russh::Error::RequestDenied => {
                    "does not listen for us: see AllowTcpForwarding, AllowStreamLocalForwarding and PermitListen in its sshd_config, and whether the port is taken".to_owned()
                }
                other => format!("broke off: {other}"),
            };
            Failure::TargetRefused(format!("{target} {why}"))
        };
        let Act::RemoteForward { host, port } = &permit.ask().act else {
            lane.handle().streamlocal_forward(sent).await.map_err(refused)?;
            return Ok((permit, 0));
        };
        let chosen = lane.handle().tcpip_forward(sent, *port).await.map_err(refused)?;
        if *port != 0 {
            let port = *port;
            return Ok((permit, port));
        }
        let ask = self.ask(Act::RemoteForward { host: host.clone(), port: chosen });
        match self.permit_in(ask, Some(lane.session())).await {
            Ok(permit) => Ok((permit, chosen)),
            Err(failure) => {
                unlisten(lane, sent, Some(chosen)).await;
                Err(failure)
            }
        }
    }

    /// Keeps a listener until it ends.
    async fn stand(self: Arc<Self>, listener: Arc<Listener>, changes: Changes, opened: OpenForward) {
        let app = &self.shared.app;
        let (over, why) = listener.place.end();
        let reason = tokio::select! {
            () = listener.end.cancelled() => "finished",
            refusal = overruled(app, &listener.permit, changes, |_| {}, |_| {}) => refusal.end_word(),
            () = over.cancelled() => why.get().copied().unwrap_or("target-gone"),
            () = self.over.cancelled() => "client-gone",
        };
        self.listeners().retain(|other| !Arc::ptr_eq(other, &listener));
        if !over.is_cancelled() {
            unlisten(&listener.place, &listener.sent, listener.is_tcp().then_some(listener.port)).await;
        }
        flow::closed(app, opened, Passed::nothing(reason)).await;
        listener.ended.cancel();
        if !matches!(reason, "finished" | "client-gone") {
            self.lost(reason).await;
        }
    }

    /// A listener is gone that its client still counts on. A client that has nothing else here would wait for ever; it is
    /// sent away with a reason, as when a direct connection breaks, so that it can come again.
    async fn lost(&self, reason: &'static str) {
        // What was open over the same connection to the target is just ending.
        self.open.close();
        if timeout(LISTEN_GRACE, self.open.wait()).await.is_err() {
            return;
        }
        let unused = Arc::strong_count(&self.sessions) == 1 && self.listeners().is_empty();
        if let Some(handle) = self.handle.get().filter(|_| unused) {
            let text = format!("caponier: the listener at {} has ended: {reason}", self.route.target);
            if handle.disconnect(Disconnect::ByApplication, text, "en".into()).await.is_err() {
                tracing::debug!("the client was gone already");
            }
        }
    }

    async fn cancel(&self, is_meant: impl Fn(&Listener) -> bool) -> bool {
        let found = self.listeners().iter().find(|listener| is_meant(listener)).map(Arc::clone);
        let Some(listener) = found else { return false };
        listener.end.cancel();
        timeout(LISTEN_GRACE, listener.ended.cancelled()).await.is_ok()
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<Arc<Listener>>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// While it lives, a listener is being registered.
struct Registering<'f>(&'f Forwards);

impl<'f> Registering<'f> {
    fn begin(forwards: &'f Forwards) -> Self {
        forwards.registering.fetch_add(1, Ordering::AcqRel);
        Self(forwards)
    }
}

impl Drop for Registering<'_> {
    fn drop(&mut self) {
        self.0.registering.fetch_sub(1, Ordering::AcqRel);
        self.0.registered.notify_waiters();
    }
}

impl Listener {
    fn is_tcp(&self) -> bool {
        matches!(self.permit.ask().act, Act::RemoteForward { .. })
    }
}

/// Tells the target to listen no more.
async fn unlisten(lane: &Lane, sent: &str, port: Option<u32>) {
    const LIMIT: Duration = Duration::from_secs(2);
    let cancelling = async {
        match port {
            Some(port) => lane.handle().cancel_tcpip_forward(sent, port).await,
            None => lane.handle().cancel_streamlocal_forward(sent).await,
        }
    };
    if !matches!(timeout(LIMIT, cancelling).await, Ok(Ok(()))) {
        // It goes with the connection then; what comes until that is refused.
        lane.retire();
        tracing::warn!("a target did not stop listening");
    }
}

fn place_of(act: &Act) -> (String, u32) {
    #[expect(clippy::wildcard_enum_match_arm, reason = "no other act is a listener")]
    match act {
        Act::RemoteForward { host, port } => (host.clone(), *port),
        Act::RemoteSocket { path } => (path.clone(), 0),
        _ => (String::new(), 0),
    }
}

/// The address in its one spelling, which is the one that was judged.
fn sent(asked: &str) -> String {
    match Host::parse(asked) {
        Ok(host) => host.to_string(),
        Err(_) => String::new(),
    }
}
