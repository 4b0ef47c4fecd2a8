//! A target in memory with folders, files and symbolic links, which answers as OpenSSH's sftp-server does. It also says
//! what each request really did, with all links followed as a kernel follows them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::BytesMut;

use super::super::wire::{Attrs, Fields, Packet, kind, open, status};

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Folder,
    File(Vec<u8>),
    Link(String),
}

/// The target.
pub(super) struct Model {
    pub(super) nodes: BTreeMap<String, Node>,
    handles: BTreeMap<Vec<u8>, (String, bool)>,
    next: u32,
    /// Requests that did something, or tried: the word, and the paths where it really happened.
    pub(super) deeds: Vec<(&'static str, Vec<String>)>,
    /// Every request as it arrived, questions included.
    pub(super) seen: Vec<String>,
    /// Done just before the next OPEN is served: somebody else swaps a link in.
    pub(super) swap: Option<(String, Node)>,
    pub(super) extensions: Vec<(&'static str, &'static str)>,
    pub(super) version: u32,
}

impl Model {
    pub(super) fn new(nodes: &[(&str, Node)]) -> Self {
        let mut all: BTreeMap<String, Node> =
            nodes.iter().map(|(path, node)| ((*path).to_owned(), node.clone())).collect();
        let mut folders = BTreeSet::from(["/".to_owned(), "/home/me".to_owned(), "/home".to_owned()]);
        for path in all.keys() {
            let mut end = path.len();
            while let Some(cut) = path[..end].rfind('/') {
                folders.insert(if cut == 0 { "/".into() } else { path[..cut].to_owned() });
                end = cut;
            }
        }
        for folder in folders {
            all.entry(folder).or_insert(Node::Folder);
        }
        Self {
            nodes: all,
            handles: BTreeMap::new(),
            next: 0,
            deeds: Vec::new(),
            seen: Vec::new(),
            swap: None,
            extensions: vec![
                ("posix-rename@openssh.com", "1"),
                ("hardlink@openssh.com", "1"),
                ("limits@openssh.com", "1"),
                ("evil@example.test", "1"),
            ],
            version: 3,
        }
    }

    /// Where a path leads; with `follow` a link at its end too. `None` when a folder on the way is missing, or links
    /// turn in a circle.
    pub(super) fn resolve(&self, text: &str, follow: bool) -> Option<String> {
        let mut rest: Vec<String> = text.split('/').rev().map(str::to_owned).collect();
        let mut at = if text.starts_with('/') { String::new() } else { "/home/me".to_owned() };
        let mut links = 0;
        while let Some(name) = rest.pop() {
            match name.as_str() {
                "" | "." => continue,
                ".." => {
                    at.truncate(at.rfind('/').unwrap_or(0));
                    continue;
                }
                _ => {}
            }
            let here = format!("{at}/{name}");
            let last = rest.iter().all(String::is_empty);
            match self.nodes.get(&here) {
                Some(Node::Link(to)) if follow || !last => {
                    links += 1;
                    if links > 20 {
                        return None;
                    }
                    if to.starts_with('/') {
                        at.clear();
                    }
                    rest.extend(to.split('/').rev().map(str::to_owned));
                }
                Some(Node::File(_)) if !last => return None,
                None if !last => return None,
                Some(_) | None => at = here,
            }
        }
        Some(if at.is_empty() { "/".into() } else { at })
    }

    fn did(&mut self, word: &'static str, paths: &[&str], follow: bool) -> Vec<String> {
        let real: Vec<String> =
            paths.iter().map(|path| self.resolve(path, follow).unwrap_or_default()).collect();
        self.deeds.push((word, real.clone()));
        real
    }

