//! A service account's statement: proof that the holder of a registered key wants a new key certified, here and now. Pure; used
//! by the server and the client. Which keys are registered, from where, and whether the nonce is new is not judged here.
//!
//! The signature is an SSHSIG (OpenSSH PROTOCOL.sshsig) with namespace `service@caponier` and SHA-512 over this text, so a key
//! file, an ssh-agent or `ssh-keygen -Y sign` can make it:
//!
//! ```text
//! caponier-service-v1
//! ACCOUNT
//! AUTHORITY         (host, or host:port, of the server's public URL)
//! TIME              (Unix seconds)
//! NONCE             (43 characters, used once)
//! FINGERPRINT       (SHA256:..., of the new key)
//! ```
//! Each line ends with a line feed.

use russh::keys::ssh_key::{HashAlg, PublicKey};

use super::proof::{self, ProofRefused, SKEW_MAX_SECS};
use crate::names::ServiceName;
use crate::time::Timestamp;

/// SSHSIG namespace: another one than requests have, so that neither signature passes for the other.
pub const NAMESPACE: &str = "service@caponier";

/// The text that is signed. `fingerprint` is the new key's, `SHA256:...`.
pub fn service_text(account: &str, authority: &str, time: u64, nonce: &str, fingerprint: &str) -> String {
    format!("caponier-service-v1\n{account}\n{authority}\n{time}\n{nonce}\n{fingerprint}\n")
}

/// A statement as it came.
#[derive(Clone, Copy, Debug)]
pub struct Statement<'a> {
    /// The account's name.
    pub account: &'a str,
    /// The registered public key: `ssh-ed25519 AAAA...`, no comment.
    pub key: &'a str,
    /// Unix seconds.
    pub time: u64,
    /// The nonce.
    pub nonce: &'a str,
    /// The SSHSIG blob in base64, no armour.
    pub signature: &'a str,
}

/// Why a statement is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceRefused {
    /// A field does not have its form.
    #[error("the statement's {0} is malformed; use this server's own client, or see its documentation")]
    Form(&'static str),
    /// A key that we do not accept.
    #[error("{0}")]
    Key(String),
    /// The clocks differ.
    #[error("the statement's time is {0} s from the server's: correct the clock of this machine")]
    Clock(u64),
    /// The signature does not hold for this statement.
    #[error("the signature does not fit the registered key and the statement")]
    Signature,
}

/// Proof: the holder of this key, calling itself this account, wants that new key. Made by [`verify_service`] only. Neither that
/// the key is registered for the account nor that the nonce is new has been judged.
#[derive(Clone, Debug)]
pub struct ProvenService {
    account: ServiceName,
    key: PublicKey,
    nonce: String,
    nonce_expires: Timestamp,
}

impl ProvenService {
    /// The account's name.
    pub fn account(&self) -> &ServiceName {
        &self.account
    }
    /// The key that signed.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }
    /// Its fingerprint, `SHA256:...`.
    pub fn fingerprint(&self) -> String {
        self.key.fingerprint(HashAlg::Sha256).to_string()
    }
    /// The nonce.
    pub fn nonce(&self) -> &str {
        &self.nonce
    }
    /// Until when the nonce must be remembered: from then on the time alone refuses a repetition.
    pub fn nonce_expires(&self) -> Timestamp {
        self.nonce_expires
    }
}

