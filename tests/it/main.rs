//! The integration tests: one binary.

#![expect(
    clippy::unwrap_used,
    reason = "tests fail by panicking; clippy exempts only functions that are tests themselves"
)]

mod ca;
mod client;
mod config;
mod credentials;
mod keygen;
mod parts;
mod passage;
mod postgres;
mod readme;
mod recording;
mod sign_in;
mod stall;
mod store;
mod tidy;
mod world;
