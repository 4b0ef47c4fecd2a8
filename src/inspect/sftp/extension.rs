//! Which extensions a target may offer: those that we can judge. The others are left out of its VERSION, and refused
//! when a client asks all the same.

use bytes::{BufMut, BytesMut};

use super::Fault;
use super::wire::{Fields, VERSION, kind};

/// The extensions that pass (OpenSSH's file PROTOCOL, section 4).
pub(super) const KNOWN: [&[u8]; 11] = [
    b"posix-rename@openssh.com",
    b"hardlink@openssh.com",
    b"fsync@openssh.com",
    b"statvfs@openssh.com",
    b"fstatvfs@openssh.com",
    b"lsetstat@openssh.com",
    b"limits@openssh.com",
    b"expand-path@openssh.com",
    b"copy-data",
    b"home-directory",
    b"users-groups-by-id@openssh.com",
];

/// The client's INIT: version 3 or newer. What it brings along besides is not for version 3.
pub(super) fn read_init(packet: &[u8]) -> Result<(), Fault> {
    let mut fields = Fields::of(packet);
    fields.u8();
    match fields.u32() {
        None => Err(Fault::ClientMalformed),
        Some(version) if version < VERSION => Err(Fault::Version),
        Some(_) => Ok(()),
    }
}

/// Our INIT.
pub(super) fn put_init(out: &mut BytesMut) {
    out.put_u32(5);
    out.put_u8(kind::INIT);
    out.put_u32(VERSION);
}

/// Reads the target's VERSION and writes what of it passes.
pub(super) fn pass_version(packet: &[u8], out: &mut BytesMut) -> Result<(), Fault> {
    let mut fields = Fields::of(packet);
    fields.u8();
    match fields.u32() {
        None => return Err(Fault::TargetMalformed),
        Some(version) if version != VERSION => return Err(Fault::Version),
        Some(_) => {}
    }
    let mut body = BytesMut::new();
    while !fields.is_empty() {
        let (Some(name), Some(value)) = (fields.string(), fields.string()) else {
            return Err(Fault::TargetMalformed);
        };
        if KNOWN.contains(&name) {
            for text in [name, value] {
                body.put_u32(u32::try_from(text.len()).map_err(|_| Fault::TargetMalformed)?);
                body.put_slice(text);
            }
        }
    }
    out.put_u32(u32::try_from(5 + body.len()).map_err(|_| Fault::TargetMalformed)?);
    out.put_u8(kind::VERSION);
    out.put_u32(VERSION);
    out.put_slice(&body);
    Ok(())
}
