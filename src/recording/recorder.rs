//! The writer of one recording. Decides when bytes reach the files (before the call returns) and the disk (at most
//! about a second or 64 KiB later), and that a recording that cannot be written is over. What the lines say is the
//! transcript's matter; what lies in which file is `pages`'.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::asciicast::Source;
use super::chain::Head;
use super::event::Event;
use super::key::RecordingKey;
use super::pages::{CHECKPOINT_AFTER, DueError, NewScreen, Pages};
use super::place;
use super::seal::{self, Seal};
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

/// What a recording begins with.
#[derive(Clone, Debug)]
pub struct Start {
    /// The session.
    pub session: SessionId,
    /// When it began.
    pub at: Timestamp,
    /// `session.json`: one JSON object.
    pub document: serde_json::Value,
    /// What is seen, for sessions that have a screen.
    pub screen: Option<Look>,
    /// A full disk ends the recording and not the session.
    pub lossy: bool,
}

/// What the cast's header says.
#[derive(Clone, Debug)]
pub struct Look {
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

/// How a session ended.
#[derive(Clone, Debug)]
pub struct Closing {
    /// When.
    pub at: Timestamp,
    /// See `AuditEvent::SessionClosed`.
    pub reason: String,
    /// Exit status, when there was one.
    pub exit_status: Option<u32>,
    /// Bytes from client to target.
    pub bytes_in: u64,
    /// Bytes from target to client.
    pub bytes_out: u64,
}

/// The recording cannot be written: the session must end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("recording {path}: {what}")]
pub struct RecorderError {
    /// The file or folder.
    pub path: PathBuf,
    /// What failed.
    pub what: String,
}

impl RecorderError {
    pub(super) fn new(path: &Path, what: String) -> Self {
        Self { path: path.to_owned(), what }
    }
}

/// Writes one recording. All methods are cheap, in memory order, and return an error once writing has failed.
/// Dropped without [`Recorder::seal`] it leaves the files for [`super::recover()`].
pub struct Recorder {
    shared: Arc<Shared>,
    relative: String,
}

pub(super) struct Shared {
    session: SessionId,
    path: PathBuf,
    began: Instant,
    runtime: Handle,
    failed: CancellationToken,
    lossy: bool,
    /// Wakes the sync task before its time.
    hurry: Notify,
    state: Mutex<State>,
}

struct State {
    pages: Pages,
    /// The lines of the call at hand; kept for its memory.
    lines: String,
    /// Written and not yet synced.
    dirty: u64,
    /// Runs only while there is something that is not on the disk, or in no checkpoint.
    syncing: Option<JoinHandle<()>>,
    error: Option<RecorderError>,
    /// Why nothing is written any more though the session goes on, and whether the audit log was told.
    lost: Option<(String, bool)>,
    /// The disk is not to be trusted any more, or half a line stands in a file.
    dead: bool,
    /// The end is being written.
    closing: bool,
    sealed: bool,
    /// The newest checkpoint that is on the disk, and whether the audit log was told of it.
    durable: Option<(Head, bool)>,
}

impl Recorder {
    /// Creates folder and files (folders 0700, files 0600, never overwriting) and has what they begin with on disk
    /// (fdatasync) when it returns. `failed` is cancelled as soon as a later write or sync fails.
    pub(super) async fn create(
        config: &config::Recording,
        start: Start,
        failed: CancellationToken,
    ) -> Result<Self, RecorderError> {
        let began = Instant::now();
        let Some(relative) = place::relative(&start.session, start.at) else {
            return Err(RecorderError::new(&config.dir, format!("{:?} is no date", start.at)));
        };
        let path = config.dir.join(&relative);
        let (dir, name) = (config.dir.clone(), relative.clone());
        let (kept_max, part_max) = (config.exec_output_max, config.part_max);
        let Start { session, at, document, screen, lossy } = start;
        let make = move || {
            let path = place::create(&dir, &name)?;
            let screen = screen.as_ref().map(|look| NewScreen {
                transcript: Transcript::new(look.pty, look.input, kept_max, look.command.is_some()),
                title: &look.title,
                command: look.command.as_deref(),
                term: &look.term,
                began_secs: at.as_secs(),
                part_max,
            });
            let named = path.clone();
            Pages::create(path, &format!("{document:#}\n"), screen).map_err(|error| {
                // What is there is of no session.
                drop(std::fs::remove_dir_all(&named));
                RecorderError::new(&named, format!("cannot begin: {error}"))
            })
        };
        let pages = spawn_blocking(make)
            .await
            .map_err(|error| RecorderError::new(&path, format!("the writer stopped: {error}")))??;
        let state = Mutex::new(State {
            pages,
            lines: String::new(),
            dirty: 0,
            syncing: None,
            error: None,
            lost: None,
            dead: false,
            closing: false,
            sealed: false,
            durable: None,
        });
        let runtime = Handle::current();
        let shared = Shared { session, path, began, runtime, failed, lossy, hurry: Notify::new(), state };
        Ok(Self { shared: Arc::new(shared), relative })
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Path of the folder relative to the recordings folder.
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
        self.shared.append(|transcript, at, lines| transcript.typed(bytes, at, lines))
    }

