//! Rows: all SQL of the product. SQLite by default, PostgreSQL by URL; one set of queries for both
//! (`sqlx::Any`, `$1` placeholders, columns TEXT and BIGINT only).
//!
//! Reads are methods of [`Store`]. Changes are methods of [`Tx`], and the only way to commit one is
//! [`Tx::commit`], which takes the [`AuditEvent`] of the act.

mod audit;
mod connect;
mod sessions;
mod sign_ins;

use std::sync::Arc;

use sqlx::{AnyPool, Transaction};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::audit::AuditEvent;
use crate::identity::Identity;
use crate::ids::{PendingId, SessionId, SignInId};
use crate::time::Timestamp;

/// The store is unreachable or broken, or holds what we do not know.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database said no.
    #[error("database: {0}")]
    Database(sqlx::Error),
    /// The URL is of no kind we know, or its file cannot be made.
    #[error("{0}")]
    Url(String),
    /// The schema could not be brought up to date.
    #[error("migration: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A row holds a value this version does not know.
    #[error("table {table}: {what}")]
    BadRow {
        /// The table.
        table: &'static str,
        /// What is wrong.
        what: String,
    },
    /// A row with this key exists already (a nonce used twice, a serial drawn twice).
    #[error("already there")]
    Conflict,
}

/// A sign-in row.
#[derive(Clone, Debug)]
pub struct SignIn {
    /// Its id.
    pub id: SignInId,
    /// Who.
    pub who: Identity,
    /// SHA-256 fingerprint (`SHA256:...`) of the bound SSH public key; none when bound to one SSH connection.
    pub key_fingerprint: Option<String>,
    /// `loopback`, `device` or `ssh`.
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

/// A sign-in that has begun: the state machine lives in `flow::sign_in`, this is its row. `state` is a short word
/// (`begun`, `at-provider`, `identified`, `confirmed`, `done`, `denied`); `json` holds what that state needs.
#[derive(Clone, Debug)]
pub struct PendingSignIn {
    /// Its id.
    pub id: PendingId,
    /// `loopback`, `device` or `ssh`.
    pub mode: String,
    /// State word.
    pub state: String,
    /// SHA-256 (hex) of the OAuth `state` parameter, once sent to a provider. Unique.
    pub oauth_state_hash: Option<String>,
    /// SHA-256 (hex) of the user code, in device and ssh mode. Unique while pending.
    pub user_code_hash: Option<String>,
    /// The rest, as JSON.
    pub json: String,
    /// When it began.
    pub created: Timestamp,
    /// When it is void.
    pub expires: Timestamp,
}

/// A session row.
#[derive(Clone, Debug)]
pub struct SessionRow {
    /// Its id.
    pub id: SessionId,
    /// The sign-in behind it.
    pub sign_in: SignInId,
    /// `provider:subject`.
    pub who: String,
    /// Display label.
    pub display: String,
    /// Target.
    pub target: String,
    /// Login.
    pub login: String,
    /// `shell`, `exec`, `sftp`.
    pub kind: String,
    /// The command line of an exec, lossy UTF-8; empty otherwise.
    pub command: String,
    /// Client's address.
    pub from: String,
    /// Name of the bastion process that holds it.
    pub node: String,
    /// Path of the recording, relative to the recordings folder.
    pub recording: Option<String>,
    /// When it was opened.
    pub opened: Timestamp,
    /// When it was closed.
    pub closed: Option<Timestamp>,
    /// Why it was closed (see `AuditEvent::SessionClosed`).
    pub close_reason: Option<String>,
    /// Exit status.
    pub exit_status: Option<u32>,
    /// Bytes client to target.
    pub bytes_in: u64,
    /// Bytes target to client.
    pub bytes_out: u64,
    /// SHA-256 of the sealed recording.
    pub recording_sha256: Option<String>,
}

/// One audit entry as stored.
#[derive(Clone, Debug)]
pub struct AuditRow {
    /// Sequence number, rising, from 1.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// `AuditEvent::kind()`.
    pub kind: String,
    /// `AuditEvent::fields()` as JSON text.
    pub json: String,
}

/// Which sessions to list.
#[derive(Clone, Debug, Default)]
pub struct SessionFilter {
    /// Only those still open.
    pub open: bool,
    /// Only this target.
    pub target: Option<String>,
    /// Only this person (`provider:subject`).
    pub who: Option<String>,
    /// At most so many, newest first.
    pub limit: u32,
}

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

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pool: AnyPool,
    /// SQLite has one writer at a time; waiting here is fair and cheaper than its busy handler. Other processes are
    /// waited for by the busy handler.
    writer: Option<Arc<Mutex<()>>>,
}

/// One transaction. Dropped without [`Tx::commit`], it leaves nothing.
pub struct Tx {
    inner: Transaction<'static, sqlx::Any>,
    _writer: Option<OwnedMutexGuard<()>>,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(said) if said.is_unique_violation() => Self::Conflict,
            _ => Self::Database(error),
        }
    }
}

impl Store {
    /// Begins a transaction for a change.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        match &self.writer {
            Some(writer) => {
                let guard = Arc::clone(writer).lock_owned().await;
                // IMMEDIATE takes the write lock at once, so a transaction never fails half-way for want of it.
                let inner = self.pool.begin_with("BEGIN IMMEDIATE").await?;
                Ok(Tx { inner, _writer: Some(guard) })
            }
            None => Ok(Tx { inner: self.pool.begin().await?, _writer: None }),
        }
    }

    /// Writes an entry for an act that changes no row (a refusal, a failed attempt).
    pub async fn note(&self, now: Timestamp, event: AuditEvent) -> Result<(), StoreError> {
        self.begin().await?.commit(now, event).await
    }
}

impl Tx {
    /// Writes the event and commits. The only way to commit.
    pub async fn commit(mut self, now: Timestamp, event: AuditEvent) -> Result<(), StoreError> {
        self.insert_audit(now, &event).await?;
        Ok(self.inner.commit().await?)
    }

    /// Commits bookkeeping that is no act: pending sign-ins and swept rows.
    async fn commit_unaudited(self) -> Result<(), StoreError> {
        Ok(self.inner.commit().await?)
    }
}

/// Times and counts as the database keeps them.
fn big(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A time of ours in the database's type.
fn at(time: Timestamp) -> i64 {
    big(time.as_millis())
}

/// A time from the database.
fn time(table: &'static str, millis: i64) -> Result<Timestamp, StoreError> {
    count(table, millis).map(Timestamp::from_millis)
}

/// A count from the database: never negative.
fn count(table: &'static str, value: i64) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| bad(table, format!("the number {value} is negative")))
}

fn bad(table: &'static str, what: impl ToString) -> StoreError {
    StoreError::BadRow { table, what: what.to_string() }
}
