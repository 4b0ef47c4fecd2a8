//! What a certificate will say, before anybody signs it. Pure: decides which certificates can be thought of at all.
//! Who gets one, and for which logins, is the flows' business; signing is `signer`'s, which asks `Draft::check` again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use russh::keys::ssh_key::PublicKey;
use russh::keys::ssh_key::public::KeyData;

use super::subject_key;
use crate::ids::{SessionId, SignInId};
use crate::names::{LoginName, TargetName};
use crate::net::Cidr;
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

/// Most principals a certificate may name, as in OpenSSH.
pub const PRINCIPALS_MAX: usize = crate::pattern::LOGINS_MAX;
/// Longest key id, in bytes.
pub const KEY_ID_BYTES_MAX: usize = 512;

/// Extension (`name@domain`, PROTOCOL.certkeys) that names the sign-in; sshd ignores it, the audit joins on it.
pub const EXTENSION_SIGN_IN: &str = "sign-in@caponier";
/// Extension that names the session, in certificates for targets.
pub const EXTENSION_SESSION: &str = "session@caponier";
/// Extension that names the run of a CI job: platform, immutable id, run, commit and address, as [`crate::identity::Run::line`]
/// writes them.
pub const EXTENSION_RUN: &str = "run@caponier";
/// Extension of OpenSSH that permits a terminal.
pub(super) const EXTENSION_PTY: &str = "permit-pty";
/// Extension of OpenSSH that permits forwards of ports and sockets, both ways.
pub(super) const EXTENSION_FORWARDS: &str = "permit-port-forwarding";
/// Extension of OpenSSH that permits the use of the client's agent.
pub(super) const EXTENSION_AGENT: &str = "permit-agent-forwarding";
/// Extension of OpenSSH that permits the use of the client's display.
pub(super) const EXTENSION_X11: &str = "permit-X11-forwarding";
/// The one critical option we write and know (PROTOCOL.certkeys): where the certificate may be used from.
pub(super) const OPTION_SOURCE: &str = "source-address";

/// Shortest life: certificates count whole seconds, and one of less than a second could be over before it is used.
const LIFE_MIN: Duration = Duration::from_secs(1);

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
    /// Shorter than a second.
    #[error("a life of {0:?} is too short (at least one second)")]
    TooShort(Duration),
    /// A key we do not certify: DSA, RSA under 2048 or over 4096 bits, a security key, or itself a certificate.
    #[error("{0}")]
    Key(String),
    /// A host principal that is not a host name.
    #[error("{0:?} is not a host name (lower case, no wildcards) or an IP address")]
    HostName(String),
    /// A key id that is empty, longer than 512 bytes, or would not survive in a log line.
    #[error("the key id is empty, longer than 512 bytes, or has control characters")]
    KeyId,
    /// Principals, options or extensions that this kind of certificate does not carry. Not reachable through the
    /// constructors; it is what the signer's second look answers.
    #[error("a {0} certificate does not carry that")]
    Shape(&'static str),
}

/// What kind of certificate: decides the authority, the cap on its life and what it may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// For a person, at the bastion.
    User,
    /// For the bastion, at a target.
    Target,
    /// For a server.
    Host,
}

impl Kind {
    /// The longest life, without the backdating.
    pub(super) fn life_max(self) -> Duration {
        match self {
            Self::User => USER_LIFE_MAX,
            Self::Target => TARGET_LIFE,
            Self::Host => TARGET_HOST_LIFE_MAX,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Target => "target",
            Self::Host => "host",
        }
    }
}

/// What a certificate for a target permits there besides running programs. Nothing unless said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// A terminal.
    pub pty: bool,
    /// Forwards of ports and sockets.
    pub forwards: bool,
    /// The client's agent.
    pub agent: bool,
    /// The client's display.
    pub x11: bool,
}

