//! Signs requests with the SSH key (`identity::proof` has the text): from the file, from memory during a login, or by
//! the ssh-agent. Time and nonce are arguments.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use russh::keys::ssh_encoding::Encode as _;
use russh::keys::ssh_key::{HashAlg, PrivateKey, PublicKey, SshSig};

use super::agent::{Agent, AgentError};
use crate::identity::proof;
use crate::time::Timestamp;

/// Why a request could not be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The agent.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The key cannot make such a signature, or the agent made a wrong one.
    #[error("the SSH key cannot sign: {0}")]
    Key(#[from] russh::keys::ssh_key::Error),
    /// Encoding.
    #[error("the signature cannot be encoded: {0}")]
    Encoding(#[from] russh::keys::ssh_encoding::Error),
}

/// The person's key.
#[derive(Debug)]
pub enum Key {
    /// Held by us: read from the file, or just made.
    Held(Box<PrivateKey>),
    /// Held by the ssh-agent at this socket.
    Agent {
        /// The public half.
        public: PublicKey,
        /// The agent's socket.
        socket: PathBuf,
    },
}

impl Key {
    /// The public half.
    pub fn public(&self) -> &PublicKey {
        match self {
            Self::Held(key) => key.public_key(),
            Self::Agent { public, .. } => public,
        }
    }

    /// An SSHSIG over `text` with SHA-512, as a blob in base64. Checked before it leaves.
    pub fn sshsig(&self, namespace: &str, text: &str) -> Result<String, SignError> {
        let text = text.as_bytes();
        let sshsig = match self {
            Self::Held(key) => key.sign(namespace, HashAlg::Sha512, text)?,
            Self::Agent { public, socket } => {
                let enveloped = SshSig::signed_data(namespace, HashAlg::Sha512, text)?;
                let signature = Agent::connect(socket)?.sign(public, &enveloped)?;
                let sshsig = SshSig::new(public.key_data().clone(), namespace, HashAlg::Sha512, signature)?;
                public.verify(namespace, text, &sshsig)?;
                sshsig
            }
        };
        Ok(STANDARD.encode(sshsig.encode_vec()?))
    }

    /// The public half on one line, no comment.
    pub fn public_line(&self) -> Result<String, SignError> {
        Ok(PublicKey::new(self.public().key_data().clone(), "").to_openssh()?)
    }
}

/// What of a request is signed.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `GET`, `POST`, `DELETE`.
    pub method: &'a str,
    /// `host` or `host:port` of the server's URL.
    pub authority: &'a str,
    /// Path with query.
    pub path: &'a str,
    /// The body, empty when there is none.
    pub body: &'a [u8],
}

/// The four headers that prove possession of `key` for `request`.
pub fn sign(
    key: &Key,
    request: &Request<'_>,
    now: Timestamp,
    nonce: String,
) -> Result<[(&'static str, String); 4], SignError> {
    let Request { method, authority, path, body } = *request;
    let time = now.as_secs();
    let text = proof::signed_text(method, authority, path, time, &nonce, body);
    let signature = key.sshsig(proof::NAMESPACE, &text)?;
    Ok([
        (proof::HEADER_KEY, key.public_line()?),
        (proof::HEADER_TIME, time.to_string()),
        (proof::HEADER_NONCE, nonce),
        (proof::HEADER_SIGNATURE, signature),
    ])
}

#[cfg(test)]
mod tests {
    use russh::keys::ssh_encoding::Decode as _;
    use russh::keys::ssh_key::Algorithm;

    use super::*;
    use crate::random::Random;

    #[test]
    fn the_signature_covers_everything() {
        let random = Random::seeded(3);
        let private = random.with(|mut rng| PrivateKey::random(&mut rng, Algorithm::Ed25519)).unwrap();
        let public = private.public_key().clone();
        let key = Key::Held(Box::new(private));
        let request = Request { method: "POST", authority: "b.example", path: "/v1/x", body: b"{}" };
        let now = Timestamp::from_secs(1_800_000_000);
        let [(_, shown), (_, time), (_, nonce), (_, signature)] =
            sign(&key, &request, now, random.token()).unwrap();
        assert_eq!(shown.split(' ').count(), 2, "no comment");
        assert_eq!((time.as_str(), nonce.len()), ("1800000000", 43));
        let bytes = STANDARD.decode(signature).unwrap();
        let sshsig = SshSig::decode(&mut bytes.as_slice()).unwrap();
        let verify = |method, authority, path, body: &[u8]| {
            let text = proof::signed_text(method, authority, path, 1_800_000_000, &nonce, body);
            public.verify(proof::NAMESPACE, text.as_bytes(), &sshsig).is_ok()
        };
        assert!(verify("POST", "b.example", "/v1/x", b"{}"));
        assert!(!verify("GET", "b.example", "/v1/x", b"{}"));
        assert!(!verify("POST", "b.example:1", "/v1/x", b"{}"));
        assert!(!verify("POST", "b.example", "/v1/y", b"{}"));
        assert!(!verify("POST", "b.example", "/v1/x", b"{ }"));
    }
}
