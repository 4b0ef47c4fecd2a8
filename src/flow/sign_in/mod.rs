//! Signing in with an OpenID provider, for the command line (loopback, device code) and for `ssh` itself.
//!
//! ```text
//!            begin          leave            come back        verified          confirm          finish
//! (nobody) ──────▶ Begun ─────────▶ AtProvider ──────▶ Exchanging ─────▶ Identified ──────▶ Confirmed ──────▶ Done
//!                                    ▲      │                            loopback: finish with the code ─────▶ Done
//!                                    └──────┘ leave again
//! ```
//! From every state before `Done` it can be `Denied`. `step` is the whole table; `begin` (command line), `ssh`,
//! `browser` with `confirm`, and `finish` are those who move it. A row holds only hashes of what is secret (`row`): the browser's
//! cookie, the OAuth `state` and the code of the loopback redirect are in nobody's database. The user code has 34 bits
//! only, so whoever reads the database can find it out from its hash in the minutes in which it works: they could sign
//! that client in, as themselves, after confirming it; it opens nothing of anybody else's.
//!
//! What keeps attacks out: the cookie set when the browser leaves must come back (login CSRF); `state` is used once;
//! before a loopback sign-in leaves, a person sees machine, address and key, and goes on by a form of ours; the loopback
//! code is short-lived, works once, and only with the verifier and a request signed by the SSH key that began; in device
//! and ssh mode a person compares code, machine and address, and confirms.

mod abandoned;
mod begin;
mod browser;
mod confirm;
mod finish;
mod row;
mod ssh;
mod user_code;

use std::net::IpAddr;
use std::time::Duration;

use crate::flow::recheck::{Arrived, KeepError};
use crate::identity::Identity;
use crate::identity::oidc::OidcError;
use crate::ids::PendingId;
use crate::names::ProviderName;
use crate::store::StoreError;
use crate::time::Timestamp;

pub(super) use abandoned::give_up_abandoned;
pub use begin::{Begin, Begun, begin};
pub use browser::{Back, Choice, Leaving, Opened, Returned, choices, come_back, enter_code, open};
pub use confirm::{BeforeView, ConfirmView, Decision, decide, look, look_before};
pub use finish::{Finish, Finished, finish};
pub use ssh::{SshPairing, SshPairingState, begin_ssh, finish_ssh};

/// How long a sign-in may take from begin to finish.
pub const PENDING_LIFE: Duration = Duration::from_secs(600);
/// How many sign-ins may be under way at once, begun by one customer of a network (`place::area`).
pub const PENDING_OF_AREA_MAX: u64 = 20;
/// The same for one wider network (`place::wide_area`).
pub const PENDING_OF_WIDE_AREA_MAX: u64 = 400;
/// The same for everybody. So high that it bounds what is stored, and that no few networks can lock everybody out.
pub const PENDING_MAX: u64 = 20_000;
/// How long one that was denied stays, so that the waiting client hears it.
const DENIED_LIFE: Duration = Duration::from_secs(60);
/// How long the code of the loopback redirect works.
pub const HANDOFF_LIFE: Duration = Duration::from_secs(60);
/// How often one sign-in may leave for a provider.
const LEAVES_MAX: u32 = 10;
/// Longest name that a client machine may give itself, in bytes.
const CLIENT_BYTES_MAX: usize = 64;

/// Why a sign-in does not go on. The texts are for the person who signs in.
#[derive(Debug, thiserror::Error)]
pub enum SignInRefused {
    /// Too many at once, or too many tries.
    #[error("{0}")]
    Limit(&'static str),
    /// The request does not make sense.
    #[error("{0}")]
    BadRequest(String),
    /// There is no such sign-in for whoever asks, or it is void. Nobody learns which.
    #[error("this sign-in is unknown, finished or has expired; begin again")]
    NotFound,
    /// The browser is not the one that began at the provider.
    #[error(
        "this is not the browser window that the sign-in was begun in; begin again, and allow cookies for this site"
    )]
    OtherBrowser,
    /// It was denied, by the person or by us.
    #[error("{0}")]
    Denied(String),
    /// The same signed request came before.
    #[error("this request was sent before; send a new one")]
    Replay,
    /// The provider is out of order.
    #[error(transparent)]
    Provider(#[from] OidcError),
    /// What came from the provider cannot be kept.
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// The store is out of order.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How the result gets from the browser to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// By redirect to a port on the person's own machine.
    Loopback {
        /// The port on 127.0.0.1.
        port: u16,
        /// base64url SHA-256 of the verifier.
        challenge: String,
    },
    /// The client asks again and again, and the person confirms a code.
    Device,
    /// As `Device`, for one SSH connection and without a key.
    Ssh,
}

impl Mode {
    fn word(&self) -> &'static str {
        match self {
            Self::Loopback { .. } => "loopback",
            Self::Device => "device",
            Self::Ssh => "ssh",
        }
    }
}

