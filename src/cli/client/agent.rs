//! A small client of the ssh-agent (draft-ietf-sshm-ssh-agent): add a key with a lifetime, sign, list, remove.
//! Blocking with time limits, so that `ensure` needs no runtime to ask whether the key is still there.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use russh::keys::ssh_encoding::{Decode as _, Encode as _};
use russh::keys::ssh_key::public::KeyData;
use russh::keys::ssh_key::{PrivateKey, PublicKey, Signature};
use zeroize::Zeroizing;

const FAILURE: u8 = 5;
const SUCCESS: u8 = 6;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
const REMOVE_IDENTITY: u8 = 18;
const ADD_IDENTITY_CONSTRAINED: u8 = 25;
const CONSTRAIN_LIFETIME: u8 = 1;
const RSA_SHA2_512: u32 = 4;

/// OpenSSH's own limit for a message.
const MESSAGE_MAX: usize = 256 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);

/// Why the agent did not do it.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// No socket, or nobody behind it.
    #[error("the ssh-agent at {path} cannot be used: {source}")]
    Io {
        /// The socket.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The agent said no: no such key, locked, or a constraint it does not know.
    #[error("the ssh-agent refused to {0}")]
    Refused(&'static str),
    /// The answer is not what the protocol says.
    #[error("the ssh-agent's answer makes no sense")]
    Odd,
}

/// An open connection.
#[derive(Debug)]
pub struct Agent {
    stream: UnixStream,
    path: String,
}

impl Agent {
    /// Connects to the agent's socket.
    pub fn connect(socket: &Path) -> Result<Self, AgentError> {
        let path = socket.display().to_string();
        let failed = |source| AgentError::Io { path: path.clone(), source };
        let stream = UnixStream::connect(socket).map_err(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
        Ok(Self { stream, path })
    }

    /// Whether the agent holds the private half of `key`.
    pub fn holds(&mut self, key: &PublicKey) -> Result<bool, AgentError> {
        let answer = self.ask(REQUEST_IDENTITIES, &[])?;
        let (IDENTITIES_ANSWER, mut rest) = split(&answer)? else { return Err(AgentError::Odd) };
        let wanted = blob(key.key_data())?;
        for _ in 0..u32::decode(&mut rest).map_err(|_| AgentError::Odd)? {
            let found = Vec::<u8>::decode(&mut rest).map_err(|_| AgentError::Odd)?;
            let _comment = Vec::<u8>::decode(&mut rest).map_err(|_| AgentError::Odd)?;
            if found == wanted {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A signature by `key` over `bytes`; with SHA-512 where the kind of key leaves a choice.
    pub fn sign(&mut self, key: &PublicKey, bytes: &[u8]) -> Result<Signature, AgentError> {
        let mut body = Vec::new();
        put(&mut body, &blob(key.key_data())?)?;
        put(&mut body, bytes)?;
        let flags = if key.algorithm().is_rsa() { RSA_SHA2_512 } else { 0 };
        flags.encode(&mut body).map_err(|_| AgentError::Odd)?;
        let answer = self.ask(SIGN_REQUEST, &body)?;
        match split(&answer)? {
            (SIGN_RESPONSE, mut rest) => {
                let signature = Vec::<u8>::decode(&mut rest).map_err(|_| AgentError::Odd)?;
                Signature::try_from(signature.as_slice()).map_err(|_| AgentError::Odd)
            }
            (FAILURE, _) => Err(AgentError::Refused("sign (the key is not in it, or it is locked)")),
            _ => Err(AgentError::Odd),
        }
    }

    /// Hands the agent a key that it forgets after `lifetime_secs`.
    pub fn add(&mut self, key: &PrivateKey, comment: &str, lifetime_secs: u32) -> Result<(), AgentError> {
        // Room for the whole key from the start: a vector that grows would leave copies of the secret behind.
        let mut body = Zeroizing::new(Vec::with_capacity(1024));
        key.key_data().encode(&mut *body).map_err(|_| AgentError::Odd)?;
        put(&mut body, comment.as_bytes())?;
        body.push(CONSTRAIN_LIFETIME);
        lifetime_secs.encode(&mut *body).map_err(|_| AgentError::Odd)?;
        self.expect_success(ADD_IDENTITY_CONSTRAINED, &body, "take the key")
    }

    /// Makes the agent forget `key`.
    pub fn remove(&mut self, key: &PublicKey) -> Result<(), AgentError> {
        let mut body = Vec::new();
        put(&mut body, &blob(key.key_data())?)?;
        self.expect_success(REMOVE_IDENTITY, &body, "forget the key (it is not in it, or it is locked)")
    }

    fn expect_success(&mut self, kind: u8, body: &[u8], what: &'static str) -> Result<(), AgentError> {
        let answer = self.ask(kind, body)?;
        match split(&answer)? {
            (SUCCESS, _) => Ok(()),
            (FAILURE, _) => Err(AgentError::Refused(what)),
            _ => Err(AgentError::Odd),
        }
    }

    /// Sends one message, reads one. Both are a length, a kind, a body.
    fn ask(&mut self, kind: u8, body: &[u8]) -> Result<Vec<u8>, AgentError> {
        let length = u32::try_from(body.len().saturating_add(1)).map_err(|_| AgentError::Odd)?;
        let mut message = Zeroizing::new(Vec::with_capacity(body.len().saturating_add(5)));
        message.extend_from_slice(&length.to_be_bytes());
        message.push(kind);
        message.extend_from_slice(body);
        let mut head = [0; 4];
        self.stream
            .write_all(&message)
            .and_then(|()| self.stream.read_exact(&mut head))
            .map_err(|e| self.failed(e))?;
        let length = usize::try_from(u32::from_be_bytes(head)).map_err(|_| AgentError::Odd)?;
        if length == 0 || length > MESSAGE_MAX {
            return Err(AgentError::Odd);
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).map_err(|e| self.failed(e))?;
        Ok(answer)
    }

    fn failed(&self, source: std::io::Error) -> AgentError {
        AgentError::Io { path: self.path.clone(), source }
    }
}

fn split(answer: &[u8]) -> Result<(u8, &[u8]), AgentError> {
    answer.split_first().map(|(kind, rest)| (*kind, rest)).ok_or(AgentError::Odd)
}

fn blob(key: &KeyData) -> Result<Vec<u8>, AgentError> {
    key.encode_vec().map_err(|_| AgentError::Odd)
}

fn put(body: &mut Vec<u8>, bytes: &[u8]) -> Result<(), AgentError> {
    bytes.encode(body).map_err(|_| AgentError::Odd)
}
