//! Rows of `sign_in`. Whether a sign-in suffices for anything is the flows' decision; here is only which are live.

use std::collections::BTreeSet;
use std::sync::Arc;

use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::column::{Columns, bad, label, millis, text, text_opt, word};
use super::{Store, StoreError, Tx};
use crate::identity::{Identity, Kind, Run};
use crate::ids::SignInId;
use crate::names::GroupName;
use crate::time::Timestamp;

const TABLE: &str = "sign_in";
/// Ways to sign in.
pub(super) const METHODS: &[&str] = &["loopback", "device", "ssh", "token", "service"];
/// Most sign-ins that one list holds.
const LIST_MAX: i64 = 1000;

/// A sign-in row.
#[derive(Clone, Debug)]
pub struct SignIn {
    /// Its id.
    pub id: SignInId,
    /// Who.
    pub who: Identity,
    /// SHA-256 fingerprint (`SHA256:...`) of the bound SSH public key; none when bound to one SSH connection.
    pub key_fingerprint: Option<String>,
    /// `loopback`, `device` or `ssh`; for workloads `token` or `service`.
    pub method: String,
    /// Client's address at sign-in.
    pub from: String,
    /// Name of the client machine as it said itself; a label.
    pub client: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends by itself.
    pub expires: Timestamp,
    /// When it was ended before its time.
    pub ended: Option<Timestamp>,
}

impl SignIn {
    /// Neither ended nor expired at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.ended.is_none() && now < self.expires
    }
}

/// The start of every read: columns by name, so that a prepared statement outlives a column that a newer node adds.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, who_kind, provider, issuer, subject, display, groups_json, key_fingerprint, method, address, client, \
             created, expires, ended, run FROM sign_in ",
            $rest
        )
    };
}

/// Ids that one statement asks for.
const ASKED_AT_ONCE: usize = 8;

impl Store {
    /// One sign-in.
    pub async fn sign_in(&self, id: &SignInId) -> Result<Option<SignIn>, StoreError> {
        let row = sqlx::query(select!("WHERE id = $1")).bind(id.as_str()).fetch_optional(&self.pool).await?;
        row.as_ref().map(read).transpose()
    }

    /// The newest live sign-in bound to this key.
    pub async fn sign_in_by_key(
        &self,
        fingerprint: &str,
        now: Timestamp,
    ) -> Result<Option<SignIn>, StoreError> {
        let row = sqlx::query(select!(
            "WHERE key_fingerprint = $1 AND ended IS NULL AND expires > $2 \
             ORDER BY created DESC, id DESC LIMIT 1"
        ))
        .bind(fingerprint)
        .bind(millis(TABLE, "now", now)?)
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(read).transpose()
    }

    /// Live sign-ins, newest first, at most 1000.
    pub async fn sign_ins(&self, now: Timestamp) -> Result<Vec<SignIn>, StoreError> {
        let rows = sqlx::query(select!(
            "WHERE ended IS NULL AND expires > $1 ORDER BY created DESC, id DESC LIMIT $2"
        ))
        .bind(millis(TABLE, "now", now)?)
        .bind(LIST_MAX)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read).collect()
    }

    /// The newest sign-in of each identity that ever signed in, by issuer and subject, at most `limit`. With `of`, only
    /// that of whoever is called so: provider and subject.
    pub async fn newest_sign_ins(
        &self,
        of: Option<(&str, &str)>,
        limit: u32,
    ) -> Result<Vec<SignIn>, StoreError> {
        let (provider, subject) = of.map(|(a, b)| (a.to_owned(), b.to_owned())).unzip();
        let rows = sqlx::query(
            "SELECT id, who_kind, provider, issuer, subject, display, groups_json, key_fingerprint, method, address, \
             client, created, expires, ended, run FROM (SELECT id, who_kind, provider, issuer, subject, display, groups_json, \
             key_fingerprint, method, address, client, created, expires, ended, run, \
             ROW_NUMBER() OVER (PARTITION BY issuer, subject ORDER BY created DESC, id DESC) AS place FROM sign_in \
             WHERE CAST($1 AS TEXT) IS NULL OR (provider = $1 AND subject = $2)) AS everybody \
             WHERE place = 1 ORDER BY issuer, subject LIMIT $3",
        )
        .bind(provider)
        .bind(subject)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read).collect()
    }

    /// Those of `ids` that are there and have not been ended; whoever holds others must let go of them. Expiry does not count
    /// here, its time is known beforehand.
    pub async fn sign_ins_not_ended(&self, ids: &[SignInId]) -> Result<Vec<SignInId>, StoreError> {
        let mut found = Vec::new();
        for some in ids.chunks(ASKED_AT_ONCE) {
            let mut query = sqlx::query(
                "SELECT id FROM sign_in WHERE ended IS NULL AND id IN ($1, $2, $3, $4, $5, $6, $7, $8)",
            );
            // What is left of the places asks for the last one again.
            for id in some.iter().chain(some.last().into_iter().cycle()).take(ASKED_AT_ONCE) {
                query = query.bind(id.as_str());
            }
            for row in query.fetch_all(&self.watchers).await? {
                found.push(Columns { table: TABLE, row: &row }.parsed("id")?);
            }
        }
        Ok(found)
    }
}

