//! Path operations, one after the other: ask the target where the paths lead, look where that matters, judge, send
//! what was judged, and after an OPEN ask again.

use std::sync::Arc;

use super::client::operation;
use super::digest::Passing;
use super::files::OpenFile;
use super::judge::{Case, Judgement, Seen, opening};
use super::reply::{self, Expect, Reply};
use super::request::{PathWish, Where};
use super::wire::{kind, open, status};
use super::wish::{Split, split};
use super::{Asked, Fault, Guard, is_restricted};
use crate::policy::files::{CanonicalPath, FileOp, FileRules};

/// The path operation that is being done.
#[derive(Debug)]
pub(super) struct Current {
    /// The client's id.
    id: u32,
    wish: PathWish,
    rules: Arc<[FileRules]>,
    restricted: bool,
    found: Vec<CanonicalPath>,
    seen: [Seen; 2],
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Asked where a folder is in which `name` stands; or, without a name, where the path itself leads.
    Resolving { name: Option<Vec<u8>> },
    /// Asked what is at this one of the found paths.
    Looking(usize),
    /// Sent.
    Sent,
    /// Opened; asked whether the path still leads there.
    Again { handle: Vec<u8>, file: u64 },
}

/// Bits of a mode that give rights beyond reading, writing and executing.
const SPECIAL_BITS: u32 = 0o7000;

impl Guard {
    /// Begins what waits, until something must be waited for.
    pub(super) fn advance(&mut self) {
        while self.current.is_none() {
            let Some((id, wish)) = self.waiting.pop_front() else { break };
            self.begin(id, wish);
        }
    }

    fn begin(&mut self, id: u32, wish: PathWish) {
        let rules = self.live.now();
        let restricted = is_restricted(&rules);
        let stage = match (&wish, restricted) {
            (PathWish::Look { .. } | PathWish::Where { .. }, false) => {
                let expect = wish.expect();
                let texts: Vec<Vec<u8>> = wish.texts().into_iter().map(<[u8]>::to_vec).collect();
                return self.put(Asked::Pass { id, expect }, &wish, &texts, 0, None);
            }
            (PathWish::Where { .. }, true) => Stage::Sent,
            _ => Stage::Resolving { name: None },
        };
        let sent = matches!(stage, Stage::Sent);
        let seen = [Seen::Unknown, Seen::Unknown];
        if sent {
            let texts: Vec<Vec<u8>> = wish.texts().into_iter().map(<[u8]>::to_vec).collect();
            self.put(Asked::Wish, &wish, &texts, 0, None);
        }
        self.current = Some(Current { id, wish, rules, restricted, found: Vec::new(), seen, stage });
        if !sent {
            self.resolve();
        }
    }

    /// Asks where the next path leads, or goes on when all are found.
    fn resolve(&mut self) {
        let Some(current) = &mut self.current else { return };
        while let Some((text, follow)) = current.wish.aim(&current.found) {
            let (question, name) = match split(&text) {
                _ if follow => (text, None),
                Split::Root => {
                    current.found.push(CanonicalPath::root());
                    continue;
                }
                Split::Dots => return self.give_up(status::FAILURE, "a path must end in a name here"),
                Split::Name { folder, name } => (folder, Some(name)),
            };
            current.stage = Stage::Resolving { name };
            return self.ask(kind::REALPATH, Asked::Step).string(&question).end();
        }
        self.look(0);
    }

    /// The operation ends with this answer.
    fn give_up(&mut self, code: u32, text: &str) {
        if let Some(current) = self.current.take() {
            self.answer(current.id, code, text);
        }
    }

    /// The operation ends with a no.
    fn refuse(&mut self, rule: &str) {
        if let Some(current) = self.current.take() {
            self.deny(current.id, rule);
        }
    }

    /// An answer to a question of ours.
    pub(super) fn step_answered(&mut self, packet: &[u8]) -> Result<(), Fault> {
        let Some(current) = &mut self.current else { return Err(Fault::NobodyAsked) };
        match std::mem::replace(&mut current.stage, Stage::Sent) {
            Stage::Resolving { name } => match reply::read(packet, Expect::Name)? {
                Reply::Name(1, text) => self.found(CanonicalPath::parse(&text), name.as_deref()),
                Reply::Status(code) => self.not_found(code, name.is_some()),
                Reply::Name(..) | Reply::Handle(_) | Reply::Attrs(_) | Reply::Extended => {
                    self.found(None, None)
                }
            },
            Stage::Looking(at) => {
                let seen = match reply::read(packet, Expect::Attrs)? {
                    Reply::Attrs(attrs) => Seen::There(attrs),
                    Reply::Status(status::NO_SUCH_FILE) => Seen::Missing,
                    Reply::Status(_) | Reply::Name(..) | Reply::Handle(_) | Reply::Extended => Seen::Unknown,
                };
                if let Some(place) = current.seen.get_mut(at) {
                    *place = seen;
                }
                self.look(at + 1);
            }
            Stage::Again { handle, file } => {
                let same = match reply::read(packet, Expect::Name)? {
                    Reply::Name(1, text) => current.found.first().is_some_and(|path| path.as_bytes() == text),
                    Reply::Name(..)
                    | Reply::Status(_)
                    | Reply::Handle(_)
                    | Reply::Attrs(_)
                    | Reply::Extended => false,
                };
                self.opened(&handle, file, same);
            }
            Stage::Sent => return Err(Fault::NobodyAsked),
        }
        Ok(())
    }

