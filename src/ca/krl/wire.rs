//! The numbers of PROTOCOL.krl, and how numbers and strings stand on the wire (RFC 4251 section 5). Decides nothing.

/// `SSHKRL\n\0`.
pub(super) const MAGIC: u64 = 0x5353_484b_524c_0a00;
pub(super) const FORMAT: u32 = 1;
pub(super) const SECTION_CERTIFICATES: u8 = 1;
pub(super) const SECTION_KEYS: u8 = 2;
pub(super) const SECTION_FINGERPRINTS_SHA256: u8 = 5;
pub(super) const SERIAL_LIST: u8 = 0x20;
pub(super) const SERIAL_RANGE: u8 = 0x21;
pub(super) const SERIAL_BITMAP: u8 = 0x22;
pub(super) const KEY_IDS: u8 = 0x23;

/// Widest bitmap. OpenSSH takes no number of more than 16384 bits for one.
pub(super) const BITMAP_BITS_MAX: u64 = 16_384;

pub(super) fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_be_bytes());
}

/// Four bytes of length, then the bytes. What does not fit 32 bits cannot come about: lists are made of short things.
pub(super) fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

pub(super) fn put_section(out: &mut Vec<u8>, kind: u8, content: &[u8]) {
    out.push(kind);
    put_string(out, content);
}

/// What is left to be read.
pub(super) struct Rest<'b>(pub(super) &'b [u8]);

impl<'b> Rest<'b> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (head, tail) = self.0.split_at_checked(count)?;
        self.0 = tail;
        Some(head)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    pub(super) fn string(&mut self) -> Option<&'b [u8]> {
        let length = self.u32()?;
        self.take(usize::try_from(length).ok()?)
    }
}