impl Tx {
    /// A new sign-in. `Conflict` when the id exists.
    pub async fn insert_sign_in(&mut self, row: &SignIn) -> Result<(), StoreError> {
        let written = sqlx::query(
            "INSERT INTO sign_in (id, who_kind, provider, issuer, subject, display, groups_json, key_fingerprint, \
             method, address, client, created, expires, ended, run, run_name) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) ON CONFLICT DO NOTHING",
        )
        .bind(row.id.as_str())
        .bind(kind_word(row.who.kind))
        .bind(row.who.provider.as_str())
        .bind(text(TABLE, "issuer", &row.who.issuer)?)
        .bind(text(TABLE, "subject", &row.who.subject)?)
        .bind(&*label(&row.who.display))
        .bind(groups_text(&row.who.groups))
        .bind(text_opt(TABLE, "key_fingerprint", row.key_fingerprint.as_deref())?)
        .bind(word(TABLE, "method", &row.method, METHODS)?)
        .bind(text(TABLE, "address", &row.from)?)
        .bind(&*label(&row.client))
        .bind(millis(TABLE, "created", row.created)?)
        .bind(millis(TABLE, "expires", row.expires)?)
        .bind(row.ended.map(|at| millis(TABLE, "ended", at)).transpose()?)
        .bind(row.who.run.as_deref().map(run_text).transpose()?)
        .bind(row.who.run.as_deref().and_then(Run::name).map(run_name))
        .execute(self.connection())
        .await?;
        super::inserted(&written)
    }

    /// Ends a sign-in; false when it was not live. What was kept for asking its provider is gone with it.
    pub async fn end_sign_in(&mut self, id: &SignInId, now: Timestamp) -> Result<bool, StoreError> {
        let changed =
            sqlx::query("UPDATE sign_in SET ended = $2 WHERE id = $1 AND ended IS NULL AND expires > $2")
                .bind(id.as_str())
                .bind(millis(TABLE, "ended", now)?)
                .execute(self.connection())
                .await?;
        sqlx::query("DELETE FROM sign_in_check WHERE sign_in = $1")
            .bind(id.as_str())
            .execute(self.connection())
            .await?;
        Ok(changed.rows_affected() == 1)
    }

    /// Ends every live sign-in of this key and gives them as they were before; until this transaction is over nobody else
    /// can do so. Whoever then inserts one has the only live one of the key.
    pub async fn end_sign_ins_of_key(
        &mut self,
        fingerprint: &str,
        now: Timestamp,
    ) -> Result<Vec<SignIn>, StoreError> {
        self.take_turn_of_key(fingerprint, now).await?;
        let rows = sqlx::query(
            "UPDATE sign_in SET ended = $2 WHERE key_fingerprint = $1 AND ended IS NULL AND expires > $2 \
             RETURNING id, who_kind, provider, issuer, subject, display, groups_json, key_fingerprint, method, address, \
             client, created, expires, ended, run",
        )
        .bind(fingerprint)
        .bind(millis(TABLE, "ended", now)?)
        .fetch_all(self.connection())
        .await?;
        sqlx::query(
            "DELETE FROM sign_in_check WHERE sign_in IN (SELECT id FROM sign_in WHERE key_fingerprint = $1)",
        )
        .bind(fingerprint)
        .execute(self.connection())
        .await?;
        rows.iter().map(|row| Ok(SignIn { ended: None, ..read(row)? })).collect()
    }
}

/// One sign-in as a transaction sees it.
pub(super) async fn one(connection: &mut AnyConnection, id: &SignInId) -> Result<Option<SignIn>, StoreError> {
    let row = sqlx::query(select!("WHERE id = $1")).bind(id.as_str()).fetch_optional(connection).await?;
    row.as_ref().map(read).transpose()
}

/// Groups as their column holds them.
pub(super) fn groups_text(groups: &BTreeSet<GroupName>) -> String {
    let groups: Vec<String> = groups.iter().map(GroupName::to_string).collect();
    serde_json::Value::from(groups).to_string()
}

pub(super) fn read(row: &AnyRow) -> Result<SignIn, StoreError> {
    let columns = Columns { table: TABLE, row };
    Ok(SignIn {
        id: columns.parsed("id")?,
        who: Identity {
            kind: read_kind(&columns.text("who_kind")?)?,
            provider: columns.parsed("provider")?,
            issuer: columns.text("issuer")?,
            subject: columns.text("subject")?,
            display: columns.text("display")?,
            groups: read_groups(&columns.text("groups_json")?)?,
            run: columns.text_opt("run")?.as_deref().map(read_run).transpose()?,
        },
        key_fingerprint: columns.text_opt("key_fingerprint")?,
        method: columns.word("method", METHODS)?,
        from: columns.text("address")?,
        client: columns.text("client")?,
        created: columns.time("created")?,
        expires: columns.time("expires")?,
        ended: columns.time_opt("ended")?,
    })
}

/// A run among those of its subject: id and attempt.
pub(super) fn run_name((id, attempt): (&str, &str)) -> String {
    format!("{id} {attempt}")
}

fn run_text(run: &Run) -> Result<String, StoreError> {
    serde_json::to_string(run).map_err(|e| bad(TABLE, format_args!("run: {e}")))
}

fn read_run(json: &str) -> Result<Arc<Run>, StoreError> {
    serde_json::from_str(json).map(Arc::new).map_err(|e| bad(TABLE, format_args!("run: {e}")))
}

pub(super) fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Person => "person",
        Kind::Workload => "workload",
    }
}

fn read_kind(word: &str) -> Result<Kind, StoreError> {
    [Kind::Person, Kind::Workload]
        .into_iter()
        .find(|kind| kind_word(*kind) == word)
        .ok_or_else(|| bad(TABLE, format_args!("who_kind {word:?} is unknown")))
}

fn read_groups(json: &str) -> Result<BTreeSet<GroupName>, StoreError> {
    let groups: Vec<String> =
        serde_json::from_str(json).map_err(|e| bad(TABLE, format_args!("groups_json: {e}")))?;
    groups
        .iter()
        .map(|group| group.parse().map_err(|e| bad(TABLE, format_args!("groups_json: {e}"))))
        .collect()
}
