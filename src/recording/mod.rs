//! What was seen: a folder for each session, written while it happens.
//!
//! Pure: `asciicast` (events in, lines out), `escape` (JSON), `utf8` (characters over chunk ends), `echo` (which typed bytes may be
//! kept), `budget` (how much of a command's output is kept), `transcript` (the four together), `event` (what happens beside the
//! screen), `chain` (checkpoints), `tally` (lengths and digests), `key` (signatures). With the disk: `place` (names and folders), `folder`
//! (reads), `export` (one plain cast of it), `pages` (writes), `recorder` (who may write when), `live` (which recorders there are),
//! `seal`, `verify`, `recover` (cuts and seals what a crash left), `scratch` (what is plain only for a while),
//! `later` (plays from some moment on), `tail` (reads along). For finding: `screen` (lines that stood there), `words`, both pure, and
//! `text` (reads a recording as blocks of lines).

pub mod archive;
pub mod asciicast;
mod budget;
pub mod chain;
mod echo;
mod escape;
pub mod event;
pub mod export;
pub mod folder;
pub mod key;
pub mod later;
pub mod live;
mod pages;
mod place;
pub mod recorder;
pub mod recover;
mod scratch;
pub mod screen;
pub mod seal;
pub mod tail;
mod tally;
pub mod text;
mod transcript;
pub mod utf8;
pub mod verify;
pub mod words;

pub use folder::Folder;
pub use live::{Live, Recordings};
pub use recorder::{Closing, Recorder, RecorderError, Start};
pub use recover::recover;
pub use scratch::Scratch;
pub use seal::Seal;
pub use tally::Sum;
