//! The integration tests: one binary.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking; clippy exempts only functions that are tests themselves")]

mod ca;
mod keygen;
mod parts;
mod recording;
mod tidy;
mod world;
