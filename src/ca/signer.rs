//! The only holder of CA keys. Takes drafts, never bytes; looks at each once more against hard caps and the clock of
//! the moment, signs, and lets a certificate out only after the verifier has accepted it. Who gets one is decided by
//! the flows, before.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};

use russh::keys::signature;
use russh::keys::ssh_key::certificate::{Builder, CertType};
use russh::keys::ssh_key::public::KeyData;
use russh::keys::ssh_key::{self, Certificate, PrivateKey, PublicKey, Signature};

use super::agent::Agent;
use super::draft::{Draft, Kind, OPTION_SOURCE};
use super::{key_file, verify};
use crate::config::{self, CaSource};
use crate::random::Random;
use crate::time::Timestamp;

/// Bytes of the nonce that leads a certificate; as many as OpenSSH takes.
const NONCE_BYTES: usize = 32;

/// Which authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authority {
    /// Signs people's and jobs' certificates; trusted by the bastion only.
    User,
    /// Signs one certificate per session; trusted by the targets' sshd.
    Target,
    /// Signs host certificates; trusted by clients, and by the bastion for targets.
    Host,
}

impl Authority {
    /// All three.
    pub const ALL: [Self; 3] = [Self::User, Self::Target, Self::Host];

    /// Name of its key file; the public half has `.pub` behind it.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::User => "user_ca",
            Self::Target => "target_ca",
            Self::Host => "host_ca",
        }
    }
}

/// Why the signer cannot start or sign.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// A key file cannot be used; says which and what to do.
    #[error("{0}")]
    Key(String),
    /// The ssh-agent failed.
    #[error("ssh-agent: {0}")]
    Agent(String),
    /// The draft breaks a hard cap.
    #[error("refused to sign: {0}")]
    Cap(String),
    /// The signature failed.
    #[error("signing: {0}")]
    Sign(String),
}

/// One of something for each authority.
#[derive(Debug)]
pub(super) struct Trio<T> {
    /// Of the user CA.
    pub(super) user: T,
    /// Of the target CA.
    pub(super) target: T,
    /// Of the host CA.
    pub(super) host: T,
}

impl<T> Trio<T> {
    /// Makes the three, stopping at the first failure.
    pub(super) fn make<E>(mut each: impl FnMut(Authority) -> Result<T, E>) -> Result<Self, E> {
        Ok(Self {
            user: each(Authority::User)?,
            target: each(Authority::Target)?,
            host: each(Authority::Host)?,
        })
    }

    /// That of one authority.
    pub(super) fn of(&self, authority: Authority) -> &T {
        match authority {
            Authority::User => &self.user,
            Authority::Target => &self.target,
            Authority::Host => &self.host,
        }
    }
}

/// Signs drafts. Cheap to clone.
#[derive(Clone)]
pub struct Signer {
    inner: Arc<Inner>,
}

struct Inner {
    public: Trio<PublicKey>,
    keys: Keys,
}

/// Where the private halves are. `PrivateKey` wipes itself when dropped.
enum Keys {
    Here(Trio<PrivateKey>),
    Agent(Agent),
}