    /// A path, or the folder of a name, leads there.
    fn found(&mut self, path: Option<CanonicalPath>, name: Option<&[u8]>) {
        let path = match name {
            Some(name) => path.and_then(|folder| folder.join(name)),
            None => path,
        };
        match path {
            Some(path) => {
                if let Some(current) = &mut self.current {
                    current.found.push(path);
                }
                self.resolve();
            }
            None => self.not_found(status::FAILURE, true),
        }
    }

    /// The target cannot say where a path leads. `last` when there is no other way to ask.
    fn not_found(&mut self, code: u32, last: bool) {
        let Some(current) = &mut self.current else { return };
        let Some((text, _)) = current.wish.aim(&current.found) else { return };
        if current.wish.creates()
            && !last
            && let Split::Name { folder, name } = split(&text)
        {
            // Some targets resolve only what is there.
            current.stage = Stage::Resolving { name: Some(name) };
            return self.ask(kind::REALPATH, Asked::Step).string(&folder).end();
        }
        let base = self.home.clone().unwrap_or_else(CanonicalPath::root);
        let written = CanonicalPath::lexical(&text, &base);
        if !current.restricted {
            // It gets what it asks for; only the audit has to do with the text alone.
            current.found.push(written.unwrap_or_else(CanonicalPath::root));
            return self.resolve();
        }
        let case = current.case(self.home.as_ref());
        if written.is_some_and(|path| case.may_look(&path)) {
            self.give_up(code, "the target cannot say where this path leads");
        } else {
            self.refuse("no rule allows it");
        }
    }

    /// Looks at the found paths that matter, from number `at` on, and then judges.
    fn look(&mut self, at: usize) {
        let Some(current) = &mut self.current else { return };
        let next = current.case(self.home.as_ref()).looks().into_iter().find(|index| *index >= at);
        let path = next.and_then(|index| Some((index, current.found.get(index)?.clone())));
        match path {
            Some((index, path)) => {
                current.stage = Stage::Looking(index);
                self.ask(kind::LSTAT, Asked::Step).string(path.as_bytes()).end();
            }
            None => self.judge(),
        }
    }

    fn judge(&mut self) {
        let Some(current) = &self.current else { return };
        let opens = matches!(current.wish, PathWish::Open { .. } | PathWish::OpenDir { .. });
        if opens && self.files.is_full() {
            return self.give_up(status::FAILURE, "too many files are open in this session");
        }
        match current.case(self.home.as_ref()).judge() {
            Judgement::Hidden => self.refuse("no rule allows it"),
            Judgement::Refused(no) => {
                self.out.notes.push(operation(no.op, no.path, no.second, false, &no.rule));
                self.refuse(&no.rule);
            }
            Judgement::Allowed(judged) => {
                let notes =
                    judged.into_iter().map(|yes| operation(yes.op, yes.path, yes.second, true, &yes.rule));
                self.out.notes.extend(notes);
                self.send();
            }
        }
    }

    /// Sends the operation as it was judged.
    fn send(&mut self) {
        let Some(mut current) = self.current.take() else { return };
        let case = current.case(self.home.as_ref());
        let mut texts: Vec<Vec<u8>> = current.wish.texts().into_iter().map(<[u8]>::to_vec).collect();
        let (mut flags, mut permissions) = match &current.wish {
            PathWish::Open { flags, permissions, .. } => (*flags, *permissions),
            PathWish::Mkdir { permissions, .. } => (0, *permissions),
            PathWish::OpenDir { .. }
            | PathWish::Look { .. }
            | PathWish::SetStat { .. }
            | PathWish::Remove { .. }
            | PathWish::Rmdir { .. }
            | PathWish::Rename { .. }
            | PathWish::Hardlink { .. }
            | PathWish::Symlink { .. }
            | PathWish::Where { .. } => (0, None),
        };
        if current.restricted {
            for (text, path) in texts.iter_mut().zip(&current.found) {
                *text = path.as_bytes().to_vec();
            }
            if let (PathWish::Symlink { target, .. }, Some(text)) = (&current.wish, texts.get_mut(1)) {
                // Where it leads was judged from the folder in which the link will stand.
                target.clone_into(text);
            }
            if case.found.first().is_none_or(|path| !case.may_set_bits(path)) {
                permissions = permissions.map(|bits| bits & !SPECIAL_BITS);
            }
            let making = opening(flags, case.seen.first().unwrap_or(&Seen::Unknown)).creates;
            // What was judged to be new must be made by this, and what was judged to be there must be there.
            flags = if making { flags | open::EXCL } else { flags & !(open::CREAT | open::EXCL) };
        }
        current.stage = Stage::Sent;
        self.put(Asked::Wish, &current.wish, &texts, flags, permissions);
        self.current = Some(current);
    }