    /// Whether the terminal echoes, where the caller knows it. While off, nothing typed is kept, not even what the
    /// output seems to repeat.
    pub fn set_echo(&self, on: bool) -> Result<(), RecorderError> {
        self.shared.append(|transcript, at, lines| transcript.set_echo(on, at, lines))
    }

    /// The terminal's new size.
    pub fn resize(&self, columns: u32, rows: u32) -> Result<(), RecorderError> {
        self.shared.append(|transcript, at, lines| transcript.resize((columns, rows), at, lines))
    }

    /// A marker (`]` jumps to it in asciinema), which stands among the events too.
    pub fn marker(&self, label: &str) -> Result<(), RecorderError> {
        self.shared.event(Event::Note { text: label.to_owned() })?;
        self.shared.append(|transcript, at, lines| transcript.marker(label, at, lines))
    }

    /// What happens beside the screen. A command gets its marker, too.
    pub fn event(&self, event: Event) -> Result<(), RecorderError> {
        let label = if let Event::Command { command, .. } = &event { Some(command.clone()) } else { None };
        self.shared.event(event)?;
        label.map_or(Ok(()), |label| {
            self.shared.append(|transcript, at, lines| transcript.marker(&label, at, lines))
        })
    }

    /// Why it could not be written, when that was so: the session must end for that.
    pub fn failure(&self) -> Option<RecorderError> {
        match self.shared.lock() {
            Ok(state) => state.error.clone(),
            Err(error) => Some(error),
        }
    }

    /// Why it was not written to the end though its session went on, unless that was asked for before.
    pub fn lost(&self) -> Option<String> {
        self.shared.lost_news()
    }

    /// Writes what is held back, syncs, hashes, seals and verifies the seal. Consumes the recorder. What was written before
    /// writing failed is sealed as incomplete.
    pub(super) async fn seal(
        self,
        key: Arc<RecordingKey>,
        node: Arc<str>,
        closing: Closing,
    ) -> Result<Seal, RecorderError> {
        let shared = self.shared;
        shared.say_the_end(&closing)?;
        let syncing = shared.lock()?.syncing.take();
        if let Some(task) = syncing {
            shared.hurry.notify_one();
            task.await.map_err(|error| shared.error(&format!("the sync stopped: {error}")))?;
        }
        let (files, head, complete) = {
            let mut guard = shared.lock()?;
            let state = &mut *guard;
            if let Some(error) = state.error.as_ref().filter(|_| state.dead) {
                return Err(error.clone());
            }
            let Some((files, head)) = state.pages.sums(shared.micros()) else {
                return Err(shared.error("it has no checkpoint"));
            };
            (files, head, state.error.is_none() && state.lost.is_none())
        };
        shared.sync().await?;
        shared.lock()?.sealed = true;
        let own = Arc::clone(&shared);
        let sealing = move || {
            let ending = seal::Ending {
                session: &own.session,
                node: &node,
                sealed: closing.at.to_string(),
                reason: &closing.reason,
                interrupted: false,
                complete,
                head,
                files,
            };
            seal::seal(&own.path, &key, ending)
        };
        spawn_blocking(sealing).await.map_err(|error| shared.error(&format!("sealing stopped: {error}")))?
    }

    /// Removes the folder: there is no session after all. Only for recordings that hold nothing but their beginning.
    pub fn discard(self) -> Result<(), RecorderError> {
        std::fs::remove_dir_all(&self.shared.path)
            .map_err(|error| RecorderError::new(&self.shared.path, format!("cannot remove it: {error}")))
    }