/// A certificate to be. Made by the three constructors only.
#[derive(Clone, Debug)]
pub struct Draft {
    pub(super) kind: Kind,
    pub(super) key: KeyData,
    pub(super) serial: u64,
    pub(super) key_id: String,
    pub(super) principals: Vec<String>,
    pub(super) valid_after: Timestamp,
    pub(super) valid_before: Timestamp,
    pub(super) critical: BTreeMap<&'static str, String>,
    pub(super) extensions: BTreeMap<&'static str, String>,
}

impl Draft {
    /// A person's certificate, trusted by the bastion only. Extensions: `permit-pty`, `sign-in@caponier`. `source`
    /// becomes the critical option `source-address` with exactly that address.
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
        let critical = source.map(|address| (OPTION_SOURCE, Cidr::exactly(address).to_string()));
        let extensions = [(EXTENSION_PTY, String::new()), (EXTENSION_SIGN_IN, sign_in.to_string())];
        Self {
            principals: distinct(principals.iter().map(LoginName::to_string)),
            critical: critical.into_iter().collect(),
            extensions: extensions.into_iter().collect(),
            ..Self::blank(Kind::User, key, serial, key_id)
        }
        .lasting(now, life)
    }

    /// The same, for use from these networks only. An address that it is bound to already is narrower and stays.
    pub fn within(mut self, networks: &[Cidr]) -> Result<Self, DraftError> {
        let list: Vec<String> = networks.iter().map(Cidr::to_string).collect();
        self.critical.entry(OPTION_SOURCE).or_insert_with(|| list.join(","));
        self.check()?;
        Ok(self)
    }

    /// The same, naming the run that it is for.
    pub fn of_run(mut self, run: &str) -> Result<Self, DraftError> {
        self.extensions.insert(EXTENSION_RUN, run.to_owned());
        self.check()?;
        Ok(self)
    }

    /// A certificate for one session at a target: one principal, and of sshd's permissions those in `permit`.
    #[expect(clippy::too_many_arguments, reason = "a certificate has that many fields")]
    pub fn target(
        key: &PublicKey,
        serial: u64,
        key_id: &str,
        sign_in: &SignInId,
        session: &SessionId,
        login: &LoginName,
        permit: Permissions,
        now: Timestamp,
    ) -> Result<Self, DraftError> {
        let ids = [(EXTENSION_SIGN_IN, sign_in.to_string()), (EXTENSION_SESSION, session.to_string())];
        let permitted = [
            (permit.pty, EXTENSION_PTY),
            (permit.forwards, EXTENSION_FORWARDS),
            (permit.agent, EXTENSION_AGENT),
            (permit.x11, EXTENSION_X11),
        ];
        let permitted = permitted.into_iter().filter(|(on, _)| *on).map(|(_, name)| (name, String::new()));
        Self {
            principals: vec![login.to_string()],
            extensions: ids.into_iter().chain(permitted).collect(),
            ..Self::blank(Kind::Target, key, serial, key_id)
        }
        .lasting(now, TARGET_LIFE)
    }

    /// A host certificate for exactly these names: host names in lower case, or IP addresses. No wildcards.
    pub fn host(
        key: &PublicKey,
        serial: u64,
        key_id: &str,
        names: &[String],
        now: Timestamp,
        life: Duration,
    ) -> Result<Self, DraftError> {
        Self { principals: distinct(names.iter().cloned()), ..Self::blank(Kind::Host, key, serial, key_id) }
            .lasting(now, life)
    }

    fn blank(kind: Kind, key: &PublicKey, serial: u64, key_id: &str) -> Self {
        Self {
            kind,
            key: key.key_data().clone(),
            serial,
            key_id: key_id.into(),
            principals: Vec::new(),
            valid_after: Timestamp::from_millis(0),
            valid_before: Timestamp::from_millis(0),
            critical: BTreeMap::new(),
            extensions: BTreeMap::new(),
        }
    }

    /// Sets the window, in whole seconds (both ends rounded down, so that nothing lives longer than asked), and checks.
    fn lasting(self, now: Timestamp, life: Duration) -> Result<Self, DraftError> {
        if life < LIFE_MIN {
            return Err(DraftError::TooShort(life));
        }
        let cap = self.kind.life_max();
        if life > cap {
            return Err(DraftError::TooLong { asked: life, cap });
        }
        let draft = Self {
            valid_after: Timestamp::from_secs(now.minus(BACKDATE).as_secs()),
            valid_before: Timestamp::from_secs(now.plus(life).as_secs()),
            ..self
        };
        draft.check()?;
        Ok(draft)
    }

    /// Everything that must hold of a draft whatever the time is. The signer asks again.
    pub(super) fn check(&self) -> Result<(), DraftError> {
        subject_key::check(&self.key).map_err(|refused| DraftError::Key(refused.to_string()))?;
        let unfit =
            |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if self.key_id.is_empty() || self.key_id.len() > KEY_ID_BYTES_MAX || self.key_id.contains(unfit) {
            return Err(DraftError::KeyId);
        }
        let asked = self.valid_before.since(self.valid_after);
        let cap = self.kind.life_max() + BACKDATE;
        if asked > cap {
            return Err(DraftError::TooLong { asked, cap });
        }
        self.check_principals()?;
        self.check_shape()
    }

    fn check_principals(&self) -> Result<(), DraftError> {
        match (self.kind, self.principals.len()) {
            (_, 0) => return Err(DraftError::NoPrincipals),
            (_, n) if n > PRINCIPALS_MAX => return Err(DraftError::TooManyPrincipals(n)),
            (Kind::Target, n) if n > 1 => return Err(DraftError::TooManyPrincipals(n)),
            (Kind::User | Kind::Target | Kind::Host, _) => {}
        }
        for name in &self.principals {
            match self.kind {
                Kind::User | Kind::Target if name.parse::<LoginName>().is_err() => {
                    return Err(DraftError::Shape(self.kind.word()));
                }
                Kind::Host if !is_host_name(name) => return Err(DraftError::HostName(name.clone())),
                Kind::User | Kind::Target | Kind::Host => {}
            }
        }
        Ok(())
    }

    /// Options and extensions: nothing but what the kind carries, and the ids that the audit joins on.
    fn check_shape(&self) -> Result<(), DraftError> {
        let (options, may, must): (&[&str], &[&str], &[&str]) = match self.kind {
            Kind::User => {
                (&[OPTION_SOURCE], &[EXTENSION_PTY, EXTENSION_SIGN_IN, EXTENSION_RUN], &[EXTENSION_SIGN_IN])
            }
            Kind::Target => (
                &[],
                &[
                    EXTENSION_PTY,
                    EXTENSION_FORWARDS,
                    EXTENSION_AGENT,
                    EXTENSION_X11,
                    EXTENSION_SIGN_IN,
                    EXTENSION_SESSION,
                    EXTENSION_RUN,
                ],
                &[EXTENSION_SIGN_IN, EXTENSION_SESSION],
            ),
            // OpenSSH refuses a host certificate with any critical option.
            Kind::Host => (&[], &[], &[]),
        };
        let known = self.critical.keys().all(|name| options.contains(name))
            && self.extensions.keys().all(|name| may.contains(name))
            && must.iter().all(|name| self.extensions.contains_key(name))
            && self.extensions.get(EXTENSION_RUN).is_none_or(|run| is_line(run));
        if known { Ok(()) } else { Err(DraftError::Shape(self.kind.word())) }
    }

    /// Serial number.
    pub fn serial(&self) -> u64 {
        self.serial
    }
    /// Key id.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }
    /// Principals: distinct, never empty.
    pub fn principals(&self) -> &[String] {
        &self.principals
    }
    /// First valid instant.
    pub fn valid_after(&self) -> Timestamp {
        self.valid_after
    }
    /// First invalid instant.
    pub fn valid_before(&self) -> Timestamp {
        self.valid_before
    }
}

