//! The words of SFTP version 3 (draft-ietf-secsh-filexfer-02) and how its fields are read and written. What they mean
//! together is `request`'s and `reply`'s.

use bytes::{BufMut, BytesMut};

use super::Fault;

/// The one version spoken.
pub(super) const VERSION: u32 = 3;
/// Longest packet, its length field not counted; OpenSSH's `SFTP_MAX_MSG_LENGTH`.
pub(super) const PACKET_MAX: usize = 256 * 1024;
/// Longest handle (section 3).
pub(super) const HANDLE_MAX: usize = 256;

/// Packet types (section 3).
pub(super) mod kind {
    pub(in super::super) const INIT: u8 = 1;
    pub(in super::super) const VERSION: u8 = 2;
    pub(in super::super) const OPEN: u8 = 3;
    pub(in super::super) const CLOSE: u8 = 4;
    pub(in super::super) const READ: u8 = 5;
    pub(in super::super) const WRITE: u8 = 6;
    pub(in super::super) const LSTAT: u8 = 7;
    pub(in super::super) const FSTAT: u8 = 8;
    pub(in super::super) const SETSTAT: u8 = 9;
    pub(in super::super) const FSETSTAT: u8 = 10;
    pub(in super::super) const OPENDIR: u8 = 11;
    pub(in super::super) const READDIR: u8 = 12;
    pub(in super::super) const REMOVE: u8 = 13;
    pub(in super::super) const MKDIR: u8 = 14;
    pub(in super::super) const RMDIR: u8 = 15;
    pub(in super::super) const REALPATH: u8 = 16;
    pub(in super::super) const STAT: u8 = 17;
    pub(in super::super) const RENAME: u8 = 18;
    pub(in super::super) const READLINK: u8 = 19;
    pub(in super::super) const SYMLINK: u8 = 20;
    pub(in super::super) const STATUS: u8 = 101;
    pub(in super::super) const HANDLE: u8 = 102;
    pub(in super::super) const DATA: u8 = 103;
    pub(in super::super) const NAME: u8 = 104;
    pub(in super::super) const ATTRS: u8 = 105;
    pub(in super::super) const EXTENDED: u8 = 200;
    pub(in super::super) const EXTENDED_REPLY: u8 = 201;
}

/// Status codes (section 7).
pub(super) mod status {
    pub(in super::super) const OK: u32 = 0;
    pub(in super::super) const EOF: u32 = 1;
    pub(in super::super) const NO_SUCH_FILE: u32 = 2;
    pub(in super::super) const PERMISSION_DENIED: u32 = 3;
    pub(in super::super) const FAILURE: u32 = 4;
    pub(in super::super) const OP_UNSUPPORTED: u32 = 8;
}

/// Flags of OPEN (section 6.3).
pub(super) mod open {
    pub(in super::super) const READ: u32 = 0x01;
    pub(in super::super) const WRITE: u32 = 0x02;
    pub(in super::super) const APPEND: u32 = 0x04;
    pub(in super::super) const CREAT: u32 = 0x08;
    pub(in super::super) const TRUNC: u32 = 0x10;
    pub(in super::super) const EXCL: u32 = 0x20;
    pub(in super::super) const ALL: u32 = 0x3f;
}

/// Reads fields from the start of a packet. `None`: there is less than the field says.
pub(super) struct Fields<'p> {
    rest: &'p [u8],
}

impl<'p> Fields<'p> {
    pub(super) fn of(bytes: &'p [u8]) -> Self {
        Self { rest: bytes }
    }

    fn take(&mut self, count: usize) -> Option<&'p [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
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

    /// A byte string with its length before it.
    pub(super) fn string(&mut self) -> Option<&'p [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        self.take(length)
    }

    /// Everything that is left.
    pub(super) fn rest(&mut self) -> &'p [u8] {
        std::mem::take(&mut self.rest)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

/// File attributes (section 5). Only what version 3 has; the extended pairs are counted and not kept.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Attrs {
    pub(super) size: Option<u64>,
    pub(super) owner: Option<(u32, u32)>,
    pub(super) permissions: Option<u32>,
    pub(super) times: Option<(u32, u32)>,
    /// How many extended pairs came with it.
    pub(super) extended: u32,
}

