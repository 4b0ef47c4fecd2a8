//! The stock OpenSSH client and the programs that ride on it, always with a configuration of the test's own.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::PATIENCE;
use super::process::{Finished, Running, run};
use super::terminal::Terminal;

/// One run to be of `ssh`, `scp`, `sftp`, `rsync` or `git`.
pub(crate) struct Ssh {
    program: &'static str,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    input: Vec<u8>,
    patience: Duration,
}

impl Ssh {
    /// `ssh -F CONFIG`.
    pub(crate) fn new(config: &Path) -> Self {
        Self::program("ssh").args([OsStr::new("-F"), config.as_os_str()])
    }

    /// `scp -F CONFIG`.
    pub(crate) fn scp(config: &Path) -> Self {
        Self::program("scp").args([OsStr::new("-q"), OsStr::new("-F"), config.as_os_str()])
    }

    /// `sftp -F CONFIG` with its commands on standard input.
    pub(crate) fn sftp(config: &Path) -> Self {
        Self::program("sftp").args([
            OsStr::new("-q"),
            OsStr::new("-b"),
            OsStr::new("-"),
            OsStr::new("-F"),
            config.as_os_str(),
        ])
    }

    /// `rsync -e "ssh -F CONFIG"`.
    pub(crate) fn rsync(config: &Path) -> Self {
        Self::program("rsync").args(["-e", &through(config)])
    }

    /// `git` whose transport is `ssh -F CONFIG`, blind to the machine's own git configuration.
    pub(crate) fn git(config: &Path) -> Self {
        Self::program("git")
            .env("GIT_SSH_COMMAND", through(config))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
    }

    fn program(program: &'static str) -> Self {
        Self { program, args: Vec::new(), env: Vec::new(), input: Vec::new(), patience: PATIENCE }
    }

    /// More arguments.
    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// A variable of its environment.
    pub(crate) fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// What it reads from standard input.
    pub(crate) fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// How long it may take instead of 30 s.
    pub(crate) fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Runs it to its end, without a terminal.
    #[track_caller]
    pub(crate) fn run(self) -> Finished {
        run(&mut self.command(), &self.input, self.patience)
    }

    /// Starts it beside the test, without a terminal.
    #[track_caller]
    pub(crate) fn start(self) -> Running {
        Running::start(&mut self.command(), &self.input)
    }

    /// Starts it in a terminal of this size.
    #[track_caller]
    pub(crate) fn terminal(self, columns: u16, rows: u16) -> Terminal {
        Terminal::start(&self.command(), columns, rows)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command.args(&self.args).env_remove("SSH_AUTH_SOCK").env_remove("SSH_ASKPASS").env_remove("DISPLAY");
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}

fn through(config: &Path) -> String {
    format!("ssh -F {}", config.display())
}
