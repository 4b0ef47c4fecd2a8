//! What is given another name: nothing is open to more afterwards, and nothing that may not be replaced is.

use super::super::wire::{kind, status};
use super::model::{Model, Node};
use super::play::{Play, rules};

/// Renames `from` to `to`, by both requests, under rules; whether both did it or both did not, and the last note.
#[track_caller]
fn moves(text: &str, from: &str, to: &str) -> (bool, String) {
    let file = || Node::File(b"content".to_vec());
    let mut outcomes = ["rename", "posix"].map(|how| {
        let nodes = [
            ("/a/x", file()),
            ("/a/y", file()),
            ("/a/box/c", file()),
            ("/a/deep/down/l", Node::Link("../../../etc".into())),
            ("/a/l", Node::Link("x".into())),
            ("/b/z", file()),
        ];
        let mut play = Play::new(vec![rules(text)], Model::new(&nodes));
        let id = match how {
            "rename" => {
                play.send(kind::RENAME, |packet| packet.string(from.as_bytes()).string(to.as_bytes()))
            }
            _ => play.extended("posix-rename@openssh.com", &[from, to]),
        };
        let denied = play.status(id).0 == status::PERMISSION_DENIED;
        assert_eq!(play.reached().is_empty(), denied, "{how} {from} {to}");
        (!denied, play.noted().pop().unwrap())
    });
    outcomes.sort();
    let [one, other] = outcomes;
    assert_eq!(one, other, "{text} {from} {to}");
    one
}

#[test]
fn nothing_is_open_to_more_under_a_new_name() {
    let all = r#"files = [{ allow = ["*"], paths = ["/a/**", "/b/**"] }]"#;
    let no_write = r#"files = [{ allow = ["read", "list", "rename"], paths = ["/a/**"] }, { allow = ["*"], paths = ["/b/**"] }]"#;
    let no_read = r#"files = [{ allow = ["write", "create", "setattr", "remove", "rename"], paths = ["/a/**"] }, { allow = ["read", "rename"], paths = ["/b/**"] }]"#;
    let same = r#"files = [{ allow = ["read", "list", "rename"], paths = ["/a/**", "/b/**"] }]"#;
    let below = r#"files = [{ allow = ["read", "rename"], paths = ["/a/**", "/b/**"] }, { allow = ["write"], paths = ["/b/*/c"] }]"#;
    let named = r#"files = [{ allow = ["read", "rename"], paths = ["/a/**"] }, { allow = ["list"], paths = ["/a/open/**"] }]"#;
    for (text, from, to, passes) in [
        (all, "/a/x", "/b/x", true),
        (all, "/a/x", "/b/z", true),
        (all, "/a/box", "/b/box", true),
        (no_write, "/a/x", "/b/x", false),
        (no_write, "/a/box", "/b/box", false),
        (no_write, "/b/z", "/a/z", true),
        (no_read, "/a/x", "/b/x", false),
        (same, "/a/x", "/b/x", true),
        (same, "/a/box", "/b/box", true),
        (below, "/a/x", "/b/x", true),
        (below, "/a/box", "/b/box", false),
        (below, "/a/missing", "/b/missing", true),
        (named, "/a/box", "/a/open", false),
        (named, "/a/x", "/a/open", true),
    ] {
        let (passed, note) = moves(text, from, to);
        assert_eq!(passed, passes, "{text} {from} {to}: {note}");
        assert!(passes || note.contains("under the old name, and one does under the new"), "{note}");
    }
}

#[test]
fn what_may_neither_be_written_nor_removed_is_not_replaced() {
    let ops = |more: &str| format!(r#"files = [{{ allow = ["read", "rename"{more}], paths = ["/a/**"] }}]"#);
    for (more, to, passes) in [
        ("", "/a/new", true),
        ("", "/a/y", false),
        (r#", "create""#, "/a/y", false),
        (r#", "write""#, "/a/y", true),
        (r#", "remove""#, "/a/y", true),
    ] {
        let (passed, note) = moves(&ops(more), "/a/x", to);
        assert_eq!(passed, passes, "{more} {to}: {note}");
    }
}

/// A link that was judged where it stood means something else from where it stands now.
#[test]
fn a_link_keeps_its_folder() {
    let all = r#"files = [{ allow = ["*"], paths = ["/a/**", "/b/**"] }]"#;
    for (from, to, passes) in [
        ("/a/deep/down/l", "/a/l2", false),
        ("/a/deep/down/l", "/a/deep/l", false),
        ("/a/deep/down/l", "/a/deep/down/l2", true),
        ("/a/l", "/b/l", false),
        ("/a/deep", "/b/deep", true),
    ] {
        let (passed, note) = moves(all, from, to);
        assert_eq!(passed, passes, "{from} {to}: {note}");
        assert!(passes || note.contains("a link would lead elsewhere"), "{note}");
    }
}

/// Judged here, moved there; or the folder in its text made another one.
#[test]
fn no_link_climbs() {
    for (target, link, passes) in [
        ("../x", "/a/box/l2", false),
        ("box/../x", "/a/l2", false),
        ("..", "/a/box/l2", false),
        ("/a/box/../x", "/a/l2", false),
        ("x", "/a/l2", true),
        ("box/c", "/a/l2", true),
        ("/a/x", "/a/box/l2", true),
        ("..c", "/a/l2", true),
    ] {
        let file = || Node::File(Vec::new());
        let model = Model::new(&[("/a/x", file()), ("/a/box/c", file()), ("/a/..c", file())]);
        let mut play = Play::new(vec![rules(r#"files = [{ allow = ["*"], paths = ["/a/**"] }]"#)], model);
        let id = play.send(kind::SYMLINK, |packet| packet.string(target.as_bytes()).string(link.as_bytes()));
        let code = if passes { status::OK } else { status::PERMISSION_DENIED };
        assert_eq!(play.status(id).0, code, "{target} {link}: {:?}", play.noted());
        assert_eq!(play.reached().is_empty(), !passes, "{target} {link}");
    }
}
