//! The writer of one recording.

use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use crate::config;
use crate::ids::SessionId;
use crate::time::Timestamp;

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
#[derive(Debug, Clone, thiserror::Error)]
#[error("recording {path}: {what}")]
pub struct RecorderError {
    /// The file.
    pub path: PathBuf,
    /// What failed.
    pub what: String,
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
pub struct Recorder {}

impl Recorder {
    /// Creates the file (and folders, 0700; file 0600, never overwriting) and has the header on disk (fdatasync) when it returns.
    /// `failed` is cancelled as soon as a later write or sync fails.
    pub async fn create(
        config: &config::Recording,
        start: Start,
        failed: CancellationToken,
    ) -> Result<Self, RecorderError> {
        let _ = (config, start, failed);
        unimplemented!()
    }
    /// Path relative to the recordings folder.
    pub fn relative_path(&self) -> &str {
        unimplemented!()
    }
    /// Bytes the target sent (stdout, or the terminal's output).
    pub fn output(&self, bytes: &[u8]) -> Result<(), RecorderError> {
        let _ = bytes;
        unimplemented!()
    }
    /// Bytes the target sent on stderr (no terminal).
    pub fn error_output(&self, bytes: &[u8]) -> Result<(), RecorderError> {
        let _ = bytes;
        unimplemented!()
    }
    /// Bytes the client sent; kept only when the header says so.
    pub fn input(&self, bytes: &[u8]) -> Result<(), RecorderError> {
        let _ = bytes;
        unimplemented!()
    }
    /// The terminal's new size.
    pub fn resize(&self, columns: u32, rows: u32) -> Result<(), RecorderError> {
        let _ = (columns, rows);
        unimplemented!()
    }
    /// A marker (`]` jumps to it in asciinema).
    pub fn marker(&self, label: &str) -> Result<(), RecorderError> {
        let _ = label;
        unimplemented!()
    }
    /// Writes what is held back, syncs, hashes and seals. Consumes the recorder.
    pub async fn seal(self) -> Result<Seal, RecorderError> {
        unimplemented!()
    }
}
