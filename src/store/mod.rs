//! Rows: all SQL of the product. SQLite by default, PostgreSQL by URL; one set of queries for both
//! (`sqlx::Any`, `$1` placeholders, columns TEXT and BIGINT only).
//!
//! Reads are methods of [`Store`]. Changes are methods of [`Tx`], and the only way to commit one is
//! [`Tx::commit`], which takes the [`AuditEvent`] of the act. (Steps of a pending sign-in and of a delivery, the
//! book-keeping of checks at providers and of attempts to archive, nonces of refused requests, and the sweep of what time has made void, change nothing anybody may do and are
//! not audited.)
//!
//! A [`Tx`] that is dropped leaves nothing. While one is held no other method of [`Store`] that writes may be awaited by
//! the same task: SQLite has one writer at a time, and it would wait for itself until [`StoreError::Busy`]. Nor may it be
//! held while waiting for anything that somebody else may keep until their own commit: theirs may wait for this one.

mod access;
mod alerts;
mod archive;
mod audit;
mod batch;
mod checks;
mod column;
mod credentials;
mod holds;
mod open;
mod outbox;
mod pending;
mod reads;
mod recordings;
mod revocations;
mod role_use;
mod sessions;
mod shared;
mod sign_ins;
mod sinks;
mod transcripts;
mod workloads;

use std::sync::Arc;
use std::time::Duration;

use sqlx::AnyConnection;
use sqlx::any::AnyQueryResult;

use self::audit::Entry;
use self::batch::{Batches, Turn};
use self::reads::Reads;
use self::shared::Shared;
use crate::access::Lock;
use crate::audit::AuditEvent;
use crate::time::Timestamp;

pub use access::{CaseFilter, GrantFilter, GrantRow, Whose};
pub use alerts::{AlertFilter, AlertPlace, AlertRow, MoreEvents, WatchStep, Watching};
pub use archive::{ArchiveRow, Here};
pub use audit::{AuditHead, AuditLook, AuditRow};
pub use checks::{CheckNote, SignInCheck};
pub use credentials::CertificateRow;
pub use holds::{Covered, Held, HoldRow};
pub use outbox::{Delivery, QueuedNotice};
pub use pending::{PendingCounts, PendingSignIn};
pub use recordings::RecordingKeyRow;
pub use revocations::{CertificateOf, RevocationRow, RevocationVersion};
pub use role_use::RoleUse;
pub use sessions::{SessionFilter, SessionRow};
pub use sign_ins::SignIn;
pub use sinks::SinkPlace;
pub use transcripts::{BlockSearch, DueTranscript, FoundBlock, Unread};
pub use workloads::{RunName, RunWindow};

/// Longest wait for a turn to write, for a connection, and for another process's lock.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// The store is unreachable or broken, or holds what we do not know.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database said no.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
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
    /// The database cannot be opened as configured; says what to do. Only from [`Store::open`].
    #[error("{0}")]
    Unusable(String),
    /// The transaction was not committed; nor were those that shared its fsync.
    #[error("database: {0}")]
    NotCommitted(Arc<sqlx::Error>),
    /// Others kept the database for too long.
    #[error("the database was busy for {} s; try again", WAIT_MAX.as_secs())]
    Busy,
    /// What others asked at the same time too could not be read.
    #[error("{0}")]
    Shared(Arc<Self>),
}

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pool: Reads,
    /// A few connections more, for what must be seen however busy the others are: which sign-ins have ended, what is
    /// revoked, which locks hold, and what is new in the audit log.
    watchers: Reads,
    writers: Writers,
    asked: Arc<Asked>,
}

/// What every request asks.
#[derive(Debug, Default)]
struct Asked {
    revocation: Shared<RevocationVersion>,
    locks: Shared<Arc<[Lock]>>,
}

/// How writers take turns.
#[derive(Clone, Debug)]
enum Writers {
    /// SQLite has one writer at a time. Ours queue, in order, and share transactions of the database.
    InBatches(Arc<Batches>),
    /// PostgreSQL locks rows.
    Together(sqlx::AnyPool),
}

