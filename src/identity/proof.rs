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

/// The text that is signed.
pub fn signed_text(method: &str, authority: &str, path: &str, time: u64, nonce: &str, body: &[u8]) -> String {
    use sha2::{Digest as _, Sha256};
    let digest: String = Sha256::digest(body).iter().map(|b| format!("{b:02x}")).collect();
    format!("caponier-request-v1\n{method}\n{authority}\n{path}\n{time}\n{nonce}\n{digest}\n")
}
