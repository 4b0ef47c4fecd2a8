//! Opening a database: which kind an URL names, where SQLite's file may lie and who may read it, how each
//! connection is set up, and bringing the schema up to date. What is in the tables is left to the other files.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::Arc;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{AnyConnection, Connection as _, Executor as _, SqlSafeStr as _};

use super::batch::Batches;
use super::reads::{Readers, Reads};
use super::{Store, StoreError, WAIT_MAX, Writers};

/// Connections of one process; SQLite has one more, which writes.
const CONNECTIONS_MAX: u32 = 10;
/// Connections beside those, for whoever watches what must end: they never wait for those who write.
const WATCHERS_MAX: u32 = 2;

/// Every file of `migrations/` that is the same for both databases: version, name, text. A file that went out is never
/// edited: its checksum is in the databases.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "start", include_str!("../../migrations/0001_start.sql")),
    (2, "pending_area", include_str!("../../migrations/0002_pending_area.sql")),
    (3, "access", include_str!("../../migrations/0003_access.sql")),
    (4, "revocation", include_str!("../../migrations/0004_revocation.sql")),
    (5, "notice", include_str!("../../migrations/0005_notice.sql")),
    (6, "provider", include_str!("../../migrations/0006_provider.sql")),
    (7, "looking", include_str!("../../migrations/0007_looking.sql")),
    (8, "workload", include_str!("../../migrations/0008_workload.sql")),
    (9, "audit_chain", include_str!("../../migrations/0009_audit_chain.sql")),
    (10, "recording", include_str!("../../migrations/0010_recording.sql")),
    (11, "archive", include_str!("../../migrations/0011_archive.sql")),
];

/// Those that cannot be the same: version, name, text for SQLite, text for PostgreSQL.
const MIGRATIONS_APART: &[(i64, &str, &str, &str)] = &[(
    12,
    "transcript",
    include_str!("../../migrations/0012_transcript.sqlite.sql"),
    include_str!("../../migrations/0012_transcript.postgres.sql"),
)];

/// A crash must not lose a committed row, so `FULL`: the log is synced at each commit.
const SQLITE_SETUP: &str = "PRAGMA busy_timeout = 30000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                            PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;";

/// No wait without an end; and a node that hangs inside a transaction must not hold up the others for good.
const POSTGRES_SETUP: &str = "SET lock_timeout = '30s'; SET statement_timeout = '60s'; \
                              SET idle_in_transaction_session_timeout = '60s';";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    Sqlite,
    Postgres,
}

impl Engine {
    fn setup(self) -> &'static str {
        match self {
            Self::Sqlite => SQLITE_SETUP,
            Self::Postgres => POSTGRES_SETUP,
        }
    }
}

pub(super) async fn open(url: &str) -> Result<Store, StoreError> {
    sqlx::any::install_default_drivers();
    let (engine, url) = locate(url)?;
    let options = AnyConnectOptions::from_str(&url).map_err(|_| {
        StoreError::Unusable(
            "the store's URL cannot be parsed; write sqlite:PATH or postgres://USER@HOST/DATABASE".into(),
        )
    })?;
    migrate(engine, &options).await?;
    if engine == Engine::Sqlite {
        let readers = |count| Reads::Sqlite(Readers::new(options.clone(), count));
        let (pool, watchers) = (readers(CONNECTIONS_MAX), readers(WATCHERS_MAX));
        let writers = Writers::InBatches(Batches::new(options));
        return Ok(Store { pool, watchers, writers, asked: Arc::default() });
    }
    let pool = |connections| {
        AnyPoolOptions::new().max_connections(connections).acquire_timeout(WAIT_MAX).after_connect(
            move |connection, _| {
                Box::pin(async move {
                    connection.execute(engine.setup()).await?;
                    Ok(())
                })
            },
        )
    };
    let watchers = Reads::Postgres(pool(WATCHERS_MAX).connect_lazy_with(options.clone()));
    let pool = pool(CONNECTIONS_MAX).connect_with(options).await?;
    let writers = Writers::Together(pool.clone());
    Ok(Store { pool: Reads::Postgres(pool), watchers, writers, asked: Arc::default() })
}

/// The kind of database and the URL for the driver. For SQLite: checks the place, creates the file.
fn locate(url: &str) -> Result<(Engine, String), StoreError> {
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return Ok((Engine::Postgres, url.to_owned()));
    }
    let Some(path) = url.strip_prefix("sqlite:") else {
        // The URL itself is not shown: it may hold a password.
        return Err(StoreError::Unusable(
            "the store's URL must be sqlite:PATH or postgres://USER@HOST/DATABASE".into(),
        ));
    };
    let path = place(Path::new(path.strip_prefix("//").unwrap_or(path)))?;
    let bytes = path.as_os_str().as_encoded_bytes();
    // The driver decodes percent signs; encoding all but the plainest characters keeps `?`, `#`, `%` and `..` in names.
    let encoded: String = bytes
        .iter()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' => char::from(*b).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect();
    Ok((Engine::Sqlite, format!("sqlite://{encoded}")))
}

