//! The list of what an archive has of one session.

use serde::{Deserialize, Serialize};

use super::pack::Packed;
use crate::recording::folder::{SIGNATURE, is_content};

/// Longest list: a session in 10000 parts of 256 MiB has one of 80 MiB, which nobody has.
pub(super) const BYTES_MAX: u64 = 64 * 1024 * 1024;
/// What the list says it is.
const VERSION: u32 = 1;

/// One file of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Its name in the session's folder.
    pub name: String,
    /// The name of the object, beside the list.
    pub stored: String,
    /// Lengths and digests.
    #[serde(flatten)]
    pub packed: Packed,
}

/// The list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    version: u32,
    /// The session.
    pub session: String,
    /// SHA-256 of what the seal's signature is over; of the cast itself where it was recorded before there were folders.
    pub seal: String,
    /// Recorded before there were folders: one cast, which is called `0001.cast` here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub alone: bool,
    /// Its files, by name.
    pub objects: Vec<Object>,
}

impl Index {
    /// Of these objects.
    pub fn new(session: &str, seal: &str, alone: bool, mut objects: Vec<Object>) -> Self {
        objects.sort_by(|a, b| a.name.cmp(&b.name));
        Self { version: VERSION, session: session.to_owned(), seal: seal.to_owned(), alone, objects }
    }

    /// The text that is stored.
    pub(super) fn text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Reads it, strictly: names that are none of a recording's, or come twice, are nobody's.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let index: Self = serde_json::from_slice(text).ok()?;
        let named = |object: &Object| {
            (is_content(&object.name) || object.name == SIGNATURE)
                && ["", ".zst", ".zst.age"].iter().any(|end| object.stored == format!("{}{end}", object.name))
        };
        let rising = index.objects.iter().zip(index.objects.iter().skip(1)).all(|(a, b)| a.name < b.name);
        (index.version == VERSION && rising && index.objects.iter().all(named)).then_some(index)
    }

    /// Bytes of all objects as they are stored.
    pub fn stored_bytes(&self) -> u64 {
        self.objects.iter().map(|object| object.packed.stored_bytes).sum()
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.objects.iter().map(|object| object.packed.bytes).sum()
    }

    /// What `sha256sum` prints for the files that the seal's signature is over.
    pub fn manifest(&self) -> String {
        let line = |object: &Object| format!("{}  {}/{}\n", object.packed.sha256, self.session, object.name);
        self.objects.iter().filter(|object| object.name != SIGNATURE).map(line).collect()
    }

    /// Whether its files are what was sealed.
    pub fn fits_seal(&self) -> bool {
        if self.alone {
            return matches!(self.objects.as_slice(), [only] if only.packed.sha256 == self.seal);
        }
        super::pack::digest(self.manifest().as_bytes()) == self.seal
    }
}
