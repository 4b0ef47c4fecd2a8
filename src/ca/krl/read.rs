//! Reads a list strictly: what is not known, repeated, out of bounds or left over makes the whole list unreadable, as it
//! does for sshd. Memory is bounded by [`BYTES_MAX`] and [`RUNS_MAX`]. SHA-1 sections are not known here: we write none.

use russh::keys::ssh_key::PublicKey;

use super::wire::{
    BITMAP_BITS_MAX, FORMAT, KEY_IDS, MAGIC, Rest, SECTION_CERTIFICATES, SECTION_FINGERPRINTS_SHA256,
    SECTION_KEYS, SERIAL_BITMAP, SERIAL_LIST, SERIAL_RANGE,
};
use super::{KEY_ID_BYTES_MAX, Krl, KrlUnreadable, OfAuthority, Serials};

/// Largest list, in bytes.
pub(super) const BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most runs of serials for one authority.
const RUNS_MAX: usize = 1_000_000;
/// Longest comment, in bytes.
const COMMENT_MAX: usize = 1024;
/// Largest public key, in bytes (RSA of 16384 bits has 2 KiB).
const KEY_MAX: usize = 16 * 1024;

const SHORT: KrlUnreadable = KrlUnreadable("it ends too early");

impl Krl {
    /// Reads what [`Krl::write`] or `ssh-keygen -k` wrote.
    pub fn read(bytes: &[u8]) -> Result<Self, KrlUnreadable> {
        if bytes.len() > BYTES_MAX {
            return Err(KrlUnreadable("it is too large"));
        }
        let mut rest = Rest(bytes);
        if rest.u64() != Some(MAGIC) {
            return Err(KrlUnreadable("it does not begin as one"));
        }
        if rest.u32().ok_or(SHORT)? != FORMAT {
            return Err(KrlUnreadable("its format is another version"));
        }
        let (version, generated) = (rest.u64().ok_or(SHORT)?, rest.u64().ok_or(SHORT)?);
        if rest.u64().ok_or(SHORT)? != 0 {
            return Err(KrlUnreadable("it has flags that are not known"));
        }
        if !rest.string().ok_or(SHORT)?.is_empty() {
            return Err(KrlUnreadable("its reserved field is not empty"));
        }
        let comment = text(rest.string().ok_or(SHORT)?, COMMENT_MAX)?;
        let mut krl = Self::new(version, generated, comment);
        while !rest.is_empty() {
            let (kind, content) = (rest.u8().ok_or(SHORT)?, rest.string().ok_or(SHORT)?);
            krl.section(kind, Rest(content))?;
        }
        Ok(krl)
    }

    fn section(&mut self, kind: u8, mut content: Rest<'_>) -> Result<(), KrlUnreadable> {
        match kind {
            SECTION_CERTIFICATES => return self.certificates(content),
            SECTION_KEYS => {
                while !content.is_empty() {
                    let key = content.string().ok_or(SHORT)?;
                    if key.is_empty() || key.len() > KEY_MAX {
                        return Err(KrlUnreadable("it has an empty key or one that is too long"));
                    }
                    self.keys.insert(key.to_vec());
                }
            }
            SECTION_FINGERPRINTS_SHA256 => {
                while !content.is_empty() {
                    let digest = content.string().ok_or(SHORT)?.try_into();
                    let digest = digest.map_err(|_| KrlUnreadable("a fingerprint has not 32 bytes"))?;
                    self.fingerprints.insert(digest);
                }
            }
            _ => return Err(KrlUnreadable("it has a section of a kind that is not known")),
        }
        Ok(())
    }

    fn certificates(&mut self, mut content: Rest<'_>) -> Result<(), KrlUnreadable> {
        let ca = content.string().ok_or(SHORT)?;
        if ca.len() > KEY_MAX {
            return Err(KrlUnreadable("the key of an authority is too long"));
        }
        if !ca.is_empty() && PublicKey::from_bytes(ca).is_err() {
            return Err(KrlUnreadable("the key of an authority is none"));
        }
        if !content.string().ok_or(SHORT)?.is_empty() {
            return Err(KrlUnreadable("a reserved field is not empty"));
        }
        let of = self.certificates.entry(ca.to_vec()).or_default();
        while !content.is_empty() {
            let (kind, part) = (content.u8().ok_or(SHORT)?, content.string().ok_or(SHORT)?);
            of.part(kind, Rest(part))?;
        }
        Ok(())
    }
}

impl OfAuthority {
    fn part(&mut self, kind: u8, mut part: Rest<'_>) -> Result<(), KrlUnreadable> {
        match kind {
            SERIAL_LIST => {
                while !part.is_empty() {
                    let serial = part.u64().ok_or(SHORT)?;
                    self.serials.add(serial, serial)?;
                }
            }
            SERIAL_RANGE => {
                let (first, last) = (part.u64().ok_or(SHORT)?, part.u64().ok_or(SHORT)?);
                self.serials.add(first, last)?;
            }
            SERIAL_BITMAP => {
                let (first, bits) = (part.u64().ok_or(SHORT)?, part.string().ok_or(SHORT)?);
                self.serials.add_bitmap(first, bits)?;
            }
            KEY_IDS => {
                while !part.is_empty() {
                    let key_id = text(part.string().ok_or(SHORT)?, KEY_ID_BYTES_MAX)?;
                    if key_id.is_empty() {
                        return Err(KrlUnreadable("it has an empty key id"));
                    }
                    self.key_ids.insert(key_id);
                }
            }
            _ => return Err(KrlUnreadable("it has a part of a kind that is not known")),
        }
        if part.is_empty() { Ok(()) } else { Err(KrlUnreadable("something is left over in a part")) }
    }
}

impl Serials {
    fn add(&mut self, first: u64, last: u64) -> Result<(), KrlUnreadable> {
        if first == 0 || first > last {
            return Err(KrlUnreadable("it has serial 0, or a range that ends before it begins"));
        }
        if self.0.len() >= RUNS_MAX {
            return Err(KrlUnreadable("it has too many serials"));
        }
        self.insert(first, last);
        Ok(())
    }

    fn add_bitmap(&mut self, first: u64, number: &[u8]) -> Result<(), KrlUnreadable> {
        let wide = u64::try_from(number.len()).unwrap_or(u64::MAX);
        // One byte more than the bits need may keep the number positive.
        if wide > BITMAP_BITS_MAX / 8 + 1 || number.first().is_some_and(|top| top & 0x80 != 0) {
            return Err(KrlUnreadable("it has a bitmap that is too wide or negative"));
        }
        for (at, byte) in (0_u64..).zip(number.iter().rev()) {
            for bit in (0..8).filter(|bit| byte & (1 << bit) != 0) {
                let serial = first
                    .checked_add(at * 8 + bit)
                    .ok_or(KrlUnreadable("it has a bitmap that ends past the last serial"))?;
                self.add(serial, serial)?;
            }
        }
        Ok(())
    }
}

fn text(bytes: &[u8], longest: usize) -> Result<String, KrlUnreadable> {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.len() <= longest && !text.contains('\0') => Ok(text.to_owned()),
        Ok(_) | Err(_) => Err(KrlUnreadable("it has a text that is too long or none")),
    }
}
