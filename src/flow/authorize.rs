//! May this caller do this? The one place where doors get a yes.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::access::Grant;
use crate::app::App;
use crate::flow::change::Changes;
use crate::flow::denials::{self, Refused};
use crate::flow::desk::lock;
use crate::flow::over::{Over, explained};
use crate::flow::revoke::{self, Credential};
use crate::flow::{Caller, destination, held, recheck};
use crate::ids::{GrantId, SessionId};
use crate::names::RoleName;
use crate::policy::{
    self, Act, Allowance, Ask, Circumstances, CommandPass, FileRules, Held, Recording, Refusal, RefusalCode,
    Target, Terms, Verdict,
};
use crate::store::StoreError;
use crate::time::Timestamp;

/// Shortest and longest pause before a permit whose hours end is judged again.
const SOON: Duration = Duration::from_millis(100);
const MINUTE: Duration = Duration::from_secs(60);
/// Pause before it is asked again what is granted, when the store does not answer, and how long that may go on.
const AGAIN: Duration = Duration::from_millis(500);
const UNSEEN_MAX: Duration = Duration::from_secs(30);
/// How long the audit log may take to hear of an end by policy.
const NOTE_PATIENCE: Duration = Duration::from_secs(1);

/// Proof: this caller may open this channel at this target, under these terms. Made by [`authorize`] only.
#[derive(Clone, Debug)]
pub struct Permit {
    caller: Caller,
    ask: Ask,
    allowed: Allowance,
    terms: Terms,
    env_default: Vec<String>,
    policy_digest: String,
    /// The bastion's addresses when it was made, to be judged again by.
    own: Arc<[IpAddr]>,
    /// The session that runs under it, once one does.
    session: Option<SessionId>,
}

impl Permit {
    /// Whose.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// What for.
    pub fn ask(&self) -> &Ask {
        &self.ask
    }

    /// Where: address and host key as the policy says, so that nobody looks them up a second time.
    pub fn target(&self) -> &Target {
        &self.allowed.target
    }

    /// The roles that allow it, in the order of the policy, for audit and people.
    pub fn roles(&self) -> String {
        let names: Vec<&str> = self.allowed.roles.iter().map(RoleName::as_str).collect();
        names.join(", ")
    }

    /// The same as names.
    pub fn role_names(&self) -> &[RoleName] {
        &self.allowed.roles
    }

    /// Whether this environment variable may reach the program.
    pub fn passes(&self, variable: &str) -> bool {
        self.allowed.passes(&self.env_default, variable)
    }

    /// For a command: what is sent to the target, and the rule behind it.
    pub fn command(&self) -> Option<&CommandPass> {
        self.allowed.command.as_ref()
    }

    /// For a connection to a host: what to ask the target for, one after the other until one answers.
    pub fn hosts(&self) -> &[String] {
        &self.allowed.hosts
    }

    /// For sftp: the path rules of each role that allows it.
    pub fn files(&self) -> &[FileRules] {
        &self.allowed.files
    }

    /// Whether this role is among those that allow it.
    pub(super) fn has_role(&self, role: &RoleName) -> bool {
        self.allowed.roles.contains(role)
    }

    /// The grants that it hangs on; none where a role with standing access allows it as well.
    pub fn grants(&self) -> &[Grant] {
        &self.allowed.grants
    }

    /// Those of them that are for one use: whose session has taken them, or is to.
    pub fn once(&self) -> impl Iterator<Item = &GrantId> {
        self.grants().iter().filter(|grant| grant.once().is_some()).map(|grant| &grant.id)
    }

    /// When access ends by itself because what was granted is over; none where it is standing.
    pub fn ends(&self) -> Option<Timestamp> {
        self.allowed.ends
    }

    /// The permit as that of a session that has begun.
    #[must_use]
    pub fn of_session(mut self, session: &SessionId) -> Self {
        self.session = Some(session.clone());
        self
    }

    /// When it must be judged again, because one of the roles closes or a grant is over.
    pub fn until(&self) -> Option<Timestamp> {
        self.allowed.until
    }

    /// The policy's terms narrowed by the server's limits; `session_max` and `idle_max` are always set.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Digest of the policy that allowed it.
    pub fn policy_digest(&self) -> &str {
        &self.policy_digest
    }

    /// Longest life of the session from now on, the end of the sign-in included.
    pub fn session_max(&self) -> Duration {
        self.terms.session_max.unwrap_or_default()
    }

    /// What the policy alone says about the session's length, wherever the sign-in ends.
    pub fn session_max_of_policy(&self) -> Option<Duration> {
        self.allowed.terms.session_max
    }

