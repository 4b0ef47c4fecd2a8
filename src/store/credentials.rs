//! Rows of `certificate` (written before the certificate is signed, so that none leaves without a row) and of
//! `request_nonce` (so that no signed request is accepted twice), and the sweep of what time has made void.

use super::column::{millis, text, word};
use super::{Store, StoreError, Tx};
use crate::audit::AuditEvent;
use crate::ids::{SessionId, SignInId};
use crate::time::Timestamp;

const CERTIFICATE: &str = "certificate";
const NONCE: &str = "request_nonce";
/// Kinds of certificate that have a row.
const KINDS: &[&str] = &["user", "target"];

/// A certificate row.
#[derive(Clone, Debug)]
pub struct CertificateRow {
    /// Serial.
    pub serial: u64,
    /// `user` or `target`.
    pub kind: &'static str,
    /// The sign-in behind it.
    pub sign_in: SignInId,
    /// The session, for `target`.
    pub session: Option<SessionId>,
    /// Key id.
    pub key_id: String,
    /// Fingerprint of the certified key.
    pub key_fingerprint: String,
    /// Principals, comma-joined (the alphabet has no comma).
    pub principals: String,
    /// From.
    pub valid_after: Timestamp,
    /// Until.
    pub valid_before: Timestamp,
}

impl Store {
    /// Uses up a request that was refused, with the entry about that, if there is one: key, nonce, and until when that counts.
    /// When it was used before, the entry is written all the same.
    pub async fn use_up(
        &self,
        (key_fingerprint, nonce, expires): (&str, &str, Timestamp),
        entry: Option<AuditEvent>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        match tx.use_nonce(key_fingerprint, nonce, expires).await {
            Ok(()) | Err(StoreError::Conflict) => {}
            Err(other) => return Err(other),
        }
        match entry {
            Some(entry) => tx.commit(now, entry).await,
            None => tx.commit_unaudited().await,
        }
    }
}

impl Tx {
    /// A certificate, before it is signed. `Conflict` when the serial was drawn before: draw again, the transaction
    /// stays usable.
    pub async fn insert_certificate(&mut self, row: &CertificateRow) -> Result<(), StoreError> {
        let written = sqlx::query(
            "INSERT INTO certificate (serial, kind, sign_in, session, key_id, key_fingerprint, principals, \
             valid_after, valid_before) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
        )
        .bind(row.serial.to_string())
        .bind(word(CERTIFICATE, "kind", row.kind, KINDS)?)
        .bind(row.sign_in.as_str())
        .bind(row.session.as_ref().map(SessionId::as_str))
        .bind(text(CERTIFICATE, "key_id", &row.key_id)?)
        .bind(text(CERTIFICATE, "key_fingerprint", &row.key_fingerprint)?)
        .bind(text(CERTIFICATE, "principals", &row.principals)?)
        .bind(millis(CERTIFICATE, "valid_after", row.valid_after)?)
        .bind(millis(CERTIFICATE, "valid_before", row.valid_before)?)
        .execute(self.connection())
        .await?;
        super::inserted(&written)
    }

    /// Marks a request nonce as used until `expires`; `Conflict` when it was used before. The row counts only once
    /// this transaction commits: act on the request after that.
    pub async fn use_nonce(
        &mut self,
        key_fingerprint: &str,
        nonce: &str,
        expires: Timestamp,
    ) -> Result<(), StoreError> {
        let written = sqlx::query(
            "INSERT INTO request_nonce (key_fingerprint, nonce, expires) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        )
        .bind(text(NONCE, "key_fingerprint", key_fingerprint)?)
        .bind(text(NONCE, "nonce", nonce)?)
        .bind(millis(NONCE, "expires", expires)?)
        .execute(self.connection())
        .await?;
        super::inserted(&written)
    }
}

impl Tx {
    /// Waits until no other transaction is at this key's sign-ins, and keeps them out until this one is over. Two at once
    /// would not see each other's new row; both write this one, so the second waits for the first (PostgreSQL; SQLite has
    /// one writer anyway). No request can have such a nonce: it is no base64url.
    pub(super) async fn take_turn_of_key(
        &mut self,
        key_fingerprint: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO request_nonce (key_fingerprint, nonce, expires) VALUES ($1, '(turn)', $2) \
             ON CONFLICT (key_fingerprint, nonce) DO UPDATE SET expires = excluded.expires",
        )
        .bind(text(NONCE, "key_fingerprint", key_fingerprint)?)
        .bind(millis(NONCE, "expires", now)?)
        .execute(self.connection())
        .await?;
        Ok(())
    }
}

impl Store {
    /// Deletes void pending rows, old nonces and what was kept of sign-ins that are over; returns how many.
    pub async fn sweep(&self, now: Timestamp) -> Result<u64, StoreError> {
        let now = millis(NONCE, "now", now)?;
        let mut tx = self.begin().await?;
        let mut swept = 0;
        for sql in [
            "DELETE FROM pending_sign_in WHERE expires <= $1",
            "DELETE FROM request_nonce WHERE expires <= $1",
            "DELETE FROM token_use WHERE expires <= $1",
            "DELETE FROM run_window WHERE expires <= $1",
            "DELETE FROM sign_in_check WHERE sign_in IN \
             (SELECT id FROM sign_in WHERE expires <= $1 OR ended IS NOT NULL)",
        ] {
            swept += sqlx::query(sql).bind(now).execute(tx.connection()).await?.rows_affected();
        }
        tx.commit_unaudited().await?;
        Ok(swept)
    }
}
