//! Reads what a client asks, to the last byte. An extension that is not known here is told apart, not guessed at.

use super::Fault;
use super::wire::{Attrs, Fields, HANDLE_MAX, kind, whole};

/// One request: the client's id for it, and what it wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) id: u32,
    pub(super) wish: Wish,
}

/// What a client wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Path(PathWish),
    Close(Vec<u8>),
    Read {
        handle: Vec<u8>,
        offset: u64,
        length: u32,
    },
    Fstat(Vec<u8>),
    Fsetstat {
        handle: Vec<u8>,
        attrs: Attrs,
    },
    Readdir(Vec<u8>),
    /// `fsync@openssh.com`
    Fsync(Vec<u8>),
    /// `fstatvfs@openssh.com`
    Fstatvfs(Vec<u8>),
    /// `copy-data`: from an open file to another (or the same), on the target.
    CopyData {
        from: Vec<u8>,
        from_offset: u64,
        length: u64,
        to: Vec<u8>,
        to_offset: u64,
    },
    /// `limits@openssh.com`
    Limits,
    /// `users-groups-by-id@openssh.com`: ids in, names out.
    Names {
        users: Vec<u8>,
        groups: Vec<u8>,
    },
    /// An extension that we do not know, or one with attributes that we do not know.
    Unknown(Vec<u8>),
}

/// A wish that names paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PathWish {
    Open {
        path: Vec<u8>,
        flags: u32,
        permissions: Option<u32>,
    },
    OpenDir {
        path: Vec<u8>,
    },
    Look {
        path: Vec<u8>,
        how: Look,
    },
    /// `follow` is false for `lsetstat@openssh.com`.
    SetStat {
        path: Vec<u8>,
        attrs: Attrs,
        follow: bool,
    },
    Remove {
        path: Vec<u8>,
    },
    Rmdir {
        path: Vec<u8>,
    },
    Mkdir {
        path: Vec<u8>,
        permissions: Option<u32>,
    },
    /// `posix` is true for `posix-rename@openssh.com`, which replaces.
    Rename {
        from: Vec<u8>,
        to: Vec<u8>,
        posix: bool,
    },
    /// `hardlink@openssh.com`
    Hardlink {
        from: Vec<u8>,
        to: Vec<u8>,
    },
    /// In OpenSSH's order, which clients and servers use in spite of the draft: the target comes first.
    Symlink {
        target: Vec<u8>,
        link: Vec<u8>,
    },
    /// Its answer is a path.
    Where {
        text: Vec<u8>,
        how: Where,
    },
}

/// How to look at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Stat,
    Lstat,
    Readlink,
    /// `statvfs@openssh.com`
    Statvfs,
}

/// What is asked for by a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Where {
    Realpath,
    /// `expand-path@openssh.com`
    Expand,
    /// `home-directory`
    Home,
}

/// How much of a WRITE stands before its content at most: type, id, handle, offset, length.
pub(super) const WRITE_HEAD_MAX: usize = 1 + 4 + 4 + HANDLE_MAX + 8 + 4;

/// What stands before the content of a WRITE.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WriteHead {
    pub(super) id: u32,
    pub(super) handle: Vec<u8>,
    pub(super) offset: u64,
    pub(super) length: u32,
    /// How long it is itself.
    pub(super) size: usize,
}

/// Reads the head of a WRITE of `packet` bytes.
pub(super) fn write_head(head: &[u8], packet: usize) -> Result<WriteHead, Fault> {
    let mut fields = Fields::of(head);
    let mut read = || {
        fields.u8()?;
        let id = fields.u32()?;
        let handle = handle(&mut fields)?;
        let (offset, length) = (fields.u64()?, fields.u32()?);
        let size = 1 + 4 + 4 + handle.len() + 8 + 4;
        Some(WriteHead { id, handle, offset, length, size })
    };
    let exact =
        |head: &WriteHead| usize::try_from(head.length).is_ok_and(|length| head.size + length == packet);
    read().filter(exact).ok_or(Fault::ClientMalformed)
}

/// Reads any other request.
pub(super) fn read(packet: &[u8]) -> Result<Request, Fault> {
    let mut fields = Fields::of(packet);
    let (Some(kind), Some(id)) = (fields.u8(), fields.u32()) else { return Err(Fault::ClientMalformed) };
    let read = match kind {
        kind::EXTENDED => {
            let name = fields.string().ok_or(Fault::ClientMalformed)?;
            extended(name, &mut fields)
        }
        _ => plain(kind, &mut fields)?,
    };
    let wish = whole(read, &fields, Fault::ClientMalformed)?;
    Ok(Request { id, wish: supported(wish, kind) })
}

fn handle(fields: &mut Fields<'_>) -> Option<Vec<u8>> {
    fields.string().filter(|handle| handle.len() <= HANDLE_MAX).map(<[u8]>::to_vec)
}

fn path(fields: &mut Fields<'_>) -> Option<Vec<u8>> {
    fields.string().map(<[u8]>::to_vec)
}

