//! Recognises a caller from what they show: a certificate (SSH) or a signed request (HTTP).
//!
//! Requests that change something burn their nonce in the transaction of the change (`begin_once`). Requests that only read
//! burn none: repeating one changes nothing, and its answer goes to whoever holds the TLS connection that the
//! original went over too.

use std::net::IpAddr;

use russh::keys::ssh_key::{Certificate, HashAlg, PublicKey};

use super::revoke::{self, Credential};
use super::{Caller, refusals};
use crate::app::App;
use crate::audit::AuditEvent;
use crate::ca::{Authority, CertificateRefused, verify};
use crate::identity::proof::{self, ProofRefused, Proven, Shown, Signed};
use crate::store::{SignIn, StoreError, Tx};
use crate::time::Timestamp;

/// Who signed a request. Made by [`recognise_request`] only.
#[derive(Clone, Debug)]
pub struct SignedBy {
    proven: Proven,
    from: IpAddr,
}

impl SignedBy {
    /// The key.
    pub fn key(&self) -> &PublicKey {
        self.proven.key()
    }
    /// Its SHA-256 fingerprint, `SHA256:...`.
    pub fn fingerprint(&self) -> &str {
        self.proven.fingerprint()
    }
    /// The client's address.
    pub fn from(&self) -> IpAddr {
        self.from
    }

    /// What is used up with the request: key, nonce, and until when that counts.
    pub(super) fn once(&self) -> (&str, &str, Timestamp) {
        (self.proven.fingerprint(), self.proven.nonce(), self.proven.nonce_expires())
    }
}

/// One HTTP request as far as its signature goes.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method, in upper case.
    pub method: &'a str,
    /// Path with query, as it came.
    pub path_and_query: &'a str,
    /// The headers of the proof.
    pub shown: Shown<'a>,
    /// The whole body.
    pub body: &'a [u8],
    /// The client's address.
    pub from: IpAddr,
}

