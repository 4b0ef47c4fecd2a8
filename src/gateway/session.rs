//! One session, from the request on a channel to the sealed recording.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use russh::client::{self, Handle};
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::desk::{Program, PtyRequest, Request, Route};
use super::file_guard::FileGuard;
use super::forward::{Forwards, Invitation};
use super::limits::{DRAIN, GUESTS_MAX, TRIES_MAX};
use super::pressure::Gauge;
use super::relay::{ClientEnd, Ending, Limits, Relay, Watch};
use super::shared::Shared;
use super::upstream::{self, Trust, UpstreamError, Way};
use super::wait::Wait;
use super::warn::Ends;
use crate::app::App;
use crate::flow::authorize::{Permit, authorize, overruled};
use crate::flow::change::Changes;
use crate::flow::session::{self as flow, OpenSession, Outcome, Terminal};
use crate::ids::CaseId;
use crate::policy::files::LiveRules;
use crate::policy::{Act, Ask, Refusal, RefusalCode};

/// What a session needs to run.
pub(super) struct Run {
    pub(super) shared: Arc<Shared>,
    pub(super) route: Route,
    pub(super) forwards: Arc<Forwards>,
    pub(super) request: Request,
    pub(super) client: ClientEnd,
}

/// Runs it to its end. Whatever goes wrong, the client gets one line and an exit status, and the session is closed in
/// the store.
pub(super) async fn run(run: Run) {
    let Run { shared, route, forwards, request, client } = run;
    let app = &shared.app;
    // Watching begins before judging, so that no end of the sign-in falls between the two.
    let sign_in = shared.watch_sign_in(route.caller.sign_in());
    let wait = Wait {
        shared: &shared,
        route: &route,
        client: &client,
        terminal: request.pty.is_some(),
        sign_in_ended: &sign_in.ended,
    };
    let recorder_failed = CancellationToken::new();
    let Some((session, changes)) = begin(&wait, &request, &recorder_failed).await else { return };
    let beside = beside(&request);
    let started = Instant::now();
    let sign_in_left = route.caller.sign_in_expires().since(app.clock.now());
    let sign_in_ends = started + sign_in_left;
    let (renew, limits) = watch::channel(limits_of(app, session.permit(), started, sign_in_ends));
    let watch = Watch {
        limits,
        sign_in_ended: sign_in.ended.clone(),
        overruled: CancellationToken::new(),
        objection: Arc::default(),
        recorder_failed,
        drain: shared.drain.clone(),
    };
    tracing::info!(session.id = %session.id(), target = %route.target, login = %route.login, "session opened");
    let renewed = |new: &Permit| {
        renew.send_replace(limits_of(app, new, started, sign_in_ends));
    };
    let parts = (forwards, beside);
    let outcome = judged(&shared, &session, &request, &client, parts, (watch, changes, renewed)).await;
    tracing::info!(session.id = %session.id(), reason = outcome.reason, "session closed");
    if let Err(error) = flow::close(app, session, outcome).await {
        tracing::error!(%error, "a session could not be closed in order; the next start seals it as interrupted");
    }
}

/// Judges and opens, waiting in between for what may be asked for. None when there is no session; the client has been told.
async fn begin(
    wait: &Wait<'_>,
    request: &Request,
    recorder_failed: &CancellationToken,
) -> Option<(OpenSession, Changes)> {
    let Wait { shared, client, .. } = wait;
    let terminal = request.pty.as_ref().map(|pty| Terminal {
        term: pty.term.clone(),
        columns: pty.columns,
        rows: pty.rows,
    });
    let beside = beside(request);
    let mut tries = 0;
    loop {
        let (permit, changes) = permitted(wait, request).await?;
        client.gate.open.store(true, Ordering::Relaxed);
        let begun =
            flow::open(&shared.app, permit, terminal.as_ref(), &beside, recorder_failed.clone()).await;
        tries += 1;
        match begun {
            Ok(session) => return Some((session, changes)),
            // A grant has ended or was used up since; others may be there.
            Err(flow::SessionError::GrantOver) if tries < TRIES_MAX => {
                client.gate.open.store(false, Ordering::Relaxed);
                continue;
            }
            Err(error) if error.is_for_user() => client.farewell(&error.to_string(), 255).await,
            Err(error) => broken(client, shared, &error).await,
        }
        return None;
    }
}

