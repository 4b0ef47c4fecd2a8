//! Rows of `sign_in_check`: what is kept of a sign-in so that its provider can be asked again. When that is due, and what
//! follows from an answer, is `flow::recheck`'s matter. Taking a lease and noting a try change nothing anybody may do
//! and are not audited; what an answer takes away is.

use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::column::{Columns, bad, millis, text, text_opt};
use super::sign_ins::{self, SignIn};
use super::{Store, StoreError, Tx};
use crate::identity::claims::Session;
use crate::ids::SignInId;
use crate::names::{GroupName, ProviderName};
use crate::secret::Sealed;
use crate::time::Timestamp;

const TABLE: &str = "sign_in_check";

/// A row.
#[derive(Clone, Debug)]
pub struct SignInCheck {
    /// The sign-in.
    pub sign_in: SignInId,
    /// Its provider.
    pub provider: ProviderName,
    /// The provider's own names for person and session.
    pub session: Session,
    /// SHA-256 (hex) of the nonce of the first ID token: one that a later token repeats must be the same.
    pub nonce_sha256: String,
    /// The refresh token; none when the provider gave none.
    pub sealed: Option<Sealed>,
    /// When the provider last said yes; the sign-in itself is the first time.
    pub checked: Timestamp,
    /// When it was last asked.
    pub tried: Timestamp,
    /// Why that did not lead to an answer, if it did not.
    pub failure: Option<String>,
}

/// What is written down after asking.
#[derive(Clone, Debug)]
pub struct CheckNote {
    /// The refresh token from now on.
    pub sealed: Option<Sealed>,
    /// When the provider last said yes.
    pub checked: Timestamp,
    /// When it was asked.
    pub tried: Timestamp,
    /// Why there was no answer, if there was none.
    pub failure: Option<String>,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT c.sign_in, c.provider, c.sub, c.sid, c.nonce_sha256, c.key_id, c.sealed, c.checked, c.tried, c.failure \
             FROM sign_in_check c ",
            $rest
        )
    };
}

impl Store {
    /// What is kept of one sign-in; none when there is nothing (a sign-in that has ended, or from before the table was).
    pub async fn check_of(&self, id: &SignInId) -> Result<Option<SignInCheck>, StoreError> {
        let row =
            sqlx::query(select!("WHERE c.sign_in = $1")).bind(id.as_str()).fetch_optional(&self.pool).await?;
        row.as_ref().map(read).transpose()
    }

    /// Live sign-ins with a refresh token that were last asked for before `before` (those whose last try failed: before
    /// `failed_before`), and that nobody asks for right now; the oldest first, at most `limit`.
    pub async fn checks_due(
        &self,
        before: Timestamp,
        failed_before: Timestamp,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<SignInCheck>, StoreError> {
        let rows = sqlx::query(select!(
            "JOIN sign_in s ON s.id = c.sign_in WHERE c.sealed IS NOT NULL AND c.lease_until <= $3 \
             AND (c.tried <= $1 OR (c.failure IS NOT NULL AND c.tried <= $2)) \
             AND s.ended IS NULL AND s.expires > $3 ORDER BY c.tried, c.sign_in LIMIT $4"
        ))
        .bind(millis(TABLE, "before", before)?)
        .bind(millis(TABLE, "failed_before", failed_before)?)
        .bind(millis(TABLE, "now", now)?)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read).collect()
    }

    /// Takes the right to ask for this sign-in until `until`, under the name `lease`; none when somebody else has it, has
    /// asked after `seen`, or there is nothing to ask with. What is kept is read in the same statement, so nobody's newer token is missed.
    pub async fn lease_check(
        &self,
        id: &SignInId,
        lease: &str,
        until: Timestamp,
        seen: Timestamp,
        now: Timestamp,
    ) -> Result<Option<SignInCheck>, StoreError> {
        let mut tx = self.begin().await?;
        let row = sqlx::query(
            "UPDATE sign_in_check SET lease = $2, lease_until = $3 \
             WHERE sign_in = $1 AND lease_until <= $4 AND tried <= $5 AND sealed IS NOT NULL \
             RETURNING sign_in, provider, sub, sid, nonce_sha256, key_id, sealed, checked, tried, failure",
        )
        .bind(id.as_str())
        .bind(text(TABLE, "lease", lease)?)
        .bind(millis(TABLE, "lease_until", until)?)
        .bind(millis(TABLE, "now", now)?)
        .bind(millis(TABLE, "seen", seen)?)
        .fetch_optional(tx.connection())
        .await?;
        let taken = row.as_ref().map(read).transpose()?;
        tx.commit_unaudited().await?;
        Ok(taken)
    }

    /// Gives the lease back and writes down what came of it; false when it is another's by now, and nothing is written.
    pub async fn note_check(&self, id: &SignInId, lease: &str, note: &CheckNote) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let noted = write_note(tx.connection(), id, lease, note).await?;
        tx.commit_unaudited().await?;
        Ok(noted)
    }
}

