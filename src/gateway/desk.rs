//! The session channels of one client connection: collects what a client asks for on each channel (terminal,
//! environment) until it asks to start something, and then runs that as a session.
//!
//! Requests are answered in the order they come, at once; whether the thing may run is judged when it starts, and a
//! refusal reaches the user as one line on stderr with an exit status. So a reply never waits for a target, and the
//! connection's other channels never wait for this one.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use russh::server::{self, Msg};
use russh::{Channel, ChannelId, Pty};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::backlog::Backlog;
use super::forward::Forwards;
use super::limits::{
    CHANNELS_MAX, COMMAND_MAX, ENV_MAX, ENV_VALUE_MAX, REQUEST_GRACE, SUBSYSTEM_NAME_MAX, X11_COOKIE_MAX,
    X11_NAME_MAX,
};
use super::pressure::{Gauge, Pressure};
use super::relay::{ClientEnd, read_client};
use super::session::{self, Run};
use super::shared::Shared;
use crate::flow::Caller;
use crate::flow::authorize::{Permit, may_send};
use crate::names::{LoginName, TargetName};
use crate::policy::{Act, Ask};

/// A terminal as the client asked for it, with what only the target needs.
#[derive(Clone, Debug)]
pub(super) struct PtyRequest {
    pub(super) term: String,
    pub(super) columns: u32,
    pub(super) rows: u32,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) modes: Vec<(Pty, u32)>,
}

/// `x11-req` as the client made it (RFC 4254 section 6.3.1). The cookie is the client's; ssh makes one up for each session.
#[derive(Clone)]
pub(super) struct X11Request {
    pub(super) single: bool,
    pub(super) protocol: String,
    pub(super) cookie: String,
    pub(super) screen: u32,
}

/// What a client starts on a channel.
#[derive(Clone, Debug)]
pub(super) enum Program {
    Shell,
    Exec(Vec<u8>),
    Subsystem(String),
}

/// Everything a client asked for on one channel.
pub(super) struct Request {
    pub(super) program: Program,
    pub(super) pty: Option<PtyRequest>,
    /// The client's agent may be used.
    pub(super) agent: Option<Permit>,
    /// The client's display may be used.
    pub(super) x11: Option<(X11Request, Permit)>,
    pub(super) env: Vec<(String, String)>,
}

struct Open {
    pty: Option<PtyRequest>,
    agent: Option<Permit>,
    x11: Option<(X11Request, Permit)>,
    env: Vec<(String, String)>,
    start: Option<oneshot::Sender<Request>>,
    /// Dead when the channel's task has ended. russh tells of channels that the client closes first, not of ours.
    alive: Weak<()>,
}

/// Whose sessions, and where to.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) caller: Caller,
    pub(super) target: TargetName,
    pub(super) login: LoginName,
}

/// The session channels of one connection.
pub(super) struct Desk {
    shared: Arc<Shared>,
    route: Route,
    pressure: Arc<Pressure>,
    forwards: Arc<Forwards>,
    channels: HashMap<ChannelId, Open>,
    tasks: TaskTracker,
    /// Cancelled when the client's connection is over.
    over: CancellationToken,
}

impl Desk {
    pub(super) fn new(
        shared: Arc<Shared>,
        route: Route,
        pressure: Arc<Pressure>,
        over: CancellationToken,
    ) -> Self {
        let forwards =
            Arc::new(Forwards::new(Arc::clone(&shared), route.clone(), Arc::clone(&pressure), over.clone()));
        Self { shared, route, pressure, forwards, channels: HashMap::new(), tasks: TaskTracker::new(), over }
    }

    /// The forwards of this connection.
    pub(super) fn forwards(&self) -> &Arc<Forwards> {
        &self.forwards
    }