impl Signer {
    /// Opens the three keys as the configuration says (decrypting files once, off the async threads).
    pub async fn open(ca: &config::Ca) -> Result<Self, SignerError> {
        let inner = match &ca.source {
            CaSource::Files(source) => {
                let (dir, source) = (ca.dir.clone(), source.clone());
                let decrypted = tokio::task::spawn_blocking(move || open_files(&dir, &source)).await;
                decrypted.map_err(|e| SignerError::Key(format!("reading the keys: {e}")))??
            }
            CaSource::Agent(socket) => {
                let public = Trio::make(|authority| key_file::public_key(&public_path(&ca.dir, authority)))?;
                let agent = Agent::open(socket, [&public.user, &public.target, &public.host]).await?;
                Inner { public, keys: Keys::Agent(agent) }
            }
        };
        check_distinct(&inner.public)?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The public half.
    pub fn public_key(&self, authority: Authority) -> &PublicKey {
        self.inner.public.of(authority)
    }

    /// Checks the hard caps against `now`, signs with the authority that fits the draft's kind, verifies its own signature.
    pub async fn sign(
        &self,
        draft: &Draft,
        random: &Random,
        now: Timestamp,
    ) -> Result<Certificate, SignerError> {
        check_caps(draft, now)?;
        let authority = match draft.kind {
            Kind::User => Authority::User,
            Kind::Target => Authority::Target,
            Kind::Host => Authority::Host,
        };
        let ca = self.public_key(authority);
        let nonce = random.bytes::<NONCE_BYTES>();
        let builder = || filled_in(draft, nonce).map_err(failed);
        let certificate = match &self.inner.keys {
            Keys::Here(keys) => builder()?.sign(keys.of(authority)).map_err(failed)?,
            Keys::Agent(agent) => {
                // The builder signs at once, the agent answers later. So the builder runs twice: once to learn what
                // is to be signed, once with the answer in hand.
                let probe = Stand::probe(ca);
                if builder()?.sign(&probe).is_ok() {
                    return Err(SignerError::Sign("a certificate came about without a signature".into()));
                }
                let text = probe.into_text();
                let signature = agent.sign(ca, &text).await?;
                builder()?.sign(&Stand::with(ca, text, signature)).map_err(failed)?
            }
        };
        confirm(draft, &certificate, ca, now)?;
        Ok(certificate)
    }
}

fn failed(error: ssh_key::Error) -> SignerError {
    SignerError::Sign(error.to_string())
}

/// The path of an authority's public key.
pub(super) fn public_path(dir: &std::path::Path, authority: Authority) -> std::path::PathBuf {
    dir.join(format!("{}.pub", authority.file_name()))
}

fn open_files(dir: &std::path::Path, source: &config::Passphrase) -> Result<Inner, SignerError> {
    let passphrase = key_file::passphrase(source, |name| std::env::var_os(name))?;
    let keys =
        Trio::make(|authority| key_file::private_key(&dir.join(authority.file_name()), passphrase.as_ref()))?;
    let public = Trio::make(|authority| {
        let key = keys.of(authority).public_key().clone();
        let path = public_path(dir, authority);
        // `ca show` reads the public files and hands them to targets and clients: they must not lie.
        if key_file::public_key(&path)?.key_data() != key.key_data() {
            return Err(SignerError::Key(format!(
                "{} does not belong to the private key beside it; run: ssh-keygen -y -f {} > {}",
                path.display(),
                key_file::quoted(&dir.join(authority.file_name())),
                key_file::quoted(&path)
            )));
        }
        Ok(key)
    })?;
    Ok(Inner { public, keys: Keys::Here(keys) })
}

/// One key for two authorities would make a person's certificate good at targets.
fn check_distinct(public: &Trio<PublicKey>) -> Result<(), SignerError> {
    let [user, target, host] = Authority::ALL.map(|authority| public.of(authority).key_data());
    if user == target || target == host || host == user {
        return Err(SignerError::Key(
            "two of user_ca, target_ca and host_ca are the same key; each authority needs its own (caponier ca init makes them)".into(),
        ));
    }
    Ok(())
}

/// The second look, independent of when and how the draft was made.
fn check_caps(draft: &Draft, now: Timestamp) -> Result<(), SignerError> {
    let refuse = |text: String| Err(SignerError::Cap(text));
    if let Err(bad) = draft.check() {
        return refuse(bad.to_string());
    }
    if now < draft.valid_after || draft.valid_before <= now {
        return refuse(format!(
            "it is {now}, and the draft is for {} to {}",
            draft.valid_after, draft.valid_before
        ));
    }
    // Together with `now >= valid_after` this also bounds a clock that was turned back since the draft was made.
    let latest = now.plus(draft.kind.life_max());
    if draft.valid_before > latest {
        return refuse(format!(
            "the certificate would live until {}, and may until {latest}",
            draft.valid_before
        ));
    }
    Ok(())
}

/// Principals go in one by one, and `all_principals_valid` is forbidden by lint. Options and extensions end up in the
/// order of their names, which PROTOCOL.certkeys wants and ssh-key sees to.
fn filled_in(draft: &Draft, nonce: [u8; NONCE_BYTES]) -> Result<Builder, ssh_key::Error> {
    let (from, until) = (draft.valid_after.as_secs(), draft.valid_before.as_secs());
    let mut builder = Builder::new(nonce, draft.key.clone(), from, until)?;
    builder.serial(draft.serial)?;
    builder.key_id(draft.key_id.as_str())?;
    builder.cert_type(match draft.kind {
        Kind::User | Kind::Target => CertType::User,
        Kind::Host => CertType::Host,
    })?;
    for principal in &draft.principals {
        builder.valid_principal(principal.as_str())?;
    }
    for (name, value) in &draft.critical {
        builder.critical_option(*name, value.as_str())?;
    }
    for (name, value) in &draft.extensions {
        builder.extension(*name, value.as_str())?;
    }
    Ok(builder)
}

/// Judges our own work as a stranger's, before it leaves (a key file with a flipped bit, an agent that answers with
/// another key, or a gap between what is drafted and what is accepted).
fn confirm(
    draft: &Draft,
    certificate: &Certificate,
    ca: &PublicKey,
    now: Timestamp,
) -> Result<(), SignerError> {
    let verdict = match draft.kind {
        Kind::User => {
            let source = draft.critical.get(OPTION_SOURCE).and_then(|range| range.split('/').next());
            let from =
                source.and_then(|address| address.parse().ok()).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
            verify::verify_user(certificate, ca, from, now).map(|_| ())
        }
        Kind::Target => verify::check_origin(certificate, ca, CertType::User),
        Kind::Host => {
            draft.principals.iter().try_for_each(|name| verify::verify_host(certificate, ca, name, now))
        }
    };
    verdict.map_err(|refused| SignerError::Sign(format!("the new certificate is not sound: {refused}")))?;
    let is_as_drafted = *certificate.public_key() == draft.key
        && certificate.serial() == draft.serial
        && certificate.valid_principals() == draft.principals
        && certificate.valid_before() == draft.valid_before.as_secs();
    if is_as_drafted {
        Ok(())
    } else {
        Err(SignerError::Sign("the new certificate is not the one drafted".into()))
    }
}

/// Stands in for the private key while the agent has it: a probe keeps the text to be signed and fails, the other
/// kind gives the agent's answer, and only for that very text.
struct Stand {
    key: KeyData,
    text: Mutex<Vec<u8>>,
    answer: Option<Signature>,
}

impl Stand {
    fn probe(ca: &PublicKey) -> Self {
        Self { key: ca.key_data().clone(), text: Mutex::default(), answer: None }
    }

