//! A program in a real pseudo-terminal whose window the test resizes, types into and reads.

use std::io::{Read, Write};
use std::process::{Child, Command};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pty_process::Size;
use pty_process::blocking::{Pty, open};

use super::PATIENCE;

/// The terminal; its program is killed when it is dropped.
pub(crate) struct Terminal {
    pty: Arc<Pty>,
    child: Child,
    screen: Arc<Screen>,
}

#[derive(Default)]
struct Screen {
    shown: Mutex<Shown>,
    changed: Condvar,
}

#[derive(Default)]
struct Shown {
    bytes: Vec<u8>,
    ended: bool,
}

impl Terminal {
    /// Starts `command` (its program, arguments and environment) in a terminal of this size.
    #[track_caller]
    pub(crate) fn start(command: &Command, columns: u16, rows: u16) -> Self {
        let (pty, pts) = open().unwrap();
        pty.resize(Size::new(rows, columns)).unwrap();
        let mut inside = pty_process::blocking::Command::new(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            inside = match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            inside = inside.current_dir(dir);
        }
        let child = inside.env("TERM", "xterm-256color").spawn(pts).unwrap();
        let pty = Arc::new(pty);
        let screen = Arc::new(Screen::default());
        let (from, onto) = (Arc::clone(&pty), Arc::clone(&screen));
        std::thread::spawn(move || show(&from, &onto));
        Self { pty, child, screen }
    }

    /// Types.
    #[track_caller]
    pub(crate) fn type_in(&self, keys: &str) {
        (&*self.pty).write_all(keys.as_bytes()).unwrap();
    }

    /// Changes the window's size; the program gets SIGWINCH.
    #[track_caller]
    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        self.pty.resize(Size::new(rows, columns)).unwrap();
    }

    /// Everything shown so far, escape sequences and all.
    pub(crate) fn shown(&self) -> String {
        let shown = self.screen.shown.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&shown.bytes).into_owned()
    }

    /// Waits until `text` has been shown at or after byte `from` of the screen; answers the place behind it, for the
    /// next wait.
    #[track_caller]
    pub(crate) fn wait_for_after(&self, from: usize, text: &str) -> usize {
        let deadline = Instant::now() + PATIENCE;
        let mut shown = self.screen.shown.lock().unwrap();
        loop {
            let place = find(shown.bytes.get(from..).unwrap_or_default(), text.as_bytes());
            if let Some(place) = place {
                return from + place + text.len();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero() && !shown.ended,
                "the terminal did not show {text:?} ({}); it shows:\n{}",
                if shown.ended { "the program ended" } else { "in time" },
                String::from_utf8_lossy(&shown.bytes)
            );
            shown = self.screen.changed.wait_timeout(shown, left).unwrap().0;
        }
    }

    /// Waits until `text` has been shown anywhere.
    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) -> usize {
        self.wait_for_after(0, text)
    }

    /// Waits for the program's end; answers its exit status (none after a signal) and everything shown.
    #[track_caller]
    pub(crate) fn finish(mut self, patience: Duration) -> (Option<i32>, String) {
        let deadline = Instant::now() + patience;
        let status = super::wait_for("the end of the program in the terminal", patience + PATIENCE, || {
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_some() || Instant::now() < deadline,
                "the program in the terminal does not end within {patience:?}; it shows:\n{}",
                self.shown()
            );
            ended
        });
        super::wait_for("the end of the terminal", PATIENCE, || {
            self.screen.shown.lock().unwrap().ended.then_some(())
        });
        (status.code(), self.shown())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Reads until the last program lets go of the terminal (Linux then answers EIO).
fn show(mut pty: &Pty, screen: &Screen) {
    let mut chunk = vec![0; 16 * 1024];
    loop {
        let count = pty.read(&mut chunk).unwrap_or(0);
        let mut shown = screen.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.bytes.extend_from_slice(&chunk[..count]);
        shown.ended = count == 0;
        screen.changed.notify_all();
        if count == 0 {
            return;
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
