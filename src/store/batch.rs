//! How the writers of one process share SQLite's one writer: those that queue up share a database transaction, so that
//! one fsync serves all of them. Decides who has the turn, when the batch is committed and what each member is told. What
//! they write is left to the other files; PostgreSQL, which has many writers, has nothing to do with it.
//!
//! A batch is `BEGIN IMMEDIATE .. COMMIT` on one connection that only writes. Each member has the connection to itself
//! for as long as its [`Turn`] lasts, in a savepoint: one that is dropped rolls back to its savepoint and nothing else. A
//! member that is done hands the turn on, and hears of its commit when the COMMIT of the batch, and with it the fsync, has
//! happened. The batch is committed as soon as nobody waits for a turn, and at the latest after [`MEMBERS_MAX`] members or
//! [`AGE_MAX`].
//!
//! - *What a member reads* through its own connection may be an earlier member's, and not committed yet. That is right for
//!   what it writes: they are committed together or not at all, and what comes after the COMMIT is in the order of the turns. A
//!   member that writes nothing but tells somebody what it has read must end with [`Turn::leave`], which waits for
//!   the COMMIT too. Reads through the pool see what is committed, as ever.
//! - *A COMMIT that fails* fails every member, and nothing of the batch is there. So one member must not be able to make it
//!   fail for the others. The only thing that is checked as late as that are foreign keys, and a missing parent would be one:
//!   each is either written in the same transaction or was read before, and nothing ever deletes rows of a table that others
//!   refer to, but the sweep of notices, which takes those without deliveries (a delivery is inserted by a SELECT from its notice).
//!   `no_parent_is_deleted` below holds that.
//! - *Nobody can leave the batch hanging.* The one who begins, lends and commits is a task of its own, the driver, that no
//!   caller can cancel. It lives while somebody waits, and ends then.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use sqlx::any::AnyConnectOptions;
use sqlx::{AnyConnection, Connection as _};
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};
use tokio::time::Instant;

use super::audit::{self, Entry};
use super::{StoreError, WAIT_MAX, open};
use crate::audit::chain::Head;

/// Most members of a batch.
const MEMBERS_MAX: usize = 256;
/// A batch that is older takes no more members: others, also other processes, wait for the lock it holds.
const AGE_MAX: Duration = Duration::from_millis(20);
/// How long to wait before the lock of another process is tried again. SQLite's own way waits up to 100 ms each
/// time, and would hardly ever hit the gap between two batches of a busy process.
const POLL: Duration = Duration::from_millis(1);
/// For this long after another process had the lock, there is a gap after each batch for it.
const NEIGHBOUR: Duration = Duration::from_secs(2);
/// That gap. Longer than [`POLL`], so that whoever waits finds it.
const GAP: Duration = Duration::from_millis(2);

/// What a member is told: committed, or why not.
type Outcome = Result<(), Arc<sqlx::Error>>;
/// Somebody who waits for a turn.
type Waiting = oneshot::Sender<Result<Turn, StoreError>>;
/// The writing connection; lent to one member after the other.
type Shared = Arc<Mutex<AnyConnection>>;

/// The writers of this process.
pub(super) struct Batches {
    options: AnyConnectOptions,
    /// Who waits for a turn, in order. As long as its callers: each waits for its own.
    line: std::sync::Mutex<Line>,
    /// Held by the driver while it is at work.
    writer: Mutex<Writer>,
}

#[derive(Default)]
struct Line {
    waiting: VecDeque<Waiting>,
    /// There is a driver, and it will look here again.
    driven: bool,
    closed: bool,
}

#[derive(Default)]
struct Writer {
    /// None before the first batch, and after a failure.
    connection: Option<Shared>,
    /// When a batch last ended.
    ended: Option<Instant>,
    /// When another process was last met.
    met: Option<Instant>,
}

/// The writing connection, in a savepoint of one's own. Dropped, it takes back what was written in it.
pub(super) struct Turn {
    connection: OwnedMutexGuard<AnyConnection>,
    /// Closed without a word: take it back.
    done: oneshot::Sender<Done>,
}