    /// Longest silence.
    pub fn idle_max(&self) -> Duration {
        self.terms.idle_max.unwrap_or_default()
    }
}

/// The answer: a permit, or a refusal that is already in the audit log.
pub type Answer = Result<Permit, Refusal>;

/// Judges one ask: sign-in still live, credential names the login, policy allows. A refusal is audited before it is
/// answered (of a flood, how many there were). An error means that the question could not be answered, which is a no as well.
pub async fn authorize(app: &App, caller: &Caller, ask: Ask) -> Result<Answer, StoreError> {
    authorize_in(app, caller, ask, None).await
}

/// As [`authorize`], for something that belongs to a session which has begun: what that has taken is still its own, and of
/// what it has not taken it has nothing.
pub async fn authorize_in(
    app: &App,
    caller: &Caller,
    ask: Ask,
    session: Option<&SessionId>,
) -> Result<Answer, StoreError> {
    let answer = judged_in(app, caller, &ask, session).await?;
    noted(app, caller, &ask, answer).await
}

/// As [`authorize`], for something that can be done in one of `sessions`, which have taken something for one use, or in one
/// that is yet to begin. The permit says which: nothing that is for one use is taken where that can be helped.
pub async fn authorize_among(
    app: &App,
    caller: &Caller,
    ask: Ask,
    sessions: &[SessionId],
) -> Result<Answer, StoreError> {
    let anew = judged_in(app, caller, &ask, None).await?;
    if anew.as_ref().is_ok_and(|permit| permit.once().next().is_none()) {
        return Ok(anew);
    }
    for session in sessions {
        let within = judged_in(app, caller, &ask, Some(session)).await?;
        if within.is_ok() {
            return Ok(within);
        }
    }
    noted(app, caller, &ask, anew).await
}

/// A refusal stands in the audit log before anybody hears of it.
async fn noted(app: &App, caller: &Caller, ask: &Ask, answer: Answer) -> Result<Answer, StoreError> {
    if let Err(refusal) = &answer {
        note_refusal(app, caller, ask, refusal).await?;
    }
    Ok(answer)
}

async fn judged_in(
    app: &App,
    caller: &Caller,
    ask: &Ask,
    session: Option<&SessionId>,
) -> Result<Answer, StoreError> {
    let now = app.clock.now();
    revoke::refresh(app).await?;
    let sign_in = app.store.sign_in(caller.sign_in()).await?.filter(|sign_in| sign_in.is_live(now));
    let caller = &sign_in.as_ref().map_or_else(|| caller.clone(), |sign_in| caller.as_in(sign_in));
    let answer = match (sign_in, unchecked(app, caller).await?) {
        (Some(_), None) => {
            let own = destination::own_addresses(app, ask).await;
            let held = held::by(app, caller.identity(), session).await?;
            judged(app, caller, ask.clone(), Circumstances { now, from: caller.from(), own, held }).await
        }
        (Some(_), Some(refusal)) => Err(refusal),
        (None, _) => Err(Refusal {
            code: RefusalCode::SignInEnded,
            rule: None,
            text: "your sign-in has ended; run: caponier login".into(),
            reason: format!("sign-in {} is not live", caller.sign_in()),
        }),
    };
    Ok(answer.map(|permit| match session {
        Some(session) => permit.of_session(session),
        None => permit,
    }))
}

/// Why a caller without a certificate may open nothing new: what would keep one from being renewed. With a certificate
/// that is judged when it is renewed.
async fn unchecked(app: &App, caller: &Caller) -> Result<Option<Refusal>, StoreError> {
    if caller.certificate_serial().is_some() {
        return Ok(None);
    }
    Ok(recheck::may_go_on(app, caller.sign_in()).await?.err())
}

/// Judges an open permit again, after the policy changed, a grant ended, something was revoked, groups changed or the hours
/// of a role are over: the new permit, or why what is open must end. Ended sign-ins are not asked for here; whoever holds a permit watches
/// them anyway. An error means that it could not be seen what is granted.
pub async fn again(app: &App, permit: &Permit) -> Result<Answer, StoreError> {
    again_before(app, permit, None).await
}

async fn again_before(app: &App, permit: &Permit, over: Option<Over>) -> Result<Answer, StoreError> {
    revoke::refresh(app).await?;
    let held = held::by(app, permit.caller.identity(), permit.session.as_ref()).await?;
    let caller = match app.store.sign_in(permit.caller.sign_in()).await? {
        Some(sign_in) => permit.caller.as_in(&sign_in),
        None => permit.caller.clone(),
    };
    Ok(again_with(app, permit, &caller, Over::without_past(over, held)).await)
}

