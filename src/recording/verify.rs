//! Whether a recording is what was sealed. Decides by the signature alone; seal and checkpoints then tell where it is
//! not. What the audit log and the database say of it is compared by whoever has them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use russh::keys::ssh_key::PublicKey;

use super::chain::{Head, Reading};
use super::folder::{self, CHAIN, EVENTS, Folder, Lines, SEAL, SESSION, SIGNATURE};
use super::key::{self, SignatureError};
use super::seal::{SealFile, manifest};
use super::tally::{Sum, Tally, digest};
use crate::ids::SessionId;

/// A recording that is as it was sealed.
#[derive(Clone, Debug)]
pub struct Verified {
    /// SHA-256 of the signed text, in hex: what database and audit log say of the session.
    pub sha256: String,
    /// Fingerprint of the key that sealed it.
    pub signer: String,
    /// The seal.
    pub seal: SealFile,
    /// SHA-256 of each checkpoint's line, by its number.
    pub checkpoints: Vec<String>,
}

/// What is wrong with a recording.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A file cannot be read.
    #[error("{name}: cannot be read: {what}")]
    Unreadable {
        /// Which.
        name: String,
        /// Why.
        what: String,
    },
    /// It has no seal (yet).
    #[error("it is not sealed: {0} is missing")]
    Unsealed(&'static str),
    /// A file that does not belong there.
    #[error("{0}: does not belong there")]
    Strange(String),
    /// The signature.
    #[error("{SIGNATURE}: {0}")]
    Signature(SignatureError),
    /// A file is not what was sealed.
    #[error("{name}: is not what was sealed: {place}")]
    Altered {
        /// Which.
        name: String,
        /// Where, as exactly as can be told.
        place: Place,
    },
    /// A sealed file is not there.
    #[error("{0}: was sealed and is missing")]
    Missing(String),
    /// The seal is of something else.
    #[error("it is the recording of {0}")]
    Other(String),
    /// It fits its signature, but not what else is known.
    #[error("{0}")]
    Contradicted(String),
}

/// Where a file was altered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The first byte that may be wrong: all before it is as it was at a checkpoint.
    pub from: u64,
    /// The byte behind the last one among which the first wrong one is; none when it is anywhere behind `from`.
    pub before: Option<u64>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.before {
            Some(before) if before == self.from + 1 => {
                write!(f, "byte {} is the first that is wrong", self.from)
            }
            Some(before) => {
                write!(f, "the first wrong byte is one of {} to {}", self.from, before.saturating_sub(1))
            }
            None => write!(f, "it is wrong from byte {} on", self.from),
        }
    }
}

/// Judges the recording of `session` in `folder`: every file, the signature over all of them by one of `signers`, and that
/// nothing else lies there. Reads everything; blocks.
pub fn verify(folder: &Folder, session: &SessionId, signers: &[PublicKey]) -> Result<Verified, Fault> {
    let path = folder.path();
    let names = names(folder)?;
    if let Some(missing) = [SEAL, SIGNATURE].into_iter().find(|name| !path.join(name).exists()) {
        return Err(Fault::Unsealed(missing));
    }
    let text = read(path, SEAL)?;
    let seal: SealFile = serde_json::from_slice(&text)
        .map_err(|error| Fault::Unreadable { name: SEAL.into(), what: error.to_string() })?;
    let mut claimed = seal.files.clone();
    claimed.push(Sum { name: SEAL.into(), bytes: text.len() as u64, sha256: digest(&text) });
    let text = manifest(session.as_str(), &claimed);
    let pem = String::from_utf8_lossy(&read(path, SIGNATURE)?).into_owned();
    let signer = key::verify(&pem, key::RECORDING, text.as_bytes(), signers).map_err(Fault::Signature)?;
    // From here on the seal is what was sealed, and says what the files must be.
    if let Some(missing) = seal.files.iter().find(|sum| !names.contains(&sum.name)) {
        return Err(Fault::Missing(missing.name.clone()));
    }
    let chain = checkpoints(path);
    for name in names.iter().filter(|name| *name != SEAL) {
        let Some(sealed) = seal.files.iter().find(|sum| sum.name == *name) else {
            return Err(Fault::Strange(name.clone()));
        };
        if let Some(place) = examine(path, name, &chain.of(name), sealed, Rest::Nothing)? {
            return Err(Fault::Altered { name: name.clone(), place });
        }
    }
    // Who signs does not sign nonsense; but what cannot be is refused all the same.
    if seal.session != session.as_str() {
        return Err(Fault::Other(seal.session));
    }
    let end =
        chain.lines.len().checked_sub(1).and_then(|n| chain.lines.get(n).map(|sha256| (n as u64, sha256)));
    if !chain.whole || end != Some((seal.checkpoint, &seal.chain)) {
        return Err(Fault::Contradicted(format!("{CHAIN}: its checkpoints do not lead to the seal")));
    }
    Ok(Verified {
        sha256: digest(text.as_bytes()),
        signer: signer.fingerprint(Default::default()).to_string(),
        seal,
        checkpoints: chain.lines,
    })
}

