//! Where reads go: to PostgreSQL through the driver's pool, to SQLite through connections of our own. The pool asks each
//! connection that is given back whether it is still there, in a task of its own; for a read of one row in a file that
//! is most of the work. Decides who reads on which connection; what is read is left to the other files.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt as _;
use futures_util::TryStreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use sqlx::any::{AnyConnectOptions, AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo};
use sqlx::{Any, AnyConnection, AnyPool, Connection as _, Either, Error, Execute, Executor, SqlStr};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{WAIT_MAX, open};

/// Connections that read; an [`Executor`], so that a query does not see what is behind it.
#[derive(Clone, Debug)]
pub(super) enum Reads {
    Sqlite(Arc<Readers>),
    Postgres(AnyPool),
}

/// Connections to a SQLite file that nobody writes on.
pub(super) struct Readers {
    options: AnyConnectOptions,
    /// Whoever reads has one of so many turns.
    turns: Arc<Semaphore>,
    count: u32,
    /// Those that nobody uses. The last one used is the next: it knows its statements, and its thread is awake.
    idle: Mutex<Vec<AnyConnection>>,
}

/// A turn, with a connection that is given back at its end, also when whoever read has gone before the answer: what comes
/// after waits behind it, and nobody hears the answer.
struct Turn {
    readers: Arc<Readers>,
    connection: Option<AnyConnection>,
    _turn: OwnedSemaphorePermit,
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Readers")
    }
}

impl Readers {
    /// At most `count` connections, each opened when it is first needed.
    pub(super) fn new(options: AnyConnectOptions, count: u32) -> Arc<Self> {
        let turns = Arc::new(Semaphore::new(count as usize));
        Arc::new(Self { options, turns, count, idle: Mutex::default() })
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<AnyConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn turn(self: &Arc<Self>) -> Result<Turn, Error> {
        let turn = tokio::time::timeout(WAIT_MAX, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn.map_err(|_| Error::PoolTimedOut)?.map_err(|_| Error::PoolClosed)?;
        let connection = self.idle().pop();
        Ok(Turn { readers: Arc::clone(self), connection, _turn: turn })
    }

    /// Waits for whoever reads and closes all; nobody reads after that.
    async fn close(&self) {
        // An error means that they are closed.
        let Ok(_all) = self.turns.acquire_many(self.count).await else { return };
        self.turns.close();
        let idle = std::mem::take(&mut *self.idle());
        for connection in idle {
            if let Err(error) = connection.close().await {
                tracing::warn!(%error, "a connection that reads could not be closed");
            }
        }
    }
}

impl Turn {
    async fn connection(&mut self) -> Result<&mut AnyConnection, Error> {
        Ok(match self.connection.take() {
            Some(connection) => self.connection.insert(connection),
            None => self.connection.insert(open::reading_connection(&self.readers.options).await?),
        })
    }

    /// What the database refuses is no fault of the connection; after anything else it is not used again.
    fn judge(&mut self, error: Option<&Error>) {
        if error.is_some_and(|error| error.as_database_error().is_none()) {
            self.connection = None;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.readers.idle().push(connection);
        }
    }
}

impl Reads {
    /// Waits for the connections in use and closes all.
    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(readers) => readers.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

impl<'p> Executor<'p> for &'p Reads {
    type Database = Any;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<AnyQueryResult, AnyRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let readers = match self {
            Reads::Sqlite(readers) => readers,
            Reads::Postgres(pool) => return pool.fetch_many(query),
        };
        // All rows at once: what is read has a limit, and the turn is over before anybody looks at them.
        let all = async move {
            let mut turn = readers.turn().await?;
            let all: Vec<_> = turn.connection().await?.fetch_many(query).collect().await;
            turn.judge(all.iter().find_map(|one| one.as_ref().err()));
            Ok::<_, Error>(stream::iter(all))
        };
        stream::once(all).try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<AnyRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let readers = match self {
            Reads::Sqlite(readers) => readers,
            Reads::Postgres(pool) => return pool.fetch_optional(query),
        };
        Box::pin(async move {
            let mut turn = readers.turn().await?;
            let row = turn.connection().await?.fetch_optional(query).await;
            turn.judge(row.as_ref().err());
            row
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [AnyTypeInfo],
    ) -> BoxFuture<'e, Result<AnyStatement, Error>>
    where
        'p: 'e,
    {
        let readers = match self {
            Reads::Sqlite(readers) => readers,
            Reads::Postgres(pool) => return pool.prepare_with(sql, parameters),
        };
        Box::pin(async move {
            let mut turn = readers.turn().await?;
            let statement = turn.connection().await?.prepare_with(sql, parameters).await;
            turn.judge(statement.as_ref().err());
            statement
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use futures_util::future::join_all;

    use super::super::{Asked, Shared, Store, StoreError};
    use super::*;
    use crate::time::Timestamp;

    /// Takes all connections.
    async fn exhaust(reads: &Reads) -> OwnedSemaphorePermit {
        let Reads::Sqlite(readers) = reads else { panic!("SQLite") };
        Arc::clone(&readers.turns).acquire_many_owned(readers.count).await.unwrap()
    }

    #[tokio::test]
    async fn what_every_request_asks_fails_for_all_at_the_same_time_and_not_one_after_the_other() {
        const WAIT: Duration = Duration::from_secs(1);
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(&format!("sqlite:{}/a.db", dir.path().display())).await.unwrap();
        store.asked = Arc::new(Asked { revocation: Shared::waiting(WAIT), locks: Shared::waiting(WAIT) });
        let now = Timestamp::from_secs(1000);

        let _others = exhaust(&store.pool).await;
        // Who reads much is not in the way.
        store.revocation_version().await.unwrap();
        store.locks(now).await.unwrap();

        let all = exhaust(&store.watchers).await;
        let began = Instant::now();
        let versions = join_all((0..20).map(|_| store.revocation_version()));
        let (versions, locks) = tokio::join!(versions, join_all((0..20).map(|_| store.locks(now))));
        assert!(versions.iter().all(|answer| matches!(answer, Err(StoreError::Busy))), "{versions:?}");
        assert!(locks.iter().all(|answer| matches!(answer, Err(StoreError::Busy))), "{locks:?}");
        let took = began.elapsed();
        assert!(took >= WAIT && took < 2 * WAIT, "{took:?}");

        drop(all);
        assert!(store.revocation_version().await.is_ok() && store.locks(now).await.is_ok(), "over at once");
    }
}
