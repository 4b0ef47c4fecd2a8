//! Keys and certificates made by OpenSSH's `ssh-keygen`, so that ours are judged against, and attacked with, real ones.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::PATIENCE;
use super::process::run;

/// A key pair on disk, without passphrase.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    /// The private key; the public one stands beside it with `.pub`.
    pub(crate) path: PathBuf,
}

impl Key {
    /// Makes an Ed25519 key `name` in `dir`.
    pub(crate) fn make(dir: &Path, name: &str) -> Self {
        Self::make_with(dir, name, &["-t", "ed25519"])
    }

    /// Makes a key with these options of `ssh-keygen`, e.g. `-t rsa -b 8192`.
    pub(crate) fn make_with(dir: &Path, name: &str, options: &[&str]) -> Self {
        let path = dir.join(name);
        run(
            Command::new("ssh-keygen").args(["-q", "-N", "", "-C", name]).args(options).arg("-f").arg(&path),
            b"",
            PATIENCE,
        )
        .ok();
        Self { path }
    }

    /// The public half, `TYPE BASE64`, without comment.
    pub(crate) fn public(&self) -> String {
        let line = std::fs::read_to_string(self.path.with_extension("pub")).unwrap();
        line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    }

    /// Signs `key` as a certificate authority with these options of `ssh-keygen` (`-I`, `-n`, `-V`, `-O`, `-h`, `-z`);
    /// answers the certificate's path, `NAME-cert.pub` beside the key, where ssh finds it by itself.
    pub(crate) fn certify(&self, key: &Self, options: &[&str]) -> PathBuf {
        run(
            Command::new("ssh-keygen")
                .args(["-q", "-s"])
                .arg(&self.path)
                .args(options)
                .arg(key.path.with_extension("pub")),
            b"",
            PATIENCE,
        )
        .ok();
        let name = format!("{}-cert.pub", key.path.file_name().unwrap().to_str().unwrap());
        key.path.with_file_name(name)
    }
}

/// What `ssh-keygen -L` says about a certificate file.
pub(crate) fn describe(certificate: &Path) -> String {
    run(Command::new("ssh-keygen").arg("-L").arg("-f").arg(certificate), b"", PATIENCE).ok()
}