    fn shown(&self, source: Source, bytes: &[u8]) -> Result<(), RecorderError> {
        if bytes.is_empty() {
            return self.shared.append(|_, _, _| ());
        }
        for piece in bytes.chunks(PIECE_MAX) {
            self.shared.append(|transcript, at, lines| transcript.shown(source, piece, at, lines))?;
        }
        Ok(())
    }
}

impl Shared {
    pub(super) fn session(&self) -> &SessionId {
        &self.session
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether nothing more will be written.
    pub(super) fn is_over(&self) -> bool {
        self.state.lock().map_or(true, |state| state.sealed || state.error.is_some())
    }

    /// The newest checkpoint on the disk, unless it was asked for before.
    pub(super) fn news(&self) -> Option<Head> {
        let mut state = self.state.lock().ok()?;
        let (head, told) = state.durable.as_mut()?;
        let is_news = !std::mem::replace(told, true);
        is_news.then(|| head.clone())
    }

    /// The disk is full: ends the session, or, where its role says so, the recording only. False when it was so before.
    pub(super) fn stop_writing(&self, why: &str) -> bool {
        let Ok(mut guard) = self.state.lock() else { return false };
        let state = &mut *guard;
        if state.closing || state.error.is_some() || state.lost.is_some() {
            return false;
        }
        if self.lossy {
            self.lose(state, why);
        } else {
            self.fail(state, why.to_owned());
        }
        true
    }

    /// Whether a full disk ends the recording and not the session.
    pub(super) fn is_lossy(&self) -> bool {
        self.lossy
    }

    /// Why nothing is written any more though the session goes on; said once.
    pub(super) fn lost_news(&self) -> Option<String> {
        let mut state = self.state.lock().ok()?;
        let (why, told) = state.lost.as_mut()?;
        let is_news = !std::mem::replace(told, true);
        is_news.then(|| why.clone())
    }

    /// Writes as the last thing that nothing more is, if there is room for that: whoever seals it after a crash must know.
    fn lose(&self, state: &mut State, why: &str) {
        let written = state.pages.event(Event::Lost { why: why.to_owned() }, self.micros());
        if written.is_err()
            && let Err(error) = state.pages.cut_back()
        {
            tracing::error!(%error, session.id = %self.session, "half a line stays in a recording");
            state.dead = true;
        }
        state.lost = Some((why.to_owned(), false));
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn error(&self, what: &str) -> RecorderError {
        RecorderError::new(&self.path, what.to_owned())
    }

    /// Has `speak` make lines of the cast and writes them. Nothing without a screen.
    fn append(
        self: &Arc<Self>,
        speak: impl FnOnce(&mut Transcript, u64, &mut String),
    ) -> Result<(), RecorderError> {
        let mut guard = self.lock()?;
        let state = &mut *guard;
        if let Some(error) = &state.error {
            return Err(error.clone());
        }
        let writes = state.lost.is_none() && !state.closing;
        let Some(screen) = state.pages.screen().filter(|_| writes) else { return Ok(()) };
        let at_micros = self.micros();
        state.lines.clear();
        speak(&mut screen.transcript, at_micros, &mut state.lines);
        if state.lines.is_empty() {
            return Ok(());
        }
        let written = state.pages.cast(&state.lines, at_micros);
        let bytes = state.lines.len() as u64;
        self.written(state, written, bytes)
    }

    /// Writes a line of the events.
    pub(super) fn event(self: &Arc<Self>, event: Event) -> Result<(), RecorderError> {
        let mut guard = self.lock()?;
        let state = &mut *guard;
        if let Some(error) = &state.error {
            return Err(error.clone());
        }
        // What comes after the end is in the audit log only: the files are being sealed.
        if state.lost.is_some() || state.closing {
            return Ok(());
        }
        let written = state.pages.event(event, self.micros());
        self.written(state, written, 1)
    }

    fn written(
        self: &Arc<Self>,
        state: &mut State,
        written: std::io::Result<()>,
        bytes: u64,
    ) -> Result<(), RecorderError> {
        if let Err(error) = written {
            // Half a line must not stay: what is there can be sealed.
            let cut = state.pages.cut_back();
            if self.lossy && cut.is_ok() {
                tracing::error!(%error, session.id = %self.session, "a recording ends before its session");
                self.lose(state, &format!("cannot write: {error}"));
                return Ok(());
            }
            state.dead = cut.is_err();
            return Err(self.fail(state, format!("cannot write: {error}")));
        }
        state.dirty += bytes;
        if state.dirty >= SYNC_BYTES {
            self.hurry.notify_one();
        }
        if state.syncing.is_none() && !state.closing {
            state.syncing = Some(self.runtime.spawn(Arc::clone(self).keep_synced()));
        }
        Ok(())
    }

    /// The end, said in cast and events, as far as that can be written.
    fn say_the_end(self: &Arc<Self>, closing: &Closing) -> Result<(), RecorderError> {
        let mut guard = self.lock()?;
        let state = &mut *guard;
        state.closing = true;
        if state.error.is_some() {
            return Ok(());
        }
        let at_micros = self.micros();
        let mut streams = Vec::new();
        if let Some(screen) = state.pages.screen().filter(|_| state.lost.is_none()) {
            state.lines.clear();
            screen.transcript.finish(at_micros, &mut state.lines);
            streams = screen.transcript.streams();
            let written = state.pages.cast(&state.lines, at_micros);
            self.written(state, written, 0)?;
        }
        let closed = Event::Closed {
            reason: closing.reason.clone(),
            exit_status: closing.exit_status,
            bytes_in: closing.bytes_in,
            bytes_out: closing.bytes_out,
        };
        for event in streams.into_iter().chain([closed]) {
            let written = state.pages.event(event, at_micros);
            self.written(state, written, 0)?;
        }
        Ok(())
    }

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

    /// Syncs as long as there is something to sync, or no checkpoint of it, then ends.
    async fn keep_synced(self: Arc<Self>) {
        let mut pause = SYNC_AFTER;
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.hurry.notified() => {}
            }
            {
                let Ok(mut state) = self.lock() else { return };
                state.dirty = 0;
                let now = self.micros();
                if self.until_checkpoint(&state, now).is_zero() {
                    state.pages.checkpoint(now);
                }
            }
            if self.sync().await.is_err() {
                return;
            }
            let Ok(mut state) = self.lock() else { return };
            if state.closing || (state.dirty == 0 && !state.pages.is_behind()) {
                state.syncing = None;
                return;
            }
            let patience = self.until_checkpoint(&state, self.micros()).max(Duration::from_millis(1));
            pause = if state.dirty > 0 { SYNC_AFTER.min(patience) } else { patience };
        }
    }

