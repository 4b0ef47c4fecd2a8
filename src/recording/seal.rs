//! The end of a recording: `seal.json` says how it ended and what each file is, and the signature is over what
//! `sha256sum` prints for all files, so that `sha256sum` and `ssh-keygen -Y verify` check it without us. Whoever seals
//! verifies what lies on the disk before anybody is told that it is sealed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::chain::Head;
use super::folder::{Folder, SEAL, SIGNATURE};
use super::key::{self, RecordingKey};
use super::recorder::RecorderError;
use super::tally::{Sum, digest};
use super::verify;
use crate::ids::SessionId;

/// `seal.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SealFile {
    /// 1.
    pub version: u32,
    /// The session.
    pub session: String,
    /// The node that sealed it.
    pub node: String,
    /// When it was sealed (RFC 3339).
    pub sealed: String,
    /// Why it ended, see `AuditEvent::SessionClosed`.
    pub reason: String,
    /// Whether the bastion stopped before the session did, and the recording was sealed at the next start.
    pub interrupted: bool,
    /// Whether all of it is there: false when the disk was full and the role let the session go on.
    pub complete: bool,
    /// Number of the last checkpoint.
    pub checkpoint: u64,
    /// SHA-256 of its line.
    pub chain: String,
    /// All files but this one and the signature.
    pub files: Vec<Sum>,
}

/// How a recording ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// Bytes of its files, without the seal.
    pub bytes: u64,
    /// SHA-256, in hex, of the text that is signed; for casts of before version 0.2 of the file.
    pub sha256: String,
    /// Cut short by a crash.
    pub interrupted: bool,
}

/// How to seal.
#[derive(Clone, Debug)]
pub(super) struct Ending<'a> {
    pub(super) session: &'a SessionId,
    pub(super) node: &'a str,
    pub(super) sealed: String,
    pub(super) reason: &'a str,
    pub(super) interrupted: bool,
    pub(super) complete: bool,
    pub(super) head: Head,
    pub(super) files: Vec<Sum>,
}

/// The text that is signed: what `sha256sum SESSION/*[nt]` prints in the folder above.
pub fn manifest(session: &str, files: &[Sum]) -> String {
    let mut sorted: Vec<&Sum> = files.iter().collect();
    sorted.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    sorted.iter().map(|sum| format!("{}  {session}/{}\n", sum.sha256, sum.name)).collect()
}

/// Writes seal and signature into `path` and reads all of it back. Blocks.
pub(super) fn seal(path: &Path, key: &RecordingKey, ending: Ending<'_>) -> Result<Seal, RecorderError> {
    let failed = |what: String| RecorderError::new(path, what);
    let Ending { session, node, sealed, reason, interrupted, complete, head, mut files } = ending;
    files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let document = SealFile {
        version: 1,
        session: session.to_string(),
        node: node.to_owned(),
        sealed,
        reason: reason.to_owned(),
        interrupted,
        complete,
        checkpoint: head.n,
        chain: head.sha256,
        files: files.clone(),
    };
    let text = serde_json::to_string_pretty(&document).map_err(|error| failed(error.to_string()))? + "\n";
    let bytes = files.iter().map(|sum| sum.bytes).sum();
    files.push(Sum { name: SEAL.into(), bytes: text.len() as u64, sha256: digest(text.as_bytes()) });
    let manifest = manifest(session.as_str(), &files);
    let signature =
        key.sign(key::RECORDING, manifest.as_bytes()).map_err(|error| failed(error.to_string()))?;
    let written = write_new(path, SEAL, text.as_bytes())
        .and_then(|()| write_new(path, SIGNATURE, signature.as_bytes()))
        .and_then(|()| File::open(path)?.sync_all());
    written.map_err(|error| failed(format!("cannot write the seal: {error}")))?;
    let verified =
        verify::verify(&Folder::copy(path.to_owned()), session, std::slice::from_ref(key.public()))
            .map_err(|fault| failed(format!("the seal does not hold: {fault}")))?;
    Ok(Seal { bytes, sha256: verified.sha256, interrupted })
}

/// Takes an unfinished seal away, so that another can be made.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    for name in [SEAL, SIGNATURE] {
        match fs::remove_file(path.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// A new file (0600) with `bytes`, on disk when this returns.
pub(super) fn write_new(path: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path.join(name))?;
    file.write_all(bytes)?;
    file.sync_data()
}

/// The seal of a folder, when it can be read.
pub fn read(folder: &Folder) -> io::Result<SealFile> {
    let text = fs::read(folder.path().join(SEAL))?;
    serde_json::from_slice(&text).map_err(io::Error::other)
}
