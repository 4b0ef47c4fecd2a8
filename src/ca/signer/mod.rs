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
    Here(Box<Trio<PrivateKey>>),
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
    Ok(Inner { public, keys: Keys::Here(Box::new(keys)) })
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
mod tests;
