//! What was seen: asciicast v2 files, written while it happens.
//!
//! `asciicast` is pure (events in, lines out); `recorder` writes; `recover` cuts and seals what a crash left.

pub mod asciicast;
pub mod recorder;
pub mod recover;

pub use recorder::{Recorder, RecorderError, Seal, Start};
