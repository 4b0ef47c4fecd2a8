//! Rows of `revocation`, their version, and what is asked of other tables to revoke something: whose certificates live,
//! whose key it is. What may be revoked, and what follows from it, is the flows' decision.

use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::column::{Columns, bad, label, millis, text, text_opt, whole, word};
use super::{SignIn, Store, StoreError, Tx, sign_ins};
use crate::identity::{Identity, Kind};
use crate::ids::{RevocationId, SessionId, SignInId};
use crate::names::SubjectName;
use crate::time::Timestamp;

const TABLE: &str = "revocation";
const HEAD: &str = "revocation_head";
const CERTIFICATE: &str = "certificate";
/// Kinds of what is revoked.
const KINDS: &[&str] = &["serial", "key", "key-id", "ca", "session"];
/// Whose certificates it is about.
const AUTHORITIES: &[&str] = &["user", "target", "any"];

/// A revocation row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationRow {
    /// Its id.
    pub id: RevocationId,
    /// `serial`, `key`, `key-id`, `ca` or `session`.
    pub kind: String,
    /// Whose certificates: `user`, `target` or `any`.
    pub authority: String,
    /// Decimal serial, `SHA256:...`, key id, or session id.
    pub value: String,
    /// For `key` and `ca`, where it is known: the public key, `TYPE BASE64`.
    pub public_key: Option<String>,
    /// Why.
    pub reason: String,
    /// Who: `provider:subject`, or `admin` for the command on the server.
    pub by: String,
    /// When.
    pub created: Timestamp,
    /// When it stops to matter; none means never.
    pub until: Option<Timestamp>,
}

/// How far the list of revocations is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevocationVersion {
    /// Rises with every revocation.
    pub version: u64,
    /// When the last one was made; the epoch when there was none.
    pub changed: Timestamp,
}

/// A certificate that was issued, as far as revoking needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateOf {
    /// Serial.
    pub serial: u64,
    /// `user` or `target`.
    pub authority: String,
    /// The sign-in behind it.
    pub sign_in: SignInId,
    /// The session, for `target`.
    pub session: Option<SessionId>,
    /// Until when it is valid.
    pub valid_before: Timestamp,
}

/// The start of every read of a certificate.
macro_rules! certificates {
    ($rest:literal) => {
        concat!("SELECT c.serial, c.kind, c.sign_in, c.session, c.valid_before FROM certificate c ", $rest)
    };
}

/// The start of every read of a revocation.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, kind, authority, value, public_key, reason, by_whom, created, until FROM revocation ",
            $rest
        )
    };
}

impl Store {
    /// How far the list of revocations is. One row, so that it can be asked often.
    pub async fn revocation_version(&self) -> Result<RevocationVersion, StoreError> {
        self.asked.revocation.get(self.read_revocation_version()).await
    }

    async fn read_revocation_version(&self) -> Result<RevocationVersion, StoreError> {
        let row = sqlx::query("SELECT version, changed FROM revocation_head WHERE one = 1")
            .fetch_optional(&self.watchers)
            .await?
            .ok_or_else(|| bad(HEAD, "its one row is missing; restore the database from a backup"))?;
        let columns = Columns { table: HEAD, row: &row };
        Ok(RevocationVersion { version: columns.whole("version")?, changed: columns.time("changed")? })
    }

    /// What is revoked and still matters at `now`.
    pub async fn revocations_in_force(&self, now: Timestamp) -> Result<Vec<RevocationRow>, StoreError> {
        let rows = sqlx::query(select!("WHERE until IS NULL OR until > $1 ORDER BY created, id"))
            .bind(millis(TABLE, "now", now)?)
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(read).collect()
    }

    /// Revocations, newest first, also those that do not matter any more; only those after the row `after`.
    pub async fn revocations(
        &self,
        after: Option<&RevocationId>,
        limit: u32,
    ) -> Result<Vec<RevocationRow>, StoreError> {
        let rows = sqlx::query(select!(
            "WHERE $2 = '' OR created < (SELECT created FROM revocation WHERE id = $2) \
             OR (created = (SELECT created FROM revocation WHERE id = $2) AND id < $2) \
             ORDER BY created DESC, id DESC LIMIT $1"
        ))
        .bind(i64::from(limit))
        .bind(after.map_or("", RevocationId::as_str))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read).collect()
    }

    /// The certificate with this serial.
    pub async fn certificate(&self, serial: u64) -> Result<Option<CertificateOf>, StoreError> {
        let row = sqlx::query(certificates!("WHERE c.serial = $1"))
            .bind(serial.to_string())
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(read_certificate).transpose()
    }

    /// The certificates of a session.
    pub async fn certificates_of_session(
        &self,
        session: &SessionId,
    ) -> Result<Vec<CertificateOf>, StoreError> {
        let rows = sqlx::query(certificates!("WHERE c.session = $1 ORDER BY c.serial"))
            .bind(session.as_str())
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(read_certificate).collect()
    }

    /// Whether anybody of this kind and name ever signed in.
    pub async fn has_signed_in(&self, kind: Kind, who: &SubjectName) -> Result<bool, StoreError> {
        let row = sqlx::query(
            "SELECT id FROM sign_in WHERE provider = $1 AND subject = $2 AND who_kind = $3 LIMIT 1",
        )
        .bind(who.provider().as_str())
        .bind(who.subject())
        .bind(sign_ins::kind_word(kind))
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.is_some())
    }

    /// Whether this person ever signed in with this key.
    pub async fn is_key_of(&self, fingerprint: &str, who: &Identity) -> Result<bool, StoreError> {
        let row = sqlx::query(
            "SELECT id FROM sign_in WHERE key_fingerprint = $1 AND provider = $2 AND issuer = $3 AND subject = $4 \
             LIMIT 1",
        )
        .bind(text(TABLE, "value", fingerprint)?)
        .bind(who.provider.as_str())
        .bind(text(TABLE, "issuer", &who.issuer)?)
        .bind(text(TABLE, "subject", &who.subject)?)
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.is_some())
    }
}

