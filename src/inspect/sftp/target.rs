//! What becomes of a target's packet: every answer must fit a question that is open, and goes to who asked it.

use super::client::READ_MAX;
use super::files::OPEN_MAX;
use super::frame::Rope;
use super::reply::{self, DATA_HEAD, Expect, Reply};
use super::wire::{Fields, PACKET_MAX, Packet, kind, status};
use super::{Asked, Fault, Guard, Phase, extension};
use crate::policy::files::CanonicalPath;

impl Guard {
    pub(super) fn target_packet(&mut self, packet: Rope) -> Result<(), Fault> {
        match (self.phase, packet.kind()) {
            (Phase::Greeting, kind::VERSION) => {
                extension::pass_version(&packet.flat(), &mut self.out.to_client)?;
                self.ask(kind::REALPATH, Asked::Home).string(b".").end();
                self.phase = Phase::Homing;
                return Ok(());
            }
            (Phase::Homing | Phase::Ready, kind::VERSION) => return Err(Fault::NobodyAsked),
            (Phase::Homing | Phase::Ready, _) => {}
            (Phase::Start | Phase::Greeting | Phase::Over, _) => return Err(Fault::NobodyAsked),
        }
        let head = packet.head(5);
        let mut fields = Fields::of(&head);
        fields.u8();
        let id = fields.u32().ok_or(Fault::TargetMalformed)?;
        let asked = self.asked.remove(&id).ok_or(Fault::NobodyAsked)?;
        if let (Asked::Read { id, file, offset, length }, kind::DATA) = (&asked, packet.kind()) {
            return self.content(*id, *file, *offset, *length, packet);
        }
        self.plain_answer(asked, &packet.flat())
    }

    fn plain_answer(&mut self, asked: Asked, packet: &[u8]) -> Result<(), Fault> {
        let ok = Reply::Status(status::OK);
        match asked {
            Asked::Home => {
                self.home = match reply::read(packet, Expect::Name)? {
                    Reply::Name(1, home) => CanonicalPath::parse(&home),
                    Reply::Name(..)
                    | Reply::Status(_)
                    | Reply::Handle(_)
                    | Reply::Attrs(_)
                    | Reply::Extended => None,
                };
                self.phase = Phase::Ready;
            }
            Asked::Closing => {
                reply::read(packet, Expect::Status)?;
            }
            Asked::Size(file) => {
                if let (Reply::Attrs(attrs), Some(file)) =
                    (reply::read(packet, Expect::Attrs)?, self.files.get(file))
                {
                    file.size = attrs.size;
                }
            }
            Asked::Step => return self.step_answered(packet),
            Asked::Wish => return self.wish_answered(packet),
            Asked::Pass { id, expect } => {
                let reply = reply::read(packet, expect)?;
                if expect == Expect::Limits && reply == Reply::Extended {
                    self.limits(id, packet);
                } else {
                    self.pass(id, packet);
                }
            }
            Asked::Read { id, file, offset, .. } => {
                if reply::read(packet, Expect::Status)? == Reply::Status(status::EOF)
                    && let Some(file) = self.files.get(file)
                {
                    file.ends_at = Some(file.ends_at.map_or(offset, |end| end.min(offset)));
                }
                self.pass(id, packet);
            }
            Asked::Write { id, file } => {
                if reply::read(packet, Expect::Status)? != ok
                    && let Some((file, room)) = self.files.with_room(file)
                {
                    file.written.make_void(room);
                }
                self.pass(id, packet);
            }
            Asked::Close { id, file } => {
                let whole = reply::read(packet, Expect::Status)? == ok;
                let notes = self.files.closed(file, whole);
                self.out.notes.extend(notes);
                self.pass(id, packet);
            }
        }
        Ok(())
    }

    /// DATA for a READ.
    fn content(&mut self, id: u32, file: u64, offset: u64, asked: u32, packet: Rope) -> Result<(), Fault> {
        let length = packet.len();
        let head = packet.head(DATA_HEAD);
        if reply::data_head(&head, length)? > asked {
            return Err(Fault::WrongAnswer);
        }
        let content = packet.behind(DATA_HEAD);
        if let Some((file, room)) = self.files.with_room(file) {
            file.read.pass(offset, &content, room);
        }
        self.out.to_client.reserve(length + 4);
        let begun =
            Packet::new(&mut self.out.to_client, kind::DATA, id).raw(head.get(5..).unwrap_or_default());
        content.iter().fold(begun, |packet, piece| packet.raw(piece)).end();
        Ok(())
    }

    /// No larger numbers than what passes here. 0 means that the target names no limit.
    fn limits(&mut self, id: u32, packet: &[u8]) {
        let mut fields = Fields::of(packet.get(5..).unwrap_or_default());
        let most = [PACKET_MAX as u64, u64::from(READ_MAX), u64::from(READ_MAX), OPEN_MAX as u64];
        let packet = Packet::new(&mut self.out.to_client, kind::EXTENDED_REPLY, id);
        most.iter()
            .fold(packet, |packet, most| packet.u64(fields.u64().unwrap_or_default().min(*most)))
            .end();
    }
}
