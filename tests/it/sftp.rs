//! Files through the bastion against path rules: the stock `sftp` and `scp`, a second client made by others, and
//! packets written by hand, at a real sshd. What may be done is done, what may not be done does not happen at the
//! target, and all of it stands in the audit with the digests that `sha256sum` computes.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::world::process::run;
use crate::world::second_client::second_client;
use crate::world::ssh::Ssh;
use crate::world::stage::{Plan, Stage, policy as usual};
use crate::world::{PATIENCE, me, part, wait_for};

/// A stage whose only role opens file transfers under rules, and a tree to try them on: `up` may be changed, `log`
/// read, `secret` not touched; links lead from each to the others.
pub(crate) struct Tree {
    pub(crate) stage: Stage,
    pub(crate) top: PathBuf,
}

fn rules(top: &Path) -> String {
    let top = top.display();
    format!(
        r#"files = [
  {{ allow = ["read", "list"], paths = ["{top}/log/**"], name = "logs" }},
  {{ allow = ["read", "list", "write", "create", "mkdir", "rename", "remove", "symlink"], paths = ["{top}/up/**"], name = "up" }},
  {{ deny = ["*"], paths = ["{top}/up/.ssh/**"], name = "keys" }},
]"#
    )
}

fn policy(port: u16, role: &str) -> String {
    let text = usual(port, role);
    let narrow = text.replace("[\"shell\", \"exec\", \"sftp\"]", "[\"sftp\", \"scp\", \"rsync\", \"git\"]");
    assert_ne!(text, narrow);
    narrow
}

impl Tree {
    #[track_caller]
    pub(crate) fn grow() -> Self {
        let stage = Stage::set_to(Plan::default());
        let top = std::fs::canonicalize(stage.dir()).unwrap();
        for folder in ["up/folder", "up/.ssh", "log", "secret", "here"] {
            std::fs::create_dir_all(top.join(folder)).unwrap();
        }
        for file in ["up/old", "up/folder/in", "up/.ssh/id", "log/log", "secret/file"] {
            std::fs::write(top.join(file), format!("this is {file}\n")).unwrap();
        }
        for (to, link) in [
            ("../secret", "up/out"),
            ("../secret/file", "log/out"),
            ("folder", "up/in"),
            ("../secret/new", "up/dangling"),
        ] {
            symlink(to, top.join(link)).unwrap();
        }
        let tree = Self { stage, top };
        tree.rule(&rules(&tree.top));
        tree
    }

    /// Puts other rules in force.
    #[track_caller]
    pub(crate) fn rule(&self, role: &str) {
        let loaded = || {
            let audit = self.stage.audit();
            assert!(!audit.iter().any(|(kind, _)| kind == "policy_refused"), "{audit:#?}");
            audit.iter().filter(|(kind, _)| kind == "policy_loaded").count()
        };
        let before = loaded();
        self.stage.bastion.write_policy(&policy(self.stage.web1.port, role));
        wait_for("the new policy", PATIENCE, || (loaded() > before).then_some(()));
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.top.join(path)
    }

    fn text(&self, path: &str) -> String {
        self.at(path).display().to_string()
    }

