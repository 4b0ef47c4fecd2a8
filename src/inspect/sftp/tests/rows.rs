//! Operations as rows: what is asked, what reaches the target, and what is noted.

use sha2::{Digest as _, Sha256};

use super::super::wire::{Attrs, Fields, kind, open, status};
use super::model::{Model, Node};
use super::play::{Play, rules};
use crate::policy::files::FileRules;

const RULES: &str = r#"files = [
  { allow = ["read", "list"], paths = ["/log/**"], name = "logs" },
  { allow = ["read", "list", "write", "create", "mkdir", "rename", "remove", "symlink"], paths = ["/up/**", "~/**"], name = "up" },
  { deny = ["*"], paths = ["/up/.ssh/**", "~/.ssh/**"], name = "keys" },
]"#;

fn model() -> Model {
    let file = || Node::File(b"content".to_vec());
    let link = |to: &str| Node::Link(to.into());
    Model::new(&[
        ("/log/a", file()),
        ("/log/out", link("/secret/x")),
        ("/up/a", file()),
        ("/up/folder/b", file()),
        ("/up/.ssh/id", file()),
        ("/up/out", link("/secret")),
        ("/up/outfile", link("/secret/x")),
        ("/up/dangling", link("/secret/new")),
        ("/up/in", link("folder/b")),
        ("/up/keys", link(".ssh")),
        ("/secret/x", file()),
        ("/home/me/c", file()),
    ])
}

fn guarded() -> Play {
    Play::new(vec![rules(RULES)], model())
}

const PUT: u32 = open::WRITE | open::CREAT | open::TRUNC;
const NO: &str = "PERMISSION";

/// What reached the target, or `PERMISSION`; and the notes.
#[track_caller]
fn check(act: impl FnOnce(&mut Play) -> u32, reached: &str, noted: &[&str]) {
    let mut play = guarded();
    let id = act(&mut play);
    let got = play.reached();
    if reached == NO {
        assert_eq!(got, [""; 0], "{noted:?}");
        let (code, text) = play.status(id);
        assert_eq!(code, status::PERMISSION_DENIED, "{text}");
        assert!(text.starts_with("caponier: ") && text.ends_with(" [file]"), "{text}");
    } else {
        assert_eq!(got, [reached]);
        play.answer(id);
    }
    assert_eq!(play.noted(), noted);
    assert!(play.guard.is_through() && play.fault.is_none());
}

#[test]
fn open_for_reading() {
    let read = |path: &'static str| move |play: &mut Play| play.open(path, open::READ);
    check(read("/log/a"), "OPEN /log/a 0x1 0", &["read /log/a yes (logs)"]);
    check(read("/log/../log/./a"), "OPEN /log/a 0x1 0", &["read /log/a yes (logs)"]);
    check(read("c"), "OPEN /home/me/c 0x1 0", &["read /home/me/c yes (up)"]);
    check(read("/up/in"), "OPEN /up/folder/b 0x1 0", &["read /up/folder/b yes (up)"]);
    check(read("/secret/x"), NO, &["read /secret/x no (no rule allows read)"]);
    check(read("/log/out"), NO, &["read /secret/x no (no rule allows read)"]);
    check(read("/up/out/x"), NO, &["read /secret/x no (no rule allows read)"]);
    check(read("/up/folder/../../secret/x"), NO, &["read /secret/x no (no rule allows read)"]);
    check(read("/up/keys/id"), NO, &["read /up/.ssh/id no (keys)"]);
    // Without READ and WRITE it is reading.
    check(|play| play.open("/secret/x", 0), NO, &["read /secret/x no (no rule allows read)"]);
    check(|play| play.open("/log/a", open::WRITE), NO, &["write /log/a no (no rule allows write)"]);
    check(
        |play| play.open("/log/a", open::READ | open::APPEND),
        NO,
        &["write /log/a no (no rule allows write)"],
    );
    check(
        |play| play.open("/log/a", open::READ | open::TRUNC),
        NO,
        &["write /log/a no (no rule allows write)"],
    );
}

