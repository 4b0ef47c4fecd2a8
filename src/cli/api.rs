//! `caponier api`: what the server's API is, without a server.

use std::process::ExitCode;

use super::terminal::print;
use crate::web::openapi;

/// What to show of it.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Print the description of the API: OpenAPI 3.1 as JSON, the same as at /v1/openapi.json
    Openapi,
}

/// Runs it.
pub fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Openapi => print(openapi::text().trim_end())?,
    }
    Ok(ExitCode::SUCCESS)
}