/// Judges a statement. `authority` is the server's own, `fingerprint` that of the key that signed the request it came in.
pub fn verify_service(
    statement: Statement<'_>,
    authority: &str,
    fingerprint: &str,
    now: Timestamp,
) -> Result<ProvenService, ServiceRefused> {
    let Statement { account, key, time, nonce, signature } = statement;
    // A line feed in it would shift the lines of the signed text.
    let account: ServiceName = account.parse().map_err(|_| ServiceRefused::Form("account"))?;
    if !proof::is_nonce(nonce) {
        return Err(ServiceRefused::Form("nonce"));
    }
    let away = time.abs_diff(now.as_secs());
    if away > SKEW_MAX_SECS {
        return Err(ServiceRefused::Clock(away));
    }
    let key = proof::read_key(key).map_err(|refused| match refused {
        ProofRefused::Key(why) => ServiceRefused::Key(why),
        ProofRefused::Header(_) | ProofRefused::Clock(_) | ProofRefused::Signature => {
            ServiceRefused::Form("key")
        }
    })?;
    let signature = proof::read_signature(signature).ok_or(ServiceRefused::Form("signature"))?;
    if !proof::is_strong(&signature) {
        return Err(ServiceRefused::Signature);
    }
    let text = service_text(account.as_str(), authority, time, nonce, fingerprint);
    key.verify(NAMESPACE, text.as_bytes(), &signature).map_err(|_| ServiceRefused::Signature)?;
    Ok(ProvenService {
        account,
        key,
        nonce: nonce.to_owned(),
        nonce_expires: proof::remembered_until(time, now),
    })
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use russh::keys::ssh_key::encoding::Encode as _;
    use russh::keys::ssh_key::{Algorithm, EcdsaCurve, PrivateKey};

    use super::*;
    use crate::random::Random;

    const NOW: u64 = 1_800_000_000;
    const NEW_KEY: &str = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";

    #[derive(Clone)]
    struct Said {
        account: String,
        key: String,
        time: u64,
        nonce: String,
        signature: String,
    }

    fn key(seed: u64, algorithm: Algorithm) -> PrivateKey {
        Random::seeded(seed).with(|rng| PrivateKey::random(rng, algorithm).unwrap())
    }

    fn public(key: &PrivateKey) -> String {
        PublicKey::new(key.public_key().key_data().clone(), "").to_openssh().unwrap()
    }

    fn say(key: &PrivateKey, namespace: &str, hash: HashAlg) -> Said {
        let nonce = Random::seeded(9).token();
        let text = service_text("backup", "bastion.example", NOW, &nonce, NEW_KEY);
        let blob = key.sign(namespace, hash, text.as_bytes()).unwrap().encode_vec().unwrap();
        Said {
            account: "backup".to_owned(),
            key: public(key),
            time: NOW,
            nonce,
            signature: STANDARD.encode(blob),
        }
    }

    fn good() -> Said {
        say(&key(1, Algorithm::Ed25519), NAMESPACE, HashAlg::Sha512)
    }

    fn judge_at(
        said: &Said,
        authority: &str,
        new_key: &str,
        now: u64,
    ) -> Result<ProvenService, ServiceRefused> {
        let Said { account, key, time, nonce, signature } = said;
        let statement = Statement { account, key, time: *time, nonce, signature };
        verify_service(statement, authority, new_key, Timestamp::from_secs(now))
    }

    fn judge(said: &Said) -> Result<ProvenService, ServiceRefused> {
        judge_at(said, "bastion.example", NEW_KEY, NOW)
    }

    #[test]
    fn the_text_is_what_the_description_says() {
        let text = service_text("backup", "b.example:8443", 7, "n", NEW_KEY);
        assert_eq!(text, format!("caponier-service-v1\nbackup\nb.example:8443\n7\nn\n{NEW_KEY}\n"));
    }

    #[test]
    fn holders_of_a_registered_key_are_believed() {
        for algorithm in [Algorithm::Ed25519, Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 }] {
            let key = key(1, algorithm);
            let proven = judge(&say(&key, NAMESPACE, HashAlg::Sha512)).unwrap();
            assert_eq!(proven.account().as_str(), "backup");
            assert_eq!(proven.key().key_data(), key.public_key().key_data());
            assert_eq!(proven.fingerprint(), key.fingerprint(HashAlg::Sha256).to_string());
            assert_eq!(proven.nonce(), Random::seeded(9).token());
        }
    }

    #[test]
    fn everything_that_is_stated_counts() {
        let other = key(2, Algorithm::Ed25519);
        let rows = [
            Said { account: "backup2".into(), ..good() },
            Said { time: NOW + 1, ..good() },
            Said { nonce: Random::seeded(10).token(), ..good() },
            // Another's key with the statement of this one.
            Said { key: public(&other), ..good() },
        ];
        for row in rows {
            assert_eq!(judge(&row).unwrap_err(), ServiceRefused::Signature);
        }
        let elsewhere = judge_at(&good(), "other.example", NEW_KEY, NOW);
        assert_eq!(elsewhere.unwrap_err(), ServiceRefused::Signature, "another server");
        let stolen = judge_at(&good(), "bastion.example", &NEW_KEY.replace("47", "48"), NOW);
        assert_eq!(stolen.unwrap_err(), ServiceRefused::Signature, "another new key");
    }

    #[test]
    fn signatures_for_other_ends_are_refused() {
        let key = key(1, Algorithm::Ed25519);
        for (namespace, hash) in
            [(proof::NAMESPACE, HashAlg::Sha512), ("file", HashAlg::Sha512), (NAMESPACE, HashAlg::Sha256)]
        {
            assert_eq!(judge(&say(&key, namespace, hash)).unwrap_err(), ServiceRefused::Signature);
        }
    }

    #[test]
    fn clocks_may_differ_by_two_minutes() {
        let at = |now| judge_at(&good(), "bastion.example", NEW_KEY, now);
        for (now, ok) in [(NOW - 120, true), (NOW + 120, true), (NOW - 121, false), (NOW + 121, false)] {
            assert_eq!(at(now).is_ok(), ok, "{now}");
        }
        assert_eq!(at(NOW + 121).unwrap_err(), ServiceRefused::Clock(121));
        assert_eq!(at(0).unwrap_err(), ServiceRefused::Clock(NOW));
        // The nonce is remembered as long as the time alone would let a repetition pass, at every node.
        for now in [NOW - 120, NOW, NOW + 120] {
            let expires = at(now).unwrap().nonce_expires().as_secs();
            assert!(at(expires - 120).is_err(), "{now}");
        }
    }

    #[test]
    fn other_forms_are_refused() {
        let forms = [
            (Said { account: String::new(), ..good() }, "account"),
            (Said { account: "-x".into(), ..good() }, "account"),
            (Said { account: "a\nb".into(), ..good() }, "account"),
            (Said { account: "a".repeat(65), ..good() }, "account"),
            (Said { nonce: "short".into(), ..good() }, "nonce"),
            (Said { nonce: format!("{}\n", "a".repeat(42)), ..good() }, "nonce"),
            (Said { key: "ssh-ed25519".into(), ..good() }, "key"),
            (Said { key: format!("{} comment", good().key), ..good() }, "key"),
            (Said { signature: String::new(), ..good() }, "signature"),
            (Said { signature: "A".repeat(9000), ..good() }, "signature"),
            (Said { signature: format!("{}AAAA", good().signature), ..good() }, "signature"),
        ];
        for (row, field) in forms {
            assert_eq!(judge(&row).unwrap_err(), ServiceRefused::Form(field), "{}", row.account);
        }
        for kind in ["ssh-dss", "ssh-ed25519-cert-v01@openssh.com", "sk-ssh-ed25519@openssh.com"] {
            let row = Said { key: good().key.replace("ssh-ed25519", kind), ..good() };
            assert!(matches!(judge(&row), Err(ServiceRefused::Key(_))), "{kind}");
        }
        let small_order = russh::keys::ssh_key::public::KeyData::Ed25519(
            russh::keys::ssh_key::public::Ed25519PublicKey([0; 32]),
        );
        let row = Said { key: PublicKey::new(small_order, "").to_openssh().unwrap(), ..good() };
        assert!(matches!(judge(&row), Err(ServiceRefused::Key(_))), "a key that anybody can sign for");
    }
}
