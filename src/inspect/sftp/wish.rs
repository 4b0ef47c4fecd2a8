//! What a path operation asks of the target: which of its paths to find and how, what may come back, and how it is
//! written.

use super::reply::Expect;
use super::request::{Look, PathWish, Where};
use super::wire::{Attrs, kind, open};
use super::{Asked, Guard};
use crate::policy::files::CanonicalPath;

/// A path whose last name is meant, and not what is behind it.
pub(super) enum Split {
    Root,
    Name {
        folder: Vec<u8>,
        name: Vec<u8>,
    },
    /// It ends in `.` or `..`.
    Dots,
}

impl PathWish {
    /// The paths as the client wrote them, in the order in which they are found.
    pub(super) fn texts(&self) -> Vec<&[u8]> {
        match self {
            Self::Open { path, .. }
            | Self::OpenDir { path }
            | Self::Look { path, .. }
            | Self::SetStat { path, .. }
            | Self::Remove { path }
            | Self::Rmdir { path }
            | Self::Mkdir { path, .. } => vec![path],
            Self::Rename { from, to, .. } | Self::Hardlink { from, to } => vec![from, to],
            Self::Symlink { target, link } => vec![link, target],
            Self::Where { text, .. } => vec![text],
        }
    }

    /// The next path to find, and whether a link at its end is followed.
    pub(super) fn aim(&self, found: &[CanonicalPath]) -> Option<(Vec<u8>, bool)> {
        let text = self.texts().get(found.len())?.to_vec();
        Some(match self {
            Self::Open { .. }
            | Self::OpenDir { .. }
            | Self::Look { how: Look::Stat | Look::Statvfs, .. }
            | Self::SetStat { follow: true, .. }
            | Self::Where { .. } => (text, true),
            // A closing slash, `.` and `..` mean what is behind a link.
            Self::Look { how: Look::Lstat | Look::Readlink, .. } => {
                let behind = text.ends_with(b"/") || matches!(split(&text), Split::Dots);
                (text, behind)
            }
            Self::SetStat { follow: false, .. }
            | Self::Remove { .. }
            | Self::Rmdir { .. }
            | Self::Mkdir { .. }
            | Self::Rename { .. }
            | Self::Hardlink { .. } => (text, false),
            Self::Symlink { .. } => match found.first() {
                None => (text, false),
                Some(_) if text.starts_with(b"/") => (text, true),
                Some(link) => {
                    let folder = link.parent().unwrap_or_else(CanonicalPath::root);
                    ([folder.as_bytes(), b"/", &text].concat(), true)
                }
            },
        })
    }

    pub(super) fn expect(&self) -> Expect {
        match self {
            Self::Open { .. } | Self::OpenDir { .. } => Expect::Handle,
            Self::Look { how: Look::Stat | Look::Lstat, .. } => Expect::Attrs,
            Self::Look { how: Look::Readlink, .. } | Self::Where { .. } => Expect::Name,
            Self::Look { how: Look::Statvfs, .. } => Expect::Extended,
            Self::SetStat { .. }
            | Self::Remove { .. }
            | Self::Rmdir { .. }
            | Self::Mkdir { .. }
            | Self::Rename { .. }
            | Self::Hardlink { .. }
            | Self::Symlink { .. } => Expect::Status,
        }
    }

    pub(super) fn creates(&self) -> bool {
        matches!(self, Self::Open { flags, .. } if flags & open::CREAT != 0)
    }
}

/// Splits a path into folder and name; closing slashes fall away.
pub(super) fn split(text: &[u8]) -> Split {
    let end = text.iter().rposition(|b| *b != b'/').map_or(0, |last| last + 1);
    let whole = text.get(..end).unwrap_or_default();
    let cut = whole.iter().rposition(|b| *b == b'/').map_or(0, |slash| slash + 1);
    let (folder, name) = whole.split_at_checked(cut).unwrap_or_default();
    match (folder, name) {
        (_, b"") => Split::Root,
        (_, b"." | b"..") => Split::Dots,
        (b"", name) => Split::Name { folder: b".".to_vec(), name: name.to_vec() },
        (folder, name) => Split::Name { folder: folder.to_vec(), name: name.to_vec() },
    }
}

impl Guard {
    /// Writes the request; `texts` in the order of [`PathWish::texts`].
    pub(super) fn put(
        &mut self,
        asked: Asked,
        wish: &PathWish,
        texts: &[Vec<u8>],
        flags: u32,
        permissions: Option<u32>,
    ) {
        let [first, second] = [0, 1].map(|at| texts.get(at).map(Vec::as_slice).unwrap_or_default());
        let initial = Attrs { permissions, ..Attrs::default() };
        let (kind, name): (u8, Option<&[u8]>) = match wish {
            PathWish::Open { .. } => (kind::OPEN, None),
            PathWish::OpenDir { .. } => (kind::OPENDIR, None),
            PathWish::Look { how: Look::Stat, .. } => (kind::STAT, None),
            PathWish::Look { how: Look::Lstat, .. } => (kind::LSTAT, None),
            PathWish::Look { how: Look::Readlink, .. } => (kind::READLINK, None),
            PathWish::Look { how: Look::Statvfs, .. } => (kind::EXTENDED, Some(b"statvfs@openssh.com")),
            PathWish::SetStat { follow: true, .. } => (kind::SETSTAT, None),
            PathWish::SetStat { follow: false, .. } => (kind::EXTENDED, Some(b"lsetstat@openssh.com")),
            PathWish::Remove { .. } => (kind::REMOVE, None),
            PathWish::Rmdir { .. } => (kind::RMDIR, None),
            PathWish::Mkdir { .. } => (kind::MKDIR, None),
            PathWish::Rename { posix: false, .. } => (kind::RENAME, None),
            PathWish::Rename { posix: true, .. } => (kind::EXTENDED, Some(b"posix-rename@openssh.com")),
            PathWish::Hardlink { .. } => (kind::EXTENDED, Some(b"hardlink@openssh.com")),
            PathWish::Symlink { .. } => (kind::SYMLINK, None),
            PathWish::Where { how: Where::Realpath, .. } => (kind::REALPATH, None),
            PathWish::Where { how: Where::Expand, .. } => (kind::EXTENDED, Some(b"expand-path@openssh.com")),
            PathWish::Where { how: Where::Home, .. } => (kind::EXTENDED, Some(b"home-directory")),
        };
        let packet = self.ask(kind, asked);
        let packet = match name {
            Some(name) => packet.string(name),
            None => packet,
        };
        match wish {
            PathWish::Open { .. } => packet.string(first).u32(flags).attrs(&initial),
            PathWish::Mkdir { .. } => packet.string(first).attrs(&initial),
            PathWish::SetStat { attrs, .. } => packet.string(first).attrs(attrs),
            PathWish::Rename { .. } | PathWish::Hardlink { .. } => packet.string(first).string(second),
            PathWish::Symlink { .. } => packet.string(second).string(first),
            PathWish::OpenDir { .. }
            | PathWish::Look { .. }
            | PathWish::Remove { .. }
            | PathWish::Rmdir { .. }
            | PathWish::Where { .. } => packet.string(first),
        }
        .end();
    }
}
