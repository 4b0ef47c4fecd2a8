//! Processes: run one to its end under a deadline, or keep one for as long as its handle lives.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::wait_for;

/// How a process ended and what it said.
pub(crate) struct Finished {
    /// Exit status; none when a signal ended it.
    pub(crate) status: Option<i32>,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
    /// Standard output.
    pub(crate) stdout: Vec<u8>,
    /// Standard error.
    pub(crate) stderr: Vec<u8>,
}

impl Finished {
    /// Standard output as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub(crate) fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Standard output as text of a process that must have ended well.
    #[track_caller]
    pub(crate) fn ok(&self) -> String {
        self.ended(0);
        self.text()
    }

    /// Fails, with everything it said, unless the exit status is `status`.
    #[track_caller]
    pub(crate) fn ended(&self, status: i32) -> &Self {
        assert_eq!(
            (self.status, self.signal),
            (Some(status), None),
            "stdout: {}\nstderr: {}",
            self.text(),
            self.errors()
        );
        self
    }
}

/// Runs `command` with `input` on its standard input and waits for its end; kills it and fails after `patience`.
#[track_caller]
pub(crate) fn run(command: &mut Command, input: &[u8], patience: Duration) -> Finished {
    Running::start(command, input).finish(patience)
}

/// A process that runs beside the test until it is asked to finish; killed when dropped.
pub(crate) struct Running {
    kept: Kept,
    feeder: JoinHandle<()>,
    stdout: Stream,
    stderr: Stream,
}

impl Running {
    /// Starts it and feeds it `input`, then the end of its standard input.
    #[track_caller]
    pub(crate) fn start(command: &mut Command, input: &[u8]) -> Self {
        let mut kept =
            Kept::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()));
        let mut stdin = kept.child.stdin.take().unwrap();
        let input = input.to_vec();
        // A process that ends without reading everything closes the pipe; that is its right.
        let feeder = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let stdout = Stream::read(kept.child.stdout.take().unwrap());
        let stderr = Stream::read(kept.child.stderr.take().unwrap());
        Self { kept, feeder, stdout, stderr }
    }

    /// What it has said on standard output so far.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout.bytes.lock().unwrap()).into_owned()
    }

    /// What it has said on standard error so far.
    pub(crate) fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr.bytes.lock().unwrap()).into_owned()
    }

    /// Waits until its standard output or standard error contains `text`.
    #[track_caller]
    pub(crate) fn wait_for_text(&self, text: &str, patience: Duration) {
        let deadline = Instant::now() + patience;
        wait_for(&format!("{text:?} from the process"), patience, || {
            let (said, complained) = (self.text(), self.errors());
            let seen = said.contains(text) || complained.contains(text);
            assert!(
                seen || Instant::now() + Duration::from_millis(50) < deadline,
                "no {text:?} within {patience:?}\nstdout: {said}\nstderr: {complained}"
            );
            seen.then_some(())
        });
    }

    /// Sends a signal by name, e.g. `INT`.
    pub(crate) fn signal(&self, name: &str) {
        self.kept.signal(name);
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.kept.id()
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.kept.ended().is_some()
    }

    /// Waits for its end; kills it and fails after `patience`.
    #[track_caller]
    pub(crate) fn finish(mut self, patience: Duration) -> Finished {
        let deadline = Instant::now() + patience;
        let status = wait_for("the end of a process", patience + super::PATIENCE, || {
            let ended = self.kept.ended();
            assert!(
                ended.is_some() || Instant::now() < deadline,
                "still running after {patience:?}\nstdout: {}\nstderr: {}",
                self.text(),
                self.errors()
            );
            ended
        });
        let stdout = self.stdout.finish();
        let stderr = self.stderr.finish();
        if self.feeder.is_finished() {
            self.feeder.join().unwrap();
        }
        Finished { status: status.code(), signal: status.signal(), stdout, stderr }
    }
}

/// What comes out of one pipe, read by a thread.
struct Stream {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Stream {
    fn read(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&bytes);
        let reader = std::thread::spawn(move || {
            let mut chunk = vec![0; 64 * 1024];
            while let Ok(count @ 1..) = pipe.read(&mut chunk) {
                into.lock().unwrap().extend_from_slice(&chunk[..count]);
            }
        });
        Self { bytes, reader }
    }

    /// Everything, when the process has ended. A grandchild may hold the pipe open (ssh's ControlPersist does): then
    /// what came until nothing came for a second.
    fn finish(self) -> Vec<u8> {
        let mut quiet_since = Instant::now();
        let mut seen = 0;
        wait_for("the end of a pipe", super::PATIENCE, || {
            let now = self.bytes.lock().unwrap().len();
            if now > seen {
                (seen, quiet_since) = (now, Instant::now());
            }
            (self.reader.is_finished() || quiet_since.elapsed() > Duration::from_secs(1)).then_some(())
        });
        std::mem::take(&mut *self.bytes.lock().unwrap())
    }
}

/// A process that ends with its handle.
pub(crate) struct Kept {
    /// For its pipes.
    pub(crate) child: Child,
}

impl Kept {
    /// Starts it.
    #[track_caller]
    pub(crate) fn start(command: &mut Command) -> Self {
        let child = command.spawn().unwrap_or_else(|error| {
            panic!(
                "{} does not start ({error}): `contrib/test setup` installs it",
                command.get_program().display()
            )
        });
        Self { child }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Sends a signal by name, e.g. `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        run(Command::new("sh").args(["-c", &format!("kill -{name} {}", self.id())]), b"", super::PATIENCE)
            .ok();
    }

    /// Sends a signal and waits for the end.
    #[track_caller]
    pub(crate) fn end(&mut self, signal: &str, patience: Duration) -> ExitStatus {
        if let Some(status) = self.ended() {
            return status;
        }
        self.signal(signal);
        wait_for(&format!("the end of process {} after {signal}", self.id()), patience, || self.ended())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
