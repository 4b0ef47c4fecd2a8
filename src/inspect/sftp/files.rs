//! What is open: which handle stands for which path, what it was opened for, and what passed through it. A handle is
//! what the target calls it; inside, an open file has a number that is never used twice.

use std::collections::HashMap;
use std::sync::Arc;

use super::digest::{Passing, Room};
use super::note::{Note, Way};
use crate::policy::files::{CanonicalPath, FileOp, FileRules};

/// Most files and folders open at once, in one session.
pub(super) const OPEN_MAX: usize = 1024;

/// Something open.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) path: CanonicalPath,
    /// What it was opened for, as it was judged.
    pub(super) ops: Vec<FileOp>,
    /// The rules by which these were judged last.
    pub(super) rules: Arc<[FileRules]>,
    /// The rule of a later policy that takes them back.
    pub(super) revoked: Option<String>,
    pub(super) folder: bool,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// Where writes go is the target's (O_APPEND).
    pub(super) append: bool,
    /// Nothing is in it but what was written through this handle: it was made or cut by opening it, or cut since.
    pub(super) fresh: bool,
    /// Its size when it was opened, as the target said.
    pub(super) size: Option<u64>,
    /// The smallest offset at which the target said that the file ends.
    pub(super) ends_at: Option<u64>,
    pub(super) read: Passing,
    pub(super) written: Passing,
}

/// What a request wants to do with a handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Read,
    Write,
    Folder,
    Any,
}

impl OpenFile {
    pub(super) fn serves(&self, need: Need) -> bool {
        match need {
            Need::Read => self.readable && !self.folder,
            Need::Write => self.writable && !self.folder,
            Need::Folder => self.folder,
            Need::Any => true,
        }
    }

    /// What is to be said of what passed, when it is closed (`whole`) or the session ends before that.
    fn notes(&self, whole: bool) -> Vec<Note> {
        if self.folder {
            return Vec::new();
        }
        let mut notes = Vec::new();
        let mut note = |way, passing: &Passing, complete: bool| {
            notes.push(Note::Transferred {
                path: self.path.to_string(),
                way,
                bytes: passing.bytes(),
                sha256: complete.then(|| passing.sha256()),
            });
        };
        if self.readable && (self.read.bytes() > 0 || self.ends_at.is_some()) {
            let complete = whole
                && self.read.end().is_some_and(|end| self.ends_at == Some(end) || self.size == Some(end));
            note(Way::Read, &self.read, complete);
        }
        if self.writable && (self.written.bytes() > 0 || self.fresh) {
            let covers = |end: u64| self.fresh || self.size.is_some_and(|size| size <= end);
            let complete = whole && !self.append && self.written.end().is_some_and(covers);
            note(Way::Write, &self.written, complete);
        }
        notes
    }
}

/// The files of one session.
#[derive(Debug, Default)]
pub(super) struct Files {
    open: HashMap<u64, OpenFile>,
    by_handle: HashMap<Vec<u8>, u64>,
    next: u64,
    room: Room,
}

impl Files {
    pub(super) fn is_full(&self) -> bool {
        self.open.len() >= OPEN_MAX
    }

    /// Takes what the target opened; `None` when this handle stands for something else already. Nobody can use it
    /// before [`Self::hand_out`].
    pub(super) fn insert(&mut self, handle: &[u8], file: OpenFile) -> Option<u64> {
        if self.by_handle.contains_key(handle) {
            return None;
        }
        let number = self.next;
        self.next += 1;
        self.open.insert(number, file);
        Some(number)
    }

    /// From now on the handle stands for the file: the client gets it with this, or has guessed it before.
    pub(super) fn hand_out(&mut self, handle: &[u8], number: u64) {
        self.by_handle.insert(handle.to_vec(), number);
    }

    pub(super) fn number(&self, handle: &[u8]) -> Option<u64> {
        self.by_handle.get(handle).copied()
    }

    pub(super) fn get(&mut self, number: u64) -> Option<&mut OpenFile> {
        self.open.get_mut(&number)
    }

    /// What to count passing content with.
    pub(super) fn with_room(&mut self, number: u64) -> Option<(&mut OpenFile, &mut Room)> {
        Some((self.open.get_mut(&number)?, &mut self.room))
    }

    /// From now on the handle stands for nothing; answers to what was asked before still count.
    pub(super) fn forget_handle(&mut self, handle: &[u8]) -> Option<u64> {
        self.by_handle.remove(handle)
    }

    /// The target has closed it; `whole` when it said so without an error.
    pub(super) fn closed(&mut self, number: u64, whole: bool) -> Vec<Note> {
        let Some(mut file) = self.open.remove(&number) else { return Vec::new() };
        let notes = file.notes(whole);
        file.read.make_void(&mut self.room);
        file.written.make_void(&mut self.room);
        notes
    }

    /// The session is over.
    pub(super) fn end(&mut self) -> Vec<Note> {
        let mut left: Vec<(u64, OpenFile)> = self.open.drain().collect();
        left.sort_by_key(|(number, _)| *number);
        self.by_handle.clear();
        left.iter().flat_map(|(_, file)| file.notes(false)).collect()
    }
}
