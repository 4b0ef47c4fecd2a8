//! Rows: all SQL of the product. SQLite by default, PostgreSQL by URL; one set of queries for both
//! (`sqlx::Any`, `$1` placeholders, columns TEXT and BIGINT only).
//!
//! Reads are methods of [`Store`]. Changes are methods of [`Tx`], and the only way to commit one is
//! [`Tx::commit`], which takes the [`AuditEvent`] of the act.

use crate::audit::AuditEvent;
use crate::identity::Identity;
use crate::ids::{PendingId, SessionId, SignInId};
use crate::time::Timestamp;

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

/// The database.
#[derive(Clone, Debug)]
pub struct Store {
    pool: sqlx::AnyPool,
}

/// One transaction.
pub struct Tx {
    inner: sqlx::Transaction<'static, sqlx::Any>,
}

impl Store {
    /// Opens (for SQLite: creates, mode 0600) the database at `url` and brings its schema up to date.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let _ = url;
        unimplemented!()
    }
    /// Begins a transaction for a change.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        unimplemented!()
    }
    /// Writes an entry for an act that changes no row (a refusal, a failed attempt).
    pub async fn note(&self, now: Timestamp, event: AuditEvent) -> Result<(), StoreError> {
        let _ = (now, event);
        unimplemented!()
    }

    /// One sign-in.
    pub async fn sign_in(&self, id: &SignInId) -> Result<Option<SignIn>, StoreError> {
        let _ = id;
        unimplemented!()
    }
    /// The newest live sign-in bound to this key.
    pub async fn sign_in_by_key(
        &self,
        fingerprint: &str,
        now: Timestamp,
    ) -> Result<Option<SignIn>, StoreError> {
        let _ = (fingerprint, now);
        unimplemented!()
    }
    /// Live sign-ins, newest first, at most 1000.
    pub async fn sign_ins(&self, now: Timestamp) -> Result<Vec<SignIn>, StoreError> {
        let _ = now;
        unimplemented!()
    }
    /// Ids of sign-ins ended (not expired) at or after `since`; the gateway asks this to close their sessions.
    pub async fn sign_ins_ended_since(&self, since: Timestamp) -> Result<Vec<SignInId>, StoreError> {
        let _ = since;
        unimplemented!()
    }

    /// A pending sign-in by id, if not void.
    pub async fn pending(&self, id: &PendingId, now: Timestamp) -> Result<Option<PendingSignIn>, StoreError> {
        let _ = (id, now);
        unimplemented!()
    }
    /// By the hash of its OAuth state.
    pub async fn pending_by_oauth_state(
        &self,
        hash: &str,
        now: Timestamp,
    ) -> Result<Option<PendingSignIn>, StoreError> {
        let _ = (hash, now);
        unimplemented!()
    }
    /// By the hash of its user code.
    pub async fn pending_by_user_code(
        &self,
        hash: &str,
        now: Timestamp,
    ) -> Result<Option<PendingSignIn>, StoreError> {
        let _ = (hash, now);
        unimplemented!()
    }
    /// Inserts a pending sign-in; begins are not audited (anybody can cause them), their ends are.
    pub async fn insert_pending(&self, row: &PendingSignIn) -> Result<(), StoreError> {
        let _ = row;
        unimplemented!()
    }
    /// Moves a pending sign-in from state `from` to `row.state`, atomically; false when it was not in `from` any more.
    pub async fn step_pending(&self, from: &str, row: &PendingSignIn) -> Result<bool, StoreError> {
        let _ = (from, row);
        unimplemented!()
    }
    /// Number of pending sign-ins that are not void (a cap stands on them).
    pub async fn pending_count(&self, now: Timestamp) -> Result<u64, StoreError> {
        let _ = now;
        unimplemented!()
    }
    /// Deletes void pending rows and old nonces; returns how many.
    pub async fn sweep(&self, now: Timestamp) -> Result<u64, StoreError> {
        let _ = now;
        unimplemented!()
    }

    /// One session.
    pub async fn session(&self, id: &SessionId) -> Result<Option<SessionRow>, StoreError> {
        let _ = id;
        unimplemented!()
    }
    /// Sessions, newest first.
    pub async fn sessions(&self, filter: &SessionFilter) -> Result<Vec<SessionRow>, StoreError> {
        let _ = filter;
        unimplemented!()
    }
    /// Sessions of `node` that are still open (after a crash: to be sealed as interrupted).
    pub async fn open_sessions_of(&self, node: &str) -> Result<Vec<SessionRow>, StoreError> {
        let _ = node;
        unimplemented!()
    }
    /// Audit entries with `seq > after`, oldest first, at most `limit`.
    pub async fn audit(&self, after: u64, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        let _ = (after, limit);
        unimplemented!()
    }
}

impl Tx {
    /// A new sign-in.
    pub async fn insert_sign_in(&mut self, row: &SignIn) -> Result<(), StoreError> {
        let _ = row;
        unimplemented!()
    }
    /// Ends a sign-in; false when it was not live.
    pub async fn end_sign_in(&mut self, id: &SignInId, now: Timestamp) -> Result<bool, StoreError> {
        let _ = (id, now);
        unimplemented!()
    }
    /// Moves a pending sign-in as `Store::step_pending`, inside this transaction.
    pub async fn step_pending(&mut self, from: &str, row: &PendingSignIn) -> Result<bool, StoreError> {
        let _ = (from, row);
        unimplemented!()
    }
    /// Marks a request nonce as used until `expires`; `Conflict` when it was used before.
    pub async fn use_nonce(
        &mut self,
        key_fingerprint: &str,
        nonce: &str,
        expires: Timestamp,
    ) -> Result<(), StoreError> {
        let _ = (key_fingerprint, nonce, expires);
        unimplemented!()
    }
    /// A certificate, before it is signed.
    pub async fn insert_certificate(&mut self, row: &CertificateRow) -> Result<(), StoreError> {
        let _ = row;
        unimplemented!()
    }
    /// A session.
    pub async fn insert_session(&mut self, row: &SessionRow) -> Result<(), StoreError> {
        let _ = row;
        unimplemented!()
    }
    /// Closes a session: `closed`, `close_reason`, `exit_status`, byte counts and digest of `row`; false when it was closed already.
    pub async fn close_session(&mut self, row: &SessionRow) -> Result<bool, StoreError> {
        let _ = row;
        unimplemented!()
    }
    /// Writes the event and commits. The only way to commit.
    pub async fn commit(self, now: Timestamp, event: AuditEvent) -> Result<(), StoreError> {
        let _ = (now, event);
        unimplemented!()
    }
}
