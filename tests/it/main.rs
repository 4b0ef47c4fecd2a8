//! The integration tests: one binary.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of this binary is tests; clippy.toml frees only functions marked #[test]"
)]

mod ansible;
mod api;
mod archive;
mod audit;
mod bent;
mod ca;
mod canary;
mod checks;
mod ci;
mod client;
mod commands;
mod config;
mod credentials;
mod ending;
mod evasions;
mod evidence;
mod finding;
mod forward;
mod gate;
mod granted;
mod keygen;
mod killing;
mod krl;
mod looking;
mod many;
mod pairing;
mod parts;
mod passage;
mod policy_cli;
mod postgres;
mod readme;
mod recording;
mod reload;
mod requests;
mod revoke;
mod sftp;
mod shells;
mod sign_in;
mod stall;
mod store;
mod telling;
mod tidy;
mod transfers;
mod vscode;
mod watchers;
mod watching;
mod whole;
mod workload;
mod world;
