//! A service account's statement: signed by the registered key, which is in a file or in the machine's ssh-agent.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use russh::keys::ssh_key::{HashAlg, PrivateKey, PublicKey};
use zeroize::Zeroizing;

use crate::cli::Environment;
use crate::cli::client::agent::Agent;
use crate::cli::client::sign::Key;
use crate::cli::client::state;
use crate::identity::statement::{NAMESPACE, service_text};
use crate::names::ServiceName;
use crate::time::Timestamp;
use crate::web::api::workloads::ServiceStatement;

/// The registered key behind `--key FILE`: a private key without passphrase, or a public key whose other half the ssh-agent has.
pub(super) fn key(file: &Path, env: &Environment) -> anyhow::Result<Key> {
    let named = || format!("--key {}", file.display());
    let text = Zeroizing::new(std::fs::read_to_string(file).with_context(named)?);
    if let Ok(public) = PublicKey::from_openssh(&text) {
        let socket = state::agent_socket(env).with_context(named)?;
        let holds = Agent::connect(&socket)?.holds(&public)?;
        anyhow::ensure!(holds, "{}: the ssh-agent does not have the private half of this key", named());
        return Ok(Key::Agent { public, socket });
    }
    let mode = std::fs::metadata(file).with_context(named)?.mode();
    anyhow::ensure!(
        mode & 0o077 == 0,
        "{}: others may read it (mode {:03o}); run: chmod 600 {}",
        named(),
        mode & 0o777,
        file.display()
    );
    let private = PrivateKey::from_openssh(text.as_bytes())
        .with_context(|| format!("{}: neither a private nor a public SSH key", named()))?;
    if private.is_encrypted() {
        bail!(
            "{}: it has a passphrase, and nobody is here to type it; add it to an ssh-agent and name the public key: \
             --key {}.pub",
            named(),
            file.display()
        );
    }
    Ok(Key::Held(Box::new(private)))
}

/// What the registered key says about the new one, at this moment and to this server.
pub(super) fn statement(
    account: &ServiceName,
    registered: &Key,
    authority: &str,
    new: &PublicKey,
    now: Timestamp,
    nonce: String,
) -> anyhow::Result<ServiceStatement> {
    let time = now.as_secs();
    let fingerprint = new.fingerprint(HashAlg::Sha256).to_string();
    let text = service_text(account.as_str(), authority, time, &nonce, &fingerprint);
    Ok(ServiceStatement {
        account: account.to_string(),
        key: registered.public_line()?,
        time,
        nonce,
        signature: registered.sshsig(NAMESPACE, &text)?,
    })
}

#[cfg(test)]
mod tests {
    use russh::keys::ssh_key::{Algorithm, LineEnding};

    use super::*;
    use crate::cli::client::home::replace;
    use crate::identity::statement::{Statement, verify_service};
    use crate::random::Random;

    fn made(seed: u64) -> PrivateKey {
        Random::seeded(seed).with(|mut rng| PrivateKey::random(&mut rng, Algorithm::Ed25519)).unwrap()
    }

    #[test]
    fn the_server_believes_it() {
        let (registered, new) = (made(1), made(2));
        let now = Timestamp::from_secs(1_800_000_000);
        let said = statement(
            &"backup".parse().unwrap(),
            &Key::Held(Box::new(registered.clone())),
            "b.example:8443",
            new.public_key(),
            now,
            Random::seeded(3).token(),
        )
        .unwrap();
        let ServiceStatement { account, key, time, nonce, signature } = &said;
        let shown = Statement { account, key, time: *time, nonce, signature };
        let fingerprint = new.fingerprint(HashAlg::Sha256).to_string();
        let proven = verify_service(shown, "b.example:8443", &fingerprint, now).unwrap();
        assert_eq!(proven.key().key_data(), registered.public_key().key_data());
        assert!(verify_service(shown, "b.example", &fingerprint, now).is_err());
    }

    #[test]
    fn keys_that_cannot_be_used_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let env = Environment::default();
        let path = dir.path().join("id");
        let refused = |text: &str, mode: u32| {
            replace(&path, text.as_bytes(), mode).unwrap();
            format!("{:#}", key(&path, &env).unwrap_err())
        };
        let private = made(1);
        let text = private.to_openssh(LineEnding::LF).unwrap();
        assert!(refused(&text, 0o644).contains("chmod 600"));
        assert!(refused("nonsense", 0o600).contains("neither"));
        let public = private.public_key().to_openssh().unwrap();
        assert!(refused(&public, 0o644).contains("SSH_AUTH_SOCK is not set"));
        replace(&path, text.as_bytes(), 0o600).unwrap();
        assert_eq!(key(&path, &env).unwrap().public().key_data(), private.public_key().key_data());
        assert!(format!("{:#}", key(&dir.path().join("none"), &env).unwrap_err()).contains("No such file"));
    }
}
