//! Jobs of CI platforms: `caponier ci` with the variables that a runner sets, the scripts of `contrib/` as they stand, and what
//! they come to. `login` speaks with a server that can lie; `deploy` goes with real tokens through a real bastion to a real sshd.

mod deploy;
mod killed;
mod login;
mod runner;
mod scripts;
mod steered;

use std::path::Path;

use russh::keys::ssh_key::{HashAlg, PublicKey};

/// The fingerprint of a public key on one line.
fn fingerprint(line: &str) -> String {
    PublicKey::from_openssh(line).unwrap().fingerprint(HashAlg::Sha256).to_string()
}

/// The ssh-agents whose socket is below this folder.
fn agents_below(dir: &Path) -> Vec<u32> {
    let prefix = dir.display().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| {
            let id: u32 = entry.file_name().to_str()?.parse().ok()?;
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).into_owned();
            (line.contains("ssh-agent") && line.contains(&prefix)).then_some(id)
        })
        .collect()
}
