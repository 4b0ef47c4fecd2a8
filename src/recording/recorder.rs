//! The writer of one recording. Decides when bytes reach the file (before the call returns) and the disk (at most
//! about a second or 64 KiB later), and that a recording that cannot be written is over. What the lines say is the
//! transcript's matter; where the file lies is `place`'s.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::asciicast::{Header, Source};
use super::budget::hex;
use super::place;
use super::transcript::Transcript;
use crate::config;
use crate::ids::SessionId;
use crate::time::Timestamp;

/// Bytes of one event at most; longer chunks become several events, so that one line's memory is bounded.
const PIECE_MAX: usize = 16 * 1024;
/// How long bytes may be in the file and not on the disk. Below a second, for the sync itself takes time.
const SYNC_AFTER: Duration = Duration::from_millis(900);
/// How many bytes may be in the file and not on the disk before a sync begins at once.
const SYNC_BYTES: u64 = 64 * 1024;
/// A disk that takes longer to sync is taken for dead.
const SYNC_DEADLINE: Duration = Duration::from_secs(30);

/// What the header says.
#[derive(Clone, Debug)]
pub struct Start {
    /// The session.
    pub session: SessionId,
    /// When it began.
    pub at: Timestamp,
    /// Terminal size (columns, rows), or none without a terminal.
    pub pty: Option<(u32, u32)>,
    /// `TERM`, empty without a terminal.
    pub term: String,
    /// The command, none for a shell.
    pub command: Option<String>,
    /// `login@target, by provider:subject (display)`.
    pub title: String,
    /// Record what is typed.
    pub input: bool,
}

/// The recording cannot be written: the session must end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("recording {path}: {what}")]
pub struct RecorderError {
    /// The file.
    pub path: PathBuf,
    /// What failed.
    pub what: String,
}

impl RecorderError {
    pub(super) fn new(path: &Path, what: String) -> Self {
        Self { path: path.to_owned(), what }
    }
}

/// How a recording ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// Bytes of the file.
    pub bytes: u64,
    /// SHA-256 of the file in hex.
    pub sha256: String,
    /// Cut short by a crash.
    pub interrupted: bool,
}

/// Writes one recording. All methods are cheap, in memory order, and return an error once writing has failed.
/// Dropped without [`Recorder::seal`] it leaves the file for [`super::recover()`].
pub struct Recorder {
    shared: Arc<Shared>,
    relative: String,
    began: Instant,
    runtime: Handle,
}

struct Shared {
    file: File,
    path: PathBuf,
    failed: CancellationToken,
    /// Wakes the sync task before its time.
    hurry: Notify,
    state: Mutex<State>,
}

struct State {
    transcript: Transcript,
    /// The lines of the call at hand; kept for its memory.
    lines: String,
    hash: Sha256,
    bytes: u64,
    /// Written and not yet synced.
    dirty: u64,
    /// Runs only while there is something dirty.
    syncing: Option<JoinHandle<()>>,
    error: Option<RecorderError>,
}

impl Recorder {
    /// Creates the file (and folders, 0700; file 0600, never overwriting) and has the header on disk (fdatasync) when it returns.
    /// `failed` is cancelled as soon as a later write or sync fails.
    pub async fn create(
        config: &config::Recording,
        start: Start,
        failed: CancellationToken,
    ) -> Result<Self, RecorderError> {
        let began = Instant::now();
        let Some(relative) = place::relative(&start.session, start.at) else {
            return Err(RecorderError::new(&config.dir, format!("{:?} is no date", start.at)));
        };
        let path = config.dir.join(&relative);
        let transcript =
            Transcript::new(start.pty, start.input, config.exec_output_max, start.command.is_some());
        let header = Header {
            size: transcript.size(),
            at_secs: Some(start.at.as_secs()),
            title: &start.title,
            command: start.command.as_deref(),
            term: &start.term,
        }
        .line();
        let hash = Sha256::new_with_prefix(&header);
        let bytes = header.len() as u64;
        let (dir, name, named) = (config.dir.clone(), relative.clone(), path.clone());
        let write = move || {
            let mut file = place::create(&dir, &name)?;
            let done = file.write_all(header.as_bytes()).and_then(|()| file.sync_data());
            done.map_err(|error| RecorderError::new(&named, format!("cannot write the header: {error}")))?;
            Ok(file)
        };
        let file = spawn_blocking(write)
            .await
            .map_err(|error| RecorderError::new(&path, format!("the writer stopped: {error}")))??;
        let (lines, dirty, syncing, error) = (String::new(), 0, None, None);
        let state = Mutex::new(State { transcript, lines, hash, bytes, dirty, syncing, error });
        let shared = Arc::new(Shared { file, path, failed, hurry: Notify::new(), state });
        Ok(Self { shared, relative, began, runtime: Handle::current() })
    }

    /// Path relative to the recordings folder.
    pub fn relative_path(&self) -> &str {
        &self.relative
    }

    /// Bytes the target sent (stdout, or the terminal's output).
    pub fn output(&self, bytes: &[u8]) -> Result<(), RecorderError> {
        self.shown(Source::Output, bytes)
    }

    /// Bytes the target sent on stderr (no terminal).
    pub fn error_output(&self, bytes: &[u8]) -> Result<(), RecorderError> {
        self.shown(Source::Errors, bytes)
    }