/// The file for a SQLite database, absolute. It exists afterwards and only its owner can read it: pending sign-ins and
/// everybody's history are in it.
fn place(path: &Path) -> Result<PathBuf, StoreError> {
    let shown = path.display();
    let fail = |what: String| Err(StoreError::Unusable(what));
    let Some(name) = path.file_name().filter(|_| path != Path::new(":memory:")) else {
        return fail(format!("sqlite:{shown} does not name a file; write sqlite:PATH"));
    };
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        Some(_) | None => Path::new("."),
    };
    let folder = match folder.canonicalize() {
        Ok(folder) => folder,
        Err(e) => {
            let folder = folder.display();
            return fail(format!("the database's folder {folder}: {e}; create it: mkdir -m 700 {folder}"));
        }
    };
    let path = folder.join(name);
    // Only ever opened by SQLite itself once it exists: closing another descriptor would drop SQLite's locks.
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
        Ok(_) => return Ok(path),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
        Err(e) => return fail(format!("cannot create the database {}: {e}", path.display())),
    }
    let meta = match path.metadata() {
        Ok(meta) => meta,
        Err(e) => return fail(format!("cannot read the database {}: {e}", path.display())),
    };
    if !meta.is_file() {
        return fail(format!("the database {} is not a regular file", path.display()));
    }
    if meta.permissions().mode() & 0o077 != 0 {
        let (mode, path) = (meta.permissions().mode() & 0o777, path.display());
        return fail(format!("others can open the database {path} (mode {mode:04o}); run: chmod 600 {path}"));
    }
    Ok(path)
}

/// Brings the schema up to date, on a connection of its own, once even when several processes start together.
async fn migrate(engine: Engine, options: &AnyConnectOptions) -> Result<(), StoreError> {
    let mut connection = connect(engine, options).await?;
    // `run` is not general enough to await in a spawned task; this is what it calls.
    let migrator = migrator(engine);
    let done = match engine {
        // The driver has no lock for migrations on SQLite; the write lock, taken first, is one.
        Engine::Sqlite => {
            let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
            match migrator.run_direct(None, &mut *tx, false).await {
                Ok(()) => tx.commit().await.map_err(MigrateError::from),
                Err(e) => Err(e),
            }
        }
        Engine::Postgres => migrator.run_direct(None, &mut connection, false).await,
    };
    let closed = connection.close().await;
    match done {
        Ok(()) => Ok(closed?),
        Err(MigrateError::VersionMissing(version)) => Err(StoreError::Unusable(format!(
            "the database has schema version {version}, which is newer than this program; update the program"
        ))),
        Err(e) => Err(e.into()),
    }
}

/// One connection, set up. Turning a new SQLite file to WAL can meet another process that does the same, and SQLite
/// then says "busy" without waiting; so this waits, for as long as any other wait may last.
async fn connect(engine: Engine, options: &AnyConnectOptions) -> Result<AnyConnection, StoreError> {
    let deadline = tokio::time::Instant::now() + WAIT_MAX;
    loop {
        match attempt(engine, options).await {
            Ok(connection) => return Ok(connection),
            Err(e) if is_busy(&e) && tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            Err(e) => return Err(unreachable(engine, options, &e)),
        }
    }
}

async fn attempt(engine: Engine, options: &AnyConnectOptions) -> Result<AnyConnection, sqlx::Error> {
    let mut connection = AnyConnection::connect_with(options).await?;
    connection.execute(engine.setup()).await?;
    Ok(connection)
}

/// A connection that reads from SQLite.
pub(super) async fn reading_connection(options: &AnyConnectOptions) -> Result<AnyConnection, sqlx::Error> {
    attempt(Engine::Sqlite, options).await
}

/// A connection that writes to SQLite. It does not wait for the lock of another process: who waits asks again.
pub(super) async fn writing_connection(options: &AnyConnectOptions) -> Result<AnyConnection, StoreError> {
    let mut connection = connect(Engine::Sqlite, options).await?;
    // What a savepoint would need to be taken back goes into memory, not into a file that is made and deleted each time.
    connection.execute("PRAGMA busy_timeout = 0; PRAGMA temp_store = MEMORY").await?;
    Ok(connection)
}

pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    // SQLITE_BUSY (5) and its extended codes, which have it in their low byte.
    error
        .as_database_error()
        .and_then(|e| e.code())
        .and_then(|code| code.parse::<u32>().ok())
        .is_some_and(|code| code & 0xff == 5)
}

/// Says where the database should be, never the URL's user or password.
fn unreachable(engine: Engine, options: &AnyConnectOptions, error: &sqlx::Error) -> StoreError {
    let url = &options.database_url;
    StoreError::Unusable(match engine {
        Engine::Sqlite => {
            format!("cannot open the database {}: {error}; is it a SQLite file?", url.path())
        }
        Engine::Postgres => {
            let host = url.host_str().unwrap_or("the default socket");
            let port = url.port().unwrap_or(5432);
            let database = url.path().trim_start_matches('/');
            format!(
                "cannot use PostgreSQL database {database:?} at {host} port {port}: {error}; check that it runs, \
                 that the database exists and that the store's URL has the right user and password"
            )
        }
    })
}