    /// Answers one packet without its length.
    pub(super) fn answer(&mut self, packet: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        let mut fields = Fields::of(packet);
        let kind = fields.u8().unwrap();
        let id = fields.u32().unwrap();
        if kind == kind::INIT {
            self.seen.push(format!("INIT {id}"));
            // VERSION has its number where others have the id.
            let packet = Packet::new(&mut out, kind::VERSION, self.version);
            let packet = self.extensions.iter().fold(packet, |packet, (name, value)| {
                packet.string(name.as_bytes()).string(value.as_bytes())
            });
            packet.end();
            return out;
        }
        self.serve(kind, id, &mut fields, &mut out);
        out
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each request")]
    fn serve(&mut self, kind: u8, id: u32, fields: &mut Fields<'_>, out: &mut BytesMut) {
        let text = |fields: &mut Fields<'_>| {
            fields.string().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
        };
        let status = |out: &mut BytesMut, code: u32| {
            Packet::new(out, kind::STATUS, id).u32(code).string(b"").string(b"").end();
        };
        let done = |ok: bool| if ok { status::OK } else { status::NO_SUCH_FILE };
        let first = if kind == kind::EXTENDED { text(fields) } else { String::new() };
        match kind {
            kind::REALPATH => {
                let path = text(fields);
                self.seen.push(format!("REALPATH {path}"));
                match self.resolve(if path.is_empty() { "." } else { &path }, true) {
                    Some(real) => Packet::new(out, kind::NAME, id)
                        .u32(1)
                        .string(real.as_bytes())
                        .string(real.as_bytes())
                        .attrs(&Attrs::default())
                        .end(),
                    None => status(out, status::NO_SUCH_FILE),
                }
            }
            kind::STAT | kind::LSTAT => {
                let path = text(fields);
                self.seen.push(format!("{} {path}", if kind == kind::STAT { "STAT" } else { "LSTAT" }));
                let found = self.resolve(&path, kind == kind::STAT).and_then(|real| self.nodes.get(&real));
                match found {
                    Some(node) => {
                        let (bits, size) = match node {
                            Node::Folder => (0o040_755, 0),
                            Node::File(content) => (0o100_644, content.len()),
                            Node::Link(_) => (0o120_777, 0),
                        };
                        let attrs =
                            Attrs { permissions: Some(bits), size: Some(size as u64), ..Attrs::default() };
                        Packet::new(out, kind::ATTRS, id).attrs(&attrs).end();
                    }
                    None => status(out, status::NO_SUCH_FILE),
                }
            }
            kind::OPEN => {
                let path = text(fields);
                let flags = fields.u32().unwrap();
                let attrs = Attrs::read(fields).unwrap();
                if let Some((at, node)) = self.swap.take() {
                    self.nodes.insert(at, node);
                }
                self.seen.push(format!("OPEN {path} {flags:#x} {:o}", attrs.permissions.unwrap_or(0)));
                let real = self.did("open", &[&path], true).remove(0);
                let exists = self.nodes.contains_key(&real);
                let named = self.resolve(&path, false).is_some_and(|name| self.nodes.contains_key(&name));
                let refused = real.is_empty()
                    || (!exists && flags & open::CREAT == 0)
                    || (named && flags & open::EXCL != 0);
                if refused {
                    return status(out, status::NO_SUCH_FILE);
                }
                let content = self.nodes.entry(real.clone()).or_insert_with(|| Node::File(Vec::new()));
                if flags & open::TRUNC != 0 {
                    *content = Node::File(Vec::new());
                }
                self.hand_out(id, real, false, out);
            }
            kind::OPENDIR => {
                let path = text(fields);
                self.seen.push(format!("OPENDIR {path}"));
                let real = self.did("list", &[&path], true).remove(0);
                match self.nodes.get(&real) {
                    Some(Node::Folder) => self.hand_out(id, real, true, out),
                    Some(_) | None => status(out, status::NO_SUCH_FILE),
                }
            }
            kind::READ => {
                let handle = fields.string().unwrap().to_vec();
                let (offset, length) = (fields.u64().unwrap() as usize, fields.u32().unwrap() as usize);
                let content = self.content(&handle);
                match content.get(offset..).filter(|rest| !rest.is_empty()) {
                    Some(rest) => Packet::new(out, kind::DATA, id)
                        .string(rest.get(..length.min(rest.len())).unwrap_or(rest))
                        .end(),
                    None => status(out, status::EOF),
                }
            }
            kind::WRITE => {
                let handle = fields.string().unwrap().to_vec();
                let offset = fields.u64().unwrap() as usize;
                let piece = fields.string().unwrap();
                let path = self.handles[&handle].0.clone();
                self.deeds.push(("write", vec![path.clone()]));
                // A full disk.
                if piece.starts_with(b"FULL") || offset > 1 << 20 {
                    return status(out, status::FAILURE);
                }
                if let Some(Node::File(content)) = self.nodes.get_mut(&path) {
                    content.resize(content.len().max(offset + piece.len()), 0);
                    content[offset..offset + piece.len()].copy_from_slice(piece);
                }
                status(out, status::OK);
            }
            kind::CLOSE => {
                let handle = fields.string().unwrap().to_vec();
                self.seen.push(format!("CLOSE {}", String::from_utf8_lossy(&handle)));
                let known = self.handles.remove(&handle).is_some();
                status(out, done(known));
            }
            kind::FSTAT => {
                let handle = fields.string().unwrap().to_vec();
                let size = self.content(&handle).len() as u64;
                Packet::new(out, kind::ATTRS, id)
                    .attrs(&Attrs { size: Some(size), ..Attrs::default() })
                    .end();
            }
            kind::FSETSTAT => {
                let handle = fields.string().unwrap().to_vec();
                let path = self.handles[&handle].0.clone();
                self.deeds.push(("setattr", vec![path]));
                status(out, status::OK);
            }
            kind::READDIR => status(out, status::EOF),
            kind::SETSTAT => {
                let path = text(fields);
                self.seen.push(format!("SETSTAT {path}"));
                self.did("setattr", &[&path], true);
                status(out, status::OK);
            }
            kind::REMOVE | kind::RMDIR => {
                let path = text(fields);
                self.seen.push(format!("REMOVE {path}"));
                let real = self.did("remove", &[&path], false).remove(0);
                let below = format!("{real}/");
                let empty = !self.nodes.keys().any(|other| other.starts_with(&below));
                let gone = empty && self.nodes.remove(&real).is_some();
                status(out, done(gone));
            }
            kind::MKDIR => {
                let path = text(fields);
                let attrs = Attrs::read(fields).unwrap_or_default();
                self.seen.push(format!("MKDIR {path} {:o}", attrs.permissions.unwrap_or(0)));
                let real = self.did("mkdir", &[&path], false).remove(0);
                let fits = !real.is_empty() && !self.nodes.contains_key(&real);
                if fits {
                    self.nodes.insert(real, Node::Folder);
                }
                status(out, done(fits));
            }
            kind::RENAME => {
                let (from, to) = (text(fields), text(fields));
                self.seen.push(format!("RENAME {from} {to}"));
                let moved = self.rename(&from, &to, false);
                status(out, done(moved));
            }
            kind::SYMLINK => {
                let (target, link) = (text(fields), text(fields));
                self.seen.push(format!("SYMLINK {target} {link}"));
                let real = self.did("symlink", &[&link], false).remove(0);
                let fits = !real.is_empty() && !self.nodes.contains_key(&real);
                if fits {
                    self.nodes.insert(real, Node::Link(target));
                }
                status(out, done(fits));
            }
            kind::READLINK => {
                let path = text(fields);
                self.seen.push(format!("READLINK {path}"));
                match self.resolve(&path, false).and_then(|real| self.nodes.get(&real)) {
                    Some(Node::Link(to)) => Packet::new(out, kind::NAME, id)
                        .u32(1)
                        .string(to.as_bytes())
                        .string(b"")
                        .attrs(&Attrs::default())
                        .end(),
                    Some(_) | None => status(out, status::NO_SUCH_FILE),
                }
            }
            kind::EXTENDED => match first.as_str() {
                "posix-rename@openssh.com" => {
                    let (from, to) = (text(fields), text(fields));
                    self.seen.push(format!("POSIX-RENAME {from} {to}"));
                    let moved = self.rename(&from, &to, true);
                    status(out, done(moved));
                }
                "hardlink@openssh.com" => {
                    let (from, to) = (text(fields), text(fields));
                    self.seen.push(format!("HARDLINK {from} {to}"));
                    self.did("hardlink", &[&from, &to], false);
                    status(out, status::OK);
                }
                "limits@openssh.com" => {
                    Packet::new(out, kind::EXTENDED_REPLY, id).u64(1 << 20).u64(1 << 20).u64(0).u64(100).end()
                }
                other => {
                    self.seen.push(format!("EXTENDED {other}"));
                    status(out, status::OP_UNSUPPORTED);
                }
            },
            other => panic!("the target got a packet of type {other}"),
        }
    }

    fn rename(&mut self, from: &str, to: &str, replace: bool) -> bool {
        let real = self.did("rename", &[from, to], false);
        let (from, to) = (&real[0], &real[1]);
        if from.is_empty() || to.is_empty() || (self.nodes.contains_key(to) && !replace) {
            return false;
        }
        let below = format!("{from}/");
        let moving: Vec<String> =
            self.nodes.keys().filter(|path| *path == from || path.starts_with(&below)).cloned().collect();
        for path in &moving {
            let node = self.nodes.remove(path).unwrap();
            self.nodes.insert(format!("{to}{}", &path[from.len()..]), node);
        }
        !moving.is_empty()
    }

    fn hand_out(&mut self, id: u32, path: String, folder: bool, out: &mut BytesMut) {
        let handle = format!("h{}", self.next).into_bytes();
        self.next += 1;
        Packet::new(out, kind::HANDLE, id).string(&handle).end();
        self.handles.insert(handle, (path, folder));
    }

    fn content(&self, handle: &[u8]) -> Vec<u8> {
        let path = &self.handles[handle].0;
        match self.nodes.get(path) {
            Some(Node::File(content)) => content.clone(),
            Some(_) | None => Vec::new(),
        }
    }
}
