//! Plays a session: sends the client's packets through a guard to a model and back, in any pieces.

use std::path::Path;

use bytes::{Bytes, BytesMut};

use super::super::wire::{Attrs, Fields, Packet, kind};
use super::super::{Fault, Guard, Note, Out};
use super::model::Model;
use crate::policy::files::{FileRules, LiveRules, read_alone};

/// A session in which INIT is done.
pub(super) struct Play {
    pub(super) guard: Guard,
    pub(super) live: LiveRules,
    pub(super) model: Model,
    /// What the client got, without lengths.
    pub(super) got: Vec<Vec<u8>>,
    pub(super) notes: Vec<Note>,
    pub(super) fault: Option<Fault>,
    /// Longest piece in which bytes are fed.
    pub(super) piece: usize,
    /// The target's answers wait.
    pub(super) hold: bool,
    /// They wait from the next answer to an OPEN on.
    pub(super) hold_after_open: bool,
    held: Vec<Vec<u8>>,
    next: u32,
}

pub(super) fn rules(text: &str) -> FileRules {
    read_alone(Path::new("rules"), text).unwrap()
}

impl Play {
    pub(super) fn new(rules: Vec<FileRules>, model: Model) -> Self {
        let mut play = Self::silent(rules, model);
        play.feed(&init(3));
        assert_eq!(play.fault, None);
        play
    }

    /// Nothing was said yet.
    pub(super) fn silent(rules: Vec<FileRules>, model: Model) -> Self {
        let live = LiveRules::new(rules);
        Self {
            guard: Guard::new(live.clone()),
            live,
            model,
            got: Vec::new(),
            notes: Vec::new(),
            fault: None,
            piece: usize::MAX,
            hold: false,
            hold_after_open: false,
            held: Vec::new(),
            next: 100,
        }
    }

    /// Sends one request; answers its id.
    pub(super) fn send(&mut self, kind: u8, fill: impl FnOnce(Packet<'_>) -> Packet<'_>) -> u32 {
        self.next += 1;
        let id = self.next;
        let mut bytes = BytesMut::new();
        fill(Packet::new(&mut bytes, kind, id)).end();
        self.feed(&bytes);
        id
    }

    /// Sends a request about a path.
    pub(super) fn path(&mut self, kind: u8, path: &str) -> u32 {
        self.send(kind, |packet| packet.string(path.as_bytes()))
    }

    pub(super) fn open(&mut self, path: &str, flags: u32) -> u32 {
        self.open_with(path, flags, Attrs::default())
    }

    pub(super) fn open_with(&mut self, path: &str, flags: u32, attrs: Attrs) -> u32 {
        self.send(kind::OPEN, |packet| packet.string(path.as_bytes()).u32(flags).attrs(&attrs))
    }

    pub(super) fn extended(&mut self, name: &str, texts: &[&str]) -> u32 {
        self.send(kind::EXTENDED, |packet| {
            texts.iter().fold(packet.string(name.as_bytes()), |packet, text| packet.string(text.as_bytes()))
        })
    }

    pub(super) fn read(&mut self, handle: &[u8], offset: u64, length: u32) -> u32 {
        self.send(kind::READ, |packet| packet.string(handle).u64(offset).u32(length))
    }

    pub(super) fn write(&mut self, handle: &[u8], offset: u64, content: &[u8]) -> u32 {
        self.send(kind::WRITE, |packet| packet.string(handle).u64(offset).string(content))
    }

    pub(super) fn close(&mut self, handle: &[u8]) -> u32 {
        self.send(kind::CLOSE, |packet| packet.string(handle))
    }

    /// Feeds bytes of the client, and everything that comes of them.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(self.piece) {
            let out = self.guard.from_client(Bytes::copy_from_slice(piece));
            self.take(out);
        }
    }

    /// Feeds bytes of the target.
    pub(super) fn feed_target(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(self.piece) {
            let out = self.guard.from_target(Bytes::copy_from_slice(piece));
            self.take(out);
        }
    }

    /// The target answers what it has not answered yet.
    pub(super) fn release(&mut self) {
        (self.hold, self.hold_after_open) = (false, false);
        for packet in std::mem::take(&mut self.held) {
            let answer = self.model.answer(&packet);
            self.feed_target(&answer);
        }
    }

    fn take(&mut self, out: Out) {
        self.got.extend(packets(&out.to_client));
        self.notes.extend(out.notes);
        assert!(self.fault.is_none() || out.fault.is_none(), "a fault ends the session");
        self.fault = self.fault.or(out.fault);
        for packet in packets(&out.to_target) {
            if self.hold {
                self.held.push(packet);
            } else {
                self.hold = self.hold_after_open && packet.first() == Some(&kind::OPEN);
                let answer = self.model.answer(&packet);
                self.feed_target(&answer);
            }
        }
    }

    /// The answer to a request: its type and what is behind the id.
    #[track_caller]
    pub(super) fn answer(&self, id: u32) -> (u8, &[u8]) {
        let mut answers = self.got.iter().filter(|packet| packet.get(1..5) == Some(&id.to_be_bytes()));
        let answer = answers.next().unwrap_or_else(|| panic!("no answer to {id}"));
        assert_eq!(answers.next(), None, "two answers to {id}");
        (answer[0], &answer[5..])
    }

    /// The code and text of the status that answers a request.
    #[track_caller]
    pub(super) fn status(&self, id: u32) -> (u32, String) {
        let (kind, body) = self.answer(id);
        assert_eq!(kind, kind::STATUS, "{body:?}");
        let mut fields = Fields::of(body);
        (fields.u32().unwrap(), String::from_utf8_lossy(fields.string().unwrap()).into_owned())
    }

    /// The handle that answers a request.
    #[track_caller]
    pub(super) fn handle(&self, id: u32) -> Vec<u8> {
        let (kind, body) = self.answer(id);
        assert_eq!(kind, kind::HANDLE, "{:?}", self.status(id));
        Fields::of(body).string().unwrap().to_vec()
    }

    /// What reached the target since the last time, questions left out.
    pub(super) fn reached(&mut self) -> Vec<String> {
        let seen = std::mem::take(&mut self.model.seen);
        seen.into_iter()
            .filter(|line| !["REALPATH", "LSTAT", "INIT"].iter().any(|own| line.starts_with(own)))
            .collect()
    }

    /// The notes since the last time, each in one line.
    pub(super) fn noted(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
            .into_iter()
            .map(|note| match note {
                Note::Operation { op, path, second, allowed, rule } => {
                    let second = second.map(|second| format!(" {second}")).unwrap_or_default();
                    format!("{op} {path}{second} {} ({rule})", if allowed { "yes" } else { "no" })
                }
                Note::Transferred { path, way, bytes, sha256 } => {
                    let hash = sha256.map_or_else(|| "-".into(), |hash| hash[..8].to_owned());
                    format!("{} {path} {bytes} {hash}", way.as_str().to_uppercase())
                }
            })
            .collect()
    }
}

pub(super) fn init(version: u32) -> BytesMut {
    let mut bytes = BytesMut::new();
    Packet::new(&mut bytes, kind::INIT, version).end();
    bytes
}

/// Cuts whole packets, without their lengths.
pub(super) fn packets(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let length = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
        all.push(bytes[4..4 + length].to_vec());
        bytes = &bytes[4 + length..];
    }
    all
}