fn plain(kind: u8, fields: &mut Fields<'_>) -> Result<Option<Wish>, Fault> {
    let look = |fields: &mut Fields<'_>, how| Some(PathWish::Look { path: path(fields)?, how });
    let with_path = match kind {
        kind::OPEN => open(fields),
        kind::OPENDIR => path(fields).map(|path| PathWish::OpenDir { path }),
        kind::STAT => look(fields, Look::Stat),
        kind::LSTAT => look(fields, Look::Lstat),
        kind::READLINK => look(fields, Look::Readlink),
        kind::SETSTAT => setstat(fields, true),
        kind::REMOVE => path(fields).map(|path| PathWish::Remove { path }),
        kind::RMDIR => path(fields).map(|path| PathWish::Rmdir { path }),
        kind::MKDIR => mkdir(fields),
        kind::RENAME => rename(fields, false),
        kind::SYMLINK => symlink(fields),
        kind::REALPATH => path(fields).map(|text| PathWish::Where { text, how: Where::Realpath }),
        _ => return by_handle(kind, fields),
    };
    Ok(with_path.map(Wish::Path))
}

fn by_handle(kind: u8, fields: &mut Fields<'_>) -> Result<Option<Wish>, Fault> {
    Ok(match kind {
        kind::CLOSE => handle(fields).map(Wish::Close),
        kind::READ => read_wish(fields),
        kind::FSTAT => handle(fields).map(Wish::Fstat),
        kind::FSETSTAT => fsetstat(fields),
        kind::READDIR => handle(fields).map(Wish::Readdir),
        _ => return Err(Fault::ClientUnknown),
    })
}

fn read_wish(fields: &mut Fields<'_>) -> Option<Wish> {
    Some(Wish::Read { handle: handle(fields)?, offset: fields.u64()?, length: fields.u32()? })
}

fn fsetstat(fields: &mut Fields<'_>) -> Option<Wish> {
    Some(Wish::Fsetstat { handle: handle(fields)?, attrs: Attrs::read(fields)? })
}

fn open(fields: &mut Fields<'_>) -> Option<PathWish> {
    let (path, flags) = (path(fields)?, fields.u32()?);
    Some(PathWish::Open { path, flags, permissions: Attrs::read(fields)?.permissions })
}

fn mkdir(fields: &mut Fields<'_>) -> Option<PathWish> {
    let path = path(fields)?;
    // Some clients leave the attributes out.
    let permissions = if fields.is_empty() { None } else { Attrs::read(fields)?.permissions };
    Some(PathWish::Mkdir { path, permissions })
}

fn setstat(fields: &mut Fields<'_>, follow: bool) -> Option<PathWish> {
    Some(PathWish::SetStat { path: path(fields)?, attrs: Attrs::read(fields)?, follow })
}

fn rename(fields: &mut Fields<'_>, posix: bool) -> Option<PathWish> {
    Some(PathWish::Rename { from: path(fields)?, to: path(fields)?, posix })
}

fn symlink(fields: &mut Fields<'_>) -> Option<PathWish> {
    Some(PathWish::Symlink { target: path(fields)?, link: path(fields)? })
}

/// The extensions of OpenSSH (its file PROTOCOL, section 4). Their names stand in [`super::extension::KNOWN`].
fn extended(name: &[u8], fields: &mut Fields<'_>) -> Option<Wish> {
    match name {
        b"posix-rename@openssh.com" => rename(fields, true).map(Wish::Path),
        b"hardlink@openssh.com" => {
            Some(Wish::Path(PathWish::Hardlink { from: path(fields)?, to: path(fields)? }))
        }
        b"statvfs@openssh.com" => {
            path(fields).map(|path| Wish::Path(PathWish::Look { path, how: Look::Statvfs }))
        }
        b"lsetstat@openssh.com" => setstat(fields, false).map(Wish::Path),
        b"expand-path@openssh.com" => {
            path(fields).map(|text| Wish::Path(PathWish::Where { text, how: Where::Expand }))
        }
        b"home-directory" => path(fields).map(|text| Wish::Path(PathWish::Where { text, how: Where::Home })),
        b"fstatvfs@openssh.com" => handle(fields).map(Wish::Fstatvfs),
        b"fsync@openssh.com" => handle(fields).map(Wish::Fsync),
        b"copy-data" => Some(Wish::CopyData {
            from: handle(fields)?,
            from_offset: fields.u64()?,
            length: fields.u64()?,
            to: handle(fields)?,
            to_offset: fields.u64()?,
        }),
        b"limits@openssh.com" => Some(Wish::Limits),
        b"users-groups-by-id@openssh.com" => {
            Some(Wish::Names { users: path(fields)?, groups: path(fields)? })
        }
        other => {
            // What it holds is its own.
            fields.rest();
            Some(Wish::Unknown(other.to_vec()))
        }
    }
}

/// Attributes and flags that we cannot judge are answered like extensions that we do not know.
fn supported(wish: Wish, kind: u8) -> Wish {
    let foreign = match &wish {
        Wish::Path(PathWish::SetStat { attrs, .. }) | Wish::Fsetstat { attrs, .. } => attrs.extended > 0,
        Wish::Path(PathWish::Open { flags, .. }) => flags & !super::wire::open::ALL != 0,
        Wish::Path(_)
        | Wish::Close(_)
        | Wish::Read { .. }
        | Wish::Fstat(_)
        | Wish::Readdir(_)
        | Wish::Fsync(_)
        | Wish::Fstatvfs(_)
        | Wish::CopyData { .. }
        | Wish::Limits
        | Wish::Names { .. }
        | Wish::Unknown(_) => false,
    };
    match (foreign, kind) {
        (false, _) => wish,
        (true, kind::OPEN) => Wish::Unknown(b"open with unknown flags".to_vec()),
        (true, _) => Wish::Unknown(b"extended attributes".to_vec()),
    }
}
