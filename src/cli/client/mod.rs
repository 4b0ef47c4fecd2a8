//! The client: what a person runs on a laptop, beside stock OpenSSH. `login` binds the key to a sign-in, `ensure`
//! keeps the certificate fresh, `ssh_config` tells ssh, `status` and `logout` do what they say. Nothing here is
//! trusted by the server; everything the server says is judged (`settings`, `certificate`) before it is written. `requests` and
//! `locks` ask the server over `signed` and show what it says.

pub mod agent;
pub mod api;
pub mod certificate;
pub mod ensure;
pub mod home;
pub mod include;
pub mod kill;
pub mod locks;
pub mod login;
pub mod logout;
pub mod loopback;
pub mod requests;
pub mod settings;
pub mod sign;
pub mod signed;
pub mod ssh_config;
pub mod state;
pub mod status;
pub mod watch;
pub mod write_config;

use std::path::PathBuf;
use std::process::ExitCode;

use self::home::{Home, HomeError};
use super::Environment;

/// Exit code when nobody is signed in (`EX_NOPERM` of sysexits.h).
pub const EXIT_NOT_SIGNED_IN: u8 = 77;

/// Nobody is signed in, or not any more. The text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotSignedIn(pub String);

impl NotSignedIn {
    /// There was never a sign-in, or there was a logout.
    pub fn never() -> Self {
        Self("you are not signed in; run: caponier login".to_owned())
    }

    /// The sign-in is over.
    pub fn ended() -> Self {
        Self("your sign-in has ended; run: caponier login".to_owned())
    }
}

/// Exit code when the answer is no: by policy, or by somebody.
pub const EXIT_DENIED: u8 = 126;

/// Exit code when there is no answer yet, or there was none in time (`EX_TEMPFAIL` of sysexits.h).
pub const EXIT_WAITING: u8 = 75;

/// The server's answer is no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Denied(pub String);

/// The exit code for a command that ended with `error`.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    if error.is::<NotSignedIn>() {
        ExitCode::from(EXIT_NOT_SIGNED_IN)
    } else if error.is::<Denied>() {
        ExitCode::from(EXIT_DENIED)
    } else {
        ExitCode::FAILURE
    }
}

/// The option that all client commands have.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct HomeArgs {
    /// The client's folder [default: $CAPONIER_HOME, else ~/.caponier]
    #[arg(long = "home", value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl HomeArgs {
    /// With this `--home`.
    pub fn new(dir: Option<PathBuf>) -> Self {
        Self { dir }
    }

    /// The folder.
    pub fn locate(&self, env: &Environment) -> Result<Home, HomeError> {
        Home::locate(self.dir.as_deref(), env)
    }
}