impl Tx {
    /// What is kept of a new sign-in.
    pub async fn insert_check(&mut self, row: &SignInCheck) -> Result<(), StoreError> {
        let written = sqlx::query(
            "INSERT INTO sign_in_check (sign_in, provider, sub, sid, nonce_sha256, key_id, sealed, checked, tried, \
             failure, lease, lease_until) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, NULL, 0) \
             ON CONFLICT DO NOTHING",
        )
        .bind(row.sign_in.as_str())
        .bind(row.provider.as_str())
        .bind(text(TABLE, "sub", &row.session.sub)?)
        .bind(text_opt(TABLE, "sid", row.session.sid.as_deref())?)
        .bind(text(TABLE, "nonce_sha256", &row.nonce_sha256)?)
        .bind(row.sealed.as_ref().map(|sealed| sealed.key_id.as_str()))
        .bind(row.sealed.as_ref().map(|sealed| sealed.text.as_str()))
        .bind(millis(TABLE, "checked", row.checked)?)
        .bind(millis(TABLE, "tried", row.tried)?)
        .bind(text_opt(TABLE, "failure", row.failure.as_deref())?)
        .execute(self.connection())
        .await?;
        super::inserted(&written)
    }

    /// As [`Store::note_check`], in this transaction.
    pub async fn note_check(
        &mut self,
        id: &SignInId,
        lease: &str,
        note: &CheckNote,
    ) -> Result<bool, StoreError> {
        write_note(self.connection(), id, lease, note).await
    }

    /// Writes other groups into a live sign-in; false when it is not live.
    pub async fn set_groups(
        &mut self,
        id: &SignInId,
        groups: &std::collections::BTreeSet<GroupName>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let changed = sqlx::query(
            "UPDATE sign_in SET groups_json = $2 WHERE id = $1 AND ended IS NULL AND expires > $3",
        )
        .bind(id.as_str())
        .bind(sign_ins::groups_text(groups))
        .bind(millis(TABLE, "now", now)?)
        .execute(self.connection())
        .await?;
        Ok(changed.rows_affected() == 1)
    }

    /// Ends the live sign-ins that the provider means when it logs out `sub`, its session `sid`, or that session of that
    /// person, and gives them as they were. A sign-in of the person without a known session could be any of theirs, so it
    /// ends too.
    pub async fn end_sign_ins_of_session(
        &mut self,
        provider: &ProviderName,
        sub: Option<&str>,
        sid: Option<&str>,
        now: Timestamp,
    ) -> Result<Vec<SignIn>, StoreError> {
        let sql = match (sub, sid) {
            (Some(_), None) => {
                "SELECT sign_in FROM sign_in_check WHERE provider = $1 AND sub = $2 AND $3 = ''"
            }
            (None, Some(_)) => {
                "SELECT sign_in FROM sign_in_check WHERE provider = $1 AND $2 = '' AND sid = $3"
            }
            (Some(_), Some(_)) => {
                "SELECT sign_in FROM sign_in_check WHERE provider = $1 AND sub = $2 AND (sid = $3 OR sid IS NULL)"
            }
            (None, None) => return Ok(Vec::new()),
        };
        let rows = sqlx::query(sql)
            .bind(provider.as_str())
            .bind(text(TABLE, "sub", sub.unwrap_or_default())?)
            .bind(text(TABLE, "sid", sid.unwrap_or_default())?)
            .fetch_all(self.connection())
            .await?;
        let mut ended = Vec::new();
        for row in &rows {
            let id: SignInId = Columns { table: TABLE, row }.parsed("sign_in")?;
            if self.end_sign_in(&id, now).await?
                && let Some(was) = sign_ins::one(self.connection(), &id).await?
            {
                ended.push(SignIn { ended: None, ..was });
            }
        }
        Ok(ended)
    }
}

async fn write_note(
    connection: &mut AnyConnection,
    id: &SignInId,
    lease: &str,
    note: &CheckNote,
) -> Result<bool, StoreError> {
    let changed = sqlx::query(
        "UPDATE sign_in_check SET key_id = $3, sealed = $4, checked = $5, tried = $6, failure = $7, lease = NULL, \
         lease_until = 0 WHERE sign_in = $1 AND lease = $2",
    )
    .bind(id.as_str())
    .bind(text(TABLE, "lease", lease)?)
    .bind(note.sealed.as_ref().map(|sealed| sealed.key_id.as_str()))
    .bind(note.sealed.as_ref().map(|sealed| sealed.text.as_str()))
    .bind(millis(TABLE, "checked", note.checked)?)
    .bind(millis(TABLE, "tried", note.tried)?)
    .bind(text_opt(TABLE, "failure", note.failure.as_deref())?)
    .execute(connection)
    .await?;
    Ok(changed.rows_affected() == 1)
}

fn read(row: &AnyRow) -> Result<SignInCheck, StoreError> {
    let columns = Columns { table: TABLE, row };
    let sealed = match (columns.text_opt("key_id")?, columns.text_opt("sealed")?) {
        (Some(key_id), Some(text)) => Some(Sealed { key_id, text }),
        (None, None) => None,
        _ => return Err(bad(TABLE, "key_id and sealed go together")),
    };
    Ok(SignInCheck {
        sign_in: columns.parsed("sign_in")?,
        provider: columns.parsed("provider")?,
        session: Session { sub: columns.text("sub")?, sid: columns.text_opt("sid")? },
        nonce_sha256: columns.text("nonce_sha256")?,
        sealed,
        checked: columns.time("checked")?,
        tried: columns.time("tried")?,
        failure: columns.text_opt("failure")?,
    })
}
