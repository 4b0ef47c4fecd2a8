//! What becomes of a client's packet: path operations wait their turn, what goes through a handle is judged by what
//! the handle was opened for and passes at once.

use std::sync::Arc;

use super::files::Need;
use super::frame::Rope;
use super::note::Note;
use super::reply::Expect;
use super::request::{self, PathWish, Request, WRITE_HEAD_MAX, Wish};
use super::wire::{Attrs, PACKET_MAX, kind, status};
use super::{Asked, Fault, Guard, Phase, extension};
use crate::policy::files::path::{PATH_BYTES_MAX, shown};
use crate::policy::files::{FileOp, judge_all};

/// Longest content that may be asked for in one READ: so much fits into a packet whatever stands before it.
pub(super) const READ_MAX: u32 = (PACKET_MAX - 1024) as u32;

/// Most names of unknown extensions that are noted in one session.
pub(super) const UNKNOWN_MAX: usize = 32;

impl Guard {
    pub(super) fn client_packet(&mut self, packet: Rope) -> Result<(), Fault> {
        match (self.phase, packet.kind()) {
            (Phase::Start, kind::INIT) => {
                extension::read_init(&packet.flat())?;
                extension::put_init(&mut self.out.to_target);
                self.phase = Phase::Greeting;
                Ok(())
            }
            (Phase::Ready, kind::INIT) => Err(Fault::Beginning),
            (Phase::Ready, kind::WRITE) => self.write(packet),
            (Phase::Ready, _) => {
                let request = request::read(&packet.flat())?;
                self.wish(request);
                Ok(())
            }
            (Phase::Start | Phase::Greeting | Phase::Homing | Phase::Over, _) => Err(Fault::Beginning),
        }
    }

    fn wish(&mut self, request: Request) {
        let id = request.id;
        match request.wish {
            Wish::Path(wish) => self.path_wish(id, wish),
            Wish::Close(handle) => match self.files.forget_handle(&handle) {
                Some(file) => self.ask(kind::CLOSE, Asked::Close { id, file }).string(&handle).end(),
                None => self.answer(id, status::FAILURE, "no such handle"),
            },
            Wish::Read { handle, offset, length } => {
                if let Some(file) = self.usable(id, &handle, Need::Read) {
                    let length = length.min(READ_MAX);
                    let asked = Asked::Read { id, file, offset, length };
                    self.ask(kind::READ, asked).string(&handle).u64(offset).u32(length).end();
                }
            }
            Wish::Fstat(handle) => self.pass_handle(id, kind::FSTAT, Expect::Attrs, &handle, Need::Any),
            Wish::Readdir(handle) => {
                self.pass_handle(id, kind::READDIR, Expect::Name, &handle, Need::Folder);
            }
            Wish::Fsetstat { handle, attrs } => self.fsetstat(id, &handle, &attrs),
            Wish::Fsync(handle) => {
                self.pass_extended(id, b"fsync@openssh.com", Expect::Status, &handle, Need::Write);
            }
            Wish::Fstatvfs(handle) => {
                self.pass_extended(id, b"fstatvfs@openssh.com", Expect::Extended, &handle, Need::Any);
            }
            Wish::CopyData { from, from_offset, length, to, to_offset } => {
                self.copy_data(id, (&from, from_offset), length, (&to, to_offset));
            }
            Wish::Limits => {
                let asked = Asked::Pass { id, expect: Expect::Limits };
                self.ask(kind::EXTENDED, asked).string(b"limits@openssh.com").end();
            }
            Wish::Names { users, groups } => {
                let asked = Asked::Pass { id, expect: Expect::Extended };
                let packet = self.ask(kind::EXTENDED, asked).string(b"users-groups-by-id@openssh.com");
                packet.string(&users).string(&groups).end();
            }
            Wish::Unknown(name) => self.unknown(id, &name),
        }
    }

    /// Noted once for each name, as long as there are not too many names.
    fn unknown(&mut self, id: u32, name: &[u8]) {
        let name = name.get(..name.len().min(256)).unwrap_or_default();
        if self.unknown.len() < UNKNOWN_MAX && self.unknown.insert(name.to_vec()) {
            let rule = if self.unknown.len() < UNKNOWN_MAX {
                "unknown extension"
            } else {
                "unknown extension, and the last one of this session that is noted"
            };
            self.out.notes.push(Note::Operation {
                op: "extended",
                path: shown(name),
                second: None,
                allowed: false,
                rule: rule.into(),
            });
        }
        self.answer(id, status::OP_UNSUPPORTED, "caponier: this extension does not pass [unknown-request]");
    }

    /// Takes a path operation into the queue, unless its paths are none.
    fn path_wish(&mut self, id: u32, wish: PathWish) {
        let texts = wish.texts();
        let too_long = texts.iter().any(|text| text.len() > PATH_BYTES_MAX);
        let empty = texts.iter().any(|text| text.is_empty());
        let broken = texts.iter().any(|text| text.contains(&0));
        if too_long || broken {
            self.answer(id, status::FAILURE, "caponier: a path is too long, or holds a zero byte");
        } else if empty && !matches!(wish, PathWish::Where { .. }) {
            self.answer(id, status::NO_SUCH_FILE, "an empty path");
        } else {
            self.waiting.push_back((id, wish));
        }
    }