    /// The answer to the operation itself.
    pub(super) fn wish_answered(&mut self, packet: &[u8]) -> Result<(), Fault> {
        let Some(current) = &self.current else { return Err(Fault::NobodyAsked) };
        let reply = reply::read(packet, current.wish.expect())?;
        let hidden = matches!(current.wish, PathWish::Where { .. }) && !self.may_learn(current, &reply);
        match reply {
            Reply::Handle(handle) => return self.opening(&handle, packet),
            _ if hidden => self.refuse("no rule allows it"),
            Reply::Status(_) | Reply::Name(..) | Reply::Attrs(_) | Reply::Extended => {
                if let Some(current) = self.current.take() {
                    self.pass(current.id, packet);
                }
            }
        }
        Ok(())
    }

    /// Whether the client may know where a text leads: home, which it is told anyway, and what it may look at. When the
    /// target cannot say, what the text itself means is judged.
    fn may_learn(&self, current: &Current, reply: &Reply) -> bool {
        let base = self.home.clone().unwrap_or_else(CanonicalPath::root);
        let place = match (reply, &current.wish) {
            (Reply::Name(1, text), _) => CanonicalPath::parse(text),
            (Reply::Status(_), PathWish::Where { text, how: Where::Realpath }) => {
                CanonicalPath::lexical(text, &base)
            }
            (Reply::Status(_), PathWish::Where { text, how: Where::Expand }) => match text.strip_prefix(b"~")
            {
                Some(rest) if rest.is_empty() || rest.starts_with(b"/") => {
                    let start = rest.iter().position(|b| *b != b'/').unwrap_or(rest.len());
                    CanonicalPath::lexical(rest.get(start..).unwrap_or_default(), &base)
                }
                Some(_) => None,
                None => CanonicalPath::lexical(text, &base),
            },
            _ => None,
        };
        place.is_some_and(|path| {
            self.home.as_ref() == Some(&path) || current.case(self.home.as_ref()).may_look(&path)
        })
    }

    /// The target has opened it: remembered, measured, and asked for again before the client gets the handle.
    fn opening(&mut self, handle: &[u8], packet: &[u8]) -> Result<(), Fault> {
        let Some(mut current) = self.current.take() else { return Err(Fault::NobodyAsked) };
        let path = current.found.first().cloned().unwrap_or_else(CanonicalPath::root);
        let folder = matches!(current.wish, PathWish::OpenDir { .. });
        let file = self.files.insert(handle, current.open_file(path.clone())).ok_or(Fault::SameHandle)?;
        if !folder {
            self.ask(kind::FSTAT, Asked::Size(file)).string(handle).end();
        }
        if current.restricted {
            self.ask(kind::REALPATH, Asked::Step).string(path.as_bytes()).end();
            current.stage = Stage::Again { handle: handle.to_vec(), file };
            self.current = Some(current);
        } else {
            self.files.hand_out(handle, file);
            self.pass(current.id, packet);
        }
        Ok(())
    }

    /// The second look at an opened path: when it leads elsewhere now, the client does not get it.
    fn opened(&mut self, handle: &[u8], file: u64, same: bool) {
        let Some(current) = self.current.take() else { return };
        if same {
            self.files.hand_out(handle, file);
            let id = current.id;
            return super::Packet::new(&mut self.out.to_client, kind::HANDLE, id).string(handle).end();
        }
        let rule = "the path changed while it was opened";
        let path = current.found.first().map(ToString::to_string).unwrap_or_default();
        let op = self.files.get(file).and_then(|file| file.ops.first().copied()).unwrap_or(FileOp::Read);
        drop(self.files.closed(file, false));
        self.ask(kind::CLOSE, Asked::Closing).string(handle).end();
        self.out.notes.push(operation(op, path, None, false, rule));
        self.deny(current.id, rule);
    }
}

impl Current {
    fn case<'c>(&'c self, home: Option<&'c CanonicalPath>) -> Case<'c> {
        Case {
            wish: &self.wish,
            found: &self.found,
            seen: &self.seen,
            rules: &self.rules,
            restricted: self.restricted,
            home,
        }
    }

    fn open_file(&self, path: CanonicalPath) -> OpenFile {
        let flags = if let PathWish::Open { flags, .. } = &self.wish { *flags } else { 0 };
        let folder = matches!(self.wish, PathWish::OpenDir { .. });
        let how = opening(flags, self.seen.first().unwrap_or(&Seen::Unknown));
        OpenFile {
            path,
            ops: if folder { vec![FileOp::List] } else { how.ops() },
            rules: Arc::clone(&self.rules),
            revoked: None,
            folder,
            readable: how.reads,
            writable: flags & open::WRITE != 0,
            append: flags & open::APPEND != 0,
            fresh: how.creates || flags & open::TRUNC != 0,
            size: None,
            ends_at: None,
            read: Passing::default(),
            written: Passing::default(),
        }
    }
}
