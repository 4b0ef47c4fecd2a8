//! What a certificate will say, before anybody signs it.

use std::net::IpAddr;
use std::time::Duration;

use russh::keys::ssh_key::PublicKey;

use crate::ids::{SessionId, SignInId};
use crate::names::LoginName;
use crate::time::Timestamp;

/// Longest life of a user certificate, whatever the configuration says.
pub const USER_LIFE_MAX: Duration = Duration::from_secs(15 * 60);
/// Life of a certificate for a target: one session's log-in.
pub const TARGET_LIFE: Duration = Duration::from_secs(2 * 60);
/// Life of a host certificate shown inside a jump.
pub const JUMP_HOST_LIFE: Duration = Duration::from_secs(10 * 60);
/// Longest life of a target's host certificate.
pub const TARGET_HOST_LIFE_MAX: Duration = Duration::from_secs(90 * 24 * 3600);
/// How far before "now" certificates begin, for clocks that go slow.
pub const BACKDATE: Duration = Duration::from_secs(60);

/// Extension (`name@domain`, PROTOCOL.certkeys) that names the sign-in; sshd ignores it, the audit joins on it.
pub const EXTENSION_SIGN_IN: &str = "sign-in@caponier";
/// Extension that names the session, in certificates for targets.
pub const EXTENSION_SESSION: &str = "session@caponier";

/// Why a draft cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DraftError {
    /// A certificate without principals would be good for nobody, or, to old servers, for everybody.
    #[error("a certificate needs at least one principal")]
    NoPrincipals,
    /// Too many.
    #[error("{0} principals are too many (at most 256)")]
    TooManyPrincipals(usize),
    /// Longer than the cap.
    #[error("a life of {asked:?} is over the cap of {cap:?}")]
    TooLong {
        /// What was asked.
        asked: Duration,
        /// The cap.
        cap: Duration,
    },
    /// A key we do not certify: DSA, RSA under 2048 or over 4096 bits, or itself a certificate.
    #[error("{0}")]
    Key(String),
    /// A host principal that is not a host name.
    #[error("{0:?} is not a host name")]
    HostName(String),
}

/// A certificate to be. Made by the three constructors only.
#[derive(Clone, Debug)]
pub struct Draft {
    // private: kind (user | target | host), key, serial, key_id, principals, valid_after, valid_before, critical options, extensions
}

impl Draft {
    /// A person's certificate, trusted by the bastion only. Extensions: `permit-pty`, `sign-in@caponier`.
    #[expect(clippy::too_many_arguments, reason = "a certificate has that many fields")]
    pub fn user(
        key: &PublicKey,
        serial: u64,
        key_id: &str,
        sign_in: &SignInId,
        principals: &[LoginName],
        source: Option<IpAddr>,
        now: Timestamp,
        life: Duration,
    ) -> Result<Self, DraftError> {
        let _ = (key, serial, key_id, sign_in, principals, source, now, life);
        unimplemented!()
    }

    /// A certificate for one session at a target: one principal, `permit-pty` only if `pty`.
    pub fn target(
        key: &PublicKey,
        serial: u64,
        key_id: &str,
        sign_in: &SignInId,
        session: &SessionId,
        login: &LoginName,
        pty: bool,
        now: Timestamp,
    ) -> Result<Self, DraftError> {
        let _ = (key, serial, key_id, sign_in, session, login, pty, now);
        unimplemented!()
    }

    /// A host certificate for exactly these names.
    pub fn host(
        key: &PublicKey,
        serial: u64,
        key_id: &str,
        names: &[String],
        now: Timestamp,
        life: Duration,
    ) -> Result<Self, DraftError> {
        let _ = (key, serial, key_id, names, now, life);
        unimplemented!()
    }

    /// Serial number.
    pub fn serial(&self) -> u64 {
        unimplemented!()
    }
    /// Key id.
    pub fn key_id(&self) -> &str {
        unimplemented!()
    }
    /// Principals.
    pub fn principals(&self) -> &[String] {
        unimplemented!()
    }
    /// First valid instant.
    pub fn valid_after(&self) -> Timestamp {
        unimplemented!()
    }
    /// First invalid instant.
    pub fn valid_before(&self) -> Timestamp {
        unimplemented!()
    }
}