#[test]
fn open_for_writing() {
    let put = |path: &'static str| move |play: &mut Play| play.open(path, PUT);
    check(put("/up/a"), "OPEN /up/a 0x12 0", &["write /up/a yes (up)"]);
    check(put("/up/new"), "OPEN /up/new 0x3a 0", &["create /up/new yes (up)"]);
    check(put("/up/in"), "OPEN /up/folder/b 0x12 0", &["write /up/folder/b yes (up)"]);
    check(put("/log/new"), NO, &["create /log/new no (no rule allows create)"]);
    check(put("/up/dangling"), NO, &["create /secret/new no (no rule allows create)"]);
    check(put("/up/outfile"), NO, &["write /secret/x no (no rule allows write)"]);
    check(put("/up/out/x"), NO, &["write /secret/x no (no rule allows write)"]);
    check(put("/up/.ssh/authorized_keys"), NO, &["create /up/.ssh/authorized_keys no (keys)"]);
    check(
        |play| play.open("/up/new", PUT | open::READ),
        "OPEN /up/new 0x3b 0",
        &["create /up/new yes (up)", "read /up/new yes (up)"],
    );
    check(|play| play.open("/up/a", PUT | open::EXCL), "OPEN /up/a 0x3a 0", &["create /up/a yes (up)"]);
    // Rights beyond reading and writing are not part of making a file.
    let bits = Attrs { permissions: Some(0o104_755), size: Some(9), owner: Some((0, 0)), ..Attrs::default() };
    check(
        |play| play.open_with("/up/new", PUT, bits),
        "OPEN /up/new 0x3a 100755",
        &["create /up/new yes (up)"],
    );
    // Where creating is allowed and writing is not, what is there stays.
    let drop_box = rules(r#"files = [{ allow = ["create"], paths = ["/up/**"] }]"#);
    let mut play = Play::new(vec![drop_box], model());
    let (new, old) = (play.open("/up/new", PUT), play.open("/up/a", PUT));
    drop(play.handle(new));
    assert_eq!(play.status(old).0, status::PERMISSION_DENIED);
    assert_eq!(play.model.nodes["/up/a"], Node::File(b"content".to_vec()));
}

#[test]
fn names_are_judged_as_names() {
    let path = |kind, path: &'static str| move |play: &mut Play| play.path(kind, path);
    check(path(kind::REMOVE, "/up/outfile"), "REMOVE /up/outfile", &["remove /up/outfile yes (up)"]);
    check(path(kind::REMOVE, "/up/out/x"), NO, &["remove /secret/x no (no rule allows remove)"]);
    check(path(kind::REMOVE, "/log/a"), NO, &["remove /log/a no (no rule allows remove)"]);
    check(path(kind::RMDIR, "/up/folder/"), "REMOVE /up/folder", &["remove /up/folder yes (up)"]);
    check(path(kind::RMDIR, "/up/.ssh"), NO, &["remove /up/.ssh no (keys)"]);
    check(path(kind::REMOVE, "c"), "REMOVE /home/me/c", &["remove /home/me/c yes (up)"]);
    let mkdir = |path: &'static str| {
        move |play: &mut Play| {
            let attrs = Attrs { permissions: Some(0o2777), ..Attrs::default() };
            play.send(kind::MKDIR, |packet| packet.string(path.as_bytes()).attrs(&attrs))
        }
    };
    check(mkdir("/up/new"), "MKDIR /up/new 777", &["mkdir /up/new yes (up)"]);
    check(mkdir("/up/out/new"), NO, &["mkdir /secret/new no (no rule allows mkdir)"]);
    check(path(kind::MKDIR, "/up/new2"), "MKDIR /up/new2 0", &["mkdir /up/new2 yes (up)"]);
    for path in ["/up/..", "/up/.", "..", "/up/folder/../"] {
        let mut play = guarded();
        let id = play.path(kind::RMDIR, path);
        assert_eq!(play.status(id).0, status::FAILURE, "{path}");
        assert_eq!(play.reached(), [""; 0]);
    }
}