    fn until_checkpoint(&self, state: &State, now: u64) -> Duration {
        CHECKPOINT_AFTER
            .saturating_sub(Duration::from_micros(now.saturating_sub(state.pages.checkpoint_at())))
    }

    /// fdatasync, off the async threads. A failure is final: after it the kernel may have dropped what it could not
    /// write, and a second try would report success.
    async fn sync(self: &Arc<Self>) -> Result<(), RecorderError> {
        let due = self.lock()?.pages.due();
        let done = tokio::time::timeout(SYNC_DEADLINE, spawn_blocking(move || due.run())).await;
        let what = match done {
            Ok(Ok(Ok(head))) => {
                let mut state = self.lock()?;
                if head.as_ref() != state.durable.as_ref().map(|(head, _)| head) {
                    state.durable = head.map(|head| (head, false));
                }
                return Ok(());
            }
            Ok(Ok(Err(DueError::Checkpoints { error, lines }))) => {
                // What they tell of is on the disk; they are written when there is room, or with the seal.
                let mut state = self.lock()?;
                state.pages.put_back(lines);
                let why = format!("cannot write checkpoints: {error}");
                if !self.lossy {
                    return Err(self.fail(&mut state, why));
                }
                if state.lost.is_none() {
                    state.lost = Some((why, false));
                }
                return Ok(());
            }
            Ok(Ok(Err(DueError::Sync(error)))) => format!("cannot sync: {error}"),
            Ok(Err(error)) => format!("the sync stopped: {error}"),
            Err(_) => format!("the disk did not sync within {} s", SYNC_DEADLINE.as_secs()),
        };
        let mut state = self.lock()?;
        state.dead = true;
        Err(self.fail(&mut state, what))
    }
}
