//! CA keys in an ssh-agent (PROTOCOL.agent): the private halves never enter this process. Each signature opens its own
//! connection, so concurrent ones do not meet; how many are open at once is capped, because an agent's listen queue is
//! short and a full one refuses at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::ssh_key::{PublicKey, Signature};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;

use super::signer::SignerError;

/// Connections to the agent at once.
const CONNECTIONS_MAX: usize = 16;
/// How long the agent may take for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Where the agent listens.
#[derive(Debug)]
pub(super) struct Agent {
    socket: PathBuf,
    turns: Arc<Semaphore>,
}

impl Agent {
    /// Checks that the agent answers and holds all of `keys` as plain keys.
    pub(super) async fn open(socket: &Path, keys: [&PublicKey; 3]) -> Result<Self, SignerError> {
        let agent = Self { socket: socket.into(), turns: Arc::new(Semaphore::new(CONNECTIONS_MAX)) };
        let held = agent
            .within_time(async {
                let mut client = agent.connect().await?;
                client.request_identities().await.map_err(|e| agent.broken(&e))
            })
            .await?;
        for wanted in keys {
            let is_held = held.iter().any(
                |identity| matches!(identity, AgentIdentity::PublicKey { key, .. } if key.key_data() == wanted.key_data()),
            );
            if !is_held {
                let fingerprint = wanted.fingerprint(Default::default());
                return Err(SignerError::Agent(format!(
                    "the agent at {} does not hold {fingerprint} ({}); add it with: SSH_AUTH_SOCK={} ssh-add KEY_FILE",
                    socket.display(),
                    wanted.comment(),
                    socket.display()
                )));
            }
        }
        Ok(agent)
    }

    /// Has `text` signed. The caller verifies the signature.
    pub(super) async fn sign(&self, key: &PublicKey, text: &[u8]) -> Result<Signature, SignerError> {
        self.within_time(async {
            let closed = |_| SignerError::Agent("stopped".into());
            let _turn = self.turns.acquire().await.map_err(closed)?;
            let mut client = self.connect().await?;
            client.sign_request_signature(key, None, text).await.map_err(|e| self.broken(&e))
        })
        .await
    }

    async fn connect(&self) -> Result<AgentClient<UnixStream>, SignerError> {
        AgentClient::connect_uds(&self.socket).await.map_err(|e| self.broken(&e))
    }

    async fn within_time<T>(
        &self,
        work: impl Future<Output = Result<T, SignerError>>,
    ) -> Result<T, SignerError> {
        match tokio::time::timeout(ANSWER_MAX, work).await {
            Ok(answer) => answer,
            Err(_) => Err(SignerError::Agent(format!(
                "{} did not answer within {} s (is it waiting for a confirmation?)",
                self.socket.display(),
                ANSWER_MAX.as_secs()
            ))),
        }
    }

    fn broken(&self, error: &russh::keys::Error) -> SignerError {
        SignerError::Agent(format!(
            "{}: {error} (is it running, unlocked, and does it hold the CA keys?)",
            self.socket.display()
        ))
    }
}
