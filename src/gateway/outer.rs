//! The outer server: to the client we are the jump host. It recognises people by certificate, or pairs them with a
//! browser through keyboard-interactive; then it opens jump channels, runs sessions for `login%target@bastion`, and
//! answers a few questions (`ssh bastion`).

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use russh::keys::ssh_key::Certificate;
use russh::server::{self, Auth, Msg};
use russh::{Channel, ChannelId, MethodKind, MethodSet};
use tokio::sync::oneshot;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::desk::{Desk, Program, Route};
use super::limits::{CHANNELS_MAX, JUMPS_MAX, PAIRING_ASKS, PAIRING_LOOKS, PAIRING_PAUSE};
use super::overheard::Overheard;
use super::pressure::Pressure;
use super::shared::Shared;
use super::shares::Share;
use super::{assist, inner};
use crate::flow::{Caller, recognise, sign_in};
use crate::ids::{PendingId, SignInId};
use crate::names::{LoginName, TargetName};
use crate::policy;
use crate::time::Timestamp;

/// How far the pairing of one connection with a browser is.
#[derive(Default)]
pub(super) struct Pairing {
    /// Cancelled when the client has asked to authenticate.
    pub(super) asked: CancellationToken,
    /// Somebody is asked to open a page: the login grace is longer then.
    pub(super) begun: AtomicBool,
    /// Who was recognised: under which sign-in, and when that ends by itself.
    pub(super) who: OnceLock<(SignInId, Timestamp)>,
    /// The sign-in it came to. It is bound to this connection, and ends with it.
    pub(super) sign_in: OnceLock<SignInId>,
}

const PAIRING_PROMPT: &str = "Press Enter when you have confirmed it in the browser: ";

/// The state of one outer connection.
pub(super) struct Outer {
    shared: Arc<Shared>,
    from: IpAddr,
    pressure: Arc<Pressure>,
    overheard: Arc<Overheard>,
    /// Cancelled when the connection is over; jump channels and sessions are its children.
    over: CancellationToken,
    /// Cancelled when somebody is recognised.
    authenticated: CancellationToken,
    /// How far a pairing with a browser is, for whoever watches this connection.
    pairing: Arc<Pairing>,
    pending: Option<PendingId>,
    asked: u32,
    /// The person has been told why the pairing is over; nothing more is asked on this connection.
    parting: bool,
    caller: Option<Caller>,
    place: Option<Share>,
    desk: Option<Desk>,
    jumps: TaskTracker,
    /// Channels to the bastion itself that wait for their question.
    assisted: HashMap<ChannelId, oneshot::Sender<assist::Asked>>,
    help: TaskTracker,
}

impl Outer {
    pub(super) fn new(
        shared: Arc<Shared>,
        from: IpAddr,
        pressure: Arc<Pressure>,
        overheard: Arc<Overheard>,
        over: CancellationToken,
        authenticated: CancellationToken,
        pairing: Arc<Pairing>,
    ) -> Self {
        Self {
            shared,
            from,
            pressure,
            overheard,
            over,
            authenticated,
            pairing,
            pending: None,
            asked: 0,
            parting: false,
            caller: None,
            place: None,
            desk: None,
            jumps: TaskTracker::new(),
            assisted: HashMap::new(),
            help: TaskTracker::new(),
        }
    }

    pub(super) fn desk(&mut self) -> Option<&mut Desk> {
        self.desk.as_mut()
    }

    /// Whether session channels are questions to the bastion, not sessions at a target.
    pub(super) fn assists(&self) -> bool {
        self.desk.is_none()
    }

    /// `client` is the client's identification string.
    pub(super) fn authenticated(&self, handle: server::Handle, client: &[u8]) {
        if let Some(caller) = &self.caller {
            caller.says_it_is(client);
        }
        self.authenticated.cancel();
        if let Some(desk) = &self.desk {
            desk.forwards().ready(handle, Arc::clone(&self.overheard));
        }
    }

    /// The client has asked to authenticate, in whatever way.
    pub(super) fn asked(&self) {
        self.pairing.asked.cancel();
    }

    /// Judges a certificate whose key the client has proved to hold.
    pub(super) async fn certificate(&mut self, user: &str, shown: &Certificate) -> Auth {
        self.asked();
        match recognise::recognise_certificate(&self.shared.app, shown, self.from).await {
            Ok(caller) => self.accept(user, caller),
            Err(error) => {
                tracing::info!(from = %self.from, %error, "certificate refused");
                Auth::reject()
            }
        }
    }

    /// Somebody is known. `login%target` as user name asks for sessions at a target on this very connection.
    fn accept(&mut self, user: &str, caller: Caller) -> Auth {
        let route = match user.rsplit_once('%') {
            None => None,
            Some((login, target)) => match (login.parse::<LoginName>(), target.parse::<TargetName>()) {
                (Ok(login), Ok(target)) => Some(Route { caller: caller.clone(), target, login }),
                _ => return Auth::reject(),
            },
        };
        let Some(place) = self.shared.shares.take(caller.identity()) else {
            tracing::warn!(from = %self.from, who = %caller.identity().reference(), "too many connections of one identity");
            return Auth::reject();
        };
        self.place = Some(place);
        if self.pairing.who.set((caller.sign_in().clone(), caller.sign_in_expires())).is_err() {
            return Auth::reject();
        }
        self.desk = route.map(|route| {
            Desk::new(Arc::clone(&self.shared), route, Arc::clone(&self.pressure), self.over.clone())
        });
        self.caller = Some(caller);
        Auth::Accept
    }

