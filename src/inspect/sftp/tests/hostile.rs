//! Packets that nobody should send, of both sides.

use bytes::{BufMut, Bytes, BytesMut};

use super::super::wire::{Attrs, Packet, kind, open, status};
use super::super::{Fault, Guard};
use super::model::{Model, Node};
use super::play::{Play, init, packets, rules};
use crate::policy::files::{FileRules, LiveRules};

fn model() -> Model {
    Model::new(&[("/up/a", Node::File(b"content".to_vec()))])
}

fn guarded() -> Play {
    Play::new(vec![rules(r#"files = [{ allow = ["*"], paths = ["/up/**"] }]"#)], model())
}

fn packet(kind: u8, id: u32, fill: impl FnOnce(Packet<'_>) -> Packet<'_>) -> BytesMut {
    let mut bytes = BytesMut::new();
    fill(Packet::new(&mut bytes, kind, id)).end();
    bytes
}

fn raw(bytes: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_u32(u32::try_from(bytes.len()).unwrap());
    out.put_slice(bytes);
    out
}

#[test]
fn a_client_that_cannot_be_read_ends_the_session() {
    let long = 256 * 1024 + 1_u32;
    for (bytes, fault) in [
        (BytesMut::from(&[0; 4][..]), Fault::ClientLength),
        (BytesMut::from(&long.to_be_bytes()[..]), Fault::ClientLength),
        (BytesMut::from(&[0xff; 4][..]), Fault::ClientLength),
        (raw(&[kind::OPEN]), Fault::ClientMalformed),
        (raw(&[kind::OPEN, 0, 0, 0]), Fault::ClientMalformed),
        (raw(&[kind::STAT, 0, 0, 0, 1, 0, 0, 0, 9, b'/']), Fault::ClientMalformed),
        (raw(&[kind::STAT, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]), Fault::ClientMalformed),
        (packet(kind::STAT, 1, |p| p.string(b"/up/a").raw(b"x")), Fault::ClientMalformed),
        (packet(kind::REMOVE, 1, |p| p.string(b"/up/a").string(b"")), Fault::ClientMalformed),
        (packet(kind::RENAME, 1, |p| p.string(b"/up/a")), Fault::ClientMalformed),
        (packet(kind::SETSTAT, 1, |p| p.string(b"/up/a").u32(0x10)), Fault::ClientMalformed),
        (
            packet(kind::SETSTAT, 1, |p| p.string(b"/up/a").u32(0x8000_0000).u32(u32::MAX)),
            Fault::ClientMalformed,
        ),
        (packet(kind::OPEN, 1, |p| p.string(b"/up/a").u32(1)), Fault::ClientMalformed),
        (packet(kind::CLOSE, 1, |p| p.string(&[b'h'; 257])), Fault::ClientMalformed),
        (packet(kind::WRITE, 1, |p| p.string(b"h").u64(0).u32(9).raw(b"x")), Fault::ClientMalformed),
        (packet(kind::WRITE, 1, |p| p.string(b"h").u64(0).u32(0).raw(b"x")), Fault::ClientMalformed),
        (packet(kind::WRITE, 1, |p| p.string(&[b'h'; 300]).u64(0).string(b"")), Fault::ClientMalformed),
        (packet(kind::WRITE, 1, |p| p.string(b"h")), Fault::ClientMalformed),
        (packet(kind::EXTENDED, 1, |p| p.u32(99)), Fault::ClientMalformed),
        (packet(kind::EXTENDED, 1, |p| p.string(b"fsync@openssh.com")), Fault::ClientMalformed),
        (packet(kind::EXTENDED, 1, |p| p.string(b"limits@openssh.com").raw(b"x")), Fault::ClientMalformed),
        (packet(0, 1, |p| p), Fault::ClientUnknown),
        // LINK, BLOCK and UNBLOCK of later versions, and answers.
        (packet(21, 1, |p| p.string(b"/up/a").string(b"/up/b").raw(b"\0")), Fault::ClientUnknown),
        (packet(22, 1, |p| p), Fault::ClientUnknown),
        (packet(kind::STATUS, 1, |p| p.u32(0)), Fault::ClientUnknown),
        (packet(kind::DATA, 1, |p| p.string(b"x")), Fault::ClientUnknown),
        (packet(kind::VERSION, 3, |p| p), Fault::ClientUnknown),
        (init(3), Fault::Beginning),
    ] {
        let mut play = guarded();
        play.model.seen.clear();
        play.feed(&bytes);
        assert_eq!(play.fault, Some(fault), "{bytes:?}");
        assert_eq!(play.reached(), [""; 0], "{bytes:?}");
        let more = play.guard.from_client(Bytes::from(packet(kind::STAT, 1, |p| p.string(b"/up/a"))));
        assert!(more.to_target.is_empty() && more.to_client.is_empty() && more.fault.is_none());
    }
}

#[test]
fn the_beginning() {
    for (bytes, fault) in [
        (packet(kind::WRITE, 1, |p| p.string(b"h").u64(0).string(b"x")), Some(Fault::Beginning)),
        (packet(kind::STAT, 1, |p| p.string(b"/")), Some(Fault::Beginning)),
        (raw(&[kind::INIT]), Some(Fault::ClientMalformed)),
        (init(2), Some(Fault::Version)),
        (init(0), Some(Fault::Version)),
        (init(6), None),
    ] {
        let mut play = Play::silent(vec![FileRules::unrestricted()], model());
        play.feed(&bytes);
        assert_eq!(play.fault, fault, "{bytes:?}");
    }
    // A client of a later version gets version 3, and the target is asked for 3.
    let mut play = Play::silent(vec![FileRules::unrestricted()], model());
    play.feed(&init(6));
    assert_eq!(play.model.seen[0], "INIT 3");
    assert_eq!(play.got[0][..5], [kind::VERSION, 0, 0, 0, 3]);
    for version in [0, 2, 4, 6] {
        let mut model = model();
        model.version = version;
        let mut play = Play::silent(vec![FileRules::unrestricted()], model);
        play.feed(&init(3));
        assert_eq!(play.fault, Some(Fault::Version), "{version}");
        assert_eq!(play.got, [[0_u8; 0]; 0]);
    }
    // Requests that follow INIT at once wait for VERSION.
    let mut play = Play::silent(vec![FileRules::unrestricted()], model());
    let mut both = init(3);
    both.extend_from_slice(&packet(kind::STAT, 9, |p| p.string(b"/up/a")));
    play.feed(&both);
    assert_eq!(play.answer(9).0, kind::ATTRS);
    // A target that speaks before it is spoken to.
    let mut play = Play::silent(vec![FileRules::unrestricted()], model());
    play.feed_target(&packet(kind::VERSION, 3, |p| p));
    assert_eq!(play.fault, Some(Fault::NobodyAsked));
}

#[test]
fn a_target_that_cannot_be_read_ends_the_session() {
    // The first question that the client's READ becomes has this id; see below.
    for (fill, fault) in [
        (packet(kind::VERSION, 3, |p| p), Fault::NobodyAsked),
        (packet(kind::STATUS, 99, |p| p.u32(0)), Fault::NobodyAsked),
        (packet(kind::DATA, 99, |p| p.string(b"x")), Fault::NobodyAsked),
        (packet(kind::STATUS, 0, |p| p), Fault::TargetMalformed),
        (packet(kind::STATUS, 0, |p| p.u32(0).string(b"").string(b"").raw(b"x")), Fault::TargetMalformed),
        (packet(kind::STATUS, 0, |p| p.u32(0).u32(77)), Fault::TargetMalformed),
        (packet(kind::DATA, 0, |p| p.string(&[0; 11])), Fault::WrongAnswer),
        (packet(kind::DATA, 0, |p| p.u32(3).raw(b"xx")), Fault::TargetMalformed),
        (packet(kind::DATA, 0, |p| p.u32(3).raw(b"xxxx")), Fault::TargetMalformed),
        (packet(kind::DATA, 0, |p| p), Fault::TargetMalformed),
        (packet(kind::NAME, 0, |p| p.u32(0)), Fault::WrongAnswer),
        (packet(kind::HANDLE, 0, |p| p.string(b"h")), Fault::WrongAnswer),
        (packet(kind::ATTRS, 0, |p| p.u32(0)), Fault::WrongAnswer),
        (packet(kind::EXTENDED_REPLY, 0, |p| p), Fault::WrongAnswer),
        (packet(kind::INIT, 0, |p| p), Fault::TargetUnknown),
        (packet(77, 0, |p| p), Fault::TargetUnknown),
        (raw(&[kind::STATUS, 0]), Fault::TargetMalformed),
        (BytesMut::from(&[0; 4][..]), Fault::TargetLength),
        (BytesMut::from(&[0xff; 4][..]), Fault::TargetLength),
    ] {
        let mut play = guarded();
        let id = play.open("/up/a", open::READ);
        let handle = play.handle(id);
        play.hold = true;
        let out =
            play.guard.from_client(Bytes::from(packet(kind::READ, 7, |p| p.string(&handle).u64(0).u32(10))));
        let mut bytes = fill.clone();
        if bytes.get(5..9) == Some(&[0; 4]) {
            bytes[5..9].copy_from_slice(&packets(&out.to_target)[0][1..5]);
        }
        play.feed_target(&bytes);
        assert_eq!(play.fault, Some(fault), "{fill:?}");
        assert!(
            !play.got.iter().any(|packet| packet[1..5] == [0, 0, 0, 7]),
            "nothing of it reaches the client"
        );
    }
}

/// Fault, packets to the client, packets to the target.
type Outcome = (Option<Fault>, Vec<Vec<u8>>, Vec<Vec<u8>>);

/// Feeds one request and answers the questions it becomes with these bodies (type, and what is behind the id).
fn scripted(request: BytesMut, answers: &[(u8, BytesMut)]) -> Outcome {
    let mut play = guarded();
    play.hold = true;
    let mut out = play.guard.from_client(Bytes::from(request));
    let (mut fault, mut to_client, mut to_target) = (out.fault, Vec::new(), Vec::new());
    for (kind, body) in answers {
        let asked = packets(&out.to_target);
        let id: [u8; 4] = asked.last().unwrap()[1..5].try_into().unwrap();
        to_target.extend(asked);
        out = play.guard.from_target(Bytes::from(packet(*kind, u32::from_be_bytes(id), |p| p.raw(body))));
        fault = fault.or(out.fault);
        to_client.extend(packets(&out.to_client));
    }
    to_target.extend(packets(&out.to_target));
    (fault, to_client, to_target)
}

fn body(fill: impl FnOnce(Packet<'_>) -> Packet<'_>) -> BytesMut {
    let mut bytes = packet(0, 0, fill);
    bytes.split_off(9)
}

fn name(path: &str) -> (u8, BytesMut) {
    (kind::NAME, body(|p| p.u32(1).string(path.as_bytes()).string(b"").attrs(&Attrs::default())))
}

#[test]
fn answers_to_our_own_questions_are_not_believed_blindly() {
    let open_a = || packet(kind::OPEN, 7, |p| p.string(b"/up/a").u32(1).u32(0));
    // A path that is none.
    for path in ["relative", "", "/up/../etc", "/up//a", "/up/a/", "/up/\0a"] {
        let (fault, got, asked) = scripted(open_a(), &[name(path)]);
        assert_eq!((fault, got.len(), asked.len()), (None, 1, 1), "{path:?}");
        assert_eq!(got[0][0], kind::STATUS);
    }
    // No name, or two.
    for count in [0, 2] {
        let names = body(|p| {
            (0..count).fold(p.u32(count), |p, _| p.string(b"/up/a").string(b"").attrs(&Attrs::default()))
        });
        let (fault, got, _) = scripted(open_a(), &[(kind::NAME, names)]);
        assert_eq!((fault, got[0][0]), (None, kind::STATUS));
    }
    let (fault, ..) = scripted(open_a(), &[(kind::HANDLE, body(|p| p.string(b"h")))]);
    assert_eq!(fault, Some(Fault::WrongAnswer));
    let (fault, ..) = scripted(open_a(), &[(kind::NAME, body(|p| p.u32(u32::MAX)))]);
    assert_eq!(fault, Some(Fault::TargetMalformed));
    // A handle that is empty, or too long.
    for handle in [&b""[..], &[b'h'; 257]] {
        let (fault, ..) = scripted(open_a(), &[name("/up/a"), (kind::HANDLE, body(|p| p.string(handle)))]);
        assert_eq!(fault, Some(Fault::TargetMalformed));
    }
    let (fault, got, _) =
        scripted(open_a(), &[name("/up/a"), (kind::STATUS, body(|p| p.u32(status::FAILURE)))]);
    assert_eq!((fault, got[0][0]), (None, kind::STATUS));
    // A link where a path should have been resolved.
    let create = packet(kind::OPEN, 7, |p| p.string(b"/up/a").u32(open::WRITE | open::CREAT).u32(0));
    let link = (kind::ATTRS, body(|p| p.attrs(&Attrs { permissions: Some(0o120_777), ..Attrs::default() })));
    let (fault, got, asked) = scripted(create, &[name("/up/a"), link]);
    assert_eq!((fault, asked.len()), (None, 2));
    assert_eq!(
        got[0][..9],
        [&[kind::STATUS, 0, 0, 0, 7][..], &status::PERMISSION_DENIED.to_be_bytes()].concat()
    );
}

#[test]
fn one_handle_for_two_files_ends_the_session() {
    let mut play = guarded();
    play.open("/up/a", open::READ);
    assert_eq!(play.fault, None);
    play.hold = true;
    let mut out =
        play.guard.from_client(Bytes::from(packet(kind::OPEN, 7, |p| p.string(b"/up/b").u32(1).u32(0))));
    for answer in [name("/up/b"), (kind::HANDLE, body(|p| p.string(b"h0")))] {
        let id = u32::from_be_bytes(packets(&out.to_target)[0][1..5].try_into().unwrap());
        out = play.guard.from_target(Bytes::from(packet(answer.0, id, |p| p.raw(&answer.1))));
    }
    assert_eq!(out.fault, Some(Fault::SameHandle));
}

#[test]
fn a_client_that_uses_an_id_twice_gets_two_answers() {
    let mut play = guarded();
    let mut twice = packet(kind::STAT, 7, |p| p.string(b"/up/a"));
    twice.extend_from_slice(&packet(kind::REMOVE, 7, |p| p.string(b"/etc/passwd")));
    play.feed(&twice);
    let answers: Vec<u8> =
        play.got.iter().filter(|packet| packet[1..5] == [0, 0, 0, 7]).map(|packet| packet[0]).collect();
    assert_eq!(answers, [kind::ATTRS, kind::STATUS]);
    assert_eq!(play.reached(), ["STAT /up/a"]);
}

#[test]
fn paths_that_are_none() {
    for path in [&b""[..], b"/up/a\0", b"\0", &[b'a'; 4097]] {
        let mut play = guarded();
        for kind in [kind::STAT, kind::REMOVE, kind::OPENDIR, kind::MKDIR] {
            let id = play.send(kind, |p| p.string(path));
            assert_ne!(play.status(id).0, status::OK);
        }
        assert_eq!(play.reached(), [""; 0]);
        assert!(play.guard.is_through());
    }
    // Names need not be text.
    let mut play = guarded();
    let id = play.send(kind::STAT, |p| p.string(b"/up/\xff\xfe"));
    assert_eq!(play.status(id).0, status::NO_SUCH_FILE);
}

#[test]
fn a_flood_of_unknown_extensions_is_a_few_notes() {
    let mut play = guarded();
    for _ in 0..1000 {
        let id = play.extended("evil@example.test", &[]);
        assert_eq!(play.status(id).0, status::OP_UNSUPPORTED);
    }
    assert_eq!(play.noted(), ["extended evil@example.test no (unknown extension)"]);
    for number in 0..1000 {
        let id = play.extended(&format!("evil{number}@example.test"), &[]);
        assert_eq!(play.status(id).0, status::OP_UNSUPPORTED);
    }
    let noted = play.noted();
    assert_eq!(noted.len(), super::super::client::UNKNOWN_MAX - 1);
    assert!(noted.last().is_some_and(|note| note.contains("the last one of this session")), "{noted:?}");
}

#[test]
fn what_waits_is_bounded() {
    let live = LiveRules::new(vec![rules(r#"files = [{ allow = ["*"], paths = ["/up/**"] }]"#)]);
    let mut guard = Guard::new(live);
    let mut model = model();
    let out = guard.from_client(init(3).freeze());
    let version = model.answer(&packets(&out.to_target)[0]);
    let out = guard.from_target(version.freeze());
    let home = model.answer(&packets(&out.to_target)[0]);
    drop(guard.from_target(home.freeze()));
    // One chunk with more than may wait: it is kept, and no more is wanted.
    let mut many = BytesMut::new();
    for id in 0..100_000 {
        many.extend_from_slice(&packet(kind::STAT, id, |p| p.string(b"/up/a")));
    }
    let out = guard.from_client(many.freeze());
    assert!(!guard.takes_more() && !guard.is_through());
    assert!(guard.waiting.len() <= super::super::WAITING_MAX);
    assert_eq!(packets(&out.to_target).len(), 1, "one question at a time");
    // Handles that stay open.
    let mut play = guarded();
    let opened: Vec<u32> =
        (0..super::super::files::OPEN_MAX + 1).map(|_| play.open("/up/a", open::READ)).collect();
    let (last, others) = opened.split_last().unwrap();
    assert!(others.iter().all(|id| play.answer(*id).0 == kind::HANDLE));
    assert_eq!(play.status(*last).0, status::FAILURE);
    let first = play.handle(opened[0]);
    play.close(&first);
    let id = play.open("/up/a", open::READ);
    assert_eq!(play.answer(id).0, kind::HANDLE);
    // Reads whose answers do not come.
    play.hold = true;
    let handle = play.handle(id);
    for _ in 0..super::super::ASKED_MAX + 10 {
        play.read(&handle, 0, 1);
    }
    assert!(play.guard.asked.len() <= super::super::ASKED_MAX && !play.guard.takes_more());
}