/// Why a request is not from anybody we know.
#[derive(Debug, thiserror::Error)]
pub enum RequestRefused {
    /// The proof does not hold.
    #[error(transparent)]
    Proof(#[from] ProofRefused),
    /// Too many refused ones from there.
    #[error("too many refused requests came from your address; wait a minute")]
    Limit,
    /// The key has no live sign-in.
    #[error("this key is not signed in, or its sign-in has ended; run `caponier login`")]
    NotSignedIn,
    /// The key was revoked.
    #[error("{}", revoke::KEY_REVOKED)]
    KeyRevoked,
    /// The store is out of order.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a certificate opens nothing.
#[derive(Debug, thiserror::Error)]
pub enum CertificateRejected {
    /// The certificate itself, or the sign-in behind it; already in the audit log.
    #[error(transparent)]
    Refused(#[from] CertificateRefused),
    /// The store is out of order.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Judges the signature of a request. Every refusal is audited, up to a rate for each address.
pub async fn recognise_request(app: &App, request: Request<'_>) -> Result<SignedBy, RequestRefused> {
    let now = app.clock.now();
    let authority = proof::authority(&app.config.web.public_url);
    let signed = Signed {
        method: request.method,
        authority: &authority,
        path: request.path_and_query,
        body: request.body,
    };
    let refused = match proof::verify(request.shown, signed, now) {
        Ok(proven) => return Ok(SignedBy { proven, from: request.from }),
        Err(refused) => refused,
    };
    let code = match refused {
        ProofRefused::Header(_) => "malformed",
        ProofRefused::Key(_) => "weak-key",
        ProofRefused::Clock(_) => "clock",
        ProofRefused::Signature => "bad-signature",
    };
    let event = AuditEvent::CredentialRefused {
        what: "request",
        claimed: request.shown.key.chars().filter(char::is_ascii_graphic).take(100).collect(),
        code,
        reason: refused.to_string(),
        from: request.from.to_string(),
    };
    // A right signature is always heard: whoever shares an address with an attacker must not be locked out.
    if refusals::note(app, request.from, event).await? {
        Err(refused.into())
    } else {
        Err(RequestRefused::Limit)
    }
}

/// The live sign-in of the key that signed; that there is none, or that the key was revoked, is in the audit log.
pub async fn sign_in_of(app: &App, signed: &SignedBy) -> Result<SignIn, RequestRefused> {
    if is_revoked(app, signed).await? {
        return Err(RequestRefused::KeyRevoked);
    }
    match app.store.sign_in_by_key(signed.fingerprint(), app.clock.now()).await? {
        Some(sign_in) => Ok(sign_in),
        None => Err(not_signed_in(app, signed).await?),
    }
}

/// Whether the key that signed was revoked; if so, that it was used is in the audit log.
pub(super) async fn is_revoked(app: &App, signed: &SignedBy) -> Result<bool, StoreError> {
    let shown = Credential { key: Some(signed.fingerprint()), ..Credential::default() };
    let is_revoked = revoke::refresh(app).await?.revokes(shown).is_some();
    if is_revoked {
        note_request(app, signed, "revoked", "this key was revoked").await?;
    }
    Ok(is_revoked)
}

/// The refusal, which is in the audit log by then.
pub(super) async fn not_signed_in(app: &App, signed: &SignedBy) -> Result<RequestRefused, StoreError> {
    note_request(app, signed, "not-signed-in", "this key has no live sign-in").await?;
    Ok(RequestRefused::NotSignedIn)
}

async fn note_request(
    app: &App,
    signed: &SignedBy,
    code: &'static str,
    reason: &str,
) -> Result<(), StoreError> {
    let event = AuditEvent::CredentialRefused {
        what: "request",
        claimed: signed.fingerprint().to_owned(),
        code,
        reason: reason.to_owned(),
        from: signed.from.to_string(),
    };
    refusals::note(app, signed.from, event).await.map(|_| ())
}

/// A transaction in which the request is used up; none when it was used before, which is in the audit log then.
pub(super) async fn begin_once(app: &App, signed: &SignedBy) -> Result<Option<Tx>, StoreError> {
    let (key, nonce, expires) = signed.once();
    let mut tx = app.store.begin().await?;
    match tx.use_nonce(key, nonce, expires).await {
        Ok(()) => Ok(Some(tx)),
        Err(StoreError::Conflict) => {
            tx.leave().await?;
            note_request(app, signed, "replay", "the same signed request came before").await?;
            Ok(None)
        }
        Err(other) => Err(other),
    }
}

/// Judges a user certificate shown by a client at `from`: ours, good now, of a live sign-in, for the key that signed
/// in. Every refusal is one audit entry, up to a rate for each network; how many more there were is an entry too.
pub async fn recognise_certificate(
    app: &App,
    certificate: &Certificate,
    from: IpAddr,
) -> Result<Caller, CertificateRejected> {
    match judge(app, certificate, from).await {
        Err(CertificateRejected::Refused(refused)) => {
            let key_id: String = certificate.key_id().chars().filter(|c| !c.is_control()).take(128).collect();
            let key = PublicKey::from(certificate.public_key().clone()).fingerprint(HashAlg::Sha256);
            let event = AuditEvent::CredentialRefused {
                what: "certificate",
                claimed: format!("{key_id} {key}"),
                code: refused.code,
                reason: refused.reason.clone(),
                from: from.to_string(),
            };
            refusals::note(app, from, event).await?;
            Err(refused.into())
        }
        other => other,
    }
}

async fn judge(app: &App, certificate: &Certificate, from: IpAddr) -> Result<Caller, CertificateRejected> {
    let now = app.clock.now();
    let user_ca = app.signer.public_key(Authority::User);
    let verified = verify::verify_user(certificate, user_ca, from, now)?;
    let shown = Credential {
        ca: Some(&user_ca.fingerprint(HashAlg::Sha256).to_string()),
        serial: Some(verified.serial()),
        key_id: Some(verified.key_id()),
        key: Some(verified.key_fingerprint()),
    };
    if let Some(what) = revoke::refresh(app).await?.revokes(shown) {
        return Err(refused("revoked", &format!("{what} was revoked")));
    }
    let sign_in = app.store.sign_in(verified.sign_in()).await?;
    let Some(sign_in) = sign_in.filter(|sign_in| sign_in.is_live(now)) else {
        return Err(refused("sign-in-ended", "the sign-in behind the certificate has ended"));
    };
    if sign_in.key_fingerprint.as_deref() != Some(verified.key_fingerprint()) {
        return Err(refused("other-key", "the certificate is for another key than the one that signed in"));
    }
    let logins = verified.principals().iter().cloned().collect();
    Ok(Caller::new(&sign_in, Some(logins), Some(verified.serial()), from).with_key_id(verified.key_id()))
}

fn refused(code: &'static str, reason: &str) -> CertificateRejected {
    CertificateRefused { code, reason: reason.to_owned() }.into()
}
