//! OpenSSH's own tools as judges: `ssh-keygen` and `ssh-agent` in a folder that goes away with the test.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What a tool answered.
pub(crate) struct Answer {
    pub(crate) ok: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a tool to its end, without standard input, in English and in UTC.
pub(crate) fn run(command: &mut Command) -> Answer {
    let output = command.stdin(Stdio::null()).env("LC_ALL", "C.UTF-8").env("TZ", "UTC").output().unwrap();
    Answer {
        ok: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs `ssh-keygen` with these arguments and wants success; returns what it printed.
pub(crate) fn keygen<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> String {
    let mut command = Command::new("ssh-keygen");
    let answer = run(command.args(args));
    assert!(answer.ok, "{command:?}: {}{}", answer.stdout, answer.stderr);
    answer.stdout
}

/// Makes a key without passphrase: `kind` as in `ssh-keygen -t`, e.g. `ed25519`. Returns the path of the private key;
/// the public one has `.pub` behind it.
pub(crate) fn new_key(dir: &Path, name: &str, kind: &str) -> PathBuf {
    let path = dir.join(name);
    keygen([
        OsStr::new("-q"),
        "-t".as_ref(),
        kind.as_ref(),
        "-N".as_ref(),
        "".as_ref(),
        "-f".as_ref(),
        path.as_os_str(),
    ]);
    path
}

/// The path of the public half.
pub(crate) fn public_half(key: &Path) -> PathBuf {
    let mut name = key.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

/// Signs `public` with `ca` by `ssh-keygen -s`; `options` are further arguments such as `-n root -O clear`. Returns
/// the certificate's one line.
pub(crate) fn sign(ca: &Path, public: &Path, options: &[&str]) -> String {
    let mut args =
        vec!["-q".as_ref(), "-s".as_ref(), ca.as_os_str(), "-I".as_ref(), "by ssh-keygen".as_ref()];
    args.extend(options.iter().map(OsStr::new));
    args.push(public.as_os_str());
    keygen(args);
    let written =
        public.with_file_name(format!("{}-cert.pub", public.file_stem().unwrap().to_str().unwrap()));
    let line = std::fs::read_to_string(&written).unwrap();
    std::fs::remove_file(written).unwrap();
    line
}

/// What `ssh-keygen -L` says of a certificate: its lines, trimmed.
pub(crate) fn described(dir: &Path, certificate: &str) -> Vec<String> {
    let path = dir.join("described-cert.pub");
    std::fs::write(&path, certificate).unwrap();
    let text = keygen([OsStr::new("-L"), "-f".as_ref(), path.as_os_str()]);
    text.lines().map(|line| line.trim().to_owned()).collect()
}

/// A real `ssh-agent`, ended when dropped.
pub(crate) struct Agent {
    process: Child,
    pub(crate) socket: PathBuf,
}

impl Agent {
    /// Starts one that listens in `dir`.
    pub(crate) fn start(dir: &Path) -> Self {
        let socket = dir.join("agent.sock");
        let mut process = Command::new("ssh-agent")
            .args([OsStr::new("-D"), "-a".as_ref(), socket.as_os_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // It prints its variables once it listens.
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let agent = Self { process, socket };
        assert!(line.starts_with("SSH_AUTH_SOCK="), "{line}");
        agent
    }

    /// Runs `ssh-add` with these arguments and wants success.
    pub(crate) fn add<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) {
        let answer = run(Command::new("ssh-add").args(args).env("SSH_AUTH_SOCK", &self.socket));
        assert!(answer.ok, "ssh-add: {}", answer.stderr);
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // By its own id; it may be gone already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
