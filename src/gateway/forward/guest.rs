//! Channels that a target opens towards the client: connections to listeners, and the use of agent and display. Only what
//! the client asked for and the policy allowed is passed on; every one is judged by itself.

use std::sync::Arc;

use russh::server::Msg;
use russh::{Channel, ChannelOpenFailure};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::lane::LaneUse;
use super::pump::{self, Ends};
use super::{Direction, End, Failure, Forwards, cut, flow};
use crate::flow::authorize::{Permit, overruled};
use crate::flow::forward::Passed;
use crate::gateway::pressure::Gauge;
use crate::gateway::upstream::{Guest, Knock};
use crate::ids::SessionId;
use crate::policy::{Act, Ask};

/// The way from the target on which a guest came.
pub(super) struct Road<'a> {
    session: &'a SessionId,
    download: Arc<Gauge>,
    end: End,
}

/// What the programs of a session may use, and how often the display.
pub(in crate::gateway) struct Invitation {
    pub(in crate::gateway) session: SessionId,
    pub(in crate::gateway) permits: Vec<Permit>,
    /// The client wants one connection to its display only.
    pub(in crate::gateway) x11_once: bool,
    pub(in crate::gateway) download: Arc<Gauge>,
    /// Cancelled when the session's connection to the target is over.
    pub(in crate::gateway) over: CancellationToken,
}

impl Forwards {
    /// A connection came to a listener of this lane, or so the target says.
    pub(super) async fn arrive(self: Arc<Self>, lane: LaneUse, guest: Guest) {
        let listener = match &guest.knock {
            Knock::Tcp { address, port, .. } => self.listener(&lane, address, Some(*port)).await,
            Knock::Socket { path } => self.listener(&lane, path, None).await,
            Knock::Agent | Knock::X11 { .. } => None,
        };
        let Some(listener) = listener else {
            tracing::warn!(target = %self.route.target, "the target opened a channel that nobody asked for; refused");
            return guest.reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
        };
        let ask = listener.permit.ask().clone();
        let asked = listener.asked.clone();
        drop(listener);
        let road = Road { session: lane.session(), download: lane.download(), end: lane.end() };
        let passed = self.pass_on(ask, &asked, guest, road).await;
        lane.count(passed);
    }

    /// Passes on what the programs of a session use of the client's, until the session is over.
    pub(in crate::gateway) async fn host(
        self: Arc<Self>,
        invitation: Invitation,
        mut guests: mpsc::Receiver<Guest>,
    ) {
        let invitation = Arc::new(invitation);
        let tasks = TaskTracker::new();
        let mut displays = 0_u32;
        loop {
            let guest = tokio::select! {
                guest = guests.recv() => guest,
                () = invitation.over.cancelled() => None,
            };
            let Some(guest) = guest else { break };
            let wanted = match &guest.knock {
                Knock::Agent => Some(Act::Agent),
                Knock::X11 { .. } => Some(Act::X11),
                Knock::Tcp { .. } | Knock::Socket { .. } => None,
            };
            let spent = matches!(guest.knock, Knock::X11 { .. }) && invitation.x11_once && displays > 0;
            let permit = invitation.permits.iter().find(|permit| Some(&permit.ask().act) == wanted.as_ref());
            let Some(ask) = permit.filter(|_| !spent).map(|permit| permit.ask().clone()) else {
                tracing::warn!(session.id = %invitation.session, "the target opened a channel that nobody asked for; refused");
                guest.reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
                continue;
            };
            displays += u32::from(matches!(guest.knock, Knock::X11 { .. }));
            let (this, invitation) = (Arc::clone(&self), Arc::clone(&invitation));
            tasks.spawn(async move {
                let road = Road {
                    session: &invitation.session,
                    download: Arc::clone(&invitation.download),
                    end: (invitation.over.clone(), Arc::default()),
                };
                this.pass_on(ask, "", guest, road).await;
            });
        }
        tasks.close();
        tasks.wait().await;
    }

    /// Judges, writes it down, opens a channel to the client and moves the bytes.
    async fn pass_on(&self, ask: Ask, asked: &str, guest: Guest, road: Road<'_>) -> Passed {
        let Guest { knock, channel, reply } = guest;
        let app = &self.shared.app;
        let sign_in = self.shared.watch_sign_in(self.route.caller.sign_in());
        let changes = app.changes();
        let begun = async {
            let room = self.room()?;
            let permit = self.permit_in(ask, Some(road.session)).await?;
            let came = knock.origin().into_iter().collect();
            let opened = flow::opened(app, road.session, &permit, Direction::Remote, came)
                .await
                .map_err(|error| self.broken(&error))?;
            Ok((room, permit, opened))
        };
        let (_room, permit, opened) = match begun.await {
            Ok(begun) => begun,
            Err(failure) => {
                let failure: Failure = failure;
                tracing::info!(target = %self.route.target, %failure, "a channel from the target was refused");
                reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
                return Passed::nothing(failure.word());
            }
        };
        let (renewed, limits) = self.limits(&permit);
        // To be gone when the end is written: half-way through an entry of its own it holds the store's one turn.
        let mut overruled = Box::pin(overruled(app, &permit, changes, renewed, |_| {}));
        let watch = self.watch(limits, sign_in.ended.clone(), road.end);
        let connected = tokio::select! {
            connected = self.towards_client(&knock, asked) => connected.map_err(|_| "refused"),
            refusal = &mut overruled => Err(refusal.end_word()),
            word = pump::ended(&watch) => Err(word),
        };
        let passed = match connected {
            Ok(client) => {
                reply.accept().await;
                let ends = Ends {
                    client,
                    target: channel,
                    pressure: Arc::clone(&self.pressure),
                    download: road.download,
                };
                pump::pump(ends, &watch, overruled).await
            }
            Err(word) => {
                drop(overruled);
                reply.reject(ChannelOpenFailure::ConnectFailed).await;
                Passed::nothing(word)
            }
        };
        flow::closed(app, opened, passed).await;
        passed
    }

    async fn towards_client(&self, knock: &Knock, asked: &str) -> Result<Channel<Msg>, russh::Error> {
        let Some(handle) = self.handle.get() else { return Err(russh::Error::Disconnect) };
        match knock {
            Knock::Tcp { port, from, from_port, .. } => {
                handle.channel_open_forwarded_tcpip(asked, *port, cut(from), *from_port).await
            }
            Knock::Socket { .. } => handle.channel_open_forwarded_streamlocal(asked).await,
            Knock::Agent => handle.channel_open_agent().await,
            Knock::X11 { from, from_port } => handle.channel_open_x11(cut(from), *from_port).await,
        }
    }
}