#[test]
fn renames_and_links() {
    let two = |name: &'static str, one: &'static str, two: &'static str| {
        move |play: &mut Play| match name {
            "rename" => {
                play.send(kind::RENAME, |packet| packet.string(one.as_bytes()).string(two.as_bytes()))
            }
            "symlink" => {
                play.send(kind::SYMLINK, |packet| packet.string(one.as_bytes()).string(two.as_bytes()))
            }
            name => play.extended(name, &[one, two]),
        }
    };
    let posix = "posix-rename@openssh.com";
    check(two("rename", "/up/a", "/up/b"), "RENAME /up/a /up/b", &["rename /up/a /up/b yes (up)"]);
    check(
        two(posix, "/up/a", "c2"),
        "POSIX-RENAME /up/a /home/me/c2",
        &["rename /up/a /home/me/c2 yes (up)"],
    );
    check(two("rename", "/up/a", "/log/b"), NO, &["rename /up/a /log/b no (no rule allows rename)"]);
    check(two("rename", "/log/a", "/up/b"), NO, &["rename /log/a /up/b no (no rule allows rename)"]);
    check(two("rename", "/up/out/x", "/up/b"), NO, &["rename /secret/x /up/b no (no rule allows rename)"]);
    check(two("rename", "/up/a", "/up/out/y"), NO, &["rename /up/a /secret/y no (no rule allows rename)"]);
    check(
        two("rename", "/up/a", "/up/keys/authorized_keys"),
        NO,
        &["rename /up/a /up/.ssh/authorized_keys no (keys)"],
    );
    // A folder does not take what is denied in it along.
    check(two("rename", "/up", "/up2"), NO, &["rename /up /up2 no (no rule allows rename)"]);
    check(two(posix, "/up/folder", "/up/.ssh"), NO, &["rename /up/folder /up/.ssh no (keys)"]);
    check(
        two("rename", "/up/folder", "/up/f2"),
        "RENAME /up/folder /up/f2",
        &["rename /up/folder /up/f2 yes (up)"],
    );

    check(two("symlink", "a", "/up/l"), "SYMLINK a /up/l", &["symlink /up/l /up/a yes (up)"]);
    check(two("symlink", "/log/a", "/up/l"), "SYMLINK /log/a /up/l", &["symlink /up/l /log/a yes (up)"]);
    check(
        two("symlink", "/secret", "/up/l"),
        NO,
        &["symlink /up/l /secret no (where it leads: no rule allows read)"],
    );
    check(two("symlink", "/etc/passwd", "/up/l"), NO, &[]);
    check(
        two("symlink", "out/x", "/up/l"),
        NO,
        &["symlink /up/l /secret/x no (where it leads: no rule allows read)"],
    );
    check(two("symlink", ".ssh", "/up/l"), NO, &["symlink /up/l /up/.ssh no (where it leads: keys)"]);
    check(two("symlink", "a", "/log/l"), NO, &["symlink /log/l /log/a no (no rule allows symlink)"]);

    let hard = "hardlink@openssh.com";
    check(two(hard, "/up/a", "/up/h"), "HARDLINK /up/a /up/h", &["create /up/h /up/a yes (up)"]);
    // It could be written under the new name.
    check(two(hard, "/log/a", "/up/h"), NO, &["create /up/h /log/a no (no rule allows write)"]);
    check(two(hard, "/secret/x", "/up/h"), NO, &["create /up/h /secret/x no (no rule allows read)"]);
    check(
        two(hard, "/up/outfile", "/up/h"),
        NO,
        &["create /up/h /up/outfile no (a hard link to a symbolic link)"],
    );
}

#[test]
fn protected_folders_and_files_keep_their_place() {
    let text = r#"files = [
      { allow = ["*"], paths = ["/up/**"], name = "all" },
      { deny = ["write", "remove"], paths = ["/up/kept/**", "/up/*.keep"], name = "kept" },
    ]"#;
    let file = || Node::File(Vec::new());
    for (from, to, posix, passes) in [
        ("/up/a", "/up/b", true, true),
        ("/up/kept", "/up/other", false, false),
        ("/up/box", "/up/other", false, true),
        ("/up/a", "/up/kept/new", false, false),
        ("/up/kept/x", "/up/x", false, false),
        ("/up/kept/x", "/up/kept/y", false, true),
        ("/up/kept/x", "/up/kept/y", true, true),
        ("/up/kept/x", "/up/kept/z", true, false),
        ("/up/a.keep", "/up/b.keep", true, false),
        ("/up/a", "/up/b.keep", true, false),
        ("/up/box", "/up/kept/box", true, false),
    ] {
        let model = Model::new(&[
            ("/up/a", file()),
            ("/up/a.keep", file()),
            ("/up/b.keep", file()),
            ("/up/kept/x", file()),
            ("/up/kept/z", file()),
            ("/up/box/c", file()),
        ]);
        let mut play = Play::new(vec![rules(text)], model);
        let id = if posix {
            play.extended("posix-rename@openssh.com", &[from, to])
        } else {
            play.send(kind::RENAME, |packet| packet.string(from.as_bytes()).string(to.as_bytes()))
        };
        let code = if passes { status::OK } else { status::PERMISSION_DENIED };
        assert_eq!(play.status(id).0, code, "{from} {to} {posix}: {:?}", play.noted());
    }
}