/// `caller` as their sign-in has them now.
async fn again_with(app: &App, permit: &Permit, caller: &Caller, held: Held) -> Answer {
    if let Some(session) = revoked_session(app, permit) {
        return Err(Refusal {
            code: RefusalCode::Revoked,
            rule: None,
            text: "this session was ended by an order".into(),
            reason: format!("session {session} was revoked"),
        });
    }
    let now = app.clock.now();
    let at = Circumstances { now, from: permit.caller.from(), own: Arc::clone(&permit.own), held };
    let new = judged(app, caller, permit.ask.clone(), at).await?;
    let (old_target, new_target) = (permit.target(), new.target());
    let refusal = |text: &str, reason: String| Refusal {
        code: RefusalCode::NoAccess,
        rule: None,
        text: format!("{}: {text}; connect again", permit.ask.target),
        reason,
    };
    if (&old_target.host, old_target.port, &old_target.host_key)
        != (&new_target.host, new_target.port, &new_target.host_key)
    {
        let reason = format!("the address or the host key of {} has changed", permit.ask.target);
        return Err(refusal("this is another machine now", reason));
    }
    if new.terms.recording > permit.terms.recording {
        let reason = format!("recording must be {:?} now", new.terms.recording.as_str());
        return Err(refusal("more of this session must be recorded now", reason));
    }
    Ok(Permit { session: permit.session.clone(), ..new })
}

/// Waits until what `permit` allows is not allowed any more, after some change or at some later time; returns why,
/// written to the audit if that can be written in time. `changes` must have been listened to before the permit was made; `renewed` hears of every new permit in between, and `cut` of the end, before it is written down.
pub async fn overruled(
    app: &App,
    permit: &Permit,
    changes: Changes,
    renewed: impl Fn(&Permit),
    cut: impl FnOnce(&Refusal),
) -> Refusal {
    let refusal = lost(app, permit, changes, renewed).await;
    // What may not go on ends, also when that cannot be written down.
    cut(&refusal);
    let noted = note_refusal(app, &permit.caller, &permit.ask, &refusal);
    match timeout(NOTE_PATIENCE, noted).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::error!(%error, "a session ends by policy, and that is missing in the audit log");
        }
        Err(_) => tracing::error!("a session ends by policy, and the audit log does not take it"),
    }
    refusal
}

/// The session of the permit, if it was revoked.
fn revoked_session<'p>(app: &App, permit: &'p Permit) -> Option<&'p SessionId> {
    permit.session.as_ref().filter(|id| lock(&app.desk.revoked).has_session(id))
}