    /// Takes a new session channel; false when there are too many.
    pub(super) fn open(&mut self, channel: Channel<Msg>, handle: server::Handle) -> bool {
        self.channels.retain(|_, open| open.alive.strong_count() > 0);
        if self.channels.len() >= CHANNELS_MAX {
            return false;
        }
        let id = channel.id();
        let (start, started) = oneshot::channel();
        let alive = Arc::new(());
        let open = Open {
            pty: None,
            agent: None,
            x11: None,
            env: Vec::new(),
            start: Some(start),
            alive: Arc::downgrade(&alive),
        };
        self.channels.insert(id, open);
        let (read, write) = channel.split();
        let done = CancellationToken::new();
        let end = ClientEnd {
            id,
            handle,
            write,
            backlog: Arc::new(Backlog::new()),
            gauge: Arc::new(Gauge::new(Arc::clone(&self.pressure), true)),
            pressure: Arc::clone(&self.pressure),
            gone: self.over.child_token(),
            overflowed: CancellationToken::new(),
            gate: Arc::default(),
            _done: done.clone().drop_guard(),
        };
        self.tasks.spawn(read_client(
            read,
            Arc::clone(&end.backlog),
            Arc::clone(&end.gauge),
            end.gone.clone(),
            end.overflowed.clone(),
            done,
            Arc::clone(&end.gate),
        ));
        let (shared, route) = (Arc::clone(&self.shared), self.route.clone());
        let forwards = Arc::clone(&self.forwards);
        let counted = self.forwards.session();
        self.shared.sessions.spawn(async move {
            match timeout(REQUEST_GRACE, started).await {
                Ok(Ok(request)) => session::run(Run { shared, route, forwards, request, client: end }).await,
                // The client closed the channel without asking for anything.
                Ok(Err(_)) => {}
                Err(_) => end.farewell("nothing was asked for on this channel; closed", 255).await,
            }
            drop((alive, counted));
        });
        true
    }

    /// `pty-req`: true to grant it.
    pub(super) fn pty(&mut self, id: ChannelId, pty: PtyRequest) -> bool {
        match self.channels.get_mut(&id) {
            Some(open) if open.start.is_some() && open.pty.is_none() && pty.term.len() <= 64 => {
                open.pty = Some(pty);
                true
            }
            _ => false,
        }
    }

    /// `auth-agent-req@openssh.com`: true when programs on this channel may use the client's agent.
    pub(super) async fn agent(&mut self, id: ChannelId) -> bool {
        let Some(open) = self.channels.get_mut(&id).filter(|open| open.start.is_some()) else { return false };
        open.agent = self.forwards.beside(Act::Agent).await;
        open.agent.is_some()
    }

    /// `x11-req`: true when programs on this channel may use the client's display.
    pub(super) async fn x11(&mut self, id: ChannelId, request: X11Request) -> bool {
        let Some(open) = self.channels.get_mut(&id).filter(|open| open.start.is_some()) else { return false };
        if request.protocol.len() > X11_NAME_MAX || request.cookie.len() > X11_COOKIE_MAX {
            return false;
        }
        open.x11 = self.forwards.beside(Act::X11).await.map(|permit| (request, permit));
        open.x11.is_some()
    }

    /// `env`: true when the variable may pass.
    pub(super) fn env(&mut self, id: ChannelId, name: &str, value: &str) -> bool {
        let ask = Ask {
            target: self.route.target.clone(),
            login: self.route.login.clone(),
            act: Act::Env { name: name.into() },
        };
        let allowed = may_send(&self.shared.app, &self.route.caller, &ask);
        match self.channels.get_mut(&id) {
            Some(open)
                if allowed
                    && open.start.is_some()
                    && open.env.len() < ENV_MAX
                    && value.len() <= ENV_VALUE_MAX
                    && !value.contains('\0') =>
            {
                open.env.push((name.into(), value.into()));
                true
            }
            _ => false,
        }
    }

    /// `shell`, `exec`, `subsystem`: false when the channel runs something already or the request is over a limit.
    pub(super) fn start(&mut self, id: ChannelId, program: Program) -> bool {
        let fits = match &program {
            Program::Shell => true,
            Program::Exec(command) => command.len() <= COMMAND_MAX,
            Program::Subsystem(name) => name.len() <= SUBSYSTEM_NAME_MAX,
        };
        if !fits {
            return false;
        }
        let Some(open) = self.channels.get_mut(&id) else { return false };
        let Some(start) = open.start.take() else { return false };
        // The policy judges terminals of shells and commands; a subsystem has none.
        let pty = open.pty.take().filter(|_| !matches!(program, Program::Subsystem(_)));
        let request = Request {
            program,
            pty,
            agent: open.agent.take(),
            x11: open.x11.take(),
            env: std::mem::take(&mut open.env),
        };
        start.send(request).is_ok()
    }

    /// The channel is closed.
    pub(super) fn closed(&mut self, id: ChannelId) {
        self.channels.remove(&id);
    }

    /// The receive window for the client's channels.
    pub(super) fn window(&self) -> u32 {
        self.pressure.window()
    }
}
