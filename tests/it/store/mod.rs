//! The store, every test on SQLite and on PostgreSQL. [`fresh_sqlite`], [`doom`] and [`rows`] serve other tests too.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on says so"
)]
#![expect(clippy::print_stderr, reason = "a failed test must say on which database")]

mod batches;
mod opening;
mod races;
mod revocations;
mod sessions;
mod sign_ins;

use caponier::audit::AuditEvent;
use caponier::ids::SignInId;
use caponier::random::Random;
use caponier::store::{SessionRow, SignIn, Store, Tx};
use caponier::time::Timestamp;
use tempfile::TempDir;

use crate::postgres;

/// An empty place for a database; [`Place::open`] as often as wanted.
pub(crate) struct Place {
    /// For `Store::open`.
    pub(crate) url: String,
    /// Whether it is SQLite.
    pub(crate) sqlite: bool,
    dir: TempDir,
}

impl Place {
    /// A place for a SQLite file in a new folder, which goes when the place is dropped.
    pub(crate) fn sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { url: format!("sqlite:{}/store.db", dir.path().display()), sqlite: true, dir }
    }

    /// A new database of the throw-away cluster.
    pub(crate) fn postgres(cluster: &postgres::Postgres) -> Self {
        Self { url: cluster.fresh_database(), sqlite: false, dir: tempfile::tempdir().unwrap() }
    }

    /// Opens it.
    pub(crate) async fn open(&self) -> Store {
        Store::open(&self.url).await.unwrap()
    }

    /// Runs one statement past the store, as a fault or an older version could have.
    pub(crate) async fn run(&self, sql: &str) {
        run_past(&self.url, sql).await;
    }
}

/// Runs one statement past the store at this URL, as a fault or an older version could have.
pub(crate) async fn run_past(url: &str, sql: &str) {
    use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
    let mut connection = sqlx::AnyConnection::connect(url).await.unwrap();
    connection.execute(AssertSqlSafe(sql)).await.unwrap();
    connection.close().await.unwrap();
}

/// A new SQLite store for a test; keep the place as long as the store.
pub(crate) async fn fresh_sqlite() -> (Store, Place) {
    let place = Place::sqlite();
    (place.open().await, place)
}

/// Plays each case on a fresh SQLite file and on a fresh PostgreSQL database.
pub(crate) async fn on_both(name: &str, case: impl AsyncFn(&Place)) {
    eprintln!("{name} on SQLite");
    case(&Place::sqlite()).await;
    eprintln!("{name} on PostgreSQL");
    let cluster = postgres::start();
    case(&Place::postgres(&cluster)).await;
}

/// Seconds after the epoch.
fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(secs)
}

/// Some event, told apart by `n`.
fn event(n: usize) -> AuditEvent {
    AuditEvent::ServerStarted { version: "test".into(), interrupted: n }
}

/// Writes a sign-in, with an entry.
async fn write_sign_in(store: &Store, row: &SignIn) {
    let mut tx = store.begin().await.unwrap();
    tx.insert_sign_in(row).await.unwrap();
    tx.commit(row.created, event(0)).await.unwrap();
}

/// Fails the COMMIT of a transaction, and of those that came into its batch meanwhile (SQLite).
pub(crate) async fn doom(mut tx: Tx) {
    // Whoever is polled beside this one gets to where they wait for their turn.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let random = Random::System;
    // Refers to a sign-in that is not there, which comes out at COMMIT.
    tx.insert_certificate(&rows::certificate(&random, &SignInId::random(&random))).await.unwrap();
    tx.commit(at(1000), event(0)).await.unwrap_err();
}

/// Writes a session, with an entry.
async fn write_session(store: &Store, row: &SessionRow) {
    let mut tx = store.begin().await.unwrap();
    tx.insert_session(row).await.unwrap();
    tx.commit(row.opened, event(0)).await.unwrap();
}

/// Two rows are the same: their debug forms hold every field.
fn same<T: std::fmt::Debug>(left: &T, right: &T) {
    assert_eq!(format!("{left:#?}"), format!("{right:#?}"));
}

/// The sequence numbers of all audit entries, read in small pages.
async fn numbers(store: &Store) -> Vec<u64> {
    let mut seen = Vec::new();
    loop {
        let page = store.audit(seen.last().copied().unwrap_or(0), 300).await.unwrap();
        if page.is_empty() {
            return seen;
        }
        seen.extend(page.iter().map(|row| row.seq));
    }
}

/// Rows with everything filled in.
pub(crate) mod rows {
    use caponier::identity::{Identity, Kind};
    use caponier::ids::{PendingId, SessionId, SignInId};
    use caponier::random::Random;
    use caponier::store::{CertificateRow, PendingSignIn, SessionRow, SignIn};

    use super::at;

    /// Alice, made at second 1000, good until 2000.
    pub(crate) fn sign_in(random: &Random) -> SignIn {
        SignIn {
            id: SignInId::random(random),
            who: Identity {
                kind: Kind::Person,
                provider: "corp".parse().unwrap(),
                issuer: "https://id.example.com/é".into(),
                subject: "a-1'; DROP TABLE audit; --".into(),
                display: "Alice \"A\" \u{1f600}".into(),
                groups: ["corp:ops".parse().unwrap(), "corp:team, x".parse().unwrap()].into(),
                run: None,
            },
            key_fingerprint: Some("SHA256:alice".into()),
            method: "loopback".into(),
            from: "192.0.2.1".into(),
            client: "laptop".into(),
            created: at(1000),
            expires: at(2000),
            ended: None,
        }
    }

    /// Begun at second 1000, void at 1600.
    pub(crate) fn pending(random: &Random) -> PendingSignIn {
        PendingSignIn {
            id: PendingId::random(random),
            mode: "device".into(),
            state: "begun".into(),
            oauth_state_hash: None,
            user_code_hash: None,
            json: "{}".into(),
            area: [192, 0, 2, 1].into(),
            wide_area: [192, 0, 2, 0].into(),
            created: at(1000),
            expires: at(1600),
        }
    }

    /// Open since second 1100.
    pub(crate) fn session(random: &Random, sign_in: &SignInId) -> SessionRow {
        SessionRow {
            id: SessionId::random(random),
            sign_in: sign_in.clone(),
            who: "corp:a-1".into(),
            display: "Alice".into(),
            target: "web1".into(),
            login: "root".into(),
            kind: "exec".into(),
            command: "id".into(),
            from: "192.0.2.1".into(),
            node: "one".into(),
            recording: Some("2026/a.cast".into()),
            opened: at(1100),
            closed: None,
            close_reason: None,
            exit_status: None,
            bytes_in: 0,
            bytes_out: 0,
            recording_sha256: None,
        }
    }

    /// A user certificate.
    pub(crate) fn certificate(random: &Random, sign_in: &SignInId) -> CertificateRow {
        CertificateRow {
            serial: random.u64(),
            kind: "user",
            sign_in: sign_in.clone(),
            session: None,
            key_id: "corp:a-1 sgn".into(),
            key_fingerprint: "SHA256:alice".into(),
            principals: "deploy,root".into(),
            valid_after: at(940),
            valid_before: at(1300),
        }
    }
}
