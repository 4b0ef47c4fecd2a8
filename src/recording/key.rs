//! The key that seals recordings and signs checkpoints of the audit log, and judging such signatures. Signatures are
//! OpenSSH's (PROTOCOL.sshsig), so that `ssh-keygen -Y verify` checks them without us. Pure; where the key lies is
//! `ca::init`'s matter, and which keys are believed the caller's.

use russh::keys::ssh_key::{HashAlg, LineEnding, PrivateKey, PublicKey, SshSig};

/// What signatures over recordings are for.
pub const RECORDING: &str = "recording@caponier";
/// What signatures over checkpoints of the audit log are for.
pub const AUDIT: &str = "audit@caponier";
/// The name of the signer, for `ssh-keygen -Y verify -I`.
pub const SIGNER: &str = "recorder@caponier";

/// The signing key of one node.
pub struct RecordingKey(PrivateKey);

/// Why a signature proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// It is not one.
    #[error("the signature cannot be read: {0}")]
    Unreadable(String),
    /// It is for something else.
    #[error("the signature is for {0:?}")]
    Namespace(String),
    /// Its key is not believed.
    #[error("the signature is by a key that is not among the signers: {0}")]
    Stranger(String),
    /// It is over something else.
    #[error("the signature does not fit: what was signed is something else")]
    Wrong,
    /// It could not be made.
    #[error("cannot sign: {0}")]
    Sign(String),
}

impl RecordingKey {
    /// Takes an Ed25519 key.
    pub fn new(key: PrivateKey) -> Self {
        Self(key)
    }

    /// Its public half.
    pub fn public(&self) -> &PublicKey {
        self.0.public_key()
    }

    /// Signs `message` for `namespace`; the signature in the form that `ssh-keygen -Y sign` writes.
    pub fn sign(&self, namespace: &str, message: &[u8]) -> Result<String, SignatureError> {
        let failed = |error: russh::keys::ssh_key::Error| SignatureError::Sign(error.to_string());
        let signature = SshSig::sign(&self.0, namespace, HashAlg::Sha512, message).map_err(failed)?;
        signature.to_pem(LineEnding::LF).map_err(failed)
    }
}

/// Judges a signature: it must be for `namespace`, over `message` and by one of `signers`; returns which.
pub fn verify<'k>(
    pem: &str,
    namespace: &str,
    message: &[u8],
    signers: &'k [PublicKey],
) -> Result<&'k PublicKey, SignatureError> {
    let signature = SshSig::from_pem(pem).map_err(|error| SignatureError::Unreadable(error.to_string()))?;
    if signature.namespace() != namespace {
        return Err(SignatureError::Namespace(signature.namespace().to_owned()));
    }
    let Some(signer) = signers.iter().find(|key| key.key_data() == signature.public_key()) else {
        return Err(SignatureError::Stranger(
            signature.public_key().fingerprint(HashAlg::Sha256).to_string(),
        ));
    };
    signer.verify(namespace, message, &signature).map_err(|_| SignatureError::Wrong)?;
    Ok(signer)
}

/// A line for `ssh-keygen`'s allowed-signers file (ssh-keygen(1)) by which `key` may sign recordings and checkpoints,
/// and nothing else.
pub fn allowed_signers_line(key: &str) -> String {
    format!("{SIGNER} namespaces=\"{RECORDING},{AUDIT}\" {key}\n")
}

/// The keys of an allowed-signers file that may sign for `namespace`. Errors name the line.
pub fn read_allowed_signers(text: &str, namespace: &str) -> Result<Vec<PublicKey>, String> {
    let mut keys = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |what: &str| format!("line {}: {what}", number + 1);
        let Some((principal, rest)) = line.split_once(char::is_whitespace) else {
            return Err(wrong("a signer, options and a key are needed"));
        };
        if principal != SIGNER {
            continue;
        }
        let (options, key) = match rest.trim_start().strip_prefix("namespaces=\"") {
            Some(rest) => rest.split_once('"').ok_or_else(|| wrong("a quote is open"))?,
            None => return Err(wrong("only the option namespaces=\"...\" is understood here")),
        };
        if options.split(',').any(|one| one == namespace) {
            keys.push(PublicKey::from_openssh(key.trim()).map_err(|error| wrong(&error.to_string()))?);
        }
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use russh::keys::ssh_key::Algorithm;

    use super::*;
    use crate::random::Random;

    pub(crate) fn key(seed: u64) -> RecordingKey {
        let random = Random::seeded(seed);
        RecordingKey::new(random.with(|mut rng| PrivateKey::random(&mut rng, Algorithm::Ed25519)).unwrap())
    }

    #[test]
    fn signatures() {
        let (ours, other) = (key(1), key(2));
        let signers = [ours.public().clone()];
        let pem = ours.sign(RECORDING, b"text").unwrap();
        assert_eq!(verify(&pem, RECORDING, b"text", &signers), Ok(&signers[0]));
        assert_eq!(verify(&pem, RECORDING, b"texT", &signers), Err(SignatureError::Wrong));
        assert_eq!(
            verify(&pem, AUDIT, b"text", &signers),
            Err(SignatureError::Namespace(RECORDING.into())),
            "a checkpoint is no seal"
        );
        let strange = verify(&other.sign(RECORDING, b"text").unwrap(), RECORDING, b"text", &signers);
        assert!(matches!(strange, Err(SignatureError::Stranger(_))), "{strange:?}");
        assert!(matches!(verify("", RECORDING, b"text", &signers), Err(SignatureError::Unreadable(_))));
        assert!(verify(&pem, RECORDING, b"text", &[]).is_err());
    }

    #[test]
    fn allowed_signers() {
        let key = key(1).public().to_openssh().unwrap();
        let text = format!("# ours\n\n{}other@x ssh-ed25519 AAAA\n", allowed_signers_line(&key));
        assert_eq!(read_allowed_signers(&text, RECORDING).unwrap().len(), 1);
        assert_eq!(read_allowed_signers(&text, AUDIT).unwrap().len(), 1);
        assert_eq!(read_allowed_signers(&text, "file").unwrap().len(), 0);
        for bad in [
            format!("{SIGNER} {key}"),
            SIGNER.to_owned(),
            format!("{SIGNER} namespaces=\"{RECORDING} {key}"),
            format!("{SIGNER} namespaces=\"{RECORDING}\" ssh-ed25519 AAAA"),
            format!("{SIGNER} cert-authority,namespaces=\"{RECORDING}\" {key}"),
        ] {
            assert!(read_allowed_signers(&bad, RECORDING).is_err(), "{bad}");
        }
    }
}