/// The names of all files but the signature; each must be one that belongs there, and a plain file.
fn names(folder: &Folder) -> Result<Vec<String>, Fault> {
    let unreadable = |error: io::Error| Fault::Unreadable { name: ".".into(), what: error.to_string() };
    let names = folder.names().map_err(unreadable)?;
    for name in names.iter().map(String::as_str).chain([SIGNATURE]) {
        let found = match fs::symlink_metadata(folder.path().join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            found => found.map_err(unreadable)?,
        };
        if !found.is_file() || !(name == SIGNATURE || folder::is_content(name)) {
            return Err(Fault::Strange(name.to_owned()));
        }
    }
    for name in [SESSION, EVENTS, CHAIN] {
        if !names.iter().any(|found| found == name) {
            return Err(Fault::Missing(name.to_owned()));
        }
    }
    Ok(names)
}

fn read(path: &Path, name: &str) -> Result<Vec<u8>, Fault> {
    /// Seals and signatures are small.
    const MAX: u64 = 16 * 1024 * 1024;
    let unreadable = |what: String| Fault::Unreadable { name: name.to_owned(), what };
    let mut bytes = Vec::new();
    let file = File::open(path.join(name)).map_err(|error| unreadable(error.to_string()))?;
    file.take(MAX).read_to_end(&mut bytes).map_err(|error| unreadable(error.to_string()))?;
    Ok(bytes)
}

/// What the checkpoints say of the files.
struct Known {
    /// SHA-256 of the lines, up to the first that does not follow.
    lines: Vec<String>,
    whole: bool,
    /// By file, in order: lengths and digests.
    sums: BTreeMap<String, Vec<(u64, String)>>,
}

impl Known {
    fn of(&self, name: &str) -> Vec<(u64, String)> {
        self.sums.get(name).cloned().unwrap_or_default()
    }
}

/// The checkpoints, as far as they follow each other.
fn checkpoints(path: &Path) -> Known {
    let mut known = Known { lines: Vec::new(), whole: false, sums: BTreeMap::new() };
    let Ok(mut lines) = Lines::open(&path.join(CHAIN)) else { return known };
    let mut reading = Reading::new();
    loop {
        let checkpoint = match lines.next_line() {
            Ok(Some(line)) => reading.take(line),
            Ok(None) => {
                known.whole = true;
                return known;
            }
            Err(_) => return known,
        };
        let (Some(checkpoint), Some(Head { sha256, .. })) = (checkpoint, reading.head()) else {
            return known;
        };
        known.lines.push(sha256.clone());
        for sum in checkpoint.files {
            known.sums.entry(sum.name).or_default().push((sum.bytes, sum.sha256));
        }
    }
}

/// What may stand behind the last byte that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing.
    Nothing,
    /// Anything.
    Any,
}

/// Where a file first differs from what is known and sealed; none when it does not.
pub(super) fn examine(
    path: &Path,
    name: &str,
    known: &[(u64, String)],
    sealed: &Sum,
    rest: Rest,
) -> Result<Option<Place>, Fault> {
    let unreadable = |error: io::Error| Fault::Unreadable { name: name.to_owned(), what: error.to_string() };
    let mut file = File::open(path.join(name)).map_err(unreadable)?;
    let (mut tally, mut buffer, mut good, mut place) = (Tally::default(), vec![0; 64 * 1024], 0, None);
    let last = (sealed.bytes, sealed.sha256.clone());
    let mut points = known.iter().filter(|(bytes, _)| *bytes < sealed.bytes).chain([&last]).peekable();
    loop {
        let until = points.peek().map_or(u64::MAX, |(bytes, _)| *bytes).saturating_sub(tally.bytes());
        if until == 0 {
            let Some((bytes, sha256)) = points.next() else { continue };
            if tally.sum(name).sha256 == *sha256 {
                good = *bytes;
            } else {
                place.get_or_insert(Place { from: good, before: Some(*bytes) });
            }
            continue;
        }
        let want = buffer.len().min(usize::try_from(until).unwrap_or(usize::MAX));
        let Some(room) = buffer.get_mut(..want) else { continue };
        let read = match file.read(room) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map_err(unreadable)?,
        };
        if read == 0 {
            break;
        }
        tally.add(buffer.get(..read).unwrap_or_default());
    }
    if place.is_none()
        && (tally.bytes() < sealed.bytes || (tally.bytes() > sealed.bytes && rest == Rest::Nothing))
    {
        // Shorter: it ends too early. Longer: all that was sealed is there, and something behind it.
        place = Some(Place { from: tally.bytes().min(sealed.bytes), before: None });
        if tally.bytes() < sealed.bytes && good < tally.bytes() {
            place = Some(Place { from: good, before: Some(tally.bytes() + 1) });
        }
    }
    Ok(place)
}

/// SHA-256 of a file in hex.
pub fn digest_of(path: &Path) -> io::Result<String> {
    let mut tally = Tally::default();
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(tally.sum("").sha256),
            Ok(read) => tally.add(buffer.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
