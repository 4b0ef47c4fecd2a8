//! The recordings of this node: where they are made, what seals them, and which are being written. Whoever knows a session's
//! id finds its recording here, to add what happens beside the screen, to watch it, or to ask for its newest checkpoint.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use russh::keys::ssh_key::PublicKey;
use tokio_util::sync::CancellationToken;

use super::chain::Head;
use super::event::Event;
use super::folder;
use super::key::RecordingKey;
use super::place;
use super::recorder::{Closing, Recorder, RecorderError, Shared, Start};
use super::recover::{self, Recovered};
use super::seal::Seal;
use crate::config;
use crate::ids::SessionId;
use crate::time::Timestamp;

/// The recordings of this node.
pub struct Recordings {
    config: config::Recording,
    key: Arc<RecordingKey>,
    node: Arc<str>,
    live: Mutex<BTreeMap<SessionId, Weak<Shared>>>,
}

/// A recording that is being written, or was a moment ago.
pub struct Live(Arc<Shared>);

impl Live {
    /// Where its files are.
    pub fn folder(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    /// Adds what happened beside the screen. Errors: it cannot be written, and its session ends.
    pub fn event(&self, event: Event) -> Result<(), RecorderError> {
        self.0.event(event)
    }

    /// Whether nothing more will be written.
    pub fn is_over(&self) -> bool {
        self.0.is_over()
    }
}

impl Recordings {
    /// Recordings as `config` says, sealed by `key` in the name of `node`.
    pub fn new(config: config::Recording, key: RecordingKey, node: Arc<str>) -> Self {
        Self { config, key: Arc::new(key), node, live: Mutex::default() }
    }

    /// The folder of all recordings.
    pub fn dir(&self) -> &Path {
        &self.config.dir
    }

    /// What signs seals and checkpoints of this node.
    pub fn key(&self) -> &RecordingKey {
        &self.key
    }

    /// The public half of it.
    pub fn public_key(&self) -> &PublicKey {
        self.key.public()
    }

    /// Begins a recording: see [`Recorder::create`].
    pub async fn begin(&self, start: Start, failed: CancellationToken) -> Result<Recorder, RecorderError> {
        let recorder = Recorder::create(&self.config, start, failed).await?;
        let shared = recorder.shared();
        let mut live = self.all();
        live.retain(|_, shared| shared.strong_count() > 0);
        live.insert(shared.session().clone(), Arc::downgrade(shared));
        Ok(recorder)
    }

    /// Ends a recording: see [`Recorder::seal`].
    pub async fn seal(&self, recorder: Recorder, closing: Closing) -> Result<Seal, RecorderError> {
        let session = recorder.shared().session().clone();
        let sealed = recorder.seal(Arc::clone(&self.key), Arc::clone(&self.node), closing).await;
        self.all().remove(&session);
        sealed
    }

    /// Cuts and seals what a crash left at `relative`. Blocks: call it off the async threads.
    pub fn recover(
        &self,
        session: &SessionId,
        relative: &str,
        sealed: String,
    ) -> Result<Recovered, RecorderError> {
        recover::recover_folder(&self.config.dir, relative, session, &self.key, &self.node, sealed)
    }

    /// Folders of the days from `since` to `until` that have no seal: their sessions and paths. Blocks.
    pub fn unsealed(&self, since: Timestamp, until: Timestamp) -> Vec<(SessionId, String)> {
        let mut found = Vec::new();
        for day in place::days(since, until) {
            let Ok(entries) = std::fs::read_dir(self.config.dir.join(&day)) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let Ok(session) = name.parse::<SessionId>() else { continue };
                if !entry.path().join(folder::SIGNATURE).exists() {
                    found.push((session, format!("{day}/{name}")));
                }
            }
        }
        found
    }

    /// Removes what was begun for a session that never was. Nothing happens when somebody writes it. Blocks.
    pub fn remove_begun(&self, relative: &str) -> Result<(), RecorderError> {
        recover::remove_begun(&self.config.dir, relative)
    }

    /// The recording of a session that this node writes now.
    pub fn live(&self, session: &SessionId) -> Option<Live> {
        self.all().get(session).and_then(Weak::upgrade).map(Live)
    }

    /// Adds what happened beside the screen of a session; nothing when it is not recorded.
    pub fn event(&self, session: &SessionId, event: Event) -> Result<(), RecorderError> {
        self.live(session).map_or(Ok(()), |live| live.event(event))
    }

    /// The newest checkpoints that are on the disk and were not handed out before.
    pub fn checkpoints(&self) -> Vec<(SessionId, Head)> {
        let live: Vec<Arc<Shared>> = self.all().values().filter_map(Weak::upgrade).collect();
        live.iter().filter_map(|shared| Some((shared.session().clone(), shared.news()?))).collect()
    }

    /// Stops all that is being written, because the disk is full: sessions end, but those whose role lets them go on
    /// unrecorded. Returns how many ended and how many went on.
    pub fn stop_all(&self, why: &str) -> (usize, usize) {
        let live: Vec<Arc<Shared>> = self.all().values().filter_map(Weak::upgrade).collect();
        let stopped: Vec<bool> =
            live.iter().filter(|shared| shared.stop_writing(why)).map(|shared| shared.is_lossy()).collect();
        let on = stopped.iter().filter(|lossy| **lossy).count();
        (stopped.len() - on, on)
    }

    /// Recordings that ended before their sessions, and were not handed out before: which, and why.
    pub fn lost(&self) -> Vec<(SessionId, String)> {
        let live: Vec<Arc<Shared>> = self.all().values().filter_map(Weak::upgrade).collect();
        live.iter().filter_map(|shared| Some((shared.session().clone(), shared.lost_news()?))).collect()
    }

    fn all(&self) -> std::sync::MutexGuard<'_, BTreeMap<SessionId, Weak<Shared>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Recordings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recordings").field("dir", &self.config.dir).finish_non_exhaustive()
    }
}
