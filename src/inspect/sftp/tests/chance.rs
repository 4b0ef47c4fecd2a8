//! Chance: however a conversation is cut it comes out the same; random bytes break nothing; and random operations on
//! a tree full of links never do anything, as the kernel sees it, that the rules do not allow.

use bytes::{Bytes, BytesMut};

use super::super::judge::{Seen, opening};
use super::super::wire::{Attrs, Fields, Packet, kind, open, status};
use super::model::{Model, Node};
use super::play::{Play, init, rules};
use crate::policy::files::{CanonicalPath, FileOp, FileRules, judge_all};

/// xorshift64*: the same numbers each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % sides
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len())]
    }
}

const RULES: &str = r#"files = [
  { allow = ["*"], paths = ["/up/**"] },
  { allow = ["read", "list"], paths = ["/log/**"] },
  { deny = ["*"], paths = ["/up/no/**", "/up/**/.ssh/**"] },
  { deny = ["write", "remove"], paths = ["/up/keep/**"] },
]"#;

fn model() -> Model {
    let file = || Node::File(b"content".to_vec());
    let link = |to: &str| Node::Link(to.into());
    Model::new(&[
        ("/up/a", file()),
        ("/up/b/c", file()),
        ("/up/no/x", file()),
        ("/up/keep/k", file()),
        ("/up/.ssh/id", file()),
        ("/up/out", link("/secret")),
        ("/up/b/back", link("..")),
        ("/up/b/log", link("../../log")),
        ("/up/round", link("round")),
        ("/up/new", link("/secret/new")),
        ("/up/shut", link("no/x")),
        ("/log/a", file()),
        ("/log/up", link("/up")),
        ("/secret/x", file()),
    ])
}

const NAMES: [&str; 14] =
    ["up", "log", "secret", "a", "b", "c", "no", "keep", "out", "back", "..", ".", ".ssh", "new"];

fn path(dice: &mut Dice) -> String {
    let mut path = dice.pick(&["/up/", "/", "", "/up/b/", "/log/"]).to_string();
    for _ in 0..dice.roll(4) {
        path.push_str(dice.pick(&NAMES));
        path.push('/');
    }
    path.push_str(dice.pick(&NAMES));
    path
}

fn request(dice: &mut Dice, play: &mut Play) {
    let (one, two) = (path(dice), path(dice));
    match dice.roll(14) {
        0..=3 => {
            let flags = dice.roll(64) as u32;
            play.open(&one, flags);
        }
        4 => drop(play.path(kind::REMOVE, &one)),
        5 => drop(play.path(kind::RMDIR, &one)),
        6 => drop(play.path(kind::MKDIR, &one)),
        7 => drop(play.path(kind::OPENDIR, &one)),
        8 => drop(play.extended("posix-rename@openssh.com", &[&one, &two])),
        9 => drop(play.send(kind::RENAME, |p| p.string(one.as_bytes()).string(two.as_bytes()))),
        10 | 11 => {
            let target = match dice.roll(3) {
                0 => one,
                1 => format!("../{}", one.trim_start_matches('/')),
                _ => dice.pick(&["/up/b", "/up/a", "/log/a", "b/c", "no/x", "/secret/new"]).to_owned(),
            };
            play.send(kind::SYMLINK, |p| p.string(target.as_bytes()).string(two.as_bytes()));
        }
        12 => drop(play.extended("hardlink@openssh.com", &[&one, &two])),
        _ => {
            let attrs = Attrs { permissions: Some(0o600), ..Attrs::default() };
            play.send(kind::SETSTAT, |p| p.string(one.as_bytes()).attrs(&attrs));
        }
    }
}

/// A deed of the model, as the kernel sees it, must be allowed where it really happened.
fn allowed(rules: &[FileRules], word: &str, real: &[String], line: &str) -> bool {
    let may = |op: FileOp, path: &str| {
        // What could not be resolved did nothing.
        path.is_empty()
            || CanonicalPath::parse(path.as_bytes())
                .is_some_and(|path| judge_all(rules, op, &path, None).allowed)
    };
    match word {
        "open" => {
            let flags = line.split(' ').nth(2).unwrap().trim_start_matches("0x");
            let flags = u32::from_str_radix(flags, 16).unwrap();
            opening(flags, &Seen::Unknown).ops().into_iter().all(|op| may(op, &real[0]))
        }
        "list" => may(FileOp::List, &real[0]),
        "setattr" => may(FileOp::SetAttr, &real[0]),
        "remove" => may(FileOp::Remove, &real[0]),
        "mkdir" => may(FileOp::Mkdir, &real[0]),
        "symlink" => may(FileOp::Symlink, &real[0]),
        "rename" => real.iter().all(|path| may(FileOp::Rename, path)),
        "hardlink" => may(FileOp::Read, &real[0]) && may(FileOp::Create, &real[1]),
        "write" => true,
        other => panic!("{other}"),
    }
}