/// As [`overruled`], for what is only a means to something that is judged by itself: nothing is written down.
pub async fn lost(app: &App, permit: &Permit, mut changes: Changes, renewed: impl Fn(&Permit)) -> Refusal {
    let mut held: Permit = permit.clone();
    let mut over = Over::of(app, permit);
    let mut unseen: Option<Timestamp> = None;
    // A permit may come to a session that was revoked before `changes` listened: another forward of the same connection.
    let mut is_late = revoked_session(app, permit).is_some();
    loop {
        let closing = async {
            if unseen.is_some() {
                return sleep(AGAIN).await;
            }
            match held.until() {
                // Looked at again each minute, because wall clocks can be set.
                Some(end) => sleep(end.since(app.clock.now()).clamp(SOON, MINUTE)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = changes.concerning(&held) => {}
            () = closing => {}
            () = Over::reached(over), if unseen.is_none() => {}
            () = std::future::ready(()), if is_late => {}
        }
        is_late = false;
        let answer = again_before(app, permit, over).await;
        let unclear = match &answer {
            Ok(Ok(_)) => false,
            // Others are being judged: that alone ends nobody's session.
            Ok(Err(refusal)) => refusal.code == RefusalCode::Limit,
            Err(error) => {
                tracing::error!(%error, "cannot see what is granted");
                true
            }
        };
        if unclear {
            let now = app.clock.now();
            let since = *unseen.get_or_insert(now);
            // What is over by its own time is over, and what cannot be seen for long is taken as gone.
            if held.ends().is_none_or(|end| now < end) && now.since(since) < UNSEEN_MAX {
                continue;
            }
        }
        let answer = match answer {
            Ok(answer) => answer,
            Err(_) => again_with(app, permit, held.caller(), Held::default()).await,
        };
        unseen = None;
        match answer {
            Ok(new) => {
                renewed(&new);
                over = Over::renewed(over, app, &new);
                held = new;
            }
            Err(refusal) => return explained(app, &held, refusal).await,
        }
    }
}

/// As [`judge`]. A command goes to a thread that may wait: for a line that only a shell can read, a parser is asked
/// what is in it, for up to a tenth of a second.
async fn judged(app: &App, caller: &Caller, ask: Ask, at: Circumstances) -> Answer {
    if !matches!(ask.act, Act::Exec { .. }) {
        return judge(app, caller, ask, at);
    }
    let (for_app, for_caller) = (app.clone(), caller.clone());
    let judging = tokio::task::spawn_blocking(move || judge(&for_app, &for_caller, ask, at));
    judging.await.unwrap_or_else(|error| {
        tracing::error!(%error, "judging a command failed");
        Err(Refusal {
            code: RefusalCode::Command,
            text: "the bastion could not judge this command; tell your administrator".into(),
            reason: format!("judging failed: {error}"),
            rule: None,
        })
    })
}

/// What the credential and the policy say.
fn judge(app: &App, caller: &Caller, ask: Ask, at: Circumstances) -> Answer {
    let policy = app.policy();
    let known = Arc::clone(&lock(&app.desk.revoked));
    let answer = if let Some(what) = known.revokes(credential(caller)) {
        Err(Refusal {
            code: RefusalCode::Revoked,
            rule: None,
            text: format!("{what} was revoked; run: caponier login"),
            reason: format!("{what} was revoked"),
        })
    } else if !caller.may_use(&ask.login) {
        Err(Refusal {
            code: RefusalCode::Principal,
            rule: None,
            text: format!(
                "your certificate is not for the login {}; to see what is open to you: ssh {} targets",
                ask.login,
                policy::decide::BASTION
            ),
            reason: format!("certificate {:?} does not name {}", caller.certificate_serial(), ask.login),
        })
    } else {
        match policy::decide(&policy, caller.identity(), &ask, &at) {
            Verdict::Allow(allowed) => {
                Ok(Permit { own: at.own, ..permit(app, caller, ask, *allowed, &policy.digest, at.now) })
            }
            Verdict::Refuse(refusal) => Err(refusal),
        }
    };
    answer.map_err(|refusal| named(app, refusal))
}

fn permit(app: &App, caller: &Caller, ask: Ask, allowed: Allowance, digest: &str, now: Timestamp) -> Permit {
    let config = &app.config;
    let limits = Terms {
        certificate_max: None,
        session_max: Some(config.sessions.max.min(caller.sign_in_expires().since(now))),
        idle_max: Some(config.sessions.idle),
        recording: if config.recording.input { Recording::Input } else { Recording::Nothing },
        ..Terms::default()
    };
    Permit {
        caller: caller.clone(),
        ask,
        terms: allowed.terms.narrow(&limits),
        allowed,
        env_default: config.sessions.env.clone(),
        policy_digest: digest.to_owned(),
        own: Arc::default(),
        session: None,
    }
}

/// What the caller showed, as far as it can be revoked.
pub(super) fn credential(caller: &Caller) -> Credential<'_> {
    Credential {
        ca: None,
        serial: caller.certificate_serial(),
        key_id: caller.certificate_key_id(),
        key: caller.key_fingerprint(),
    }
}

/// Whether a variable that a client sends may be kept for a later program on this channel. The program's own permit
/// decides again what of it passes, so here everything counts as granted.
pub fn may_send(app: &App, caller: &Caller, ask: &Ask) -> bool {
    let Act::Env { name } = &ask.act else { return false };
    let at = Circumstances {
        now: app.clock.now(),
        from: caller.from(),
        own: Arc::default(),
        held: Held::of(true),
    };
    match policy::decide(&app.policy(), caller.identity(), ask, &at) {
        Verdict::Allow(allowed) => allowed.passes(&app.config.sessions.env, name),
        Verdict::Refuse(_) => false,
    }
}

/// The policy does not know what this bastion is called.
fn named(app: &App, mut refusal: Refusal) -> Refusal {
    if let Some(name) = app.config.ssh.host_names.first() {
        refusal.text = refusal.text.replace(policy::decide::BASTION, name);
    }
    refusal
}

async fn note_refusal(app: &App, caller: &Caller, ask: &Ask, refusal: &Refusal) -> Result<(), StoreError> {
    let now = app.clock.now();
    let (target, login, act) = (ask.target.to_string(), ask.login.to_string(), describe(&ask.act));
    let refused =
        Refused { target: &target, login: &login, act: &act, code: refusal.code, why: &refusal.reason };
    denials::note(app, caller, &refused, now).await
}

/// An act in one line, for audit and people: `shell`, `exec: uname -a`, `subsystem: sftp`.
pub fn describe(act: &Act) -> String {
    act.to_string()
}
