//! A real OpenSSH server on loopback, with a configuration, host key and log of its own. Nothing of the machine's
//! own sshd is read or changed; it lets in the account that the tests run as.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::keys::Key;
use super::process::{Finished, Kept, run};
use super::{PATIENCE, free_port, scratch, wait_for};

const SSHD: &str = "/usr/sbin/sshd";
const SFTP_SERVER: &str = "/usr/lib/openssh/sftp-server";

/// One server: described first, then started, stopped and started again on the same port.
pub(crate) struct Sshd {
    dir: tempfile::TempDir,
    /// Where it listens on 127.0.0.1.
    pub(crate) port: u16,
    host_key: Key,
    host_certificate: Option<PathBuf>,
    extra: Vec<String>,
    kept: Option<Kept>,
}

impl Sshd {
    /// A server with a fresh host key that trusts nobody yet.
    pub(crate) fn new() -> Self {
        let dir = scratch();
        let host_key = Key::make(dir.path(), "host_key");
        for empty in ["user_ca", "authorized_keys", "log"] {
            std::fs::write(dir.path().join(empty), "").unwrap();
        }
        Self { dir, port: free_port(), host_key, host_certificate: None, extra: Vec::new(), kept: None }
    }

    /// Trusts certificates of this authority (`TYPE BASE64`): any principal equal to the login.
    pub(crate) fn trust_ca(self, public: &str) -> Self {
        std::fs::write(self.dir.path().join("user_ca"), format!("{public}\n")).unwrap();
        self
    }

    /// Lets this plain key in too, for comparing with the direct connection.
    pub(crate) fn trust_key(self, public: &str) -> Self {
        std::fs::write(self.dir.path().join("authorized_keys"), format!("{public}\n")).unwrap();
        self
    }

    /// Shows a host certificate that `host_ca` signs for these names (comma-joined).
    pub(crate) fn certified_by(mut self, host_ca: &Key, names: &str) -> Self {
        let path = host_ca.certify(&self.host_key, &["-h", "-I", names, "-n", names, "-V", "-5m:+1d"]);
        self.host_certificate = Some(path);
        self
    }

    /// Shows this host certificate, made by somebody else for [`Self::host_key`].
    pub(crate) fn certificate(mut self, line: &str) -> Self {
        let path = self.dir.path().join("host_key-cert.pub");
        std::fs::write(&path, line).unwrap();
        self.host_certificate = Some(path);
        self
    }

    /// One more line of its configuration; the first of a kind wins, and these come first.
    pub(crate) fn line(mut self, line: &str) -> Self {
        self.extra.push(line.to_owned());
        self
    }

    /// Starts it and waits until it listens. A port taken by somebody else in between is changed for another.
    #[track_caller]
    pub(crate) fn start(mut self) -> Self {
        for _ in 0..5 {
            if self.try_start() {
                return self;
            }
            self.port = free_port();
        }
        panic!("sshd does not start: {}", self.log());
    }

    /// Stops listening, as when the machine goes down; connections that are open stay with their own processes.
    pub(crate) fn stop(&mut self) {
        if let Some(mut kept) = self.kept.take() {
            kept.end("TERM", PATIENCE);
        }
    }

    /// Starts it again, on the same port.
    #[track_caller]
    pub(crate) fn start_again(&mut self) {
        self.stop();
        assert!(self.try_start(), "sshd does not start again: {}", self.log());
    }

    /// Throws its host key away, with any certificate, and makes another; holds from the next start on.
    pub(crate) fn change_host_key(&mut self) {
        self.host_certificate = None;
        for old in ["host_key", "host_key.pub"] {
            std::fs::remove_file(self.dir.path().join(old)).unwrap();
        }
        self.host_key = Key::make(self.dir.path(), "host_key");
    }

    /// Its host key pair.
    pub(crate) fn host_key(&self) -> &Key {
        &self.host_key
    }

    /// A `known_hosts` line that pins its host key.
    pub(crate) fn known_host(&self) -> String {
        format!("[127.0.0.1]:{} {}\n", self.port, self.host_key.public())
    }

    /// Its log so far, at `VERBOSE`.
    pub(crate) fn log(&self) -> String {
        let bytes = std::fs::read(self.dir.path().join("log")).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until its log contains `text`.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, text: &str) {
        wait_for(&format!("{text:?} in the log of sshd"), PATIENCE, || {
            self.log().contains(text).then_some(())
        });
    }

    fn try_start(&mut self) -> bool {
        // sshd wants its separation folder, which the machine's service would make at boot.
        if super::me() == "root" {
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let config = self.dir.path().join("sshd_config");
        std::fs::write(&config, self.config()).unwrap();
        check(&config).ended(0);
        let mut kept = Kept::start(
            Command::new(SSHD)
                .args(["-D", "-E"])
                .arg(self.dir.path().join("log"))
                .arg("-f")
                .arg(&config)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        let listening = format!("Server listening on 127.0.0.1 port {}.", self.port);
        let before = self.log().matches(&listening).count();
        let up = wait_for("sshd up or gone", PATIENCE, || {
            if kept.ended().is_some() {
                return Some(false);
            }
            let up = std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok();
            (up && self.log().matches(&listening).count() > before).then_some(true)
        });
        self.kept = up.then_some(kept);
        up
    }

    fn config(&self) -> String {
        let dir = self.dir.path().display();
        let mut text = self.extra.join("\n");
        let certificate = self.host_certificate.as_ref();
        let certificate =
            certificate.map(|path| format!("HostCertificate {}", path.display())).unwrap_or_default();
        write!(
            text,
            "
Port {port}
ListenAddress 127.0.0.1
HostKey {dir}/host_key
{certificate}
TrustedUserCAKeys {dir}/user_ca
AuthorizedKeysFile {dir}/authorized_keys
PidFile none
LogLevel VERBOSE
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UsePAM no
StrictModes no
UseDNS no
MaxStartups 500
MaxSessions 100
MaxAuthTries 3
AcceptEnv LANG LC_*
PrintMotd no
PrintLastLog no
Subsystem sftp {SFTP_SERVER}
",
            port = self.port,
        )
        .unwrap();
        text
    }
}

/// What `sshd -t` says about a configuration file.
fn check(config: &Path) -> Finished {
    run(Command::new(SSHD).arg("-t").arg("-f").arg(config), b"", PATIENCE)
}