    /// Bytes the client sent; kept only when the header says so, and with a terminal when its echo is seen.
    pub fn input(&self, bytes: &[u8]) -> Result<(), RecorderError> {
        self.append(|transcript, at, lines| transcript.typed(bytes, at, lines))
    }

    /// Whether the terminal echoes, where the caller knows it. While off, nothing typed is kept, not even what the
    /// output seems to repeat.
    pub fn set_echo(&self, on: bool) -> Result<(), RecorderError> {
        self.append(|transcript, at, lines| transcript.set_echo(on, at, lines))
    }

    /// The terminal's new size.
    pub fn resize(&self, columns: u32, rows: u32) -> Result<(), RecorderError> {
        self.append(|transcript, at, lines| transcript.resize((columns, rows), at, lines))
    }

    /// A marker (`]` jumps to it in asciinema).
    pub fn marker(&self, label: &str) -> Result<(), RecorderError> {
        self.append(|transcript, at, lines| transcript.marker(label, at, lines))
    }

    /// Writes what is held back, syncs, hashes and seals. Consumes the recorder.
    pub async fn seal(self) -> Result<Seal, RecorderError> {
        self.append(|transcript, at, lines| transcript.finish(at, lines))?;
        let syncing = self.shared.lock()?.syncing.take();
        if let Some(task) = syncing {
            self.shared.hurry.notify_one();
            let stopped = |error| RecorderError::new(&self.shared.path, format!("the sync stopped: {error}"));
            task.await.map_err(stopped)?;
        }
        self.shared.sync().await?;
        let state = self.shared.lock()?;
        match &state.error {
            Some(error) => Err(error.clone()),
            None => Ok(Seal { bytes: state.bytes, sha256: hex(state.hash.clone()), interrupted: false }),
        }
    }

    /// Removes the file: there is no session after all. Only for recordings that hold nothing but their header.
    pub fn discard(self) -> Result<(), RecorderError> {
        std::fs::remove_file(&self.shared.path)
            .map_err(|error| RecorderError::new(&self.shared.path, format!("cannot remove it: {error}")))
    }

    fn shown(&self, source: Source, bytes: &[u8]) -> Result<(), RecorderError> {
        if bytes.is_empty() {
            return self.append(|_, _, _| ());
        }
        for piece in bytes.chunks(PIECE_MAX) {
            self.append(|transcript, at, lines| transcript.shown(source, piece, at, lines))?;
        }
        Ok(())
    }

    /// Has `speak` make lines and writes them.
    fn append(&self, speak: impl FnOnce(&mut Transcript, u64, &mut String)) -> Result<(), RecorderError> {
        let mut guard = self.shared.lock()?;
        let state = &mut *guard;
        if let Some(error) = &state.error {
            return Err(error.clone());
        }
        let at_micros = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        state.lines.clear();
        speak(&mut state.transcript, at_micros, &mut state.lines);
        if state.lines.is_empty() {
            return Ok(());
        }
        if let Err(error) = (&self.shared.file).write_all(state.lines.as_bytes()) {
            return Err(self.shared.fail(state, format!("cannot write: {error}")));
        }
        let written = state.lines.len() as u64;
        state.hash.update(state.lines.as_bytes());
        state.bytes += written;
        state.dirty += written;
        if state.dirty >= SYNC_BYTES {
            self.shared.hurry.notify_one();
        }
        if state.syncing.is_none() {
            state.syncing = Some(self.runtime.spawn(Arc::clone(&self.shared).keep_synced()));
        }
        Ok(())
    }
}

impl Shared {
    /// A panic while the state was locked leaves a transcript nobody can vouch for: that is a failure, too.
    fn lock(&self) -> Result<MutexGuard<'_, State>, RecorderError> {
        self.state.lock().map_err(|_| {
            self.failed.cancel();
            RecorderError::new(&self.path, "the writer panicked".to_owned())
        })
    }

    fn fail(&self, state: &mut State, what: String) -> RecorderError {
        let error = state.error.get_or_insert_with(|| RecorderError::new(&self.path, what)).clone();
        self.failed.cancel();
        error
    }

    /// Syncs as long as there is something to sync, then ends.
    async fn keep_synced(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(SYNC_AFTER) => {}
                () = self.hurry.notified() => {}
            }
            match self.lock() {
                Ok(mut state) => state.dirty = 0,
                Err(_) => return,
            }
            if self.sync().await.is_err() {
                return;
            }
            let Ok(mut state) = self.lock() else { return };
            if state.dirty == 0 {
                state.syncing = None;
                return;
            }
        }
    }

    /// fdatasync, off the async threads. A failure is final: after it the kernel may have dropped what it could not
    /// write, and a second try would report success.
    async fn sync(self: &Arc<Self>) -> Result<(), RecorderError> {
        let shared = Arc::clone(self);
        let done = tokio::time::timeout(SYNC_DEADLINE, spawn_blocking(move || shared.file.sync_data())).await;
        let what = match done {
            Ok(Ok(Ok(()))) => return Ok(()),
            Ok(Ok(Err(error))) => format!("cannot sync: {error}"),
            Ok(Err(error)) => format!("the sync stopped: {error}"),
            Err(_) => format!("the disk did not sync within {} s", SYNC_DEADLINE.as_secs()),
        };
        let mut state = self.lock()?;
        Err(self.fail(&mut state, what))
    }
}