/// How a turn ended, and whom to tell of the batch's end.
enum Done {
    /// Kept, with these entries.
    Keep(Vec<Entry>, oneshot::Sender<Outcome>),
    TakeBack(oneshot::Sender<Outcome>),
}

/// One database transaction.
struct Batch {
    connection: Shared,
    began: Instant,
    /// Where the audit log ends, with the entries of those who were served; none when its row is missing.
    head: Option<Head>,
    members: Vec<oneshot::Sender<Outcome>>,
}

/// The one that is at work. Dropped before its end (its runtime is shut down), it makes room for another.
struct Driver {
    batches: Arc<Batches>,
    at_work: bool,
}

impl fmt::Debug for Batches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Batches")
    }
}

impl Batches {
    /// Nothing is opened before the first turn.
    pub(super) fn new(options: AnyConnectOptions) -> Arc<Self> {
        Arc::new(Self { options, line: std::sync::Mutex::default(), writer: Mutex::default() })
    }

    /// Waits for a turn.
    pub(super) async fn turn(self: &Arc<Self>) -> Result<Turn, StoreError> {
        let (waiting, granted) = oneshot::channel();
        if self.stand_in_line(waiting)? {
            tokio::spawn(drive(Driver { batches: Arc::clone(self), at_work: true }));
        }
        match tokio::time::timeout(WAIT_MAX, granted).await {
            Ok(Ok(turn)) => turn,
            Ok(Err(_)) => Err(sqlx::Error::WorkerCrashed.into()),
            Err(_) => Err(StoreError::Busy),
        }
    }

    /// Waits for the batch at hand and closes the connection; there are no turns after that.
    pub(super) async fn close(&self) {
        self.line().closed = true;
        // A driver that has not begun yet closes what it opens.
        self.writer.lock().await.close().await;
    }

    fn line(&self) -> std::sync::MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True when there is no driver: the caller must start one.
    fn stand_in_line(&self, waiting: Waiting) -> Result<bool, StoreError> {
        let mut line = self.line();
        if line.closed {
            return Err(sqlx::Error::PoolClosed.into());
        }
        line.waiting.push_back(waiting);
        Ok(!std::mem::replace(&mut line.driven, true))
    }
}

impl Line {
    /// The next who still waits.
    fn next(&mut self) -> Option<Waiting> {
        std::iter::from_fn(|| self.waiting.pop_front()).find(|waiting| !waiting.is_closed())
    }
}

impl Turn {
    pub(super) fn connection(&mut self) -> &mut AnyConnection {
        &mut self.connection
    }

    /// Keeps what was written, with these entries of the audit log, and returns when it is committed.
    pub(super) async fn keep(self, entries: Vec<Entry>) -> Result<(), StoreError> {
        self.end(|tell| Done::Keep(entries, tell)).await
    }

    /// Takes back what was written, and returns when what was read is committed.
    pub(super) async fn leave(self) -> Result<(), StoreError> {
        self.end(Done::TakeBack).await
    }