    pub(crate) fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.at(path)).unwrap()
    }

    /// `sftp -b -` with these lines, in which `@` is the top of the tree; whether it went well, and what it said.
    fn sftp(&self, lines: &str) -> (bool, String) {
        let lines = lines.replace('@', &self.top.display().to_string());
        let sftp = Ssh::sftp(&self.stage.through()).args(["web1"]).input(format!("{lines}\n"));
        let said = self.stage.at_home(sftp).run();
        (said.status == Some(0), said.text() + &said.errors())
    }

    #[track_caller]
    fn does(&self, lines: &str) -> String {
        let (went_well, said) = self.sftp(lines);
        assert!(went_well, "{lines}: {said}");
        said
    }

    #[track_caller]
    fn refuses(&self, lines: &str) {
        let (went_well, said) = self.sftp(lines);
        assert!(!went_well, "{lines}: {said}");
        let words = ["ermission denied", "Failure", "not found", "[file]"];
        assert!(words.iter().any(|word| said.contains(word)), "{lines}: {said}");
    }

    /// The audit's entries about files, with `@` for the top: `op path second yes rule`.
    fn operations(&self) -> Vec<String> {
        let short =
            |value: &Value| value.as_str().unwrap_or("-").replace(&self.top.display().to_string(), "@");
        let lines =
            self.stage.audit().into_iter().filter(|(kind, _)| kind == "file_operation").map(|(_, json)| {
                let entry: Value = serde_json::from_str(&json).unwrap();
                let verdict = if entry["allowed"] == true { "yes" } else { "no" };
                let parts = [&entry["op"], &entry["path"], &entry["second"], &entry["rule"]].map(short);
                format!("{} {} {} {verdict} {}", parts[0], parts[1], parts[2], parts[3])
            });
        lines.collect()
    }

    /// The last entry about content of this path that passed in this direction.
    #[track_caller]
    fn transferred(&self, path: &str, direction: &str) -> Value {
        let path = self.text(path);
        wait_for(&format!("content of {path} in the audit"), PATIENCE, || {
            let all = self.stage.audit().into_iter().rev().filter(|(kind, _)| kind == "file_transferred");
            all.map(|(_, json)| serde_json::from_str::<Value>(&json).unwrap())
                .find(|entry| entry["path"] == path.as_str() && entry["direction"] == direction)
        })
    }
}

#[track_caller]
fn sha256sum(path: &Path) -> String {
    let said = run(Command::new("sha256sum").arg(path), b"", PATIENCE).ok();
    said.split(' ').next().unwrap().to_owned()
}

/// Reproducible bytes.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(count).collect()
}

#[test]
fn what_the_rules_allow_is_done_and_noted() {
    let tree = Tree::grow();
    std::fs::write(tree.at("here/file"), "hello\n").unwrap();
    tree.does("put @/here/file @/up/new");
    assert_eq!(tree.read("up/new"), "hello\n");
    tree.does("put @/here/file @/up/folder/../old");
    assert_eq!(tree.read("up/old"), "hello\n");
    tree.does("put @/here/file @/up/in/deep");
    assert_eq!(tree.read("up/folder/deep"), "hello\n");
    tree.does("get @/log/log @/here/log");
    assert_eq!(tree.read("here/log"), "this is log/log\n");
    tree.does("rename @/up/new @/up/newer\nmkdir @/up/made\nrename @/up/newer @/up/made/newest\nln -s made/newest @/up/link");
    assert_eq!(tree.read("up/link"), "hello\n");
    let listed = tree.does("cd @/up\nls -l\nls -l @/log\ndf @/up\npwd");
    for name in ["made", "folder", "old", "log"] {
        assert!(listed.contains(name), "{listed}");
    }
    tree.does("rm @/up/made/newest\nrmdir @/up/made\nrm @/up/link\nln @/up/old @/up/hard\nrm @/up/dangling");
    assert!(!tree.at("up/made").exists() && !tree.at("up/link").is_symlink());
    assert_eq!(
        std::fs::metadata(tree.at("up/old")).unwrap().ino(),
        std::fs::metadata(tree.at("up/hard")).unwrap().ino()
    );

    let noted = tree.operations();
    for line in [
        "create @/up/new - yes up",
        "write @/up/old - yes up",
        "create @/up/folder/deep - yes up",
        "read @/log/log - yes logs",
        "rename @/up/new @/up/newer yes up",
        "mkdir @/up/made - yes up",
        "symlink @/up/link @/up/made/newest yes up",
        "list @/up - yes up",
        "list @/log - yes logs",
        "remove @/up/made/newest - yes up",
        "remove @/up/made - yes up",
        "create @/up/hard @/up/old yes up",
    ] {
        assert!(noted.iter().any(|noted| noted == line), "{line}: {noted:#?}");
    }
    for (path, direction, file) in
        [("up/new", "write", "here/file"), ("up/old", "write", "here/file"), ("log/log", "read", "log/log")]
    {
        let entry = tree.transferred(path, direction);
        assert_eq!(entry["sha256"], sha256sum(&tree.at(file)).as_str(), "{entry}");
        assert_eq!(entry["complete"], true);
        assert_eq!(entry["bytes"], std::fs::metadata(tree.at(file)).unwrap().len());
    }
}