/// The permit, and what is listened to since before it was made.
async fn permitted(wait: &Wait<'_>, request: &Request) -> Option<(Permit, Changes)> {
    let Wait { shared, route, client, .. } = wait;
    let app = &shared.app;
    let ask = Ask { target: route.target.clone(), login: route.login.clone(), act: act(request) };
    let mut granted: Option<CaseId> = None;
    loop {
        // Listening begins before judging, so that no other policy falls between the two.
        let changes = app.changes();
        let refusal = match authorize(app, &route.caller, ask.clone()).await {
            Ok(Ok(permit)) => return Some((permit, changes)),
            Ok(Err(refusal)) => refusal,
            Err(error) => {
                broken(client, shared, &error).await;
                return None;
            }
        };
        if refusal.code == RefusalCode::ByRequest && granted.is_none() {
            granted = Some(wait.run(&ask, refusal).await?);
            continue;
        }
        let but = granted.map(|id| format!("{id} was granted, but not for this: ")).unwrap_or_default();
        let text = format!("{but}{}", refusal.line());
        client.farewell(&text, refusal.exit_status()).await;
        return None;
    }
}

/// The passage, for as long as the policy allows it.
async fn judged(
    shared: &Shared,
    session: &OpenSession,
    request: &Request,
    client: &ClientEnd,
    parts: (Arc<Forwards>, Vec<Permit>),
    (watch, changes, renewed): (Watch, Changes, impl Fn(&Permit)),
) -> Outcome {
    let (overrule, objection) = (watch.overruled.clone(), Arc::clone(&watch.objection));
    let live = LiveRules::new(session.permit().files().to_vec());
    let renewed = |new: &Permit| {
        live.set(new.files().to_vec());
        renewed(new);
    };
    let cut = |refusal: &Refusal| {
        let text = format!("session closed: {} [{}]", refusal.text, refusal.code.as_str());
        let ending = if refusal.code == RefusalCode::Killed { Ending::Killed } else { Ending::Policy };
        if objection.set((ending, text)).is_ok() {
            overrule.cancel();
        }
    };
    let judging = overruled(&shared.app, session.permit(), changes, renewed, cut);
    let passage = passage(shared, session, request, client, parts, &live, watch);
    tokio::pin!(judging, passage);
    tokio::select! {
        outcome = &mut passage => {
            // The session ends first; that it ended by policy is written down all the same.
            if overrule.is_cancelled() {
                judging.await;
            }
            outcome
        }
        _ = &mut judging => passage.await,
    }
}

/// What ends the session by itself, as this permit has it.
pub(super) fn limits_of(app: &App, permit: &Permit, started: Instant, sign_in_ends: Instant) -> Limits {
    let longest = permit
        .session_max_of_policy()
        .map_or(app.config.sessions.max, |max| max.min(app.config.sessions.max));
    let over = started + longest;
    Limits {
        deadline: over.min(sign_in_ends),
        at_deadline: if over >= sign_in_ends { Ending::SignInEnded } else { Ending::SessionMax },
        idle: permit.idle_max(),
        ends: permit.ends().map(|ends| Ends { at: Instant::now() + ends.since(app.clock.now()), ends }),
    }
}

/// We are broken: the user gets a number, the log gets the rest.
pub(super) async fn broken(
    client: &ClientEnd,
    shared: &Shared,
    error: &(dyn std::error::Error + Send + Sync),
) {
    let reference = format!("{:08x}", shared.app.random.u64() >> 32);
    tracing::error!(reference, %error, "a session could not begin");
    let text =
        format!("the bastion cannot open sessions right now (reference {reference}); nothing was sent");
    client.farewell(&text, 255).await;
}

fn act(request: &Request) -> Act {
    let pty = request.pty.is_some();
    match &request.program {
        Program::Shell => Act::Shell { pty },
        Program::Exec(command) => Act::Exec { command: command.clone(), pty },
        Program::Subsystem(name) => Act::Subsystem { name: name.clone() },
    }
}