    /// keyboard-interactive (RFC 4256): shows where to confirm, then waits for it.
    pub(super) async fn pairing(&mut self, user: &str, answered: bool) -> Auth {
        self.asked();
        if self.parting {
            // What is left is what the client has tried before, so that it ends. (OpenSSH takes an empty list for all.)
            let left = MethodSet::from(&[MethodKind::PublicKey][..]);
            return Auth::Reject { proceed_with_methods: Some(left), partial_success: false };
        }
        let Some(pending) = self.pending.clone().filter(|_| answered) else { return self.pair().await };
        // Somebody may press Enter too early, and a client without a person answers at once: so each answer is looked
        // at for a moment only, and asked for again a few times.
        for _ in 0..PAIRING_LOOKS {
            match sign_in::finish_ssh(&self.shared.app, &pending, self.from).await {
                Ok(sign_in::SshPairingState::Done(caller)) => {
                    if self.pairing.sign_in.set(caller.sign_in().clone()).is_err() {
                        return Auth::reject();
                    }
                    return self.accept(user, *caller);
                }
                Ok(sign_in::SshPairingState::Waiting) => sleep(PAIRING_PAUSE).await,
                Ok(sign_in::SshPairingState::Denied(text)) => {
                    tracing::info!(from = %self.from, text, "pairing denied");
                    return self.part(&text);
                }
                Err(error) => {
                    tracing::warn!(from = %self.from, %error, "pairing failed");
                    return self.part("signing in failed; connect again in a minute");
                }
            }
        }
        self.asked += 1;
        if self.asked > PAIRING_ASKS {
            return self.part("not confirmed; connect again for a new code");
        }
        ask("\nNot confirmed yet.\n".into(), PAIRING_PROMPT)
    }

    /// Begins a pairing and shows where to confirm it.
    async fn pair(&mut self) -> Auth {
        match sign_in::begin_ssh(&self.shared.app, self.from).await {
            Ok(pairing) => {
                self.pending = Some(pairing.id);
                self.pairing.begun.store(true, Ordering::Relaxed);
                let text = format!(
                    "\nTo sign in, open this page and confirm the code:\n\n    {}\n    {}\n",
                    pairing.url, pairing.user_code
                );
                ask(text, PAIRING_PROMPT)
            }
            Err(error) => {
                tracing::warn!(from = %self.from, %error, "no pairing");
                Auth::reject()
            }
        }
    }

    /// Says why it is over, with nothing to answer (RFC 4256 section 3.2 allows no prompts); the refusal follows.
    fn part(&mut self, text: &str) -> Auth {
        self.parting = true;
        Auth::Partial {
            name: Cow::Borrowed(""),
            instructions: Cow::Owned(format!("\ncaponier: {text}\n")),
            prompts: Cow::Borrowed(&[]),
        }
    }

    /// A jump channel: from here on this stream is an SSH connection to `host`, which we answer.
    pub(super) fn jump(&mut self, channel: Channel<Msg>, host: &str, port: u32) -> Result<(), String> {
        let Some(caller) = self.caller.clone() else { return Err("not signed in".into()) };
        if self.desk.is_some() {
            return Err("a connection as LOGIN%TARGET opens no other hosts; use ssh -J".into());
        }
        let target: TargetName =
            host.to_ascii_lowercase().parse().map_err(|e: crate::names::BadName| e.to_string())?;
        // Who may not go there does not learn whether it is there.
        let policy = self.shared.app.policy();
        let open = policy::targets_for(&policy, caller.identity());
        let known = policy.targets.get(&target).filter(|_| open.iter().any(|(name, _)| *name == target));
        let expected = known.map_or(22, |known| u32::from(known.port));
        if port != 22 && port != expected {
            return Err(format!("{target} is not reached by port {port}; leave the port out"));
        }
        if self.jumps.len() >= JUMPS_MAX {
            return Err(format!("at most {JUMPS_MAX} hosts at once over one connection"));
        }
        let (shared, kill) = (Arc::clone(&self.shared), self.over.child_token());
        self.jumps.spawn(inner::serve(shared, caller, target, channel, self.pressure.budget().clone(), kill));
        Ok(())
    }

    /// A session channel to the bastion itself: there is no shell here, only answers.
    pub(super) fn open_assistance(&mut self, channel: Channel<Msg>) -> bool {
        let room = self.help.len() < CHANNELS_MAX;
        if room {
            let (tell, told) = oneshot::channel();
            self.assisted.insert(channel.id(), tell);
            self.help.spawn(assist::attend(Arc::clone(&self.shared), channel, told));
        }
        room
    }

    pub(super) fn close_assistance(&mut self, id: ChannelId) {
        self.assisted.remove(&id);
    }

    /// Answers `ssh bastion [COMMAND]`.
    pub(super) fn assist(&mut self, id: ChannelId, program: &Program) -> bool {
        let (Some(tell), Some(caller)) = (self.assisted.remove(&id), self.caller.as_ref()) else {
            return false;
        };
        let command = match program {
            Program::Shell => Vec::new(),
            Program::Exec(command) => command.clone(),
            Program::Subsystem(_) => return false,
        };
        tell.send(assist::Asked { caller: caller.clone(), command }).is_ok()
    }
}

fn ask(instructions: String, prompt: &'static str) -> Auth {
    Auth::Partial {
        name: Cow::Borrowed("Caponier"),
        instructions: Cow::Owned(instructions),
        prompts: Cow::Owned(vec![(Cow::Borrowed(prompt), true)]),
    }
}