/// One transaction.
pub struct Tx(Inner);

enum Inner {
    Member(Turn),
    Alone(sqlx::Transaction<'static, sqlx::Any>),
}

impl Store {
    /// Opens the database at `url` and brings its schema up to date. `sqlite:PATH` (created with mode 0600 in a folder
    /// that exists; PATH is taken as it stands, relative to the working directory) or `postgres://...`.
    /// Any number of processes may open the same database.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        open::open(url).await
    }

    /// Waits for the connections in use and closes all; SQLite then folds its log into the database file.
    pub async fn close(&self) {
        if let Writers::InBatches(batches) = &self.writers {
            batches.close().await;
        }
        self.watchers.close().await;
        self.pool.close().await;
    }

    /// Begins a transaction for a change.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        Ok(Tx(match &self.writers {
            Writers::InBatches(batches) => Inner::Member(batches.turn().await?),
            Writers::Together(pool) => Inner::Alone(pool.begin().await?),
        }))
    }

    /// Writes an entry for an act that changes no row (a refusal, a failed attempt).
    pub async fn note(&self, now: Timestamp, event: AuditEvent) -> Result<(), StoreError> {
        self.begin().await?.commit(now, event).await
    }

    /// Writes entries for acts that change no row, in their order, all or none.
    pub async fn note_all(&self, now: Timestamp, events: Vec<AuditEvent>) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        self.begin().await?.commit_all(now, events).await
    }
}

impl Tx {
    /// Writes the event and commits. The only way to commit.
    pub async fn commit(self, now: Timestamp, event: AuditEvent) -> Result<(), StoreError> {
        self.end(vec![Entry::of(now, &event)?]).await
    }

    /// Writes the events, in their order, and commits.
    pub async fn commit_all(self, now: Timestamp, events: Vec<AuditEvent>) -> Result<(), StoreError> {
        if events.is_empty() {
            return Err(column::bad("audit", "a change without an entry"));
        }
        self.end(events.iter().map(|event| Entry::of(now, event)).collect::<Result<_, _>>()?).await
    }

    /// Commits what needs no entry: pending sign-ins, deliveries, how far alerts have read, the book-keeping of checks and of the
    /// archive, and
    /// the sweep.
    async fn commit_unaudited(self) -> Result<(), StoreError> {
        self.end(Vec::new()).await
    }

    /// Ends without a change, and returns when what was read is committed. For whoever tells something because of it: a
    /// transaction may read what others wrote that is on its way to the disk. A refusal because something is there already
    /// tells such a thing too. One that is just dropped may be told of to nobody but whoever tries again anyway.
    pub async fn leave(self) -> Result<(), StoreError> {
        match self.0 {
            Inner::Member(turn) => turn.leave().await,
            Inner::Alone(alone) => Ok(alone.rollback().await?),
        }
    }

    async fn end(self, entries: Vec<Entry>) -> Result<(), StoreError> {
        match self.0 {
            Inner::Member(turn) => turn.keep(entries).await,
            Inner::Alone(mut alone) => {
                for entry in entries {
                    audit::append(&mut alone, entry).await?;
                }
                Ok(alone.commit().await?)
            }
        }
    }

    fn connection(&mut self) -> &mut AnyConnection {
        match &mut self.0 {
            Inner::Member(turn) => turn.connection(),
            Inner::Alone(alone) => alone,
        }
    }
}

/// What `INSERT ... ON CONFLICT DO NOTHING` did. Asked for in this way because a failed statement would spoil a
/// PostgreSQL transaction, and a caller may want to draw another serial in the same one.
fn inserted(written: &AnyQueryResult) -> Result<(), StoreError> {
    if written.rows_affected() == 1 { Ok(()) } else { Err(StoreError::Conflict) }
}

/// An UPDATE that ran into a UNIQUE column is a conflict, not a fault of the database.
fn conflict(error: sqlx::Error) -> StoreError {
    if error.as_database_error().is_some_and(|e| e.is_unique_violation()) {
        StoreError::Conflict
    } else {
        StoreError::Database(error)
    }
}