/// Whether it is one line of visible ASCII and blanks, not long: it is read by people in `ssh-keygen -L`.
fn is_line(text: &str) -> bool {
    (1..=KEY_ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
}

/// The names in their order, each once.
fn distinct(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    names.filter(|name| seen.insert(name.clone())).collect()
}

/// OpenSSH matches principals of host certificates as patterns against the name in lower case; ours are literal.
fn is_host_name(name: &str) -> bool {
    // An address must be in the form that ssh itself would print.
    let is_address = || name.parse::<IpAddr>().is_ok_and(|address| address.to_string() == name);
    name.parse::<TargetName>().is_ok() || is_address()
}

#[cfg(test)]
mod tests {
    use russh::keys::{Algorithm, PrivateKey};

    use super::*;
    use crate::random::Random;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_900);

    fn key() -> PublicKey {
        Random::seeded(2)
            .with(|rng| PrivateKey::random(rng, Algorithm::Ed25519))
            .unwrap()
            .public_key()
            .clone()
    }

    fn sign_in() -> SignInId {
        SignInId::random(&Random::seeded(3))
    }

    fn logins(names: &[&str]) -> Vec<LoginName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn user(names: &[&str], key_id: &str, life: Duration) -> Result<Draft, DraftError> {
        Draft::user(&key(), 1, key_id, &sign_in(), &logins(names), None, NOW, life)
    }

    fn host(names: &[&str], life: Duration) -> Result<Draft, DraftError> {
        let names: Vec<String> = names.iter().map(|name| (*name).into()).collect();
        Draft::host(&key(), 1, "host web1", &names, NOW, life)
    }

    #[test]
    fn an_address_is_not_widened_to_a_network() {
        let networks = ["10.0.0.0/8", "fd00::/8"].map(|text| Cidr::parse(text).unwrap());
        let draft = |source| {
            let names = logins(&["deploy"]);
            let life = Duration::from_secs(300);
            Draft::user(&key(), 7, "service:account/x", &sign_in(), &names, source, NOW, life).unwrap()
        };
        let bound = draft(None).within(&networks).unwrap();
        assert_eq!(bound.critical, BTreeMap::from([(OPTION_SOURCE, "10.0.0.0/8,fd00::/8".to_owned())]));
        let bound = draft(Some("10.0.0.7".parse().unwrap())).within(&networks).unwrap();
        assert_eq!(bound.critical, BTreeMap::from([(OPTION_SOURCE, "10.0.0.7/32".to_owned())]));
    }

    #[test]
    fn user_says_what_it_was_told() {
        let from = "::ffff:192.0.2.7".parse().unwrap();
        let names = logins(&["deploy", "root", "deploy"]);
        let life = Duration::from_secs(300);
        let draft = Draft::user(&key(), 7, "corp:ann", &sign_in(), &names, Some(from), NOW, life).unwrap();
        assert_eq!(draft.principals(), ["deploy", "root"]);
        assert_eq!((draft.serial(), draft.key_id()), (7, "corp:ann"));
        assert_eq!(draft.valid_after(), Timestamp::from_secs(1_799_999_940));
        assert_eq!(draft.valid_before(), Timestamp::from_secs(1_800_000_300));
        assert_eq!(draft.critical, BTreeMap::from([(OPTION_SOURCE, "192.0.2.7/32".to_owned())]));
        assert_eq!(
            draft.extensions,
            BTreeMap::from([(EXTENSION_PTY, String::new()), (EXTENSION_SIGN_IN, sign_in().to_string())])
        );
    }

    #[test]
    fn target_permits_only_what_is_asked() {
        let session = SessionId::random(&Random::seeded(4));
        let login = "deploy".parse().unwrap();
        for number in 0..16_u8 {
            let on = |bit: u8| number & 1 << bit != 0;
            let permit = Permissions { pty: on(0), forwards: on(1), agent: on(2), x11: on(3) };
            let draft = Draft::target(&key(), 7, "ann", &sign_in(), &session, &login, permit, NOW).unwrap();
            for (name, expect) in [
                ("permit-pty", on(0)),
                ("permit-port-forwarding", on(1)),
                ("permit-agent-forwarding", on(2)),
                ("permit-X11-forwarding", on(3)),
            ] {
                assert_eq!(draft.extensions.contains_key(name), expect, "{permit:?}");
            }
            assert_eq!(draft.extensions[EXTENSION_SESSION], session.as_str());
            assert_eq!(draft.principals(), ["deploy"]);
            assert_eq!(draft.valid_before(), Timestamp::from_secs(1_800_000_120));
        }
    }

    #[test]
    fn user_refusals() {
        let minute = Duration::from_secs(60);
        let over = USER_LIFE_MAX + Duration::from_millis(1);
        let long = "x".repeat(KEY_ID_BYTES_MAX + 1);
        let rows: &[(&[&str], &str, Duration, DraftError)] = &[
            (&[], "ann", minute, DraftError::NoPrincipals),
            (&["a"], "ann", over, DraftError::TooLong { asked: over, cap: USER_LIFE_MAX }),
            (&["a"], "ann", Duration::MAX, DraftError::TooLong { asked: Duration::MAX, cap: USER_LIFE_MAX }),
            (&["a"], "ann", Duration::ZERO, DraftError::TooShort(Duration::ZERO)),
            (&["a"], "", minute, DraftError::KeyId),
            (&["a"], &long, minute, DraftError::KeyId),
            (&["a"], "ann\nAccepted publickey for root", minute, DraftError::KeyId),
            (&["a"], "ann\u{7}", minute, DraftError::KeyId),
            (&["a"], "ann\u{85}", minute, DraftError::KeyId),
            (&["a"], "nna\u{202e}", minute, DraftError::KeyId),
        ];
        for (names, key_id, life, expect) in rows {
            assert_eq!(
                user(names, key_id, *life).map(|_| ()),
                Err(expect.clone()),
                "{names:?} {key_id:?} {life:?}"
            );
        }
        let many: Vec<String> = (0..257).map(|n| format!("u{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(user(&many, "ann", minute).map(|_| ()), Err(DraftError::TooManyPrincipals(257)));
        assert!(user(&many[1..], "ann", minute).is_ok());
    }

    #[test]
    fn host_names_are_literal() {
        let day = Duration::from_secs(86400);
        for good in ["web1", "db-1.eu.example.com", "192.0.2.7", "2001:db8::1"] {
            assert!(host(&[good], day).is_ok(), "{good}");
        }
        for bad in [
            "*",
            "web?",
            "*.example.com",
            "Web1",
            "a,b",
            "!web1",
            "-oX",
            "a b",
            "",
            "::0001",
            "[::1]:22",
            "web1\n",
        ] {
            assert_eq!(host(&["web1", bad], day).map(|_| ()), Err(DraftError::HostName(bad.into())));
        }
        assert_eq!(host(&[], day).map(|_| ()), Err(DraftError::NoPrincipals));
        let over = TARGET_HOST_LIFE_MAX + Duration::from_secs(1);
        assert!(matches!(host(&["web1"], over), Err(DraftError::TooLong { .. })));
    }

    #[test]
    fn the_second_look_refuses_what_constructors_never_make() {
        type Spoil = fn(&mut Draft);
        let rows: &[(&str, Spoil)] = &[
            ("no principals", |d| d.principals.clear()),
            ("all principals", |d| d.principals = vec!["*".into()]),
            ("joined principals", |d| d.principals = vec!["root,deploy".into()]),
            ("too long", |d| d.valid_before = d.valid_before.plus(USER_LIFE_MAX)),
            ("unknown option", |d| drop(d.critical.insert("force-command", "true".into()))),
            ("unknown extension", |d| drop(d.extensions.insert("permit-agent-forwarding", String::new()))),
            ("no sign-in", |d| drop(d.extensions.remove(EXTENSION_SIGN_IN))),
            ("other kind", |d| d.kind = Kind::Host),
        ];
        let good = user(&["root"], "ann", Duration::from_secs(300)).unwrap();
        assert_eq!(good.check(), Ok(()));
        for (what, spoil) in rows {
            let mut draft = good.clone();
            spoil(&mut draft);
            assert!(draft.check().is_err(), "{what}");
        }
    }
}
