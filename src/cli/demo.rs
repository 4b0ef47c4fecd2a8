//! `caponier demo`.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use super::Environment;
use super::bastion;
use crate::demo::{self, Options};

/// How to run the demo.
#[derive(Debug, clap::Args)]
pub struct Demo {
    /// Where everything goes [default: a new folder for temporary files]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Who is signed in: engineer, reviewer or auditor
    #[arg(long, value_name = "USER", default_value = "engineer")]
    login: String,
    /// Play the whole story with the system's ssh, one line a step, and end: exit code 0 or 1
    #[arg(long)]
    check: bool,
}

/// Runs it.
pub fn run(args: Demo, env: &Environment) -> anyhow::Result<ExitCode> {
    let options = Options { dir: args.dir, login: args.login, check: args.check };
    let well = bastion::runtime()?.block_on(demo::run(options, env.vars(), &mut io::stdout()))?;
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