    /// The open file behind a handle when the request may use it; otherwise the client has been answered.
    fn usable(&mut self, id: u32, handle: &[u8], need: Need) -> Option<u64> {
        let number = self.files.number(handle);
        let Some((number, file)) = number.and_then(|number| Some((number, self.files.get(number)?))) else {
            self.answer(id, status::FAILURE, "no such handle");
            return None;
        };
        let now = self.live.now();
        if !Arc::ptr_eq(&file.rules, &now) {
            // Another policy holds since it was judged.
            let home = self.home.as_ref();
            let refused = file.ops.iter().find_map(|op| {
                let verdict = judge_all(&now, *op, &file.path, home);
                (!verdict.allowed).then_some((*op, verdict.rule))
            });
            if let Some((op, rule)) = &refused {
                self.out.notes.push(operation(*op, file.path.to_string(), None, false, rule));
            }
            file.revoked = refused.map(|(_, rule)| rule);
            file.rules = now;
        }
        if let Some(rule) = file.revoked.clone() {
            self.deny(id, &rule);
            None
        } else if !file.serves(need) {
            self.answer(id, status::FAILURE, "the handle was not opened for this");
            None
        } else {
            Some(number)
        }
    }

    fn pass_handle(&mut self, id: u32, kind: u8, expect: Expect, handle: &[u8], need: Need) {
        if self.usable(id, handle, need).is_some() {
            self.ask(kind, Asked::Pass { id, expect }).string(handle).end();
        }
    }

    fn pass_extended(&mut self, id: u32, name: &[u8], expect: Expect, handle: &[u8], need: Need) {
        if self.usable(id, handle, need).is_some() {
            self.ask(kind::EXTENDED, Asked::Pass { id, expect }).string(name).string(handle).end();
        }
    }

    fn write(&mut self, packet: Rope) -> Result<(), Fault> {
        let length = packet.len();
        let bytes = packet.head(WRITE_HEAD_MAX);
        let head = request::write_head(&bytes, length)?;
        let Some(file) = self.usable(head.id, &head.handle, Need::Write) else { return Ok(()) };
        let content = packet.behind(head.size);
        if let Some((file, room)) = self.files.with_room(file) {
            file.written.pass(head.offset, &content, room);
        }
        self.out.to_target.reserve(length + 4);
        let rest = bytes.get(5..head.size).unwrap_or_default();
        let begun = self.ask(kind::WRITE, Asked::Write { id: head.id, file }).raw(rest);
        content.iter().fold(begun, |packet, piece| packet.raw(piece)).end();
        Ok(())
    }

    /// A new length is a change of content and goes with the right to write; the rest needs `setattr`.
    fn fsetstat(&mut self, id: u32, handle: &[u8], attrs: &Attrs) {
        let Some(number) = self.usable(id, handle, Need::Any) else { return };
        let home = self.home.clone();
        let Some((file, room)) = self.files.with_room(number) else { return };
        if attrs.size.is_some() && !file.serves(Need::Write) {
            return self.answer(id, status::FAILURE, "the handle was not opened for this");
        }
        let path = file.path.to_string();
        let others = Attrs { size: None, ..attrs.clone() };
        if attrs.size.is_none() || others != Attrs::default() {
            let verdict = judge_all(&file.rules, FileOp::SetAttr, &file.path, home.as_ref());
            self.out.notes.push(operation(
                FileOp::SetAttr,
                path.clone(),
                None,
                verdict.allowed,
                &verdict.rule,
            ));
            if !verdict.allowed {
                return self.deny(id, &verdict.rule);
            }
        }
        let asked = match attrs.size {
            None => Asked::Pass { id, expect: Expect::Status },
            Some(size) => {
                // Clients that write over a file cut it behind what they wrote: then that is the whole content.
                if file.written.end() == Some(size) {
                    file.fresh = true;
                } else {
                    file.written.make_void(room);
                }
                self.out.notes.push(operation(FileOp::Write, path, None, true, "open for writing"));
                Asked::Write { id, file: number }
            }
        };
        self.ask(kind::FSETSTAT, asked).string(handle).attrs(attrs).end();
    }

    fn copy_data(&mut self, id: u32, from: (&[u8], u64), length: u64, to: (&[u8], u64)) {
        let Some(source) = self.usable(id, from.0, Need::Read) else { return };
        let Some(goal) = self.usable(id, to.0, Need::Write) else { return };
        let second = self.files.get(source).map(|file| file.path.to_string());
        let Some((file, room)) = self.files.with_room(goal) else { return };
        file.written.make_void(room);
        let path = file.path.to_string();
        self.out.notes.push(operation(FileOp::Write, path, second, true, "open for writing"));
        let packet =
            self.ask(kind::EXTENDED, Asked::Pass { id, expect: Expect::Status }).string(b"copy-data");
        packet.string(from.0).u64(from.1).u64(length).string(to.0).u64(to.1).end();
    }
}

pub(super) fn operation(op: FileOp, path: String, second: Option<String>, allowed: bool, rule: &str) -> Note {
    Note::Operation { op: op.as_str(), path, second, allowed, rule: rule.to_owned() }
}