    async fn end(self, how: impl FnOnce(oneshot::Sender<Outcome>) -> Done) -> Result<(), StoreError> {
        let (tell, told) = oneshot::channel();
        let Self { connection, done } = self;
        drop(connection);
        // With nobody there to receive it, `told` fails below.
        drop(done.send(how(tell)));
        match told.await {
            Ok(outcome) => outcome.map_err(StoreError::NotCommitted),
            Err(_) => Err(sqlx::Error::WorkerCrashed.into()),
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if self.at_work {
            let mut line = self.batches.line();
            line.driven = false;
            // They are told by this that nobody will serve them.
            line.waiting.clear();
        }
    }
}

impl Driver {
    /// The next who waits; with nobody there, the driver is off duty, and whoever comes then starts another.
    fn next_or_leave(&mut self) -> Option<Waiting> {
        let mut line = self.batches.line();
        let next = line.next();
        self.at_work = next.is_some();
        line.driven = self.at_work;
        next
    }
}

async fn drive(mut driver: Driver) {
    let batches = Arc::clone(&driver.batches);
    let mut writer = batches.writer.lock().await;
    let mut next = driver.next_or_leave();
    while let Some(first) = next {
        let told = writer.batch(&batches, first).await;
        next = driver.next_or_leave();
        if next.is_none() {
            if batches.line().closed {
                writer.close().await;
            }
            // Telling is the last act: a runtime may stand still once its caller has what it wanted.
            drop(writer);
            told.tell();
            return;
        }
        told.tell();
    }
}

/// The members of a batch that is over, and what became of it.
struct Told {
    members: Vec<oneshot::Sender<Outcome>>,
    outcome: Outcome,
}

impl Told {
    /// A member that does not wait any more misses nothing but the news.
    fn tell(self) {
        for member in self.members {
            drop(member.send(self.outcome.clone()));
        }
    }

    fn nobody() -> Self {
        Self { members: Vec::new(), outcome: Ok(()) }
    }
}

impl Writer {
    /// One batch, from BEGIN to COMMIT, with everybody who waits.
    async fn batch(&mut self, batches: &Batches, first: Waiting) -> Told {
        let (connection, head) = match self.begin(&batches.options).await {
            Ok(begun) => begun,
            Err(error) => {
                self.close().await;
                drop(first.send(Err(error)));
                return Told::nobody();
            }
        };
        let mut batch = Batch { connection, began: Instant::now(), head, members: Vec::new() };
        let mut outcome = Ok(());
        let mut next = Some(first);
        while let Some(waiting) = next {
            outcome = batch.serve(waiting).await;
            // Who waits behind a failure has nothing to do with it, and has the next batch.
            next = if outcome.is_err() || batch.is_full() { None } else { batches.line().next() };
        }
        if outcome.is_ok() {
            outcome = run(&mut *batch.connection.lock().await, "COMMIT").await;
        }
        self.ended = Some(Instant::now());
        if let Err(error) = &outcome {
            tracing::error!(%error, members = batch.members.len(), "a batch of changes could not be committed");
            // Closing takes back what is left of it, in whatever state SQLite and its driver think it is.
            self.connection = Some(batch.connection);
            self.close().await;
        } else {
            self.connection = Some(batch.connection);
        }
        Told { members: batch.members, outcome: outcome.map_err(Arc::new) }
    }

    /// The connection, with the write lock of the database; and where the audit log ends, which only we can move now.
    async fn begin(&mut self, options: &AnyConnectOptions) -> Result<(Shared, Option<Head>), StoreError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => Arc::new(Mutex::new(open::writing_connection(options).await?)),
        };
        self.connection = Some(Arc::clone(&connection));
        if let (Some(met), Some(ended)) = (self.met, self.ended)
            && met.elapsed() < NEIGHBOUR
        {
            tokio::time::sleep_until(ended + GAP).await;
        }
        let deadline = Instant::now() + WAIT_MAX;
        let mut own = connection.lock().await;
        let head = loop {
            // All there is: the driver takes the first statement that gives no row for the end of a single one.
            let error = match sqlx::query(audit::BEGIN).fetch_all(&mut *own).await {
                Ok(rows) => break audit::head_of(rows.first())?,
                Err(error) => error,
            };
            if !open::is_busy(&error) {
                return Err(error.into());
            }
            self.met = Some(Instant::now());
            if Instant::now() > deadline {
                return Err(StoreError::Busy);
            }
            tokio::time::sleep(POLL).await;
        };
        drop(own);
        Ok((connection, head))
    }

    async fn close(&mut self) {
        let Some(connection) = self.connection.take().and_then(Arc::into_inner) else { return };
        if let Err(error) = connection.into_inner().close().await {
            tracing::warn!(%error, "the connection that writes could not be closed");
        }
    }
}