/// The permits for what the program may use while it runs.
fn beside(request: &Request) -> Vec<Permit> {
    request.agent.iter().chain(request.x11.iter().map(|(_, permit)| permit)).cloned().collect()
}

/// Connects, starts the program and relays until the end.
async fn passage(
    shared: &Shared,
    session: &OpenSession,
    request: &Request,
    client: &ClientEnd,
    (forwards, beside): (Arc<Forwards>, Vec<Permit>),
    live: &LiveRules,
    watch: Watch,
) -> Outcome {
    let app = &shared.app;
    let kill = CancellationToken::new();
    let _end_of_target = kill.clone().drop_guard();
    let download = Arc::new(Gauge::new(Arc::clone(&client.pressure), false));
    let host_ca = app.signer.public_key(crate::ca::Authority::Host);
    let dial = app.config.sessions.dial;
    let (guests_in, guests) = mpsc::channel(GUESTS_MAX);
    let over = CancellationToken::new();
    let end_of_guests = over.clone().drop_guard();
    let way = Way {
        host_ca,
        clock: &app.clock,
        download: Arc::clone(&download),
        kill: &kill,
        guests: (!beside.is_empty()).then_some(guests_in),
        over: over.clone(),
        limit: dial,
    };
    let reaching = reach(session, request, way);
    let reached = tokio::select! {
        biased;
        // What ends a session ends it before the program is sent, too.
        ending = watch.over(client) => return cut_short(session, client, &watch, ending).await,
        reached = reaching => reached,
    };
    let Reached { handle, read, write, early } = match reached {
        Ok(reached) => reached,
        Err(Unreached::Way(error)) => return unreachable(session, client, &error).await,
        Err(Unreached::Program(text)) => {
            client.farewell(&text, 255).await;
            return ended("target-refused");
        }
    };
    let mut host = None;
    if !beside.is_empty() {
        let invitation = Invitation {
            session: session.id().clone(),
            permits: beside,
            x11_once: request.x11.as_ref().is_some_and(|(x11, _)| x11.single),
            download: Arc::clone(&download),
            over,
        };
        host = Some(shared.sessions.spawn(forwards.host(invitation, guests)));
    }
    // The policy lets no other subsystem than sftp through.
    let files = matches!(request.program, Program::Subsystem(_))
        .then(|| FileGuard::new(app.clone(), session, live.clone()));
    let pty = request.pty.is_some();
    let relay = Relay::new(client, write, session.recorder(), files.as_ref(), pty, download);
    let outcome = relay.run(read, early, watch).await;
    drop(handle);
    drop(end_of_guests);
    // Each writes its end down before it leaves: after the seal nothing can be written.
    if let Some(host) = host
        && timeout(DRAIN, host).await.is_err()
    {
        tracing::warn!(session.id = %session.id(), "what was used beside a session did not end in time");
    }
    outcome
}

/// A target that runs what was asked for.
struct Reached {
    handle: Handle<Trust>,
    read: ChannelReadHalf,
    write: ChannelWriteHalf<client::Msg>,
    /// A first message of the program that came before the yes.
    early: Option<ChannelMsg>,
}

/// Why there is none.
enum Unreached {
    Way(UpstreamError),
    /// For the user.
    Program(String),
}

/// Connects and starts the program.
async fn reach(session: &OpenSession, request: &Request, way: Way<'_>) -> Result<Reached, Unreached> {
    let limit = way.limit;
    let upstream = upstream::connect(session, way).await.map_err(Unreached::Way)?;
    let (mut read, write) = upstream.channel.split();
    let target = &session.permit().target().name;
    match timeout(limit, start(&mut read, &write, request, session.permit())).await {
        Ok(Ok(early)) => Ok(Reached { handle: upstream.handle, read, write, early }),
        Ok(Err(what)) => Err(Unreached::Program(format!("{target} refused {what}"))),
        Err(_) => Err(Unreached::Program(format!("{target} did not start what was asked for"))),
    }
}