const SIZE: u32 = 0x01;
const OWNER: u32 = 0x02;
const PERMISSIONS: u32 = 0x04;
const TIMES: u32 = 0x08;
const EXTENDED: u32 = 0x8000_0000;
/// The bits of `permissions` that say what it is, and their values for a folder and a link.
const FILE_TYPE: u32 = 0o170_000;
const FOLDER: u32 = 0o040_000;
const LINK: u32 = 0o120_000;

impl Attrs {
    /// `None` for flags that version 3 does not have, too: nobody could say where the next field begins.
    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let flags = fields.u32()?;
        if flags & !(SIZE | OWNER | PERMISSIONS | TIMES | EXTENDED) != 0 {
            return None;
        }
        let mut attrs = Self::default();
        if flags & SIZE != 0 {
            attrs.size = Some(fields.u64()?);
        }
        if flags & OWNER != 0 {
            attrs.owner = Some((fields.u32()?, fields.u32()?));
        }
        if flags & PERMISSIONS != 0 {
            attrs.permissions = Some(fields.u32()?);
        }
        if flags & TIMES != 0 {
            attrs.times = Some((fields.u32()?, fields.u32()?));
        }
        if flags & EXTENDED != 0 {
            attrs.extended = fields.u32()?;
            for _ in 0..attrs.extended {
                fields.string()?;
                fields.string()?;
            }
        }
        Some(attrs)
    }

    fn write(&self, packet: &mut BytesMut) {
        let flag = |given: bool, flag: u32| if given { flag } else { 0 };
        packet.put_u32(
            flag(self.size.is_some(), SIZE)
                | flag(self.owner.is_some(), OWNER)
                | flag(self.permissions.is_some(), PERMISSIONS)
                | flag(self.times.is_some(), TIMES),
        );
        if let Some(size) = self.size {
            packet.put_u64(size);
        }
        if let Some((user, group)) = self.owner {
            packet.put_u32(user);
            packet.put_u32(group);
        }
        if let Some(permissions) = self.permissions {
            packet.put_u32(permissions);
        }
        if let Some((accessed, modified)) = self.times {
            packet.put_u32(accessed);
            packet.put_u32(modified);
        }
    }

    /// Whether it is known to be no folder.
    pub(super) fn is_surely_no_folder(&self) -> bool {
        self.permissions.is_some_and(|bits| bits & FILE_TYPE != 0 && bits & FILE_TYPE != FOLDER)
    }

    /// Whether it is known to be no link.
    pub(super) fn is_surely_no_link(&self) -> bool {
        self.permissions.is_some_and(|bits| bits & FILE_TYPE != 0 && bits & FILE_TYPE != LINK)
    }

    pub(super) fn is_link(&self) -> bool {
        self.permissions.is_some_and(|bits| bits & FILE_TYPE == LINK)
    }
}

/// Writes one packet behind what is in `out` already; the length is put in when it is dropped into place by `end`.
pub(super) struct Packet<'o> {
    out: &'o mut BytesMut,
    start: usize,
}

impl<'o> Packet<'o> {
    /// A packet of this type with this id.
    pub(super) fn new(out: &'o mut BytesMut, kind: u8, id: u32) -> Self {
        let start = out.len();
        out.put_u32(0);
        out.put_u8(kind);
        out.put_u32(id);
        Self { out, start }
    }

    #[must_use]
    pub(super) fn u32(self, value: u32) -> Self {
        self.out.put_u32(value);
        self
    }

    #[must_use]
    pub(super) fn u64(self, value: u64) -> Self {
        self.out.put_u64(value);
        self
    }

    #[must_use]
    pub(super) fn string(self, bytes: &[u8]) -> Self {
        // What is written here was read from a packet or is a path: far below 4 GiB.
        self.out.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.raw(bytes)
    }

    #[must_use]
    pub(super) fn raw(self, bytes: &[u8]) -> Self {
        self.out.put_slice(bytes);
        self
    }

    #[must_use]
    pub(super) fn attrs(self, attrs: &Attrs) -> Self {
        attrs.write(self.out);
        self
    }

    /// Puts the length in.
    pub(super) fn end(self) {
        let length = self.out.len().saturating_sub(self.start + 4);
        let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        if let Some(place) = self.out.get_mut(self.start..self.start + 4) {
            place.copy_from_slice(&length);
        }
    }
}

/// `fault` when a packet could not be read to its very end.
pub(super) fn whole<T>(read: Option<T>, fields: &Fields<'_>, fault: Fault) -> Result<T, Fault> {
    read.filter(|_| fields.is_empty()).ok_or(fault)
}
