//! One file on its way into the archive and back: compressed in frames of 256 KiB that each stand alone, then encrypted.
//! `zstd -d` reads it, and `age -d` before that. Everything is written to new files and digested on the way. Blocks.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::ArchiveError;
use super::keys::{Identity, Recipients};
use crate::recording::budget::hex;

/// Plain bytes of one frame.
const FRAME: usize = 256 * 1024;
/// How much is read at once.
const CHUNK: usize = 64 * 1024;

/// What a file was, and what it became.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packed {
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of it, in hex.
    pub sha256: String,
    /// Length of the object.
    pub stored_bytes: u64,
    /// SHA-256 of the object, in hex.
    pub stored_sha256: String,
    /// Compressed length of each frame, in order (before it was encrypted): where a reader who wants a part begins. Empty for
    /// what is not compressed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frames: Vec<u32>,
}

/// SHA-256 in hex.
pub(super) fn digest(bytes: &[u8]) -> String {
    hex(Sha256::new_with_prefix(bytes))
}

/// Length and SHA-256 of a file.
pub fn digest_file(path: &Path) -> io::Result<(u64, String)> {
    let mut from = Digested::new(File::open(path)?);
    io::copy(&mut BufReader::with_capacity(CHUNK, &mut from), &mut io::sink())?;
    Ok(from.end())
}

/// Packs the file at `from` into the new file `to`.
pub(super) fn pack(
    from: &Path,
    to: &Path,
    recipients: &Recipients,
    level: i32,
) -> Result<Packed, ArchiveError> {
    let local = |path: &Path| {
        let path = path.to_owned();
        move |error| ArchiveError::Local(path, error)
    };
    let mut plain = Digested::new(File::open(from).map_err(local(from))?);
    let stored = Digested::new(create(to).map_err(local(to))?);
    let (stored, frames) = if recipients.is_empty() {
        let mut out = BufWriter::new(stored);
        let frames = compress(&mut plain, &mut out, level).map_err(local(from))?;
        (out.into_inner().map_err(io::IntoInnerError::into_error).map_err(local(to))?, frames)
    } else {
        let mut out = recipients.encryptor()?.wrap_output(BufWriter::new(stored)).map_err(local(to))?;
        let frames = compress(&mut plain, &mut out, level).map_err(local(from))?;
        let out = out.finish().map_err(local(to))?;
        (out.into_inner().map_err(io::IntoInnerError::into_error).map_err(local(to))?, frames)
    };
    let ((bytes, sha256), (stored_bytes, stored_sha256)) = (plain.end(), stored.end());
    Ok(Packed { bytes, sha256, stored_bytes, stored_sha256, frames })
}

/// Takes the file over as it is.
pub(super) fn copy(from: &Path, to: &Path) -> Result<Packed, ArchiveError> {
    let copied = || {
        let mut plain = Digested::new(File::open(from)?);
        io::copy(&mut plain, &mut create(to)?)?;
        Ok(plain.end())
    };
    let (bytes, sha256) = copied().map_err(|error| ArchiveError::Local(from.to_owned(), error))?;
    Ok(Packed {
        bytes,
        sha256: sha256.clone(),
        stored_bytes: bytes,
        stored_sha256: sha256,
        frames: Vec::new(),
    })
}

fn compress(from: &mut impl Read, to: &mut impl Write, level: i32) -> io::Result<Vec<u32>> {
    let mut compressor = zstd::bulk::Compressor::new(level)?;
    compressor.include_checksum(true)?;
    let (mut frames, mut plain) = (Vec::new(), Vec::with_capacity(FRAME));
    loop {
        plain.clear();
        from.take(FRAME as u64).read_to_end(&mut plain)?;
        // One frame at least: of nothing at all zstd would say that it is no archive.
        if plain.is_empty() && !frames.is_empty() {
            return Ok(frames);
        }
        let frame = compressor.compress(&plain)?;
        to.write_all(&frame)?;
        frames.push(u32::try_from(frame.len()).map_err(io::Error::other)?);
    }
}

/// Unpacks the object at `from`, which has the stored name `stored`, into the new file `to`; both must be what `packed` says.
pub(super) fn unpack(
    (from, stored): (&Path, &str),
    to: &Path,
    packed: &Packed,
    identity: Option<&Identity>,
) -> Result<(), ArchiveError> {
    let altered = |what| ArchiveError::Altered(stored.to_owned(), what);
    let found = digest_file(from).map_err(|error| ArchiveError::Local(from.to_owned(), error))?;
    if found != (packed.stored_bytes, packed.stored_sha256.clone()) {
        return Err(altered("its digest is another"));
    }
    let local = |error| ArchiveError::Local(to.to_owned(), error);
    let object = BufReader::with_capacity(CHUNK, File::open(from).map_err(local)?);
    let mut plain = Digested::new(create(to).map_err(local)?);
    // Never more than was packed: a small object can hold endless zeros.
    let limit = packed.bytes + 1;
    let copied = if let Some(name) = stored.strip_suffix(".age") {
        let Some(identity) = identity else {
            return Err(ArchiveError::Locked(format!(
                "{name} is encrypted: give an auditor's private key with --identity"
            )));
        };
        let decryptor =
            age::Decryptor::new_buffered(object).map_err(|_| altered("it is nothing that age wrote"))?;
        let open = decryptor.decrypt(identity.all()).map_err(|error| {
            let stranger = matches!(error, age::DecryptError::NoMatchingKeys);
            let what = "it was not encrypted to this key; ask another auditor";
            ArchiveError::Locked(if stranger { what.to_owned() } else { error.to_string() })
        })?;
        decompress(open, limit, &mut plain)
    } else if stored.ends_with(".zst") {
        decompress(object, limit, &mut plain)
    } else {
        io::copy(&mut object.take(limit), &mut plain).map(drop)
    };
    copied.map_err(|_| altered("it cannot be unpacked"))?;
    if plain.end() != (packed.bytes, packed.sha256.clone()) {
        return Err(altered("what is in it is something else"));
    }
    Ok(())
}

fn decompress(from: impl Read, limit: u64, to: &mut impl Write) -> io::Result<()> {
    let plain = zstd::stream::read::Decoder::new(from)?;
    io::copy(&mut plain.take(limit), to).map(drop)
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// A file whose bytes are counted and digested as they pass.
struct Digested {
    file: File,
    hash: Sha256,
    bytes: u64,
}

impl Digested {
    fn new(file: File) -> Self {
        Self { file, hash: Sha256::new(), bytes: 0 }
    }

    fn end(self) -> (u64, String) {
        (self.bytes, hex(self.hash))
    }

    fn pass(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
    }
}

impl Read for Digested {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.pass(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

impl Write for Digested {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.pass(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests;