/// The end of a session that has not begun to run.
async fn cut_short(session: &OpenSession, client: &ClientEnd, watch: &Watch, ending: Ending) -> Outcome {
    if let Some(text) = watch.text(ending) {
        if let Some(Err(error)) = session.recorder().map(|recorder| recorder.marker(text)) {
            tracing::debug!(%error, "no marker");
        }
        client.farewell(text, 255).await;
    }
    ended(ending.word())
}

async fn unreachable(session: &OpenSession, client: &ClientEnd, error: &UpstreamError) -> Outcome {
    let text = error.to_string();
    tracing::warn!(session.id = %session.id(), error = %text, "no connection to the target");
    if let Some(Err(error)) = session.recorder().map(|recorder| recorder.marker(&text)) {
        tracing::debug!(%error, "no marker");
    }
    client.farewell(&text, 255).await;
    ended(error.reason())
}

fn ended(reason: &'static str) -> Outcome {
    Outcome { reason, ..Outcome::default() }
}

/// Sends terminal, environment and the program, and waits for the target's yes. `Err` names what it refused; `Ok` may
/// hold a first message of the program that came before the yes.
async fn start(
    read: &mut ChannelReadHalf,
    write: &ChannelWriteHalf<client::Msg>,
    request: &Request,
    permit: &Permit,
) -> Result<Option<ChannelMsg>, &'static str> {
    let gone = "the channel";
    if let Some(PtyRequest { term, columns, rows, width, height, modes }) = &request.pty {
        write.request_pty(true, term, *columns, *rows, *width, *height, modes).await.map_err(|_| gone)?;
        // Nothing runs yet: what is no yes here is no output either.
        if !matches!(answered(read).await, Ok(None)) {
            return Err("a terminal");
        }
    }
    // A target that does not want these runs the program without them, as with a direct connection.
    if request.agent.is_some() {
        write.agent_forward(true).await.map_err(|_| gone)?;
        refused_or(read, "agent forwarding").await?;
    }
    if let Some((x11, _)) = &request.x11 {
        write
            .request_x11(true, x11.single, x11.protocol.as_str(), x11.cookie.as_str(), x11.screen)
            .await
            .map_err(|_| gone)?;
        refused_or(read, "X11 forwarding").await?;
    }
    for (name, value) in request.env.iter().filter(|(name, _)| permit.passes(name)) {
        // Without a reply: a target that does not want the variable ignores it, as with a direct connection.
        write.set_env(false, name.as_str(), value.as_str()).await.map_err(|_| gone)?;
    }
    match &request.program {
        Program::Shell => write.request_shell(true).await.map_err(|_| gone)?,
        Program::Exec(command) => {
            // What was judged is what is sent; it differs from what the client sent in its quoting.
            let judged = permit.command().map_or(command, |pass| &pass.send);
            write.exec(true, judged.clone()).await.map_err(|_| gone)?;
        }
        Program::Subsystem(name) => write.request_subsystem(true, name.as_str()).await.map_err(|_| gone)?,
    }
    answered(read).await.map_err(|()| match &request.program {
        Program::Shell => "a shell",
        Program::Exec(_) => "the command",
        Program::Subsystem(_) => "the subsystem",
    })
}

/// Waits for a yes or a no that changes nothing.
async fn refused_or(read: &mut ChannelReadHalf, what: &'static str) -> Result<(), &'static str> {
    loop {
        match read.wait().await {
            Some(ChannelMsg::Success) => return Ok(()),
            Some(ChannelMsg::Failure) => {
                tracing::info!(what, "the target refused; see its sshd_config");
                return Ok(());
            }
            Some(ChannelMsg::WindowAdjusted { .. }) => {}
            _ => return Err("the channel"),
        }
    }
}

/// The next reply on the channel. sshd answers before it sends data; a server that sends data first has said yes too.
async fn answered(read: &mut ChannelReadHalf) -> Result<Option<ChannelMsg>, ()> {
    loop {
        match read.wait().await {
            Some(ChannelMsg::Success) => return Ok(None),
            Some(ChannelMsg::WindowAdjusted { .. }) => {}
            Some(early @ (ChannelMsg::Data { .. } | ChannelMsg::ExtendedData { .. })) => {
                return Ok(Some(early));
            }
            _ => return Err(()),
        }
    }
}
