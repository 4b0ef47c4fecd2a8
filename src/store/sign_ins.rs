//! Sign-ins, begun and made, and the nonces of signed requests.

use std::collections::BTreeSet;

use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::{PendingSignIn, SignIn, Store, StoreError, Tx, at, bad, count, time};
use crate::identity::{Identity, Kind};
use crate::ids::{PendingId, SignInId};
use crate::names::GroupName;
use crate::time::Timestamp;

const TABLE: &str = "sign_in";
const PENDING: &str = "pending_sign_in";
/// Most sign-ins in one listing.
const LISTED: i64 = 1000;

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, kind, provider, issuer, subject, display, groups_json, key_fingerprint, method, ",
            "from_address, client, created, expires, ended FROM sign_in ",
            $rest
        )
    };
}

macro_rules! select_pending {
    ($rest:literal) => {
        concat!(
            "SELECT id, mode, state, oauth_state_hash, user_code_hash, json, created, expires ",
            "FROM pending_sign_in ",
            $rest
        )
    };
}

fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Person => "person",
        Kind::Workload => "workload",
    }
}

fn identity(row: &AnyRow) -> Result<Identity, StoreError> {
    let text = |index: usize| row.try_get::<String, _>(index);
    let kind = match text(1)?.as_str() {
        "person" => Kind::Person,
        "workload" => Kind::Workload,
        other => return Err(bad(TABLE, format!("unknown kind {other:?}"))),
    };
    let groups: Vec<String> = serde_json::from_str(&text(6)?).map_err(|e| bad(TABLE, e))?;
    let groups: Result<BTreeSet<GroupName>, _> = groups.iter().map(|group| group.parse()).collect();
    Ok(Identity {
        kind,
        provider: text(2)?.parse().map_err(|e| bad(TABLE, e))?,
        issuer: text(3)?,
        subject: text(4)?,
        display: text(5)?,
        groups: groups.map_err(|e| bad(TABLE, e))?,
    })
}

fn sign_in(row: &AnyRow) -> Result<SignIn, StoreError> {
    let text = |index: usize| row.try_get::<String, _>(index);
    Ok(SignIn {
        id: text(0)?.parse().map_err(|e| bad(TABLE, e))?,
        who: identity(row)?,
        key_fingerprint: row.try_get(7)?,
        method: text(8)?,
        from: text(9)?,
        client: text(10)?,
        created: time(TABLE, row.try_get(11)?)?,
        expires: time(TABLE, row.try_get(12)?)?,
        ended: row.try_get::<Option<i64>, _>(13)?.map(|millis| time(TABLE, millis)).transpose()?,
    })
}

fn pending(row: &AnyRow) -> Result<PendingSignIn, StoreError> {
    Ok(PendingSignIn {
        id: row.try_get::<String, _>(0)?.parse().map_err(|e| bad(PENDING, e))?,
        mode: row.try_get(1)?,
        state: row.try_get(2)?,
        oauth_state_hash: row.try_get(3)?,
        user_code_hash: row.try_get(4)?,
        json: row.try_get(5)?,
        created: time(PENDING, row.try_get(6)?)?,
        expires: time(PENDING, row.try_get(7)?)?,
    })
}

impl Store {
    /// One sign-in.
    pub async fn sign_in(&self, id: &SignInId) -> Result<Option<SignIn>, StoreError> {
        let row = sqlx::query(select!("WHERE id = $1")).bind(id.as_str()).fetch_optional(&self.pool).await?;
        row.as_ref().map(sign_in).transpose()
    }

    /// The newest live sign-in bound to this key.
    pub async fn sign_in_by_key(
        &self,
        fingerprint: &str,
        now: Timestamp,
    ) -> Result<Option<SignIn>, StoreError> {
        let row = sqlx::query(select!(
            "WHERE key_fingerprint = $1 AND ended IS NULL AND expires > $2 ORDER BY created DESC, id DESC LIMIT 1"
        ))
        .bind(fingerprint)
        .bind(at(now))
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(sign_in).transpose()
    }

    /// Live sign-ins, newest first, at most 1000.
    pub async fn sign_ins(&self, now: Timestamp) -> Result<Vec<SignIn>, StoreError> {
        let rows = sqlx::query(select!(
            "WHERE ended IS NULL AND expires > $1 ORDER BY created DESC, id DESC LIMIT $2"
        ))
        .bind(at(now))
        .bind(LISTED)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(sign_in).collect()
    }

    /// Ids of sign-ins ended (not expired) at or after `since`; the gateway asks this to close their sessions.
    pub async fn sign_ins_ended_since(&self, since: Timestamp) -> Result<Vec<SignInId>, StoreError> {
        let query = sqlx::query("SELECT id FROM sign_in WHERE ended >= $1").bind(at(since));
        let rows = query.fetch_all(&self.pool).await?;
        rows.iter().map(|row| row.try_get::<String, _>(0)?.parse().map_err(|e| bad(TABLE, e))).collect()
    }

    /// A pending sign-in by id, if not void.
    pub async fn pending(&self, id: &PendingId, now: Timestamp) -> Result<Option<PendingSignIn>, StoreError> {
        let query =
            sqlx::query(select_pending!("WHERE id = $1 AND expires > $2")).bind(id.as_str()).bind(at(now));
        query.fetch_optional(&self.pool).await?.as_ref().map(pending).transpose()
    }