#[test]
fn attributes_and_listings() {
    let set = |path: &'static str, attrs: Attrs| {
        move |play: &mut Play| play.send(kind::SETSTAT, |packet| packet.string(path.as_bytes()).attrs(&attrs))
    };
    let mode = || Attrs { permissions: Some(0o600), ..Attrs::default() };
    let size = || Attrs { size: Some(0), ..Attrs::default() };
    check(set("/up/a", mode()), NO, &["setattr /up/a no (no rule allows setattr)"]);
    check(set("/up/a", size()), "SETSTAT /up/a", &["write /up/a yes (up)"]);
    check(set("/up/outfile", size()), NO, &["write /secret/x no (no rule allows write)"]);
    check(
        set("/up/a", Attrs { size: Some(0), ..mode() }),
        NO,
        &["setattr /up/a no (no rule allows setattr)"],
    );
    let list = |path: &'static str| move |play: &mut Play| play.path(kind::OPENDIR, path);
    check(list("/log"), "OPENDIR /log", &["list /log yes (logs)"]);
    check(list("/"), NO, &["list / no (no rule allows list)"]);
    check(list("/up/out"), NO, &["list /secret no (no rule allows list)"]);
    check(list("/up/keys"), NO, &["list /up/.ssh no (keys)"]);
}

