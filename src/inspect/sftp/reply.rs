//! Reads what a target answers, to the last byte, against what it was asked.

use super::Fault;
use super::wire::{Attrs, Fields, HANDLE_MAX, kind};

/// One answer; DATA is read by [`data_head`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Status(u32),
    Handle(Vec<u8>),
    /// How many names there are, and the first.
    Name(u32, Vec<u8>),
    Attrs(Attrs),
    /// What it holds is the extension's.
    Extended,
}

/// Which answer a request may get besides a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    Status,
    Handle,
    Name,
    Attrs,
    Extended,
    /// `limits@openssh.com`: four numbers.
    Limits,
}

/// What stands before the content of DATA: type, id, length.
pub(super) const DATA_HEAD: usize = 1 + 4 + 4;

/// The length of the content of a DATA of `packet` bytes.
pub(super) fn data_head(head: &[u8], packet: usize) -> Result<u32, Fault> {
    let mut fields = Fields::of(head);
    let mut read = || {
        fields.u8()?;
        fields.u32()?;
        fields.u32()
    };
    let exact = |length: &u32| usize::try_from(*length).is_ok_and(|length| DATA_HEAD + length == packet);
    read().filter(exact).ok_or(Fault::TargetMalformed)
}

/// Reads an answer, which must be a status or what is expected.
pub(super) fn read(packet: &[u8], expect: Expect) -> Result<Reply, Fault> {
    let mut fields = Fields::of(packet);
    let (Some(kind), Some(_)) = (fields.u8(), fields.u32()) else { return Err(Fault::TargetMalformed) };
    let fitting = matches!(
        (kind, expect),
        (kind::STATUS, _)
            | (kind::HANDLE, Expect::Handle)
            | (kind::NAME, Expect::Name)
            | (kind::ATTRS, Expect::Attrs)
            | (kind::EXTENDED_REPLY, Expect::Extended | Expect::Limits)
    );
    let known = matches!(
        kind,
        kind::STATUS | kind::HANDLE | kind::DATA | kind::NAME | kind::ATTRS | kind::EXTENDED_REPLY
    );
    match (known, fitting) {
        (false, _) => return Err(Fault::TargetUnknown),
        (true, false) => return Err(Fault::WrongAnswer),
        (true, true) => {}
    }
    let reply = match kind {
        kind::STATUS => status(&mut fields),
        kind::HANDLE => handle(&mut fields),
        kind::NAME => names(&mut fields),
        kind::ATTRS => Attrs::read(&mut fields).map(Reply::Attrs),
        _ => {
            let length = fields.rest().len();
            (expect != Expect::Limits || length == 32).then_some(Reply::Extended)
        }
    };
    reply.filter(|_| fields.is_empty()).ok_or(Fault::TargetMalformed)
}

/// Old servers send the code alone.
fn status(fields: &mut Fields<'_>) -> Option<Reply> {
    let code = fields.u32()?;
    if !fields.is_empty() {
        fields.string()?;
        if !fields.is_empty() {
            fields.string()?;
        }
    }
    Some(Reply::Status(code))
}

fn handle(fields: &mut Fields<'_>) -> Option<Reply> {
    let handle = fields.string()?;
    ((1..=HANDLE_MAX).contains(&handle.len())).then(|| Reply::Handle(handle.to_vec()))
}

fn names(fields: &mut Fields<'_>) -> Option<Reply> {
    let count = fields.u32()?;
    let mut first = None;
    for _ in 0..count {
        let name = fields.string()?;
        first = first.or(Some(name));
        fields.string()?;
        Attrs::read(fields)?;
    }
    Some(Reply::Name(count, first.unwrap_or_default().to_vec()))
}
