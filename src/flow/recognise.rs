//! Recognises a caller from what they show: a certificate (SSH) or a signed request (HTTP).

use std::collections::BTreeSet;
use std::net::IpAddr;

use russh::keys::ssh_key::Certificate;

use crate::app::App;
use crate::audit::AuditEvent;
use crate::ca::{Authority, CertificateRefused, verify};
use crate::flow::Caller;
use crate::store::StoreError;

/// Why a certificate opens nothing here.
#[derive(Debug, thiserror::Error)]
pub enum NotRecognised {
    /// It is not good; already audited.
    #[error(transparent)]
    Refused(#[from] CertificateRefused),
    /// The question could not be answered, which is a no as well.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Recognises the holder of a certificate whose key the client has proved to hold: good in itself, its sign-in live and
/// bound to that very key. Every refusal is audited.
pub async fn recognise_certificate(app: &App, shown: &Certificate, from: IpAddr) -> Result<Caller, NotRecognised> {
    let now = app.clock.now();
    let refused = match verify::verify_user(shown, app.signer.public_key(Authority::User), from, now) {
        Ok(verified) => {
            let sign_in = app.store.sign_in(verified.sign_in()).await?;
            let live = sign_in.filter(|sign_in| {
                sign_in.is_live(now) && sign_in.key_fingerprint.as_deref() == Some(verified.key_fingerprint())
            });
            match live {
                Some(sign_in) => {
                    let logins: BTreeSet<_> = verified.principals().iter().cloned().collect();
                    return Ok(Caller::new(&sign_in, Some(logins), Some(verified.serial()), from));
                }
                None => CertificateRefused {
                    code: "sign-in-ended",
                    reason: format!("its sign-in {} has ended or is bound to another key", verified.sign_in()),
                },
            }
        }
        Err(refused) => refused,
    };
    let event = AuditEvent::CredentialRefused {
        what: "certificate",
        claimed: shown.key_id().chars().filter(|c| !c.is_control()).take(128).collect(),
        code: refused.code,
        reason: refused.reason.clone(),
        from: from.to_string(),
    };
    app.store.note(now, event).await?;
    Err(refused.into())
}