    /// By the hash of its OAuth state.
    pub async fn pending_by_oauth_state(
        &self,
        hash: &str,
        now: Timestamp,
    ) -> Result<Option<PendingSignIn>, StoreError> {
        let query = sqlx::query(select_pending!("WHERE oauth_state_hash = $1 AND expires > $2"));
        let row = query.bind(hash).bind(at(now)).fetch_optional(&self.pool).await?;
        row.as_ref().map(pending).transpose()
    }

    /// By the hash of its user code.
    pub async fn pending_by_user_code(
        &self,
        hash: &str,
        now: Timestamp,
    ) -> Result<Option<PendingSignIn>, StoreError> {
        let query = sqlx::query(select_pending!("WHERE user_code_hash = $1 AND expires > $2"));
        let row = query.bind(hash).bind(at(now)).fetch_optional(&self.pool).await?;
        row.as_ref().map(pending).transpose()
    }

    /// Inserts a pending sign-in; begins are not audited (anybody can cause them), their ends are.
    pub async fn insert_pending(&self, row: &PendingSignIn) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT INTO pending_sign_in (id, mode, state, oauth_state_hash, user_code_hash, json, created, expires) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(row.id.as_str())
        .bind(&row.mode)
        .bind(&row.state)
        .bind(row.oauth_state_hash.as_deref())
        .bind(row.user_code_hash.as_deref())
        .bind(&row.json)
        .bind(at(row.created))
        .bind(at(row.expires))
        .execute(&mut *tx.inner)
        .await?;
        tx.commit_unaudited().await
    }

    /// Moves a pending sign-in from state `from` to `row.state`, atomically; false when it was not in `from` any more.
    pub async fn step_pending(&self, from: &str, row: &PendingSignIn) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let moved = tx.step_pending(from, row).await?;
        tx.commit_unaudited().await?;
        Ok(moved)
    }

    /// Number of pending sign-ins that are not void (a cap stands on them).
    pub async fn pending_count(&self, now: Timestamp) -> Result<u64, StoreError> {
        let query = sqlx::query("SELECT COUNT(*) FROM pending_sign_in WHERE expires > $1").bind(at(now));
        count(PENDING, query.fetch_one(&self.pool).await?.try_get(0)?)
    }

    /// Deletes void pending rows and old nonces; returns how many.
    pub async fn sweep(&self, now: Timestamp) -> Result<u64, StoreError> {
        let mut tx = self.begin().await?;
        let mut swept = 0;
        for query in [
            "DELETE FROM pending_sign_in WHERE expires <= $1",
            "DELETE FROM request_nonce WHERE expires <= $1",
        ] {
            swept += sqlx::query(query).bind(at(now)).execute(&mut *tx.inner).await?.rows_affected();
        }
        tx.commit_unaudited().await?;
        Ok(swept)
    }
}

impl Tx {
    /// A new sign-in.
    pub async fn insert_sign_in(&mut self, row: &SignIn) -> Result<(), StoreError> {
        let groups: Vec<String> = row.who.groups.iter().map(ToString::to_string).collect();
        sqlx::query(
            "INSERT INTO sign_in (id, kind, provider, issuer, subject, display, groups_json, key_fingerprint, method, \
             from_address, client, created, expires, ended) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        )
        .bind(row.id.as_str())
        .bind(kind_word(row.who.kind))
        .bind(row.who.provider.as_str())
        .bind(&row.who.issuer)
        .bind(&row.who.subject)
        .bind(&row.who.display)
        .bind(serde_json::Value::from(groups).to_string())
        .bind(row.key_fingerprint.as_deref())
        .bind(&row.method)
        .bind(&row.from)
        .bind(&row.client)
        .bind(at(row.created))
        .bind(at(row.expires))
        .bind(row.ended.map(at))
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// Ends a sign-in; false when it was not live.
    pub async fn end_sign_in(&mut self, id: &SignInId, now: Timestamp) -> Result<bool, StoreError> {
        let done =
            sqlx::query("UPDATE sign_in SET ended = $2 WHERE id = $1 AND ended IS NULL AND expires > $2")
                .bind(id.as_str())
                .bind(at(now))
                .execute(&mut *self.inner)
                .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Moves a pending sign-in as `Store::step_pending`, inside this transaction.
    pub async fn step_pending(&mut self, from: &str, row: &PendingSignIn) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE pending_sign_in SET state = $3, oauth_state_hash = $4, user_code_hash = $5, json = $6, expires = $7 \
             WHERE id = $1 AND state = $2",
        )
        .bind(row.id.as_str())
        .bind(from)
        .bind(&row.state)
        .bind(row.oauth_state_hash.as_deref())
        .bind(row.user_code_hash.as_deref())
        .bind(&row.json)
        .bind(at(row.expires))
        .execute(&mut *self.inner)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Marks a request nonce as used until `expires`; `Conflict` when it was used before.
    pub async fn use_nonce(
        &mut self,
        key_fingerprint: &str,
        nonce: &str,
        expires: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO request_nonce (key_fingerprint, nonce, expires) VALUES ($1, $2, $3)")
            .bind(key_fingerprint)
            .bind(nonce)
            .bind(at(expires))
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }
}
