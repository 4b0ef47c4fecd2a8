//! The guard of one SFTP session: it is fed with the bytes of both directions and gives back the bytes that may go on,
//! and what is to be written down before they do. Every packet of both sides is read to its last byte; what cannot be
//! followed ends the session. Pure: no clock, no disk, no network. Which operations are allowed is `policy::files`'.
//!
//! How a path is judged: the target is asked where it leads (REALPATH, in questions of our own between the client's),
//! and the answer is judged and sent on in place of the client's text: what was checked is what is sent. Operations
//! that follow a last link are judged where it leads; operations on a name are judged at the name, in the folder where
//! it really is. Path operations are done one after the other; what goes through open handles passes meanwhile.
//!
//! Links that are made here lead where their maker may go, and go on leading there: they are made without `..`, and no
//! link is moved to another folder. A folder takes links that others made in it along.
//!
//! What remains: between the question and the operation somebody else on the target can put a link in the way. After an
//! OPEN the path is asked for again and the handle closed when it moved, and a file that was judged to be missing is
//! opened so that it must be (EXCL), one that is there so that it is not made. A link swapped in and out again between
//! the two questions, and renames, removals and new folders during a swap, are not seen. A target whose REALPATH does
//! not resolve links cannot be guarded against its own links. Where that matters, use sshd's `ChrootDirectory`.
//!
//! A session whose roles have no path rules gets what it asks for, as it asks for it; it is read and noted all the same.

mod client;
mod digest;
mod extension;
mod files;
mod frame;
mod judge;
mod moving;
mod note;
mod paths;
mod reply;
mod request;
mod target;
#[cfg(test)]
mod tests;
mod wire;
mod wish;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::policy::RefusalCode;
use crate::policy::files::{CanonicalPath, FileRules, LiveRules};
use files::Files;
use frame::Frames;
pub use note::{Note, Way};
use paths::Current;
use reply::Expect;
use request::PathWish;
use wire::{Packet, kind, status};

/// Most requests that wait for the target's answer before no more are taken.
const ASKED_MAX: usize = 4096;
/// Most path operations that wait for the one before them.
const WAITING_MAX: usize = 128;

/// Why a session cannot be followed any more and must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub enum Fault {
    /// A packet of the client ends too early or too late, or holds what its type does not have.
    ClientMalformed,
    /// A packet of a type that version 3 does not have.
    ClientUnknown,
    /// An empty packet, or one longer than 256 KiB.
    ClientLength,
    /// A request before INIT, or INIT twice.
    Beginning,
    /// Another version than 3.
    Version,
    /// As `ClientMalformed`.
    TargetMalformed,
    /// As `ClientUnknown`.
    TargetUnknown,
    /// As `ClientLength`.
    TargetLength,
    /// An answer of a kind that the question does not have, or more content than was asked for.
    WrongAnswer,
    /// An answer to no question.
    NobodyAsked,
    /// A handle that stands for something open already.
    SameHandle,
}

impl Fault {
    /// One line for people.
    pub fn text(self) -> &'static str {
        match self {
            Self::ClientMalformed => "session closed: the client sent an SFTP packet that cannot be read",
            Self::ClientUnknown => "session closed: the client sent an SFTP packet of an unknown type",
            Self::ClientLength => {
                "session closed: the client sent an SFTP packet of a length that is not allowed"
            }
            Self::Beginning => "session closed: the client did not begin as SFTP begins",
            Self::Version => "session closed: only version 3 of SFTP passes here",
            Self::TargetMalformed => "session closed: the target sent an SFTP packet that cannot be read",
            Self::TargetUnknown => "session closed: the target sent an SFTP packet of an unknown type",
            Self::TargetLength => {
                "session closed: the target sent an SFTP packet of a length that is not allowed"
            }
            Self::WrongAnswer => {
                "session closed: the target gave an SFTP answer that does not fit its question"
            }
            Self::NobodyAsked => "session closed: the target gave an SFTP answer that nobody asked for",
            Self::SameHandle => "session closed: the target gave the same SFTP handle twice",
        }
    }
}

/// What came of some bytes. First the notes are written down, then the bytes are sent, then the fault ends the session.
#[derive(Debug, Default)]
pub struct Out {
    /// For the target, whole packets.
    pub to_target: BytesMut,
    /// For the client, whole packets.
    pub to_client: BytesMut,
    /// For the audit.
    pub notes: Vec<Note>,
    /// The session cannot go on.
    pub fault: Option<Fault>,
}

/// The state of one session.
#[derive(Debug)]
pub struct Guard {
    live: LiveRules,
    client: Frames,
    target: Frames,
    phase: Phase,
    /// The login's home, as the target says; none when it does not.
    home: Option<CanonicalPath>,
    waiting: VecDeque<(u32, PathWish)>,
    current: Option<Current>,
    /// By the id that we gave the question.
    asked: HashMap<u32, Asked>,
    next_id: u32,
    files: Files,
    /// Names of extensions that were asked for and do not pass.
    unknown: BTreeSet<Vec<u8>>,
    out: Out,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing came yet.
    Start,
    /// INIT is sent.
    Greeting,
    /// VERSION came; we asked where home is.
    Homing,
    Ready,
    /// After a fault.
    Over,
}

