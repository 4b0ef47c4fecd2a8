//! Signed requests: proof that the caller of the API holds the SSH key. Pure; used by the server and the client.
//!
//! A request carries four headers. The signature is an SSHSIG (OpenSSH PROTOCOL.sshsig) with namespace
//! `request@caponier` and SHA-512 over this text, so an ssh-agent can make it and `ssh-keygen -Y verify` can check it:
//!
//! ```text
//! caponier-request-v1
//! METHOD
//! AUTHORITY         (host, or host:port, of the server's public URL)
//! PATH              (with query)
//! TIME              (Unix seconds)
//! NONCE             (43 characters, used once)
//! SHA256(BODY)      (hex)
//! ```
//! Each line ends with a line feed.

use base64::Engine as _;
use russh::keys::ssh_key::encoding::Decode as _;
use russh::keys::ssh_key::{Algorithm, HashAlg, PublicKey, SshSig};
use url::Url;

use crate::ca;
use crate::time::Timestamp;

/// Header with the public key: `ssh-ed25519 AAAA...`, no comment.
pub const HEADER_KEY: &str = "caponier-key";
/// Header with the time, Unix seconds.
pub const HEADER_TIME: &str = "caponier-time";
/// Header with the nonce.
pub const HEADER_NONCE: &str = "caponier-nonce";
/// Header with the SSHSIG blob in base64 (no armour).
pub const HEADER_SIGNATURE: &str = "caponier-signature";
/// SSHSIG namespace.
pub const NAMESPACE: &str = "request@caponier";
/// How far a request's time may be from the server's.
pub const SKEW_MAX_SECS: u64 = 120;

const NONCE_LENGTH: usize = 43;
/// Base64 of an RSA key of 4096 bits has 716 characters.
const KEY_TEXT_MAX: usize = 1024;
/// Base64 of a signature by an RSA key of 4096 bits has about 1500 characters.
const SIGNATURE_TEXT_MAX: usize = 3072;

/// The text that is signed.
pub fn signed_text(method: &str, authority: &str, path: &str, time: u64, nonce: &str, body: &[u8]) -> String {
    use sha2::{Digest as _, Sha256};
    let digest: String = Sha256::digest(body).iter().map(|b| format!("{b:02x}")).collect();
    format!("caponier-request-v1\n{method}\n{authority}\n{path}\n{time}\n{nonce}\n{digest}\n")
}

/// `host` or `host:port` of a server's public URL, as it is signed. The scheme's own port is left out.
pub fn authority(public_url: &Url) -> String {
    let host = public_url.host_str().unwrap_or_default();
    public_url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The four headers as they came.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// [`HEADER_KEY`]
    pub key: &'a str,
    /// [`HEADER_TIME`]
    pub time: &'a str,
    /// [`HEADER_NONCE`]
    pub nonce: &'a str,
    /// [`HEADER_SIGNATURE`]
    pub signature: &'a str,
}

/// What the signature is over, besides time and nonce.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// The method, in upper case.
    pub method: &'a str,
    /// The server's own authority, from its configuration and never from the request.
    pub authority: &'a str,
    /// Path with query.
    pub path: &'a str,
    /// The body.
    pub body: &'a [u8],
}

/// Why a signed request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofRefused {
    /// A header does not have its form.
    #[error("the header {0} is missing or malformed; use this server's own client, or see its documentation")]
    Header(&'static str),
    /// A key that we do not accept.
    #[error("{0}")]
    Key(String),
    /// The clocks differ.
    #[error("the request's time is {0} s from the server's: correct the clock of this machine")]
    Clock(u64),
    /// The signature does not hold for this request.
    #[error("the signature does not fit the key and the request")]
    Signature,
}

/// Proof: whoever sent this request holds the key. Made by [`verify`] only. Whether the nonce is new is not judged
/// here: whoever changes something burns it in the same transaction.
#[derive(Clone, Debug)]
pub struct Proven {
    key: PublicKey,
    fingerprint: String,
    nonce: String,
    nonce_expires: Timestamp,
}

impl Proven {
    /// The key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }
    /// Its fingerprint, `SHA256:...`.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
    /// The nonce.
    pub fn nonce(&self) -> &str {
        &self.nonce
    }
    /// Until when the nonce must be remembered: from then on the time alone refuses a repetition, also on a node whose
    /// clock is as far behind as a clock may be.
    pub fn nonce_expires(&self) -> Timestamp {
        self.nonce_expires
    }
}

/// Judges the proof of one request.
pub fn verify(shown: Shown<'_>, signed: Signed<'_>, now: Timestamp) -> Result<Proven, ProofRefused> {
    let time = canonical_number(shown.time).ok_or(ProofRefused::Header(HEADER_TIME))?;
    if !is_nonce(shown.nonce) {
        return Err(ProofRefused::Header(HEADER_NONCE));
    }
    let away = time.abs_diff(now.as_secs());
    if away > SKEW_MAX_SECS {
        return Err(ProofRefused::Clock(away));
    }
    let key = read_key(shown.key)?;
    let signature = read_signature(shown.signature).ok_or(ProofRefused::Header(HEADER_SIGNATURE))?;
    if !is_strong(&signature) {
        return Err(ProofRefused::Signature);
    }
    let text = signed_text(signed.method, signed.authority, signed.path, time, shown.nonce, signed.body);
    key.verify(NAMESPACE, text.as_bytes(), &signature).map_err(|_| ProofRefused::Signature)?;
    Ok(Proven {
        fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
        key,
        nonce: shown.nonce.to_owned(),
        nonce_expires: remembered_until(time, now),
    })
}