#[test]
fn nothing_happens_where_it_is_not_allowed() {
    let mut did = 0;
    for seed in 1..400 {
        let mut dice = Dice(seed * 7919);
        let roles = vec![rules(RULES)];
        let mut play = Play::new(roles.clone(), model());
        let before = (play.model.nodes["/secret/x"].clone(), play.model.nodes["/up/no/x"].clone());
        for _ in 0..40 {
            play.model.seen.clear();
            request(&mut dice, &mut play);
            for (word, real) in std::mem::take(&mut play.model.deeds) {
                let seen = play.model.seen.clone();
                let line = seen.iter().find(|line| line.starts_with("OPEN ")).cloned().unwrap_or_default();
                assert!(allowed(&roles, word, &real, &line), "seed {seed}: {word} {real:?} by {seen:?}");
                did += 1;
            }
        }
        assert_eq!(play.fault, None);
        assert!(play.guard.is_through(), "seed {seed}");
        let after = (&play.model.nodes["/secret/x"], &play.model.nodes["/up/no/x"]);
        assert_eq!(after, (&before.0, &before.1), "seed {seed}");
        assert!(!play.model.nodes.contains_key("/secret/new"), "seed {seed}");
        assert!(play.model.nodes.contains_key("/up/keep/k"), "seed {seed}");
        assert!(play.model.nodes.contains_key("/up/.ssh/id"), "seed {seed}");
    }
    assert!(did > 1000, "the dice hardly did anything: {did}");
}

/// A conversation with everything in it; what came of it, each part in a fixed order.
fn conversation(piece: usize) -> (Vec<Vec<u8>>, Vec<String>, Vec<String>) {
    let mut play = Play::silent(vec![rules(RULES)], model());
    play.piece = piece;
    play.feed(&init(3));
    let put = open::WRITE | open::CREAT | open::TRUNC;
    let id = play.open("/up/n", put);
    let handle = play.handle(id);
    let content: Vec<u8> = (0..40_000_u32).map(|n| (n * 31 % 251) as u8).collect();
    for (at, part) in content.chunks(9_000).enumerate() {
        play.write(&handle, at as u64 * 9_000, part);
    }
    play.close(&handle);
    let id = play.open("/up/n", open::READ);
    let handle = play.handle(id);
    for at in 0..7 {
        play.read(&handle, at * 7_000, 7_000);
    }
    play.close(&handle);
    for path in ["/secret/x", "/up/out/x", "/up/a"] {
        play.open(path, open::READ);
        play.path(kind::STAT, path);
        play.path(kind::REMOVE, path);
    }
    play.extended("evil", &["x"]);
    assert_eq!(play.fault, None);
    let reached = std::mem::take(&mut play.model.seen);
    (std::mem::take(&mut play.got), play.noted(), reached)
}

#[test]
fn however_it_is_cut_it_comes_out_the_same() {
    let whole = conversation(usize::MAX);
    assert!(
        whole.1.iter().any(|note| note.starts_with("READ /up/n 40000 ") && !note.ends_with('-')),
        "{:?}",
        whole.1
    );
    for piece in [1, 2, 3, 4, 5, 7, 64, 1000, 9_001, 32_768] {
        assert_eq!(conversation(piece), whole, "pieces of {piece}");
    }
}

#[test]
fn random_bytes_break_nothing() {
    for seed in 1..3000_u64 {
        let mut dice = Dice(seed * 104_729);
        let mut play = Play::new(vec![rules(RULES)], model());
        let id = play.open("/up/a", open::READ | open::WRITE);
        let handle = play.handle(id);
        play.model.deeds.clear();
        for _ in 0..6 {
            let mut bytes = BytesMut::new();
            let kind = dice.pick(&[3_u8, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 200]);
            let text = path(&mut dice);
            let packet = Packet::new(&mut bytes, kind, 7);
            let packet =
                if dice.roll(2) == 0 { packet.string(text.as_bytes()) } else { packet.string(&handle) };
            let packet = packet.u64(dice.roll(9) as u64).u32(dice.roll(5) as u32);
            packet.raw(&vec![b'x'; dice.roll(12)]).end();
            // Some bytes are changed; the length mostly stays, so that something is read.
            for _ in 0..dice.roll(3) {
                let at =
                    if dice.roll(10) == 0 { dice.roll(bytes.len()) } else { 4 + dice.roll(bytes.len() - 4) };
                bytes[at] = dice.roll(256) as u8;
            }
            play.feed(&bytes);
            for (word, real) in std::mem::take(&mut play.model.deeds) {
                let line = play.model.seen.iter().rfind(|line| line.starts_with("OPEN ")).cloned();
                let line = line.unwrap_or_default();
                assert!(allowed(&[rules(RULES)], word, &real, &line), "seed {seed}: {word} {real:?}");
            }
        }
        // And a target that babbles.
        let mut out = play.guard.from_client(Bytes::new());
        for _ in 0..4 {
            let mut bytes = BytesMut::new();
            let kind = dice.pick(&[2_u8, 101, 102, 103, 104, 105, 201, 0, 255]);
            let id = dice.roll(40) as u32;
            Packet::new(&mut bytes, kind, id).raw(&vec![dice.roll(3) as u8; dice.roll(40)]).end();
            let next = play.guard.from_target(bytes.freeze());
            assert!(out.fault.is_none() || next.to_client.is_empty(), "nothing comes after a fault");
            out = if out.fault.is_some() { out } else { next };
        }
    }
}

#[test]
fn statuses_of_ours_can_be_read() {
    let mut play = Play::new(vec![rules(RULES)], model());
    let id = play.open("/secret/x", open::READ);
    let (_, body) = play.answer(id);
    let mut fields = Fields::of(body);
    assert_eq!(fields.u32(), Some(status::PERMISSION_DENIED));
    assert_eq!(fields.string(), Some(&b"caponier: no rule allows read [file]"[..]));
    assert_eq!((fields.string(), fields.is_empty()), (Some(&b"en"[..]), true));
}
