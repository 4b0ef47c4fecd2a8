//! `caponier ci`: what a job of a CI platform runs instead of `caponier login`. `login` shows who the job is with its platform's
//! token (or a service account's key) and sets up ssh for this run only; `done` ends that. Everything afterwards is the person's
//! client in another folder: `ensure` renews, `ssh_config` tells ssh. Nothing here is trusted by the server.

mod account;
mod ask;
mod audience;
pub mod done;
mod exchange;
mod folder;
pub mod login;
mod look;
mod pin;
mod platform;
mod runner;
mod token;
mod told;

use std::process::ExitCode;

use super::Environment;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Login(Box<login::Args>),
    Done(done::Args),
}

/// Runs it.
pub fn run(command: &Command, env: &Environment) -> anyhow::Result<ExitCode> {
    match command {
        Command::Login(args) => login::run(args, env),
        Command::Done(args) => done::run(args, env),
    }
}
