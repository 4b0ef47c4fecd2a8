//! A kept process that is spoken to in lines of JSON: one out, one back.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::process::Kept;

/// The process; it is told of the test's end by the end of its standard input, and killed if that does not suffice.
pub(crate) struct Lines {
    name: &'static str,
    stdin: Option<ChildStdin>,
    answers: Receiver<String>,
    kept: Kept,
}

impl Lines {
    /// Starts `command`; its standard error is the test's.
    #[track_caller]
    pub(crate) fn start(name: &'static str, command: &mut Command) -> Self {
        let mut kept = Kept::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let stdin = kept.child.stdin.take();
        let stdout = BufReader::new(kept.child.stdout.take().unwrap());
        let (into, answers) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if into.send(line).is_err() {
                    return;
                }
            }
        });
        Self { name, stdin, answers, kept }
    }

    /// Sends one line.
    #[track_caller]
    pub(crate) fn tell(&mut self, value: &Value) {
        let stdin = self.stdin.as_mut().unwrap();
        writeln!(stdin, "{value}").unwrap_or_else(|error| panic!("{} takes no more: {error}", self.name));
        stdin.flush().unwrap();
    }

    /// Waits for one line.
    #[track_caller]
    pub(crate) fn hear(&mut self, patience: Duration) -> Value {
        let line = self
            .answers
            .recv_timeout(patience)
            .unwrap_or_else(|error| panic!("{} does not answer within {patience:?}: {error}", self.name));
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{}: {error}: {line}", self.name))
    }

    /// Ends it in order: closes its standard input and waits.
    pub(crate) fn end(&mut self) {
        self.stdin = None;
        super::wait_for(self.name, super::PATIENCE, || self.kept.ended());
    }
}

impl Drop for Lines {
    /// Lets it end in order for a few seconds, so that it can take away what it made; then `Kept` kills it.
    fn drop(&mut self) {
        self.stdin = None;
        let deadline = Instant::now() + Duration::from_secs(5);
        super::wait_for(self.name, super::PATIENCE, || {
            (self.kept.ended().is_some() || Instant::now() > deadline).then_some(())
        });
    }
}