#[test]
fn looking_is_not_noted() {
    for (kind, path, passes) in [
        (kind::STAT, "/", true),
        (kind::STAT, "/up/a", true),
        (kind::STAT, "/up/nothing", true),
        (kind::STAT, "/secret", false),
        (kind::STAT, "/up/out", false),
        (kind::STAT, "/secret/nothing/at/all", false),
        (kind::LSTAT, "/up/out", true),
        (kind::LSTAT, "/up/out/", false),
        (kind::LSTAT, "/up/out/x", false),
        (kind::LSTAT, "/up/.ssh/id", false),
        (kind::READLINK, "/up/out", true),
        (kind::READLINK, "/secret/x", false),
        (kind::REALPATH, ".", true),
        (kind::REALPATH, "", true),
        (kind::REALPATH, "/up/..", true),
        (kind::REALPATH, "/up/out", false),
        (kind::REALPATH, "/secret", false),
        (kind::REALPATH, "/secret/nothing/at/all", false),
        (kind::REALPATH, "/up/nothing/at/all", true),
    ] {
        let mut play = guarded();
        let id = play.path(kind, path);
        let (kind, body) = play.answer(id);
        let denied = kind == kind::STATUS && Fields::of(body).u32() == Some(status::PERMISSION_DENIED);
        assert_eq!(!denied, passes, "{kind} {path}");
        assert_eq!(play.noted(), [""; 0]);
    }
    // Home may be asked for even where nothing is allowed in it.
    let mut play = Play::new(vec![rules(r#"files = [{ allow = ["read"], paths = ["/log/**"] }]"#)], model());
    let (home, other) = (play.path(kind::REALPATH, "."), play.path(kind::STAT, "."));
    assert_eq!(play.answer(home).0, kind::NAME);
    assert_eq!(play.status(other).0, status::PERMISSION_DENIED);
}

#[test]
fn extensions() {
    let mut play = guarded();
    let mut fields = Fields::of(&play.got[0]);
    assert_eq!((fields.u8(), fields.u32()), (Some(kind::VERSION), Some(3)));
    let mut offered = Vec::new();
    while let (Some(name), Some(_)) = (fields.string(), fields.string()) {
        offered.push(String::from_utf8_lossy(name).into_owned());
    }
    assert_eq!(offered, ["posix-rename@openssh.com", "hardlink@openssh.com", "limits@openssh.com"]);
    let evil = play.extended("evil@example.test", &["/etc/passwd"]);
    assert_eq!(play.status(evil).0, status::OP_UNSUPPORTED);
    assert_eq!(play.noted(), ["extended evil@example.test no (unknown extension)"]);
    assert_eq!(play.reached(), [""; 0]);
    let limits = play.extended("limits@openssh.com", &[]);
    let numbers = play.answer(limits).1.to_vec();
    let mut fields = Fields::of(&numbers);
    let numbers: Vec<u64> = std::iter::from_fn(|| fields.u64()).collect();
    assert_eq!(numbers, [256 * 1024, 255 * 1024, 0, 100], "nothing larger than what passes");
    let flags = play.open("/log/a", 0x41);
    assert_eq!(play.status(flags).0, status::OP_UNSUPPORTED);
}

#[test]
fn content_is_hashed_as_it_passes() {
    let mut play = guarded();
    let id = play.open("/up/new", PUT);
    let up = play.handle(id);
    play.write(&up, 0, b"hello ");
    play.write(&up, 6, b"world");
    let id = play.open("/up/a", open::READ);
    let down = play.handle(id);
    let (a, b, c) = (play.read(&down, 0, 4), play.read(&down, 4, 100), play.read(&down, 7, 100));
    assert_eq!(play.answer(a).1, b"\0\0\0\x04cont");
    assert_eq!(play.answer(b).1, b"\0\0\0\x03ent");
    assert_eq!(play.status(c).0, status::EOF);
    play.close(&up);
    play.close(&down);
    let hash = |text: &str| -> String {
        Sha256::digest(text).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
    };
    assert_eq!(
        play.noted(),
        [
            "create /up/new yes (up)".to_owned(),
            "read /up/a yes (up)".to_owned(),
            format!("WRITE /up/new 11 {}", hash("hello world")),
            format!("READ /up/a 7 {}", hash("content")),
        ]
    );
    assert_eq!(play.model.nodes["/up/new"], Node::File(b"hello world".to_vec()));
}

#[test]
fn what_is_not_the_whole_content_has_no_hash() {
    for (flags, writes, expect) in [
        (PUT, &[(0, "ab"), (2, "cd")][..], true),
        (PUT, &[(2, "cd"), (0, "ab")], true),
        (PUT, &[(0, "ab"), (3, "d")], false),
        (PUT, &[(0, "ab"), (0, "ab")], false),
        (PUT, &[(0, "ab"), (2, "FULL")], false),
        // Longer than what was there, and shorter.
        (open::WRITE, &[(0, "12345678")], true),
        (open::WRITE, &[(0, "1234")], false),
        (open::WRITE | open::APPEND, &[(0, "1234")], false),
    ] {
        let mut play = guarded();
        let id = play.open("/up/a", flags);
        let handle = play.handle(id);
        for (offset, text) in writes {
            play.write(&handle, *offset, text.as_bytes());
        }
        play.close(&handle);
        let noted = play.noted().pop().unwrap();
        assert_eq!(!noted.ends_with(" -"), expect, "{flags:#x} {writes:?}: {noted}");
    }
    for (reads, expect) in [
        (&[(0, 4), (4, 3)][..], true),
        (&[(0, 100), (7, 100)], true),
        (&[(4, 100), (0, 4)], true),
        (&[(0, 4)], false),
        (&[(4, 100)], false),
        (&[(0, 100), (0, 100)], false),
    ] {
        let mut play = guarded();
        let id = play.open("/log/a", open::READ);
        let handle = play.handle(id);
        for (offset, length) in reads {
            play.read(&handle, *offset, *length);
        }
        play.close(&handle);
        let noted = play.noted().pop().unwrap();
        assert_eq!(!noted.ends_with(" -"), expect, "{reads:?}: {noted}");
    }
    // A length that is set behind what was written, as scp does it, and one that is not.
    for (size, expect) in [(4, true), (3, false), (8, false)] {
        let mut play = guarded();
        let id = play.open("/up/a", open::WRITE | open::CREAT);
        let handle = play.handle(id);
        play.write(&handle, 0, b"1234");
        let cut = Attrs { size: Some(size), ..Attrs::default() };
        play.send(kind::FSETSTAT, |packet| packet.string(&handle).attrs(&cut));
        play.close(&handle);
        let noted = play.noted().pop().unwrap();
        assert_eq!(!noted.ends_with(" -"), expect, "{size}: {noted}");
    }
    // A session that ends.
    let mut play = guarded();
    let id = play.open("/up/a", PUT);
    let handle = play.handle(id);
    play.write(&handle, 0, b"ab");
    let cut = Attrs { size: Some(1), ..Attrs::default() };
    play.send(kind::FSETSTAT, |packet| packet.string(&handle).attrs(&cut));
    let id = play.open("/up/b", PUT);
    let other = play.handle(id);
    play.write(&other, 0, b"ab");
    play.close(&handle);
    play.notes.extend(play.guard.end());
    assert_eq!(
        play.noted()[1..],
        ["write /up/a yes (open for writing)", "create /up/b yes (up)", "WRITE /up/a 2 -", "WRITE /up/b 2 -"]
    );
}

#[test]
fn handles_are_good_for_what_they_were_opened_for() {
    let mut play = guarded();
    let ids =
        [play.open("/log/a", open::READ), play.open("/up/a", open::WRITE), play.path(kind::OPENDIR, "/log")];
    let [read, write, folder] = ids.map(|id| play.handle(id));
    let deeds = play.model.deeds.len();
    let refused = [
        play.write(&read, 0, b"x"),
        play.write(&folder, 0, b"x"),
        play.write(b"other", 0, b"x"),
        play.read(&write, 0, 1),
        play.read(&folder, 0, 1),
        play.send(kind::READDIR, |packet| packet.string(&read)),
        play.send(kind::FSETSTAT, |packet| {
            packet.string(&read).attrs(&Attrs { size: Some(0), ..Attrs::default() })
        }),
        play.close(b"h9"),
        play.close(b""),
        play.extended("fsync@openssh.com", &["h0"]),
    ];
    for id in refused {
        assert_eq!(play.status(id).0, status::FAILURE);
    }
    let chmod = Attrs { permissions: Some(0o4777), ..Attrs::default() };
    let denied = play.send(kind::FSETSTAT, |packet| packet.string(&write).attrs(&chmod));
    assert_eq!(play.status(denied).0, status::PERMISSION_DENIED);
    assert_eq!(play.model.deeds.len(), deeds, "nothing reached the target");
    play.close(&read);
    let gone = [play.read(&read, 0, 1), play.close(&read)];
    for id in gone {
        assert_eq!(play.status(id).0, status::FAILURE, "closed is closed");
    }
    assert_eq!(play.fault, None);
}

#[test]
fn a_link_swapped_in_while_a_file_is_opened_is_seen() {
    let mut play = guarded();
    play.model.swap = Some(("/up/a".into(), Node::Link("/secret/x".into())));
    let id = play.open("/up/a", open::READ);
    assert_eq!(play.status(id).0, status::PERMISSION_DENIED);
    assert_eq!(play.reached(), ["OPEN /up/a 0x1 0", "CLOSE h0"]);
    assert_eq!(play.noted(), ["read /up/a yes (up)", "read /up/a no (the path changed while it was opened)"]);
    // Nor can its handle be guessed while the path is asked for again.
    let mut play = guarded();
    play.model.swap = Some(("/up/a".into(), Node::Link("/secret/x".into())));
    play.hold_after_open = true;
    let id = play.open("/up/a", open::READ | open::WRITE);
    let guesses = [play.read(b"h0", 0, 100), play.write(b"h0", 0, b"mine"), play.close(b"h0")];
    play.release();
    assert_eq!(play.status(id).0, status::PERMISSION_DENIED);
    for guess in guesses {
        assert_eq!(play.status(guess).0, status::FAILURE);
    }
    assert_eq!(play.reached(), ["OPEN /up/a 0x3 0", "CLOSE h0"]);
    assert_eq!(play.model.nodes["/secret/x"], Node::File(b"content".to_vec()));
    let mut play = guarded();
    // What was judged to be missing is made, or nothing is opened.
    play.model.swap = Some(("/up/new".into(), Node::Link("/secret/x".into())));
    let id = play.open("/up/new", PUT);
    assert_eq!(play.status(id).0, status::NO_SUCH_FILE);
    assert_eq!(play.model.nodes["/secret/x"], Node::File(b"content".to_vec()));
}

#[test]
fn other_rules_hold_for_what_is_open_too() {
    let mut play = guarded();
    let ids = [play.open("/log/a", open::READ), play.open("/up/a", open::READ | open::WRITE)];
    let [log, up] = ids.map(|id| play.handle(id));
    play.noted();
    play.live.set(vec![rules(r#"files = [{ allow = ["read"], paths = ["/**"], name = "new" }]"#)]);
    let (still, over) = (play.read(&log, 0, 4), play.read(&up, 0, 4));
    assert_eq!(play.answer(still).0, kind::DATA);
    assert_eq!(
        play.status(over),
        (status::PERMISSION_DENIED, "caponier: no rule allows write [file]".into())
    );
    assert_eq!(play.noted(), ["write /up/a no (no rule allows write)"]);
    let id = play.open("/secret/x", open::READ);
    drop(play.handle(id));
    play.live.set(Vec::new());
    let id = play.read(&log, 0, 4);
    assert_eq!(play.status(id).0, status::PERMISSION_DENIED, "no role, nothing");
    play.live.set(vec![FileRules::unrestricted()]);
    let id = play.read(&log, 0, 4);
    assert_eq!(play.answer(id).0, kind::DATA);
}

#[test]
fn without_path_rules_everything_passes_as_it_is_written_and_is_noted() {
    let mut play = Play::new(vec![FileRules::unrestricted()], model());
    let attrs = Attrs { permissions: Some(0o4755), ..Attrs::default() };
    play.open_with("/up/out/../x", PUT, attrs);
    play.path(kind::REMOVE, "/up/out/x");
    play.path(kind::STAT, "c");
    play.path(kind::REALPATH, "/up/out");
    play.send(kind::SYMLINK, |packet| packet.string(b"/etc").string(b"l"));
    play.path(kind::REMOVE, "/nowhere/at/all");
    let reached = play.reached();
    assert_eq!(
        reached,
        [
            "OPEN /up/out/../x 0x1a 4755",
            "REMOVE /up/out/x",
            "STAT c",
            "SYMLINK /etc l",
            "REMOVE /nowhere/at/all"
        ]
    );
    assert_eq!(
        play.noted(),
        [
            "create /x yes (no path rules)",
            "remove /secret/x yes (no path rules)",
            "symlink /home/me/l /etc yes (no path rules)",
            "remove /nowhere/at/all yes (no path rules)",
        ]
    );
    let id = play.extended("evil@example.test", &[]);
    assert_eq!(play.status(id).0, status::OP_UNSUPPORTED);
}

#[test]
fn operations_on_paths_keep_their_order_and_handles_do_not_wait() {
    let mut play = guarded();
    let id = play.open("/up/a", open::READ);
    let handle = play.handle(id);
    play.model.seen.clear();
    play.hold = true;
    let asked =
        [play.path(kind::MKDIR, "/up/d"), play.open("/up/d/f", PUT), play.path(kind::REMOVE, "/up/d/f")];
    let read = play.read(&handle, 0, 100);
    assert!(!play.guard.is_through());
    play.release();
    assert_eq!(play.answer(read).0, kind::DATA);
    assert_eq!(play.reached(), ["MKDIR /up/d 0", "OPEN /up/d/f 0x3a 0", "REMOVE /up/d/f"]);
    for id in asked {
        play.answer(id);
    }
    assert!(play.guard.is_through());
    let got: Vec<u32> = play
        .got
        .iter()
        .filter_map(|packet| Some(u32::from_be_bytes(packet.get(1..5)?.try_into().ok()?)))
        .filter(|id| asked.contains(id))
        .collect();
    assert_eq!(got, asked);
}
