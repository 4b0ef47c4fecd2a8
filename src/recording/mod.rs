//! What was seen: asciicast v2 files, written while it happens.
//!
//! Pure: `asciicast` (events in, lines out), `escape` (JSON), `utf8` (characters over chunk ends), `echo` (which typed bytes may be
//! kept), `budget` (how much of a command's output is kept), `transcript` (the four together). With the disk:
//! `place` (names and folders), `recorder` (writes), `recover` (cuts and seals what a crash left), `folder` (reads), `export`
//! (one plain cast of it).

pub mod archive;
pub mod asciicast;
mod budget;
mod echo;
mod escape;
pub mod event;
pub mod export;
pub mod folder;
pub mod key;
mod place;
pub mod recorder;
pub mod recover;
mod scratch;
mod transcript;
pub mod utf8;

pub use folder::Folder;
pub use place::locate;
pub use recorder::{Recorder, RecorderError, Seal, Start};
pub use recover::recover;
pub use scratch::Scratch;
