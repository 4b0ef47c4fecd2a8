//! May this caller do this? The one place where doors get a yes.

use std::time::Duration;

use crate::app::App;
use crate::audit::AuditEvent;
use crate::flow::Caller;
use crate::names::RoleName;
use crate::policy::{self, Act, Ask, Refusal, RefusalCode, Target, Terms, Verdict};
use crate::store::StoreError;

/// Proof: this caller may open this channel at this target, under these terms. Made by [`authorize`] only.
#[derive(Clone, Debug)]
pub struct Permit {
    caller: Caller,
    ask: Ask,
    target: Target,
    role: RoleName,
    terms: Terms,
    policy_digest: String,
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
        &self.target
    }

    /// The role that allowed it.
    pub fn role(&self) -> &RoleName {
        &self.role
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

    /// Longest silence.
    pub fn idle_max(&self) -> Duration {
        self.terms.idle_max.unwrap_or_default()
    }
}

/// The answer: a permit, or a refusal that is already in the audit log.
pub type Answer = Result<Permit, Refusal>;

/// Judges one ask: sign-in still live, credential names the login, policy allows. A refusal is audited before it is
/// answered. An error means that the question could not be answered, which is a no as well.
pub async fn authorize(app: &App, caller: &Caller, ask: Ask) -> Result<Answer, StoreError> {
    let now = app.clock.now();
    let policy = app.policy();
    let live = app.store.sign_in(caller.sign_in()).await?.is_some_and(|sign_in| sign_in.is_live(now));
    let answer = if !live {
        Err(Refusal {
            code: RefusalCode::SignInEnded,
            text: "your sign-in has ended; run: caponier login".into(),
            reason: format!("sign-in {} is not live", caller.sign_in()),
        })
    } else if !caller.may_use(&ask.login) {
        Err(Refusal {
            code: RefusalCode::Principal,
            text: format!(
                "your certificate is not for the login {}; to see what is open to you: ssh {} targets",
                ask.login,
                policy::decide::BASTION
            ),
            reason: format!("certificate {:?} does not name {}", caller.certificate_serial(), ask.login),
        })
    } else {
        match policy::decide(&policy, caller.identity(), &ask) {
            Verdict::Allow { target, terms, role } => {
                let limits = Terms {
                    session_max: Some(app.config.sessions.max.min(caller.sign_in_expires().since(now))),
                    idle_max: Some(app.config.sessions.idle),
                    record_input: app.config.recording.input,
                };
                Ok(Permit {
                    caller: caller.clone(),
                    ask: ask.clone(),
                    target,
                    role,
                    terms: terms.narrow(&limits),
                    policy_digest: policy.digest.clone(),
                })
            }
            Verdict::Refuse(refusal) => Err(refusal),
        }
    };
    let answer = answer.map_err(|refusal| named(app, refusal));
    if let Err(refusal) = &answer {
        note_refusal(app, caller, &ask, refusal).await?;
    }
    Ok(answer)
}

/// The policy does not know what this bastion is called.
fn named(app: &App, mut refusal: Refusal) -> Refusal {
    if let Some(name) = app.config.ssh.host_names.first() {
        refusal.text = refusal.text.replace(policy::decide::BASTION, name);
    }
    refusal
}

async fn note_refusal(app: &App, caller: &Caller, ask: &Ask, refusal: &Refusal) -> Result<(), StoreError> {
    let event = AuditEvent::AccessRefused {
        who: caller.identity().clone(),
        sign_in: caller.sign_in().clone(),
        target: ask.target.to_string(),
        login: ask.login.to_string(),
        act: describe(&ask.act),
        code: refusal.code,
        reason: refusal.reason.clone(),
        from: caller.from().to_string(),
    };
    app.store.note(app.clock.now(), event).await
}

/// An act in one line, for audit and people: `shell`, `exec: uname -a`, `subsystem: sftp`.
pub fn describe(act: &Act) -> String {
    match act {
        Act::Shell { .. } => "shell".into(),
        Act::Exec { command, .. } => format!("exec: {}", String::from_utf8_lossy(command)),
        Act::Subsystem { name } => format!("subsystem: {name}"),
    }
}