#[test]
fn what_they_do_not_allow_does_not_happen() {
    let tree = Tree::grow();
    std::fs::write(tree.at("here/file"), "hello\n").unwrap();
    for (lines, noted) in [
        ("get @/secret/file @/here/stolen", ""),
        ("get @/up/out/file @/here/stolen", ""),
        ("get @/log/out @/here/stolen", ""),
        ("get @/up/../secret/file @/here/stolen", ""),
        ("get @/up/.ssh/id @/here/stolen", ""),
        ("put @/here/file @/secret/new", "create @/secret/new - no no rule allows create"),
        ("put @/here/file @/secret/file", "write @/secret/file - no no rule allows write"),
        ("put @/here/file @/up/out/new", "create @/secret/new - no no rule allows create"),
        ("put @/here/file @/up/dangling", "create @/secret/new - no no rule allows create"),
        ("put @/here/file @/up/.ssh/authorized_keys", "create @/up/.ssh/authorized_keys - no keys"),
        ("put @/here/file @/log/log", "write @/log/log - no no rule allows write"),
        ("rm @/secret/file", "remove @/secret/file - no no rule allows remove"),
        ("rm @/up/out/file", "remove @/secret/file - no no rule allows remove"),
        ("rm @/log/log", "remove @/log/log - no no rule allows remove"),
        ("rename @/up/old @/secret/old", "rename @/up/old @/secret/old no no rule allows rename"),
        ("rename @/secret/file @/up/mine", "rename @/secret/file @/up/mine no no rule allows rename"),
        ("rename @/up/out/file @/up/mine", "rename @/secret/file @/up/mine no no rule allows rename"),
        ("rename @/up/.ssh @/up/ssh", "rename @/up/.ssh @/up/ssh no keys"),
        ("rename @/up/folder @/up/.ssh", "rename @/up/folder @/up/.ssh no keys"),
        ("mkdir @/secret/made", "mkdir @/secret/made - no no rule allows mkdir"),
        ("mkdir @/up/out/made", "mkdir @/secret/made - no no rule allows mkdir"),
        ("rmdir @/up/.ssh", "remove @/up/.ssh - no keys"),
        ("ln -s @/secret @/up/mine", "symlink @/up/mine @/secret no where it leads: no rule allows read"),
        (
            "ln -s ../../secret/file @/up/folder/mine",
            "symlink @/up/folder/mine @/secret/file no a link with .. would lead elsewhere once it is moved: write the whole path",
        ),
        (
            "rename @/up/in @/up/folder/in2",
            "rename @/up/in @/up/folder/in2 no a link would lead elsewhere from there: make it anew",
        ),
        ("ln @/secret/file @/up/mine", "create @/up/mine @/secret/file no no rule allows read"),
        ("ln @/log/log @/up/mine", "create @/up/mine @/log/log no no rule allows write"),
        ("chmod 777 @/up/old", "setattr @/up/old - no no rule allows setattr"),
        ("chmod 777 @/up/out/file", "setattr @/secret/file - no no rule allows setattr"),
        ("ls @/secret", ""),
        ("cd @/secret", ""),
        ("cd @/up/out", ""),
    ] {
        tree.refuses(lines);
        assert!(!tree.at("here/stolen").exists(), "{lines}");
        let all = tree.operations();
        assert!(noted.is_empty() || all.last().is_some_and(|last| last == noted), "{lines}: {all:#?}");
    }
    assert_eq!(tree.read("secret/file"), "this is secret/file\n");
    assert_eq!(std::fs::read_dir(tree.at("secret")).unwrap().count(), 1);
    assert_eq!(tree.read("log/log"), "this is log/log\n");
    assert_eq!(std::fs::read_dir(tree.at("up/.ssh")).unwrap().count(), 1);
    assert_eq!(std::fs::metadata(tree.at("up/old")).unwrap().permissions().mode() & 0o777, 0o644);
    assert!(tree.operations().iter().all(|line| line.contains(" no ")), "{:#?}", tree.operations());
}