/// Until when the nonce of a statement of that time must be remembered.
pub(super) fn remembered_until(time: u64, now: Timestamp) -> Timestamp {
    Timestamp::from_secs(time.max(now.as_secs()).saturating_add(2 * SKEW_MAX_SECS + 1))
}

/// 43 characters of base64url.
pub(super) fn is_nonce(text: &str) -> bool {
    text.len() == NONCE_LENGTH && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// No SHA-1 inside an RSA signature, SHA-512 over the text, and nothing in the field that is reserved.
pub(super) fn is_strong(signature: &SshSig) -> bool {
    let weak = matches!(signature.algorithm(), Algorithm::Rsa { hash: None });
    !weak && signature.hash_alg() == HashAlg::Sha512 && signature.reserved().is_empty()
}

/// A number in its one decimal form: no sign, no leading zero.
fn canonical_number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// The kind is read off the text before anything is parsed, and the length bounds the numbers inside.
pub(super) fn read_key(text: &str) -> Result<PublicKey, ProofRefused> {
    const KINDS: [&str; 5] =
        ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa"];
    let (kind, rest) = text.split_once(' ').ok_or(ProofRefused::Header(HEADER_KEY))?;
    if !KINDS.contains(&kind) {
        let shown: String = kind.chars().filter(char::is_ascii_graphic).take(48).collect();
        return Err(ProofRefused::Key(format!(
            "keys of the kind {shown:?} are not accepted: use ssh-ed25519, ecdsa-sha2-nistp*, or ssh-rsa of 2048 to 4096 bits"
        )));
    }
    if rest.len() > KEY_TEXT_MAX || rest.contains([' ', '\t']) {
        return Err(ProofRefused::Header(HEADER_KEY));
    }
    let key = PublicKey::from_openssh(text).map_err(|_| ProofRefused::Header(HEADER_KEY))?;
    // The same line as for certificates: a key that could never have one need not sign in either.
    ca::check_key(&key).map_err(ProofRefused::Key)?;
    Ok(key)
}

/// The blob of an SSHSIG in base64, with nothing behind it.
pub(super) fn read_signature(text: &str) -> Option<SshSig> {
    if text.len() > SIGNATURE_TEXT_MAX {
        return None;
    }
    let blob = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
    let mut rest = blob.as_slice();
    let signature = SshSig::decode(&mut rest).ok()?;
    rest.is_empty().then_some(signature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use russh::keys::ssh_key::encoding::Encode as _;
    use russh::keys::ssh_key::{EcdsaCurve, LineEnding, PrivateKey};

    const NOW: u64 = 1_800_000_000;

    struct Request {
        key: String,
        time: String,
        nonce: String,
        signature: String,
    }

    fn key(seed: u64, algorithm: Algorithm) -> PrivateKey {
        Random::seeded(seed).with(|rng| PrivateKey::random(rng, algorithm).unwrap())
    }

    fn request(key: &PrivateKey, namespace: &str, hash: HashAlg) -> Request {
        let nonce = Random::seeded(9).token();
        let text = signed_text("POST", "bastion.example", "/v1/certificate", NOW, &nonce, b"{}");
        let signature = key.sign(namespace, hash, text.as_bytes()).unwrap();
        let blob = signature.encode_vec().unwrap();
        let mut public = key.public_key().clone();
        public.set_comment("");
        Request {
            key: public.to_openssh().unwrap(),
            time: NOW.to_string(),
            nonce,
            signature: base64::engine::general_purpose::STANDARD.encode(blob),
        }
    }

    fn judge(request: &Request, now: u64, change: impl Fn(&mut Signed<'_>)) -> Result<Proven, ProofRefused> {
        let mut signed =
            Signed { method: "POST", authority: "bastion.example", path: "/v1/certificate", body: b"{}" };
        change(&mut signed);
        let shown = Shown {
            key: &request.key,
            time: &request.time,
            nonce: &request.nonce,
            signature: &request.signature,
        };
        verify(shown, signed, Timestamp::from_secs(now))
    }

    #[test]
    fn holders_of_a_key_are_believed() {
        for algorithm in [
            Algorithm::Ed25519,
            Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
            Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
        ] {
            let key = key(1, algorithm);
            let request = request(&key, NAMESPACE, HashAlg::Sha512);
            let proven = judge(&request, NOW, |_| {}).unwrap();
            assert_eq!(proven.fingerprint(), key.fingerprint(HashAlg::Sha256).to_string());
        }
    }

    #[test]
    fn everything_that_is_signed_counts() {
        let request = request(&key(1, Algorithm::Ed25519), NAMESPACE, HashAlg::Sha512);
        let changes: [fn(&mut Signed<'_>); 4] = [
            |s| s.method = "PUT",
            |s| s.authority = "other.example",
            |s| s.path = "/v1/certificate?x",
            |s| s.body = b"{ }",
        ];
        for change in changes {
            assert_eq!(judge(&request, NOW, change).unwrap_err(), ProofRefused::Signature);
        }
    }

    #[test]
    fn clocks_may_differ_by_two_minutes() {
        let request = request(&key(1, Algorithm::Ed25519), NAMESPACE, HashAlg::Sha512);
        for (now, ok) in [(NOW - 120, true), (NOW + 120, true), (NOW - 121, false), (NOW + 121, false)] {
            assert_eq!(judge(&request, now, |_| {}).is_ok(), ok, "{now}");
        }
        // The nonce is remembered as long as the time alone would let a repetition pass.
        let proven = judge(&request, NOW, |_| {}).unwrap();
        assert!(judge(&request, proven.nonce_expires().as_secs(), |_| {}).is_err());
        // Two nodes may judge it whose clocks differ by as much as the client's may.
        for now in [NOW - 120, NOW, NOW + 120] {
            let expires = judge(&request, now, |_| {}).unwrap().nonce_expires().as_secs();
            assert!(judge(&request, expires - 120, |_| {}).is_err(), "{now}");
        }
    }

    #[test]
    fn other_signatures_and_other_forms_are_refused() {
        let signer = key(1, Algorithm::Ed25519);
        let other = key(2, Algorithm::Ed25519);
        for (namespace, hash) in [("file", HashAlg::Sha512), (NAMESPACE, HashAlg::Sha256)] {
            let request = request(&signer, namespace, hash);
            assert_eq!(judge(&request, NOW, |_| {}).unwrap_err(), ProofRefused::Signature);
        }
        let good = || request(&signer, NAMESPACE, HashAlg::Sha512);
        let stolen = Request { key: request(&other, NAMESPACE, HashAlg::Sha512).key, ..good() };
        assert_eq!(judge(&stolen, NOW, |_| {}).unwrap_err(), ProofRefused::Signature);
        let armoured = signer.sign(NAMESPACE, HashAlg::Sha512, b"x").unwrap().to_pem(LineEnding::LF).unwrap();
        let rows = [
            Request { time: format!("+{NOW}"), ..good() },
            Request { time: format!("0{NOW}"), ..good() },
            Request { time: String::new(), ..good() },
            Request { nonce: "short".into(), ..good() },
            Request { nonce: format!("{}\n", "a".repeat(42)), ..good() },
            Request { signature: armoured, ..good() },
            Request { signature: String::new(), ..good() },
            Request { signature: "A".repeat(9000), ..good() },
            Request { signature: format!("{}AAAA", good().signature), ..good() },
            Request { key: format!("{} comment", good().key), ..good() },
            Request { key: "ssh-ed25519".into(), ..good() },
        ];
        for row in rows {
            assert!(matches!(judge(&row, NOW, |_| {}), Err(ProofRefused::Header(_))), "{}", row.signature);
        }
        for kind in ["ssh-dss", "ssh-ed25519-cert-v01@openssh.com", "sk-ssh-ed25519@openssh.com"] {
            let row = Request { key: good().key.replace("ssh-ed25519", kind), ..good() };
            assert!(matches!(judge(&row, NOW, |_| {}), Err(ProofRefused::Key(_))), "{kind}");
        }
    }

    #[test]
    fn small_and_huge_rsa_keys_are_refused_before_any_arithmetic() {
        use russh::keys::ssh_key::Mpint;
        use russh::keys::ssh_key::public::{KeyData, RsaPublicKey};
        for (bits, ok) in [(1024, false), (2048, true), (4096, true), (8192, false)] {
            let n = Mpint::from_positive_bytes(&vec![0xff; bits / 8]);
            let rsa = RsaPublicKey::new(Mpint::from_positive_bytes(&[1, 0, 1]), n).unwrap();
            let text = PublicKey::new(KeyData::Rsa(rsa), "").to_openssh().unwrap();
            assert_eq!(read_key(&text).is_ok(), ok, "{bits}");
        }
        // What may not stand in a certificate may not sign requests: a modulus of 2041 bits, an exponent of 1, a point
        // of small order.
        let mut short = vec![0xff; 256];
        short[0] = 1;
        let rsa = |e: &[u8], n: &[u8]| {
            RsaPublicKey::new(Mpint::from_positive_bytes(e), Mpint::from_positive_bytes(n)).map(KeyData::Rsa)
        };
        let small_order = KeyData::Ed25519(russh::keys::ssh_key::public::Ed25519PublicKey([0; 32]));
        for weak in [rsa(&[1, 0, 1], &short).unwrap(), rsa(&[1], &[0xff; 256]).unwrap(), small_order] {
            let text = PublicKey::new(weak, "").to_openssh().unwrap();
            assert!(matches!(read_key(&text), Err(ProofRefused::Key(_))), "{text}");
        }
    }
}
