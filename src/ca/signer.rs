//! The only holder of CA keys.

use russh::keys::ssh_key::{Certificate, PublicKey};

use super::Draft;
use crate::config;
use crate::random::Random;
use crate::time::Timestamp;

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

/// Signs drafts. Cheap to clone.
#[derive(Clone)]
pub struct Signer {}

impl Signer {
    /// Opens the three keys as the configuration says (decrypting files once, off the async threads).
    pub async fn open(ca: &config::Ca) -> Result<Self, SignerError> {
        let _ = ca;
        unimplemented!()
    }
    /// The public half.
    pub fn public_key(&self, authority: Authority) -> &PublicKey {
        let _ = authority;
        unimplemented!()
    }
    /// Checks the hard caps against `now`, signs with the authority that fits the draft's kind, verifies its own signature.
    pub async fn sign(
        &self,
        draft: &Draft,
        random: &Random,
        now: Timestamp,
    ) -> Result<Certificate, SignerError> {
        let _ = (draft, random, now);
        unimplemented!()
    }
}