#[test]
fn rights_beyond_the_usual_need_setattr() {
    let tree = Tree::grow();
    std::fs::write(tree.at("here/tool"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(tree.at("here/tool"), std::fs::Permissions::from_mode(0o4755)).unwrap();
    let made = |tree: &Tree| {
        drop(std::fs::remove_file(tree.at("up/tool")));
        let id = tree.raw(&[Raw::Open("@/up/tool", 0x2a, 0o4755)]);
        assert_eq!(id[1][0], 102, "{id:?}");
        std::fs::metadata(tree.at("up/tool")).unwrap().permissions().mode() & 0o7777
    };
    assert_eq!(made(&tree) & 0o7000, 0, "without setattr");
    let all = rules(&tree.top).replace("\"symlink\"", "\"symlink\", \"setattr\"");
    tree.rule(&all);
    assert_eq!(made(&tree) & 0o7000, 0o4000, "with setattr");
    tree.does("chmod 600 @/up/tool");
    tree.does("put -p @/here/tool @/up/tool");
}

#[test]
fn uploads_and_downloads_that_are_continued_have_no_digest() {
    let tree = Tree::grow();
    let bytes = noise(300_000);
    std::fs::write(tree.at("here/file"), &bytes).unwrap();
    std::fs::write(tree.at("up/half"), &bytes[..100_000]).unwrap();
    tree.does("reput @/here/file @/up/half");
    assert!(std::fs::read(tree.at("up/half")).unwrap() == bytes);
    let entry = tree.transferred("up/half", "write");
    assert_eq!(
        (&entry["bytes"], &entry["sha256"], &entry["complete"]),
        (&json!(200_000), &json!(null), &json!(false))
    );
    std::fs::write(tree.at("here/back"), &bytes[..70_000]).unwrap();
    tree.does("reget @/up/half @/here/back");
    assert!(std::fs::read(tree.at("here/back")).unwrap() == bytes);
    let entry = tree.transferred("up/half", "read");
    assert_eq!((&entry["bytes"], &entry["complete"]), (&json!(230_000), &json!(false)));
    // An empty file is a whole file.
    std::fs::write(tree.at("here/empty"), "").unwrap();
    tree.does("put @/here/empty @/up/empty\nget @/up/empty @/here/empty2");
    for direction in ["write", "read"] {
        let entry = tree.transferred("up/empty", direction);
        assert_eq!(entry["sha256"], sha256sum(&tree.at("here/empty")).as_str(), "{entry}");
    }
}

#[test]
fn scp_new_and_old() {
    let tree = Tree::grow();
    let bytes = noise(3_000_000);
    std::fs::write(tree.at("here/file"), &bytes).unwrap();
    let scp = |args: &[&str]| {
        let args: Vec<String> =
            args.iter().map(|arg| arg.replace('@', &tree.top.display().to_string())).collect();
        tree.stage.at_home(Ssh::scp(&tree.stage.through()).args(args)).run()
    };
    scp(&["@/here/file", "web1:@/up/new"]).ok();
    assert!(std::fs::read(tree.at("up/new")).unwrap() == bytes);
    assert_eq!(tree.transferred("up/new", "write")["sha256"], sha256sum(&tree.at("here/file")).as_str());
    scp(&["web1:@/up/new", "@/here/back"]).ok();
    assert!(std::fs::read(tree.at("here/back")).unwrap() == bytes);
    assert_eq!(tree.transferred("up/new", "read")["sha256"], sha256sum(&tree.at("here/file")).as_str());
    scp(&["-r", "web1:@/up/folder", "@/here/folder"]).ok();
    assert_eq!(tree.read("here/folder/in"), "this is up/folder/in\n");
    assert_ne!(scp(&["@/here/file", "web1:@/secret/new"]).status, Some(0));
    assert_ne!(scp(&["web1:@/up/out/file", "@/here/stolen"]).status, Some(0));
    // The old protocol: the command alone is judged.
    scp(&["-O", "@/here/file", "web1:@/up/folder/old"]).ok();
    assert!(std::fs::read(tree.at("up/folder/old")).unwrap() == bytes);
    scp(&["-O", "web1:@/log/log", "@/here/log"]).ok();
    for refused in [
        &["-O", "@/here/file", "web1:@/secret/new"][..],
        &["-O", "@/here/file", "web1:@/up"],
        &["-O", "@/here/file", "web1:@/up/../secret/new"],
        &["-O", "web1:@/secret/file", "@/here/stolen"],
        &["-O", "-r", "web1:@/up", "@/here/stolen"],
    ] {
        let said = scp(refused);
        assert_ne!(said.status, Some(0), "{refused:?}");
        assert!(said.errors().contains("[file]"), "{refused:?}: {}", said.errors());
    }
    assert!(!tree.at("here/stolen").exists() && !tree.at("secret/new").exists());
}

#[test]
fn a_client_made_by_others() {
    let tree = Tree::grow();
    let bytes = noise(1_000_000);
    std::fs::write(tree.at("here/file"), &bytes).unwrap();
    let home = tree.stage.laptop.home().join(".caponier");
    let wish = |put: Value, get: Value| {
        second_client(&json!({
            "bastion": {"host": "127.0.0.1", "port": tree.stage.bastion.ssh_port, "login": "anybody"},
            "target": {"host": "web1", "port": 22, "login": me()},
            "key": home.join("id"), "certificate": home.join("id-cert.pub"), "known_hosts": home.join("known_hosts"),
            "put": put, "get": get,
        }))
    };
    let said = wish(
        json!({"from": tree.at("here/file"), "to": tree.at("up/new")}),
        json!({"from": tree.at("up/new"), "to": tree.at("here/back")}),
    );
    assert_eq!(said["ok"], true, "{said}");
    assert!(std::fs::read(tree.at("here/back")).unwrap() == bytes);
    for direction in ["write", "read"] {
        let entry = tree.transferred("up/new", direction);
        assert_eq!(entry["sha256"], sha256sum(&tree.at("here/file")).as_str(), "{entry}");
    }
    let said = wish(
        json!({"from": tree.at("here/file"), "to": tree.at("secret/new")}),
        json!({"from": tree.at("up/new"), "to": tree.at("here/back")}),
    );
    assert_eq!(said["ok"], false, "{said}");
    assert!(!tree.at("secret/new").exists());
}

/// A packet to be written by hand.
enum Raw<'a> {
    Bytes(&'a [u8]),
    /// Path with `@`, flags, permissions.
    Open(&'a str, u32, u32),
    Extended(&'a str),
}

impl Tree {
    /// Sends INIT and these packets over `ssh -s web1 sftp`; answers what came back, without lengths.
    fn raw(&self, packets: &[Raw<'_>]) -> Vec<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut put = |body: &[u8]| {
            bytes.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(body);
        };
        put(&[1, 0, 0, 0, 3]);
        for (id, packet) in packets.iter().enumerate() {
            let id = u32::try_from(id).unwrap().to_be_bytes();
            let string = |text: &str| {
                let length = u32::try_from(text.len()).unwrap().to_be_bytes();
                [&length[..], text.as_bytes()].concat()
            };
            match packet {
                Raw::Bytes(body) => put(body),
                Raw::Open(path, flags, permissions) => {
                    let path = string(&path.replace('@', &self.top.display().to_string()));
                    let attrs = [4_u32.to_be_bytes(), permissions.to_be_bytes()].concat();
                    put(&[&[3][..], &id, &path, &flags.to_be_bytes(), &attrs].concat());
                }
                Raw::Extended(name) => put(&[&[200][..], &id, &string(name)].concat()),
            }
        }
        let said = self.stage.ssh(&["-s", "web1", "sftp"]).input(bytes).run();
        let mut rest = &said.stdout[..];
        let mut answers = Vec::new();
        while let Some((length, behind)) = rest.split_first_chunk::<4>() {
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap();
            answers.push(behind[..length].to_vec());
            rest = &behind[length..];
        }
        if said.status != Some(0) {
            answers.push(said.errors().into_bytes());
        }
        answers
    }
}

#[test]
fn packets_by_hand() {
    let tree = Tree::grow();
    // The end of the client's input waits for what is being resolved.
    let got = tree.raw(&[
        Raw::Open("@/up/a", 0x1a, 0o644),
        Raw::Open("@/up/b", 0x1a, 0o644),
        Raw::Open("@/secret/file", 1, 0),
    ]);
    assert_eq!(got.iter().map(|packet| packet[0]).collect::<Vec<_>>(), [2, 102, 102, 101], "{got:?}");
    assert!(tree.at("up/a").exists() && tree.at("up/b").exists());
    assert!(String::from_utf8_lossy(&got[3]).contains("caponier: no rule allows read [file]"));
    // An extension that nobody knows, and one that the target's VERSION must not offer.
    let got = tree.raw(&[Raw::Extended("run@example.test")]);
    assert_eq!(got[1][..9], [101, 0, 0, 0, 0, 0, 0, 0, 8], "{got:?}");
    tree.stage.wait_for_audit("file_operation", "run@example.test");
    let offered = String::from_utf8_lossy(&got[0]).into_owned();
    assert!(
        offered.contains("posix-rename@openssh.com") && offered.contains("limits@openssh.com"),
        "{offered}"
    );
    // What cannot be read ends the session, in words and in the audit.
    for body in [&[3, 0, 0][..], &[99, 0, 0, 0, 1], &[101, 0, 0, 0, 1, 0, 0, 0, 0]] {
        let got = tree.raw(&[Raw::Bytes(body)]);
        let last = String::from_utf8_lossy(got.last().unwrap()).into_owned();
        assert!(last.contains("caponier: session closed: the client sent an SFTP packet"), "{last}");
    }
    tree.stage.wait_for_audit("session_closed", "\"protocol\"");
}

#[test]
fn a_flood_of_refused_operations_is_a_few_entries_that_say_how_many_there_were() {
    let tree = Tree::grow();
    let wishes: Vec<Raw<'_>> = (0..500).map(|_| Raw::Open("@/secret/file", 1, 0)).collect();
    let answers = tree.raw(&wishes);
    assert_eq!(answers.len(), 501);
    assert!(answers.iter().skip(1).all(|answer| answer[0] == 101), "all are refused");
    let first = tree.operations();
    assert!((60..300).contains(&first.len()), "{}", first.len());
    // What may be done is noted all the same, and the next refusal tells of those before.
    tree.does("get @/log/log @/here/log");
    assert!(tree.operations().contains(&"read @/log/log - yes logs".to_owned()));
    wait_for("a refusal that tells of the others", PATIENCE, || {
        tree.refuses("get @/secret/file @/here/stolen");
        tree.raw(&[Raw::Open("@/secret/file", 1, 0)]);
        tree.operations().iter().any(|line| line.contains(" more were refused before)")).then_some(())
    });
}

#[test]
fn other_rules_hold_for_an_open_session() {
    let tree = Tree::grow();
    let sftp = Ssh::sftp(&tree.stage.through()).args(["web1"]);
    let terminal = tree.stage.at_home(sftp).terminal(200, 50);
    let line = |text: &str| terminal.type_in(&(text.replace('@', &tree.top.display().to_string()) + "\n"));
    line("-get @/log/log @/here/one");
    wait_for("a download", PATIENCE, || tree.at("here/one").exists().then_some(()));
    tree.transferred("log/log", "read");
    let without = rules(&tree.top).replace("/log/**", "/nolog/**");
    tree.rule(&without);
    line("-get @/log/log @/here/two");
    line("-get @/up/old @/here/three");
    wait_for("a download that is still allowed", PATIENCE, || tree.at("here/three").exists().then_some(()));
    assert!(!tree.at("here/two").exists(), "{}", terminal.shown());
    // With the role's sftp the session ends.
    let text = usual(tree.stage.web1.port, "").replace(", \"sftp\"]", "]");
    tree.stage.bastion.write_policy(&text);
    terminal.wait_for("session closed");
    line("ls");
    let (status, shown) = terminal.finish(PATIENCE);
    assert_ne!(status, Some(0), "{shown}");
}

#[test]
fn an_audit_that_cannot_be_written_ends_the_session_before_the_file_is_touched() {
    let tree = Tree::grow();
    std::fs::write(tree.at("here/file"), "hello\n").unwrap();
    let sftp = Ssh::sftp(&tree.stage.through()).args(["web1"]);
    let terminal = tree.stage.at_home(sftp).terminal(200, 50);
    let line = |text: &str| terminal.type_in(&(text.replace('@', &tree.top.display().to_string()) + "\n"));
    line("put @/here/file @/up/first");
    tree.transferred("up/first", "write");
    let database = tree.stage.bastion.dir().join("state/caponier.db");
    let script = "import sqlite3,sys; db=sqlite3.connect(sys.argv[1]); db.execute('DELETE FROM audit_head'); db.commit()";
    let python = part("target/test-parts/clients/bin/python");
    run(Command::new(python).args(["-c", script]).arg(database), b"", PATIENCE).ok();
    line("put @/here/file @/up/second");
    let (status, shown) = terminal.finish(PATIENCE);
    assert_ne!(status, Some(0));
    assert!(shown.contains("it can no longer be recorded"), "{shown}");
    assert!(!tree.at("up/second").exists());
}

#[test]
fn without_path_rules_everything_passes_and_is_noted() {
    let tree = Tree::grow();
    tree.rule("");
    std::fs::write(tree.at("here/file"), "hello\n").unwrap();
    tree.does(
        "put @/here/file @/secret/new\nget @/up/out/file @/here/back\nchmod 640 @/secret/new\nrm @/up/out",
    );
    assert_eq!(tree.read("here/back"), "this is secret/file\n");
    let noted = tree.operations();
    for line in [
        "create @/secret/new - yes no path rules",
        "read @/secret/file - yes no path rules",
        "setattr @/secret/new - yes no path rules",
        "remove @/up/out - yes no path rules",
    ] {
        assert!(noted.iter().any(|noted| noted == line), "{line}: {noted:#?}");
    }
    assert_eq!(tree.transferred("secret/new", "write")["sha256"], sha256sum(&tree.at("here/file")).as_str());
}

#[test]
fn big_files_both_ways() {
    let tree = Tree::grow();
    let bytes = noise(64 << 20);
    std::fs::write(tree.at("here/big"), &bytes).unwrap();
    let sftp = Ssh::sftp(&tree.stage.through()).args(["web1"]);
    let lines =
        "put @/here/big @/up/big\nget @/up/big @/here/back\n".replace('@', &tree.top.display().to_string());
    tree.stage.at_home(sftp.input(lines).patience(4 * PATIENCE)).run().ok();
    assert!(std::fs::read(tree.at("here/back")).unwrap() == bytes);
    let sum = sha256sum(&tree.at("here/big"));
    for direction in ["write", "read"] {
        let entry = tree.transferred("up/big", direction);
        assert_eq!((&entry["sha256"], &entry["bytes"]), (&json!(sum), &json!(64 << 20)), "{direction}");
    }
}