fn migrator(engine: Engine) -> Migrator {
    let apart = MIGRATIONS_APART.iter().map(|(version, name, sqlite, postgres)| match engine {
        Engine::Sqlite => (*version, *name, *sqlite),
        Engine::Postgres => (*version, *name, *postgres),
    });
    let mut all: Vec<(i64, &'static str, &'static str)> = MIGRATIONS.iter().copied().chain(apart).collect();
    all.sort_unstable_by_key(|(version, ..)| *version);
    let migrations = all
        .into_iter()
        .map(|(version, name, sql)| {
            Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
        })
        .collect();
    Migrator::with_migrations(migrations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_migration_file_is_embedded() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
        let mut on_disk: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        on_disk.sort();
        let same = MIGRATIONS.iter().map(|(version, name, _)| format!("{version:04}_{name}.sql"));
        let apart = MIGRATIONS_APART.iter().flat_map(|(version, name, ..)| {
            ["postgres", "sqlite"].map(|engine| format!("{version:04}_{name}.{engine}.sql"))
        });
        let mut embedded: Vec<String> = same.chain(apart).collect();
        embedded.sort();
        assert_eq!(on_disk, embedded);
    }

    #[test]
    fn columns_are_text_or_bigint() {
        let same = MIGRATIONS.iter().map(|(version, _, sql)| (version, *sql, ["TEXT", "BIGINT", "KEY"]));
        // An index's own columns, and SQLite's name for a number of rows.
        let apart = MIGRATIONS_APART.iter().flat_map(|(version, _, sqlite, postgres)| {
            [
                (version, *sqlite, ["TEXT", "BIGINT", "INTEGER"]),
                (version, *postgres, ["TEXT", "BIGINT", "TSVECTOR"]),
            ]
        });
        for (version, sql, known) in same.chain(apart) {
            for line in sql.lines().filter(|line| line.starts_with("    ")) {
                let kind = line.split_whitespace().nth(1).unwrap();
                assert!(known.contains(&kind.trim_end_matches(',')), "migration {version}: {line}");
            }
        }
    }

    #[test]
    fn urls() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().canonicalize().unwrap();
        let at = at.to_str().unwrap();
        for (url, wanted) in [
            (format!("sqlite:{at}/a.db"), format!("sqlite://{at}/a.db")),
            (format!("sqlite://{at}/b.db"), format!("sqlite://{at}/b.db")),
            (format!("sqlite:{at}/./50% a?#é.db"), format!("sqlite://{at}/50%25%20a%3F%23%C3%A9.db")),
        ] {
            assert_eq!(locate(&url).unwrap(), (Engine::Sqlite, wanted), "{url}");
        }
        assert_eq!(locate("postgresql://u:p@h/d").unwrap().0, Engine::Postgres);
        for (url, says) in [
            ("mysql://root:secret@h/d".to_owned(), "must be sqlite:PATH or postgres://"),
            ("caponier.db".to_owned(), "must be sqlite:PATH or postgres://"),
            ("sqlite:".to_owned(), "does not name a file"),
            ("sqlite::memory:".to_owned(), "does not name a file"),
            (format!("sqlite:{at}/none/a.db"), "mkdir -m 700"),
            (format!("sqlite:{at}/.."), "does not name a file"),
            (format!("sqlite:{at}/a.db/b.db"), "cannot create the database"),
            ("sqlite:/".to_owned(), "does not name a file"),
        ] {
            let error = locate(&url).unwrap_err().to_string();
            assert!(error.contains(says), "{url}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn the_file_is_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        place(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        place(&path).unwrap();
        for open in [0o640, 0o604, 0o620, 0o602] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(open)).unwrap();
            let error = place(&path).unwrap_err().to_string();
            assert!(error.contains("chmod 600"), "{open:o}: {error}");
        }
        let error = place(dir.path()).unwrap_err().to_string();
        assert!(error.contains("not a regular file"), "{error}");
    }

    #[tokio::test]
    async fn every_connection_is_durable_and_strict() {
        use sqlx::Row as _;
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}/a.db", dir.path().display());
        let _store = open(&url).await.unwrap();
        let options = AnyConnectOptions::from_str(&locate(&url).unwrap().1).unwrap();
        // The one that writes waits for no other process by itself, but is as durable.
        let writing = writing_connection(&options).await.unwrap();
        let reading = reading_connection(&options).await.unwrap();
        let wait = i64::try_from(WAIT_MAX.as_millis()).unwrap();
        for (mut connection, wait) in [(writing, 0), (reading, wait)] {
            let row = connection.fetch_one("PRAGMA journal_mode").await.unwrap();
            assert_eq!(row.get::<String, _>(0), "wal");
            for (pragma, wanted) in
                [("PRAGMA synchronous", 2), ("PRAGMA foreign_keys", 1), ("PRAGMA busy_timeout", wait)]
            {
                let row = connection.fetch_one(pragma).await.unwrap();
                assert_eq!(row.get::<i64, _>(0), wanted, "{pragma}");
            }
        }
    }
}