impl Tx {
    /// Takes the next version; whoever else revokes waits until this transaction is over. To be called before anything
    /// else of a revocation is written, so that no two wait for each other.
    pub async fn next_revocation_version(&mut self, now: Timestamp) -> Result<u64, StoreError> {
        let row = sqlx::query(
            "UPDATE revocation_head SET changed = $2, \
             version = CASE WHEN version >= $1 THEN version + 1 ELSE $1 END WHERE one = 1 RETURNING version",
        )
        .bind(whole(HEAD, "version", now.as_secs())?)
        .bind(millis(HEAD, "changed", now)?)
        .fetch_optional(self.connection())
        .await?
        .ok_or_else(|| bad(HEAD, "its one row is missing; restore the database from a backup"))?;
        Columns { table: HEAD, row: &row }.whole("version")
    }

    /// A revocation; false when the same thing is revoked already, by an older row that stays as it is.
    pub async fn insert_revocation(&mut self, row: &RevocationRow) -> Result<bool, StoreError> {
        let written = sqlx::query(
            "INSERT INTO revocation (id, kind, authority, value, public_key, reason, by_whom, created, until) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
        )
        .bind(row.id.as_str())
        .bind(word(TABLE, "kind", &row.kind, KINDS)?)
        .bind(word(TABLE, "authority", &row.authority, AUTHORITIES)?)
        .bind(text(TABLE, "value", &row.value)?)
        .bind(text_opt(TABLE, "public_key", row.public_key.as_deref())?)
        .bind(&*label(&row.reason))
        .bind(text(TABLE, "by_whom", &row.by)?)
        .bind(millis(TABLE, "created", row.created)?)
        .bind(row.until.map(|until| millis(TABLE, "until", until)).transpose()?)
        .execute(self.connection())
        .await?;
        Ok(written.rows_affected() == 1)
    }

    /// Ends every live sign-in of somebody, whatever issuer their provider had then; gives their ids.
    pub async fn end_sign_ins_of(
        &mut self,
        kind: Kind,
        who: &SubjectName,
        now: Timestamp,
    ) -> Result<Vec<SignIn>, StoreError> {
        let rows = sqlx::query(
            "UPDATE sign_in SET ended = $4 WHERE provider = $1 AND subject = $2 AND who_kind = $3 AND ended IS NULL \
             AND expires > $4 RETURNING id, who_kind, provider, issuer, subject, display, groups_json, \
             key_fingerprint, method, address, client, created, expires, ended, run",
        )
        .bind(who.provider().as_str())
        .bind(who.subject())
        .bind(sign_ins::kind_word(kind))
        .bind(millis(TABLE, "now", now)?)
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(sign_ins::read).collect()
    }

    /// The certificates of somebody that are valid at `now`, of every authority.
    pub async fn certificates_of(
        &mut self,
        kind: Kind,
        who: &SubjectName,
        now: Timestamp,
    ) -> Result<Vec<CertificateOf>, StoreError> {
        let rows = sqlx::query(certificates!(
            "JOIN sign_in s ON s.id = c.sign_in WHERE s.provider = $1 AND s.subject = $2 AND s.who_kind = $3 \
             AND c.valid_before > $4 ORDER BY c.serial"
        ))
        .bind(who.provider().as_str())
        .bind(who.subject())
        .bind(sign_ins::kind_word(kind))
        .bind(millis(CERTIFICATE, "now", now)?)
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(read_certificate).collect()
    }
}

/// The certificates of one sign-in that are valid at `now`.
pub(super) async fn certificates_of_sign_in(
    connection: &mut AnyConnection,
    sign_in: &SignInId,
    now: Timestamp,
) -> Result<Vec<CertificateOf>, StoreError> {
    let rows = sqlx::query(certificates!("WHERE c.sign_in = $1 AND c.valid_before > $2 ORDER BY c.serial"))
        .bind(sign_in.as_str())
        .bind(millis(CERTIFICATE, "now", now)?)
        .fetch_all(connection)
        .await?;
    rows.iter().map(read_certificate).collect()
}

fn read(row: &AnyRow) -> Result<RevocationRow, StoreError> {
    let columns = Columns { table: TABLE, row };
    Ok(RevocationRow {
        id: columns.parsed("id")?,
        kind: columns.word("kind", KINDS)?,
        authority: columns.word("authority", AUTHORITIES)?,
        value: columns.text("value")?,
        public_key: columns.text_opt("public_key")?,
        reason: columns.text("reason")?,
        by: columns.text("by_whom")?,
        created: columns.time("created")?,
        until: columns.time_opt("until")?,
    })
}

fn read_certificate(row: &AnyRow) -> Result<CertificateOf, StoreError> {
    let columns = Columns { table: CERTIFICATE, row };
    let session = columns.text_opt("session")?;
    let session = session.map(|id| id.parse().map_err(|e| bad(CERTIFICATE, format_args!("session: {e}"))));
    Ok(CertificateOf {
        serial: columns.parsed("serial")?,
        authority: columns.word("kind", &["user", "target"])?,
        sign_in: columns.parsed("sign_in")?,
        session: session.transpose()?,
        valid_before: columns.time("valid_before")?,
    })
}
