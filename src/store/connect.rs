//! Opens the database and brings its schema up to date.

use std::borrow::Cow;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::any::AnyPoolOptions;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{Executor as _, SqlStr};
use tokio::sync::Mutex;

use super::{Store, StoreError};

/// Connections to the database at once.
const CONNECTIONS: u32 = 8;
/// Longest wait for one of them.
const PATIENCE: Duration = Duration::from_secs(10);

/// Every migration, in order: number, name, text.
const MIGRATIONS: &[(i64, &str, &str)] = &[(1, "start", include_str!("../../migrations/0001_start.sql"))];

/// What a connection to SQLite is told first: durable (a commit is on disk when it returns), readers beside the writer,
/// other processes are waited for.
const SQLITE: &str = "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                      PRAGMA foreign_keys = ON;";

impl Store {
    /// Opens (for SQLite: creates, mode 0600) the database at `url` and brings its schema up to date. `url` is
    /// `sqlite:PATH` or `postgres://USER@HOST/NAME`.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let options = AnyPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(PATIENCE);
        let store = if let Some(path) = url.strip_prefix("sqlite:") {
            create(Path::new(path))?;
            let options = options.after_connect(|connection, _| {
                Box::pin(async move { connection.execute(SQLITE).await.map(drop) })
            });
            let pool = options.connect(&format!("sqlite:{path}?mode=rw")).await?;
            Self { pool, writer: Some(Arc::new(Mutex::new(()))) }
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            Self { pool: options.connect(url).await?, writer: None }
        } else {
            return Err(StoreError::Url("store.url must be sqlite:PATH or postgres://USER@HOST/NAME".into()));
        };
        migrator().run(&store.pool).await?;
        Ok(store)
    }
}

fn migrator() -> Migrator {
    let migrations = MIGRATIONS.iter().map(|(version, name, text)| {
        Migration::new(*version, Cow::Borrowed(name), MigrationType::Simple, SqlStr::from_static(text), false)
    });
    Migrator { migrations: Cow::Owned(migrations.collect()), ..Migrator::DEFAULT }
}

/// Makes the file if it is not there, readable by us only; SQLite gives its side files the same mode.
fn create(path: &Path) -> Result<(), StoreError> {
    let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    opened.map(drop).map_err(|error| {
        StoreError::Url(format!("{}: {error}; its folder must exist and be ours to write", path.display()))
    })
}