/// One stay at a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stay {
    /// Which provider.
    provider: ProviderName,
    /// SHA-256 of the OAuth `state`.
    state_hash: String,
    /// SHA-256 of the browser's cookie.
    cookie_hash: String,
    /// The user code, readable only with that cookie (see `user_code`).
    sealed_code: Option<String>,
}

/// Where a pending sign-in stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Begun,
    AtProvider(Stay),
    /// The `state` is used up; the code is being exchanged.
    Exchanging(Stay),
    /// We know who. Loopback: `handoff` is the hash of the code, good until `until`.
    Identified {
        stay: Stay,
        who: Identity,
        handoff: Option<Handoff>,
    },
    /// The person confirmed.
    Confirmed {
        who: Identity,
    },
    Done,
    Denied {
        text: String,
    },
}

/// The code that goes through the browser to the client's loopback port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Handoff {
    hash: String,
    until: Timestamp,
}

/// What can happen to a pending sign-in.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Leave(Stay),
    Return,
    Identify { who: Identity, handoff: Option<Handoff> },
    Confirm,
    Deny(String),
    Finish,
}

/// The event does not fit the state: somebody was faster, or tries something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotNow;

/// The whole table of a sign-in. Pure.
pub(crate) fn step(mode: &Mode, state: State, event: Event, now: Timestamp) -> Result<State, NotNow> {
    let by_code = matches!(mode, Mode::Loopback { .. });
    match (event, state) {
        (Event::Leave(stay), State::Begun | State::AtProvider(_)) => Ok(State::AtProvider(stay)),
        (Event::Return, State::AtProvider(stay)) => Ok(State::Exchanging(stay)),
        (Event::Identify { who, handoff }, State::Exchanging(stay)) if handoff.is_some() == by_code => {
            Ok(State::Identified { stay, who, handoff })
        }
        (Event::Confirm, State::Identified { who, .. }) if !by_code => Ok(State::Confirmed { who }),
        (Event::Finish, State::Identified { handoff: Some(handoff), .. })
            if by_code && now < handoff.until =>
        {
            Ok(State::Done)
        }
        (Event::Finish, State::Confirmed { .. }) if !by_code => Ok(State::Done),
        (
            Event::Deny(text),
            State::Begun | State::AtProvider(_) | State::Exchanging(_) | State::Identified { .. },
        ) => Ok(State::Denied { text }),
        (
            Event::Leave(_)
            | Event::Return
            | Event::Identify { .. }
            | Event::Confirm
            | Event::Finish
            | Event::Deny(_),
            _,
        ) => Err(NotNow),
    }
}

/// A sign-in under way, as the flows see it.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    id: PendingId,
    mode: Mode,
    state: State,
    /// Fingerprint of the SSH key that began; none in ssh mode.
    key: Option<String>,
    /// What the client machine calls itself; a label.
    client: String,
    /// Where it began.
    from: IpAddr,
    /// The provider that the client asked for.
    provider: Option<ProviderName>,
    /// Hash of the user code while it may be typed.
    user_code_hash: Option<String>,
    /// How often it left for a provider.
    leaves: u32,
    /// What came with the person, once one came.
    arrived: Option<Arrived>,
    created: Timestamp,
    expires: Timestamp,
}

impl Pending {
    /// Takes the event; the state before is returned so that the store can compare.
    fn take(&mut self, event: Event, now: Timestamp) -> Result<&'static str, NotNow> {
        let before = self.state.word();
        self.state = step(&self.mode, self.state.clone(), event, now)?;
        if matches!(self.state, State::Exchanging(_) | State::Denied { .. }) {
            self.user_code_hash = None;
        }
        if matches!(self.state, State::Done | State::Denied { .. }) {
            self.arrived = None;
        }
        // What is over soon counts against no cap.
        match self.state {
            State::Done => self.expires = now,
            State::Denied { .. } => self.expires = self.expires.min(now.plus(DENIED_LIFE)),
            State::Begun
            | State::AtProvider(_)
            | State::Exchanging(_)
            | State::Identified { .. }
            | State::Confirmed { .. } => {}
        }
        Ok(before)
    }

    fn stay(&self) -> Option<&Stay> {
        match &self.state {
            State::AtProvider(stay) | State::Exchanging(stay) | State::Identified { stay, .. } => Some(stay),
            State::Begun | State::Confirmed { .. } | State::Done | State::Denied { .. } => None,
        }
    }
}

impl State {
    fn word(&self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::AtProvider(_) => "at-provider",
            Self::Exchanging(_) => "exchanging",
            Self::Identified { .. } => "identified",
            Self::Confirmed { .. } => "confirmed",
            Self::Done => "done",
            Self::Denied { .. } => "denied",
        }
    }
}

/// SHA-256 in hex: what the store keeps of a secret of 128 bits or more, and of the user code, which has fewer (see above).
fn hash(secret: &str) -> String {
    use sha2::{Digest as _, Sha256};
    Sha256::digest(secret).iter().map(|b| format!("{b:02x}")).collect()
}

/// Compares without telling by its time how much was right.
fn same(a: &str, b: &str) -> bool {
    use subtle::ConstantTimeEq as _;
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

#[cfg(test)]
mod tests;