impl Batch {
    fn is_full(&self) -> bool {
        self.members.len() >= MEMBERS_MAX || self.began.elapsed() > AGE_MAX
    }

    /// Gives one member its turn and waits for its end; there is a savepoint for it, and one for the next afterwards. An
    /// error is the end of the whole batch.
    ///
    /// A turn has as few steps as can be: each is a message to the thread of the connection and back, while everybody else
    /// waits. And the last one is taken here, where nobody can go away in the middle of it.
    async fn serve(&mut self, waiting: Waiting) -> Result<(), sqlx::Error> {
        let connection = Arc::clone(&self.connection).lock_owned().await;
        let (done, ended) = oneshot::channel();
        // Who has gone meanwhile drops the turn.
        drop(waiting.send(Ok(Turn { connection, done })));
        let ended = ended.await;
        let connection = &mut *self.connection.lock().await;
        match ended {
            Ok(Done::Keep(entries, member)) => match hand_on(connection, self.head.clone(), entries).await {
                Ok(head) => {
                    self.head = head;
                    self.members.push(member);
                }
                Err(error) => {
                    drop(member.send(Err(Arc::new(error))));
                    return run(connection, TAKE_BACK).await;
                }
            },
            Ok(Done::TakeBack(member)) => {
                self.members.push(member);
                return run(connection, TAKE_BACK).await;
            }
            Err(_) => return run(connection, TAKE_BACK).await,
        }
        Ok(())
    }
}

/// The savepoint stands after that, for the next; so do none of the entries' within it. One that is not there (SQLite gives
/// up the whole transaction on a full disk) makes this fail.
const TAKE_BACK: &str = "ROLLBACK TO member";

/// Writes the entries behind `head`, closes the member's savepoint and opens the next one's; says where the log ends then.
/// Fails when that savepoint is gone; then the log ends where it ended before.
async fn hand_on(
    connection: &mut AnyConnection,
    head: Option<Head>,
    mut entries: Vec<Entry>,
) -> Result<Option<Head>, sqlx::Error> {
    let Some(last) = entries.pop() else {
        run(connection, "RELEASE member; SAVEPOINT member").await?;
        return Ok(head);
    };
    // Whoever waits is told that there is no such row.
    let mut head = head.ok_or(sqlx::Error::RowNotFound)?;
    for entry in entries {
        head = audit::append_with(connection, audit::APPEND, &head, entry).await?;
    }
    audit::append_with(connection, audit::APPEND_AND_HAND_ON, &head, last).await.map(Some)
}