    fn with(ca: &PublicKey, text: Vec<u8>, answer: Signature) -> Self {
        Self { key: ca.key_data().clone(), text: Mutex::new(text), answer: Some(answer) }
    }

    fn into_text(self) -> Vec<u8> {
        self.text.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<&Stand> for KeyData {
    fn from(stand: &Stand) -> Self {
        stand.key.clone()
    }
}

impl signature::Signer<Signature> for Stand {
    fn try_sign(&self, text: &[u8]) -> Result<Signature, signature::Error> {
        let mut expected = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        match &self.answer {
            Some(answer) if *expected == text => Ok(answer.clone()),
            Some(_) => Err(signature::Error::new()),
            None => {
                *expected = text.to_vec();
                Err(signature::Error::new())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use russh::keys::Algorithm;

    use super::*;
    use crate::ca::draft::{BACKDATE, TARGET_HOST_LIFE_MAX, TARGET_LIFE, USER_LIFE_MAX};
    use crate::ids::{SessionId, SignInId};
    use crate::names::LoginName;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_900);
    const LIFE: Duration = Duration::from_secs(300);

    fn new_key(random: &Random) -> PrivateKey {
        random.with(|rng| PrivateKey::random(rng, Algorithm::Ed25519)).unwrap()
    }

    fn signer(random: &Random) -> Signer {
        let keys = Trio::make(|_| Ok::<_, ()>(new_key(random))).unwrap();
        let public = Trio::make(|authority| Ok::<_, ()>(keys.of(authority).public_key().clone())).unwrap();
        Signer { inner: Arc::new(Inner { public, keys: Keys::Here(keys) }) }
    }

    fn user_draft(random: &Random) -> Draft {
        let (sign_in, names) = (SignInId::random(random), ["root".parse().unwrap()]);
        Draft::user(new_key(random).public_key(), 1, "ann", &sign_in, &names, None, NOW, LIFE).unwrap()
    }

    #[tokio::test]
    async fn caps_are_checked_again_before_signing() {
        type Spoil = fn(&mut Draft);
        let random = Random::seeded(5);
        let signer = signer(&random);
        let after = |secs| NOW.plus(Duration::from_secs(secs));
        let rows: &[(&str, Spoil, Timestamp, &str)] = &[
            ("good", |_| {}, NOW, ""),
            ("good to the end", |_| {}, after(299), ""),
            ("too late", |_| {}, after(300), "the draft is for"),
            ("clock turned back", |_| {}, NOW.minus(BACKDATE + Duration::from_secs(1)), "the draft is for"),
            (
                "clock turned back a little",
                |d| d.valid_before = d.valid_before.plus(Duration::from_secs(600)),
                NOW.minus(Duration::from_secs(30)),
                "may until",
            ),
            (
                "too long",
                |d| d.valid_before = d.valid_before.plus(Duration::from_secs(601)),
                NOW,
                "over the cap",
            ),
            ("for ever", |d| d.valid_before = Timestamp::from_millis(u64::MAX), NOW, "over the cap"),
            ("nobody", |d| d.principals.clear(), NOW, "at least one principal"),
            ("everybody", |d| d.principals = vec![String::new()], NOW, "does not carry that"),
            ("joined", |d| d.principals = vec!["root,ann".into()], NOW, "does not carry that"),
            ("other authority", |d| d.kind = Kind::Target, NOW, "over the cap"),
            ("host", |d| d.kind = Kind::Host, NOW, "does not carry that"),
            (
                "option",
                |d| drop(d.critical.insert("verify-required", String::new())),
                NOW,
                "does not carry that",
            ),
            ("list", |d| drop(d.critical.insert(OPTION_SOURCE, "192.0.2.1/32,x".into())), NOW, "not sound"),
            ("sign-in", |d| drop(d.extensions.insert("sign-in@caponier", "sgn_x".into())), NOW, "not sound"),
        ];
        for (what, spoil, now, expect) in rows {
            let mut draft = user_draft(&random);
            spoil(&mut draft);
            let outcome = signer.sign(&draft, &random, *now).await;
            let said = outcome.as_ref().err().map(ToString::to_string).unwrap_or_default();
            assert_eq!(outcome.is_ok(), expect.is_empty(), "{what}: {said}");
            assert!(said.contains(expect), "{what}: {said}");
        }
    }

    /// An agent that signs with another key, or something else, is found out before anything leaves.
    #[test]
    fn answers_of_another_key_are_found_out() {
        use signature::Signer as _;
        let random = Random::seeded(6);
        let (ca, other) = (new_key(&random), new_key(&random));
        let draft = user_draft(&random);
        let probe = Stand::probe(ca.public_key());
        assert!(filled_in(&draft, [1; NONCE_BYTES]).unwrap().sign(&probe).is_err());
        let text = probe.into_text();
        let finish = |nonce: u8, answer: Signature| {
            let stand = Stand::with(ca.public_key(), text.clone(), answer);
            let certificate = filled_in(&draft, [nonce; NONCE_BYTES]).unwrap().sign(&stand)?;
            assert!(confirm(&draft, &certificate, ca.public_key(), NOW).is_ok());
            Ok::<_, ssh_key::Error>(())
        };
        let good: Signature = ca.try_sign(&text).unwrap();
        assert!(finish(1, good.clone()).is_ok());
        assert!(finish(2, good).is_err(), "a signature over another text");
        let stand = Stand::with(ca.public_key(), text.clone(), other.try_sign(&text).unwrap());
        // The builder checks signatures in debug builds only; our own check does not depend on that.
        if let Ok(certificate) = filled_in(&draft, [1; NONCE_BYTES]).unwrap().sign(&stand) {
            assert!(confirm(&draft, &certificate, ca.public_key(), NOW).is_err());
        }
        let by_other = filled_in(&draft, [1; NONCE_BYTES]).unwrap().sign(&other).unwrap();
        assert!(confirm(&draft, &by_other, ca.public_key(), NOW).is_err());
        let another = user_draft(&random);
        let certificate = filled_in(&another, [1; NONCE_BYTES]).unwrap().sign(&ca).unwrap();
        assert!(confirm(&draft, &certificate, ca.public_key(), NOW).is_err());
    }

    #[test]
    fn one_key_cannot_be_two_authorities() {
        let random = Random::seeded(7);
        let [a, b, c] = [(); 3].map(|()| new_key(&random).public_key().clone());
        let trio = |user: &PublicKey, target: &PublicKey, host: &PublicKey| Trio {
            user: user.clone(),
            target: target.clone(),
            host: host.clone(),
        };
        assert!(check_distinct(&trio(&a, &b, &c)).is_ok());
        for same in [trio(&a, &a, &c), trio(&a, &b, &a), trio(&a, &b, &b), trio(&a, &a, &a)] {
            assert!(check_distinct(&same).is_err());
        }
    }

    /// What one seed's arguments led to.
    async fn try_anything(signer: &Signer, seed: u64) -> bool {
        let random = Random::seeded(seed);
        let pick = |n: u64| random.u64() % n;
        let lives = [
            0,
            1,
            999,
            1000,
            1001,
            60_000,
            899_999,
            900_000,
            900_001,
            7_776_000_000,
            7_776_000_001,
            u64::MAX,
        ];
        let life = Duration::from_millis(lives[usize::try_from(pick(12)).unwrap()]);
        let times =
            [0, 1, 59_999, 60_000, 1_800_000_000_000, 1_800_000_000_999, u64::MAX - 1_000_000, u64::MAX];
        let now = Timestamp::from_millis(times[usize::try_from(pick(8)).unwrap()]);
        let words = ["root", "deploy", "_apt", "a.b-c", "0day", "x", "web1", "db-1"];
        let some: Vec<&str> = (0..pick(4)).map(|_| words[usize::try_from(pick(8)).unwrap()]).collect();
        let addresses = ["192.0.2.7", "::ffff:192.0.2.7", "2001:db8::1", "::1", "0.0.0.0", "::"];
        let source: Option<IpAddr> =
            addresses.get(usize::try_from(pick(9)).unwrap()).map(|text| text.parse().unwrap());
        let key_id = [
            "",
            "ann",
            "ann (corp:1)",
            "a
b",
            "é",
        ][usize::try_from(pick(5)).unwrap()];
        let (key, serial, sign_in) = (new_key(&random), random.u64(), SignInId::random(&random));
        let key = key.public_key();
        let kind = pick(3);
        let draft = match kind {
            0 => {
                let names: Vec<LoginName> = some.iter().map(|name| name.parse().unwrap()).collect();
                Draft::user(key, serial, key_id, &sign_in, &names, source, now, life)
            }
            1 => {
                let (session, login) = (SessionId::random(&random), "root".parse().unwrap());
                Draft::target(key, serial, key_id, &sign_in, &session, &login, pick(2) == 0, now)
            }
            _ => {
                let names: Vec<String> = some.iter().map(|name| (*name).to_owned()).collect();
                Draft::host(key, serial, key_id, &names, now, life)
            }
        };
        let Ok(draft) = draft else { return false };
        let late = now.plus(Duration::from_millis(pick(2000)));
        let Ok(certificate) = signer.sign(&draft, &random, late).await else { return false };
        let cap =
            [USER_LIFE_MAX, TARGET_LIFE, TARGET_HOST_LIFE_MAX][usize::try_from(kind).unwrap()] + BACKDATE;
        assert!(certificate.valid_before() - certificate.valid_after() <= cap.as_secs(), "seed {seed}");
        assert!(certificate.valid_before() <= now.plus(cap - BACKDATE).as_secs(), "seed {seed}");
        assert!(!certificate.valid_principals().is_empty(), "seed {seed}");
        let user_ca = signer.public_key(Authority::User);
        let from = source.unwrap_or(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)));
        let verdict = verify::verify_user(&certificate, user_ca, from, late);
        assert_eq!(verdict.is_ok(), kind == 0, "seed {seed}: {verdict:?}");
        true
    }

    /// Whatever the constructors are given: what gets signed is accepted from a good caller, only the user CA makes
    /// what the bastion accepts, and nothing lives longer than the cap.
    #[tokio::test]
    async fn whatever_is_signed_holds() {
        let signer = signer(&Random::seeded(8));
        let mut signed = 0;
        for seed in 0..3000 {
            signed += u32::from(try_anything(&signer, seed).await);
        }
        // Guards against a test that tries nothing.
        assert!((300..2700).contains(&signed), "{signed} of 3000");
    }
}