/// A question to the target whose answer is still to come. `id` is the client's.
#[derive(Debug)]
enum Asked {
    /// Ours: where home is.
    Home,
    /// Ours: a step of the current path operation.
    Step,
    /// Ours: how long an open file is.
    Size(u64),
    /// Ours: a handle closed that the client never got.
    Closing,
    /// The current path operation itself.
    Wish,
    Pass {
        id: u32,
        expect: Expect,
    },
    Read {
        id: u32,
        file: u64,
        offset: u64,
        length: u32,
    },
    Write {
        id: u32,
        file: u64,
    },
    Close {
        id: u32,
        file: u64,
    },
}

impl Guard {
    /// The guard of a session that has just begun. `live` may be given other rules at any time.
    pub fn new(live: LiveRules) -> Self {
        Self {
            live,
            client: Frames::default(),
            target: Frames::default(),
            phase: Phase::Start,
            home: None,
            waiting: VecDeque::new(),
            current: None,
            asked: HashMap::new(),
            next_id: 0,
            files: Files::default(),
            unknown: BTreeSet::new(),
            out: Out::default(),
        }
    }

    /// Takes bytes of the client, cut anywhere. To be called when [`Self::takes_more`] says so.
    pub fn from_client(&mut self, bytes: Bytes) -> Out {
        if self.phase != Phase::Over {
            self.client.push(bytes);
            let result = self.serve_client();
            self.ended(result);
        }
        std::mem::take(&mut self.out)
    }

    /// Takes bytes of the target, cut anywhere.
    pub fn from_target(&mut self, bytes: Bytes) -> Out {
        if self.phase != Phase::Over {
            self.target.push(bytes);
            let result = self.serve_target().and_then(|()| self.serve_client());
            self.ended(result);
        }
        std::mem::take(&mut self.out)
    }

    /// Whether more bytes of the client are of use now: false while as much as may wait is waiting for the target.
    pub fn takes_more(&self) -> bool {
        matches!(self.phase, Phase::Start | Phase::Ready) && !self.is_full()
    }

    /// Whether everything the client has sent so far has been sent on: no operation waits for an answer to a question of
    /// ours.
    pub fn is_through(&self) -> bool {
        self.waiting.is_empty() && self.current.is_none() && self.takes_more()
    }

    /// What is to be said when the session ends: of the files that are still open.
    pub fn end(&mut self) -> Vec<Note> {
        self.phase = Phase::Over;
        self.files.end()
    }

    fn ended(&mut self, result: Result<(), Fault>) {
        if let Err(fault) = result {
            self.phase = Phase::Over;
            self.out.fault = Some(fault);
        }
    }

    fn is_full(&self) -> bool {
        self.asked.len() >= ASKED_MAX || self.waiting.len() >= WAITING_MAX
    }

    fn serve_client(&mut self) -> Result<(), Fault> {
        while self.takes_more() {
            let Some(packet) = self.client.next(Fault::ClientLength)? else { break };
            self.client_packet(packet)?;
            self.advance();
        }
        Ok(())
    }

    fn serve_target(&mut self) -> Result<(), Fault> {
        while let Some(packet) = self.target.next(Fault::TargetLength)? {
            self.target_packet(packet)?;
            self.advance();
        }
        Ok(())
    }

    /// A question to the target, to be filled in and ended by the caller.
    fn ask(&mut self, kind: u8, asked: Asked) -> Packet<'_> {
        // Far fewer are open than there are ids.
        while self.asked.contains_key(&self.next_id) {
            self.next_id = self.next_id.wrapping_add(1);
        }
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        self.asked.insert(id, asked);
        Packet::new(&mut self.out.to_target, kind, id)
    }

    /// A status of our own for the client.
    fn answer(&mut self, id: u32, code: u32, text: &str) {
        Packet::new(&mut self.out.to_client, kind::STATUS, id)
            .u32(code)
            .string(text.as_bytes())
            .string(b"en")
            .end();
    }

    /// A no of the policy.
    fn deny(&mut self, id: u32, rule: &str) {
        let text = format!("caponier: {rule} [{}]", RefusalCode::File.as_str());
        self.answer(id, status::PERMISSION_DENIED, &text);
    }

    /// The target's answer, under the client's id.
    fn pass(&mut self, id: u32, packet: &[u8]) {
        let kind = packet.first().copied().unwrap_or_default();
        Packet::new(&mut self.out.to_client, kind, id).raw(packet.get(5..).unwrap_or_default()).end();
    }
}

/// Whether some role has path rules. (No role at all is not the same as no rules.)
fn is_restricted(rules: &Arc<[FileRules]>) -> bool {
    rules.is_empty() || !rules.iter().all(FileRules::is_unrestricted)
}