/// Runs what has no values; prepared once for each connection.
async fn run(connection: &mut AnyConnection, statement: &'static str) -> Result<(), sqlx::Error> {
    sqlx::query(statement).execute(connection).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::super::{Store, StoreError};
    use crate::audit::AuditEvent;
    use crate::time::Timestamp;

    const NOW: Timestamp = Timestamp::from_secs(1000);

    fn entry(reason: &str) -> AuditEvent {
        AuditEvent::SignInFailed { provider: None, reason: reason.to_owned(), from: String::new() }
    }

    /// How a member goes on whose transaction is gone.
    #[derive(Clone, Copy, Debug)]
    enum Then {
        Entries(usize),
        Unaudited,
        Leave,
        Drop,
    }

    /// Whom a rollback of the whole transaction, as SQLite does by itself on a full disk, takes along: true when it was
    /// the member before too.
    async fn rolled_back(store: &Store, then: Then) -> bool {
        let before = store.audit(0, 1000).await.unwrap().len();
        let first = store.begin().await.unwrap();
        let note = |reason: &'static str| {
            let store = store.clone();
            tokio::spawn(async move { store.note(NOW, entry(reason)).await })
        };
        let (earlier, own) = (note("earlier"), store.clone());
        let gone = tokio::spawn(async move {
            let mut tx = own.begin().await?;
            sqlx::query("ROLLBACK").execute(tx.connection()).await?;
            match then {
                Then::Entries(count) => tx.commit_all(NOW, vec![entry("gone"); count]).await,
                Then::Unaudited => tx.commit_unaudited().await,
                Then::Leave => tx.leave().await,
                Then::Drop => Ok(()),
            }
        });
        let later = note("later");
        // Each runs until it waits for its turn.
        tokio::task::yield_now().await;
        drop(first);
        let (earlier, gone, later) = (earlier.await.unwrap(), gone.await.unwrap(), later.await.unwrap());
        assert_eq!(gone.is_ok(), matches!(then, Then::Drop), "{then:?}: {gone:?}");
        later.unwrap();
        let rows = store.audit(0, 1000).await.unwrap();
        assert!(rows.iter().all(|row| !row.json.contains("gone")), "{then:?}: {rows:?}");
        assert_eq!(rows.len(), before + 1 + usize::from(earlier.is_ok()), "{then:?}");
        assert!(rows.iter().zip(1..).all(|(row, seq)| row.seq == seq), "no gap: {rows:?}");
        matches!(earlier, Err(StoreError::NotCommitted(_)))
    }

    #[tokio::test]
    async fn nothing_is_written_outside_of_a_transaction() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("sqlite:{}/a.db", dir.path().display())).await.unwrap();
        for then in [Then::Entries(1), Then::Entries(3), Then::Unaudited, Then::Leave, Then::Drop] {
            let mut shared = false;
            // On a busy machine the batch may be too old for another member.
            for _ in 0..20 {
                shared = shared || rolled_back(&store, then).await;
            }
            assert!(shared, "{then:?}: never in one batch");
        }
    }

    /// The chain never forks: an entry is refused when the head is not what the writer takes it for.
    #[tokio::test]
    async fn a_moved_head_stops_the_writer() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("sqlite:{}/a.db", dir.path().display())).await.unwrap();
        for n in 0..3 {
            store.note(NOW, entry(&n.to_string())).await.unwrap();
        }
        for change in ["seq = 1", "seq = 3, hash = 'x'", "seq = 7"] {
            let mut tx = store.begin().await.unwrap();
            let sql = sqlx::AssertSqlSafe(format!("UPDATE audit_head SET {change}"));
            sqlx::query(sql).execute(tx.connection()).await.unwrap();
            let outcome = tx.commit(NOW, entry("forked")).await;
            // A hash that was changed alone is overwritten by the right one.
            assert_eq!(outcome.is_ok(), change.contains("hash"), "{change}: {outcome:?}");
        }
        let rows = store.audit(0, 1000).await.unwrap();
        let numbers: Vec<u64> = rows.iter().map(|row| row.seq).collect();
        assert_eq!(numbers, [1, 2, 3, 4]);
        store.note(NOW, entry("next")).await.unwrap();
        assert_eq!(store.audit_head().await.unwrap().head.seq, 5);
    }

    fn texts(folder: &Path) -> Vec<(String, String)> {
        let mut texts = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                texts.extend(self::texts(&path));
            } else {
                texts.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
            }
        }
        texts
    }

    /// A missing parent would fail the COMMIT of everybody who shares it.
    #[test]
    fn no_parent_is_deleted() {
        let mut parents = BTreeSet::new();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for (_, sql) in texts(&root.join("migrations")) {
            parents.extend(
                sql.split("REFERENCES ").skip(1).map(|rest| rest.split(' ').next().unwrap().to_owned()),
            );
        }
        assert!(parents.contains("sign_in") && parents.contains("session"), "{parents:?}");
        // Those go with their last delivery, and a delivery is made of its notice in one statement.
        assert!(parents.remove("notice"));
        for (file, code) in texts(&root.join("src/store")) {
            for deleted in code.split("DELETE FROM ").skip(1) {
                let table = deleted.split([' ', '"']).next().unwrap();
                assert!(!parents.contains(table), "{file} deletes from {table}, to which other rows refer");
            }
        }
    }
}
