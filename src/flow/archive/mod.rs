//! What becomes of recordings once their sessions are over: taken up, brought to the archive, removed here, deleted when
//! their time is over. Each node does this for its own sessions; what fails is tried again, later and later, and never given
//! up. Nothing here is removed before the archive gave the whole of it back right, and nothing at all that is held.
//!
//! `retention` says for how long (pure), `upload` brings, `remove` takes away, `early` brings finished parts of sessions that
//! still run, `hold` sets and releases holds.

mod early;
pub mod hold;
mod remove;
mod retention;
mod upload;

use std::path::PathBuf;
use std::time::Duration;

use crate::app::App;
use crate::audit::{ArchiveEvent, AuditEvent};
use crate::config;
use crate::recording::archive::{Archive, ArchiveError};
use crate::recording::verify::Fault;
use crate::recording::{RecorderError, Scratch};
use crate::store::{ArchiveRow, Here, SessionRow, StoreError};
use crate::time::Timestamp;

/// Sessions that are taken up at once.
const BATCH: u32 = 100;
/// Longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(600);
/// From how many attempts on a failure is told, and then each time there were twice as many.
const TELL_FROM: u64 = 4;
/// The folder of what is being packed, below `state_dir`.
const WORK: &str = "archiving";

/// Why an act on one recording failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The archive, or a file.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The recording here.
    #[error("{0}")]
    Here(#[from] RecorderError),
    /// A file or folder here.
    #[error("{0}")]
    Disk(#[from] std::io::Error),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is not what was sealed.
    #[error("the files here are not what was sealed; `caponier recordings verify` says which")]
    Altered,
    /// Its seal is none.
    #[error("it is not as a key of this bastion sealed it: {0}; `caponier recordings verify` says more")]
    Seal(#[from] Fault),
    /// There is something in an archive that is not configured any more.
    #[error(
        "it is in an archive, and [archive] has none now; nothing is deleted until the archive is configured again"
    )]
    NoArchive,
}

/// The archive of a running server, and its settings.
pub struct Archiving {
    app: App,
    config: config::Archive,
    archive: Option<Archive>,
    work: PathBuf,
    began: Timestamp,
}

impl Archiving {
    /// As configured; none where there is no `[archive]`. What an attempt left that was killed is removed.
    pub fn of(app: &App) -> Result<Option<Self>, ArchiveError> {
        let Some(config) = app.config.archive.clone() else { return Ok(None) };
        let archive = Archive::open(&config)?;
        let work = app.config.state_dir.join(WORK);
        let emptied = match std::fs::remove_dir_all(&work) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => std::fs::create_dir(&work),
        };
        emptied.map_err(|error| ArchiveError::Local(work.clone(), error))?;
        Ok(Some(Self { app: app.clone(), config, archive, work, began: app.clock.now() }))
    }

    /// Recordings that had no archive to go to wait for it when there is one now. Once, at start.
    pub async fn start(&self) -> Result<(), StoreError> {
        if self.archive.is_some() {
            let count = self.app.store.archive_from_now_on(&self.app.node, self.app.clock.now()).await?;
            if count > 0 {
                tracing::info!(count, "recordings go to the archive that is there now");
            }
        }
        Ok(())
    }

    /// Writes down what becomes of sessions of this node that were closed at `since` or later; says how many.
    pub async fn take_up(&self, since: Timestamp) -> Result<usize, StoreError> {
        let rows = self.app.store.not_taken_up(&self.app.node, since, BATCH).await?;
        for session in &rows {
            let now = self.app.clock.now();
            let roles = self.app.store.roles_of_session(&session.id).await?;
            let days = retention::days(&self.config, &roles, &session.target, &self.app.policy());
            let from = retention::counts_from(session.closed.unwrap_or(now), self.began, now);
            let state = match (&session.recording_sha256, &self.archive) {
                (None, _) => "unsealed",
                (Some(_), None) => "local",
                (Some(_), Some(_)) => "waiting",
            };
            let row = ArchiveRow {
                session: session.id.clone(),
                node: self.app.node.to_string(),
                state: state.to_owned(),
                here: Here::Yes,
                attempts: 0,
                due: now,
                problem: None,
                stored_bytes: None,
                index_sha256: None,
                taken_up: now,
                confirmed: None,
                delete_after: days.map(|days| from.plus(retention::DAY * days)),
                removed: None,
                deleted: None,
            };
            self.app.store.take_up_recording(&row).await?;
        }
        Ok(rows.len())
    }

    /// A folder for packing that goes when it is dropped.
    fn scratch(&self) -> Result<Scratch, std::io::Error> {
        Scratch::new(&self.work, &self.app.random)
    }

    /// Remembers a failure, and tells of it when it was not the first.
    async fn failed(&self, row: &ArchiveRow, act: &'static str, failure: &Failure) -> Result<(), StoreError> {
        let (now, attempts) = (self.app.clock.now(), row.attempts + 1);
        let (due, problem) = (now.plus(pause(attempts)), failure.to_string());
        tracing::warn!(session = %row.session, act, attempts, problem, "a recording's way to or from the archive failed");
        if attempts < TELL_FROM || !attempts.is_power_of_two() {
            return self.app.store.postpone_archive(&row.session, due, &problem).await;
        }
        let mut tx = self.app.store.begin().await?;
        tx.postpone_archive(&row.session, due, &problem).await?;
        let (session, node) = (row.session.clone(), self.app.node.to_string());
        let event = ArchiveEvent::ArchiveFailed { session, act, node, attempts, problem };
        tx.commit(now, AuditEvent::Archive(event)).await
    }

    /// The session of a row. Rows refer to sessions, so one that is not there is a fault.
    async fn session_of(&self, row: &ArchiveRow) -> Result<SessionRow, StoreError> {
        self.app.store.session(&row.session).await?.ok_or_else(|| StoreError::BadRow {
            table: "archive",
            what: format!("there is no session {}", row.session),
        })
    }
}

/// Twice as long after each failure.
fn pause(attempts: u64) -> Duration {
    let exponent = u32::try_from(attempts).unwrap_or(u32::MAX).min(16);
    Duration::from_secs(1 << exponent).min(PAUSE_MAX)
}
