//! What the client remembers: `client.json`, the key's whereabouts, the last failed renewal.

use std::path::PathBuf;

use anyhow::Context as _;
use russh::keys::ssh_key::{PrivateKey, PublicKey};
use serde::{Deserialize, Serialize};

use super::home::{self, Home};
use super::sign::Key;
use crate::cli::Environment;
use crate::time::Timestamp;
use crate::web::api::{CertificateRequest, SshClientSettings};

/// The file's layout; another number is a file we do not understand.
const VERSION: u32 = 1;

/// `client.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    version: u32,
    /// The server's address.
    pub server: String,
    /// Certificates of `--ca-file`, PEM: kept here because the file may go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
    /// What the ssh configuration is made of. Stays after a logout, so that ssh keeps going through the bastion.
    pub ssh: SshClientSettings,
    /// What every certificate of this sign-in is narrowed to.
    #[serde(default, skip_serializing_if = "is_wide")]
    pub narrowed: CertificateRequest,
    /// Who is signed in; none after a logout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_in: Option<SignedIn>,
}

/// A sign-in, as the server described it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SignedIn {
    /// Its id.
    pub id: String,
    /// `provider:subject`.
    pub who: String,
    /// Label for people.
    pub display: String,
    /// Unix seconds when it ends.
    pub expires: u64,
    /// Where the private key is.
    pub key: KeyPlace,
}

/// Where the private key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyPlace {
    /// In the file `id`.
    File,
    /// In the ssh-agent only.
    Agent,
    /// In an ssh-agent of its own only, whose socket is in this folder: a job's.
    Own,
}

fn is_wide(request: &CertificateRequest) -> bool {
    request.principals.is_none() && request.life.is_none()
}

impl State {
    /// A new state.
    pub fn new(server: String, ca_pem: Option<String>, ssh: SshClientSettings, sign_in: SignedIn) -> Self {
        let narrowed = CertificateRequest::default();
        Self { version: VERSION, server, ca_pem, ssh, narrowed, sign_in: Some(sign_in) }
    }

    /// Reads it; none when there was never a login here.
    pub fn load(home: &Home) -> anyhow::Result<Option<Self>> {
        let Some(text) = home.read(home::STATE)? else { return Ok(None) };
        let odd = || {
            let path = home.path(home::STATE);
            format!("{}: not a file of this caponier's; run: caponier login SERVER_URL", path.display())
        };
        let state: Self = serde_json::from_str(&text).with_context(odd)?;
        anyhow::ensure!(state.version == VERSION, odd());
        Ok(Some(state))
    }

    /// Writes it.
    pub fn save(&self, home: &Home) -> anyhow::Result<()> {
        home.write(home::STATE, &serde_json::to_string_pretty(self)?)?;
        Ok(())
    }

    /// Where ssh is told to look for the key; in the file when nobody is signed in.
    pub fn key_place(&self) -> KeyPlace {
        self.sign_in.as_ref().map_or(KeyPlace::File, |sign_in| sign_in.key)
    }
}

impl SignedIn {
    /// When it ends by itself.
    pub fn expires(&self) -> Timestamp {
        Timestamp::from_secs(self.expires)
    }
}

/// The public key in `id.pub`.
pub fn public_key(home: &Home) -> anyhow::Result<Option<PublicKey>> {
    let Some(text) = home.read(home::PUBLIC_KEY)? else { return Ok(None) };
    let path = home.path(home::PUBLIC_KEY);
    PublicKey::from_openssh(&text).map(Some).with_context(|| format!("{}", path.display()))
}

/// The private key in `id`; none when there is no such file.
pub fn private_key(home: &Home) -> anyhow::Result<Option<PrivateKey>> {
    home.check()?;
    let Some(text) = home.read(home::KEY)? else { return Ok(None) };
    let text = zeroize::Zeroizing::new(text);
    let path = home.path(home::KEY);
    let advice = || format!("{}: cannot be used; remove it and run: caponier login", path.display());
    let key = PrivateKey::from_openssh(text.as_bytes()).with_context(advice)?;
    anyhow::ensure!(!key.is_encrypted(), "{} (it has a passphrase)", advice());
    Ok(Some(key))
}

/// The key that signs requests, wherever it is.
pub fn key(home: &Home, place: KeyPlace, env: &Environment) -> anyhow::Result<Key> {
    match place {
        KeyPlace::File => {
            let key = private_key(home)?.context("the key is gone; run: caponier login")?;
            Ok(Key::Held(Box::new(key)))
        }
        KeyPlace::Agent => {
            let public = public_key(home)?.context("the public key is gone; run: caponier login --agent")?;
            Ok(Key::Agent { public, socket: agent_socket(env)? })
        }
        KeyPlace::Own => {
            let public = public_key(home)?.context("the public key is gone; run: caponier ci login")?;
            Ok(Key::Agent { public, socket: home.path(home::SOCKET) })
        }
    }
}

/// The socket of the ssh-agent that has, or had, the key of a sign-in in this folder.
pub fn socket(home: &Home, place: KeyPlace, env: &Environment) -> anyhow::Result<PathBuf> {
    match place {
        KeyPlace::Own => Ok(home.path(home::SOCKET)),
        KeyPlace::File | KeyPlace::Agent => agent_socket(env),
    }
}

/// The ssh-agent's socket.
pub fn agent_socket(env: &Environment) -> anyhow::Result<PathBuf> {
    env.get("SSH_AUTH_SOCK").filter(|path| !path.is_empty()).map(PathBuf::from).context(
        "the key lives in the ssh-agent, but SSH_AUTH_SOCK is not set; start an ssh-agent (eval $(ssh-agent))",
    )
}

/// The last renewal that failed: other processes that waited for the same renewal give the same answer, and for a
/// moment nobody asks again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// When, in Unix milliseconds.
    pub at: u64,
    /// Whether the person has to sign in.
    pub signed_out: bool,
    /// For people.
    pub message: String,
}

impl Failure {
    /// The last one, if there was one. One that cannot be read counts as none: it only saves a question.
    pub fn load(home: &Home) -> Option<Self> {
        serde_json::from_str(&home.read(home::FAILURE).ok()??).ok()
    }

    /// Remembers it.
    pub fn save(&self, home: &Home) -> anyhow::Result<()> {
        home.write(home::FAILURE, &serde_json::to_string(self)?)?;
        Ok(())
    }
}
