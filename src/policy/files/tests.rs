//! Tests of path rules: reading, judging one operation by one and by several roles, looking, and whole transfers.

use std::path::Path;

use super::*;
use crate::inspect::transfer::recognise;

fn rules(text: &str) -> FileRules {
    match read_alone(Path::new("rules.toml"), text) {
        Ok(rules) => rules,
        Err(problems) => panic!("{problems:?}"),
    }
}

fn problems(text: &str) -> Vec<String> {
    let problems = read_alone(Path::new("f"), text).unwrap_err();
    problems.into_iter().map(|problem| problem.to_string()).collect()
}

fn path(text: &str) -> CanonicalPath {
    CanonicalPath::parse(text.as_bytes()).unwrap()
}

const USUAL: &str = r#"files = [
  { allow = ["read", "list"], paths = ["/var/log/**"], name = "logs" },
  { allow = ["read", "list", "write", "create", "mkdir", "rename", "remove"], paths = ["/srv/upload/**", "~/**"] },
  { deny = ["*"], paths = ["/srv/upload/.ssh/**", "~/.ssh/**"] },
  { deny = ["remove"], paths = ["/srv/upload/keep/**"], name = "kept" },
]"#;

#[test]
fn one_role() {
    let rules = rules(USUAL);
    let home = path("/home/me");
    use FileOp::{Create, List, Mkdir, Read, Remove, SetAttr, Write};
    for (op, text, allowed, rule) in [
        (Read, "/var/log", true, "logs"),
        (Read, "/var/log/a/b", true, "logs"),
        (Write, "/var/log/a", false, "no rule allows write"),
        (Read, "/var/logs", false, "no rule allows read"),
        (Read, "/etc/passwd", false, "no rule allows read"),
        (List, "/", false, "no rule allows list"),
        (Create, "/srv/upload/x", true, "files number 2"),
        (SetAttr, "/srv/upload/x", false, "no rule allows setattr"),
        (Create, "/srv/upload/.ssh/authorized_keys", false, "files number 3"),
        (Mkdir, "/srv/upload/.ssh", false, "files number 3"),
        (Remove, "/srv/upload/keep/x", false, "kept"),
        (Write, "/srv/upload/keep/x", true, "files number 2"),
        (Read, "/home/me/x", true, "files number 2"),
        (Read, "/home/me/.ssh/id", false, "files number 3"),
        (Read, "/home/you/x", false, "no rule allows read"),
    ] {
        let verdict = rules.judge(op, &path(text), Some(&home));
        assert_eq!((verdict.allowed, verdict.rule.as_str()), (allowed, rule), "{} {text}", op.as_str());
    }
    let verdict = rules.judge(Read, &path("/var/log/x"), None);
    assert_eq!(
        (verdict.allowed, verdict.rule.as_str()),
        (false, "the rules speak of ~, and home is not known")
    );
}

#[test]
fn several_roles_open_together_and_each_may_deny() {
    let read = rules(r#"files = [{ allow = ["read"], paths = ["/a/**"] }]"#);
    let write =
        rules(r#"files = [{ allow = ["write"], paths = ["/a/**"] }, { deny = ["read"], paths = ["/a/x"] }]"#);
    let all = FileRules::unrestricted();
    let judge = |roles: &[FileRules], op, text| judge_all(roles, op, &path(text), None).allowed;
    assert!(judge(&[read.clone(), write.clone()], FileOp::Read, "/a/y"));
    assert!(judge(&[read.clone(), write.clone()], FileOp::Write, "/a/y"));
    assert!(!judge(&[read.clone(), write.clone()], FileOp::Read, "/a/x"), "the other role denies it");
    assert!(judge(&[all.clone(), read.clone()], FileOp::Remove, "/b"));
    assert!(!judge(&[all.clone(), write.clone()], FileOp::Read, "/a/x"), "a deny holds against no rules too");
    assert!(!judge(&[], FileOp::Read, "/a/x"), "no role, nothing");
    assert_eq!(all.judge(FileOp::Read, &path("/"), None).rule, "no path rules");
}

#[test]
fn a_role_that_extends_another_needs_both() {
    let base = rules(
        r#"files = [{ allow = ["read", "write"], paths = ["/a/**"] }, { deny = ["*"], paths = ["/a/x"] }]"#,
    );
    let own = rules(r#"files = [{ allow = ["*"], paths = ["/a/b/**", "/c", "/a/x"] }]"#);
    let both = own.clone().within(&base);
    let judge = |op, text| both.judge(op, &path(text), None).allowed;
    assert!(judge(FileOp::Read, "/a/b/c"));
    assert!(!judge(FileOp::Read, "/a/c"), "not in its own");
    assert!(!judge(FileOp::Read, "/c"), "not in the base");
    assert!(!judge(FileOp::Remove, "/a/b/c"), "not in the base");
    assert!(!judge(FileOp::Read, "/a/x"), "denied in the base");
    assert!(!judge_all(&[both, FileRules::unrestricted()], FileOp::Read, &path("/a/x"), None).allowed);
    assert_eq!(own.clone().within(&FileRules::unrestricted()), own);
}

#[test]
fn looking_is_for_what_is_near() {
    let roles = [rules(USUAL)];
    let home = path("/home/me");
    for (text, may) in [
        ("/", true),
        ("/var", true),
        ("/var/log", true),
        ("/var/log/x", true),
        ("/var/lib", false),
        ("/etc", false),
        ("/etc/passwd", false),
        ("/home", true),
        ("/home/you", false),
        ("/home/me/.ssh", false),
        ("/home/me/.ssh/id", false),
        ("/srv/upload/keep/x", true),
    ] {
        assert_eq!(may_look(&roles, &path(text), Some(&home)), may, "{text}");
    }
    let folder = [rules(r#"files = [{ allow = ["list"], paths = ["/srv"] }]"#)];
    assert!(may_look(&folder, &path("/srv/a"), None), "a listing shows it");
    assert!(!may_look(&folder, &path("/srv/a/b"), None));
    assert!(!may_look(&[], &path("/"), None));
    assert!(may_look(&[FileRules::unrestricted()], &path("/x"), None));
    for (from, to, rule) in [
        ("/srv", "/mnt", Some("files number 3")),
        ("/mnt", "/srv/upload/.ssh", Some("files number 3")),
        ("/srv/upload/x", "/srv/upload/y", None),
        ("/srv/upload/x", "/srv/upload/keep/y", Some("kept")),
        ("/srv/upload/keep/x", "/srv/upload/y", Some("kept")),
        ("/srv/upload/keep/x", "/srv/upload/keep/y", None),
    ] {
        assert_eq!(moves_protected(&roles, &path(from), &path(to), Some(&home)), rule, "{from} {to}");
    }
    assert_eq!(denied_by(&roles, FileOp::Remove, &path("/srv/upload/keep"), Some(&home)), Some("kept"));
    assert_eq!(denied_by(&roles, FileOp::Read, &path("/srv/upload/keep"), Some(&home)), None);
}

#[test]
fn transfers_by_their_commands() {
    let usual = [rules(USUAL)];
    let absolute = [rules(
        r#"files = [
          { allow = ["*"], paths = ["/srv/upload/**", "/one"] },
          { deny = ["write"], paths = ["/srv/upload/x/secret/**"] },
        ]"#,
    )];
    let at_home =
        [rules(r#"files = [{ allow = ["*"], paths = ["~/**"] }, { deny = ["*"], paths = ["~/.ssh/**"] }]"#)];
    for (roles, line, allowed) in [
        (&absolute, "scp -t /srv/upload", false),
        (&absolute, "scp -t /srv/upload/y", true),
        (&absolute, "scp -t /srv/upload/x", false),
        (&absolute, "scp -r -f /srv/upload", true),
        (&absolute, "scp -f /one", true),
        (&absolute, "scp -r -f /one", false),
        (&absolute, "scp -t /one", false),
        (&absolute, "scp -t /srv/upload/../../etc", false),
        (&absolute, "scp -t /srv/upload/y/./z//", true),
        (&absolute, "scp -t upload", false),
        (&absolute, "rsync --server -re.L . /srv/upload/y", true),
        (&absolute, "rsync --server --sender -re.L . /srv/upload /etc", false),
        (&absolute, "git-receive-pack /srv/upload/y.git", true),
        (&absolute, "git-receive-pack /srv/git", false),
        (&at_home, "scp -t x", true),
        (&at_home, "scp -t ~/x", true),
        (&at_home, "scp -t ~you/x", false),
        (&at_home, "scp -t .", false),
        (&at_home, "scp -t .ssh", false),
        (&at_home, "scp -t ./.ssh/authorized_keys", false),
        (&at_home, "scp -f /home/me/x", false),
        (&usual, "scp -f /var/log/syslog", true),
        (&usual, "scp -r -f /var/log", false),
        (&usual, "git-upload-pack .ssh", false),
    ] {
        let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let transfer = recognise(&argv).unwrap().unwrap();
        let verdict = judge_transfer(roles, &transfer);
        assert_eq!(verdict.allowed, allowed, "{line}: {}", verdict.rule);
    }
    let reading = [rules(r#"files = [{ allow = ["read", "write", "create", "mkdir"], paths = ["/a/**"] }]"#)];
    let judge = |line: &str| {
        let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
        judge_transfer(&reading, &recognise(&argv).unwrap().unwrap()).allowed
    };
    assert!(judge("rsync --server -re.L . /a/b"));
    for (line, needs) in [
        ("rsync --server -re.L --delete . /a/b", "remove"),
        ("rsync --server -rte.L . /a/b", "setattr"),
        ("rsync --server -rpe.L . /a/b", "setattr"),
        ("rsync --server --sender -re.L . /a/b", "list"),
        ("rsync --server --sender -e.L --list-only . /a/b", "list"),
        ("scp -p -t /a/b", "setattr"),
        ("scp -r -f /a/b", "list"),
    ] {
        assert!(!judge(line), "{line}: needs {needs}");
        let ops = format!("allow = [\"read\", \"write\", \"create\", \"mkdir\", \"{needs}\"]");
        let more = [rules(&format!("files = [{{ {ops}, paths = [\"/a/**\"] }}]"))];
        let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let verdict = judge_transfer(&more, &recognise(&argv).unwrap().unwrap());
        assert!(verdict.allowed, "{line} with {needs}: {}", verdict.rule);
    }
    let blind = [rules(r#"files = [{ allow = ["write", "create", "mkdir"], paths = ["/a/**"] }]"#)];
    for (line, allowed) in [
        // Checksums of pieces as small as the client likes tell what is there.
        ("rsync --server -re.L . /a/b", false),
        ("rsync --server -rWe.L . /a/b", true),
        ("scp -t /a/b", true),
        ("scp -p -f /a/b", false),
    ] {
        let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let verdict = judge_transfer(&blind, &recognise(&argv).unwrap().unwrap());
        assert_eq!(verdict.allowed, allowed, "{line}: {}", verdict.rule);
    }
    let transfer = recognise(&["scp".into(), "-t".into(), "/etc".into()]).unwrap().unwrap();
    assert!(judge_transfer(&[FileRules::unrestricted()], &transfer).allowed);
    assert!(!judge_transfer(&[], &transfer).allowed);
}

/// What a link or device could lead to, nobody asks the target: who may not do everything everywhere makes none.
#[test]
fn no_upload_brings_links_along() {
    let all = r#"{ allow = ["*"], paths = ["/**"] }"#;
    let up = r#"{ allow = ["*"], paths = ["/up/**"] }"#;
    let not_keys = r#"{ deny = ["*"], paths = ["/**/.ssh/**"] }"#;
    let not_kept = r#"{ deny = ["remove"], paths = ["/kept"] }"#;
    for (role, beside, allowed) in [
        (all, None, true),
        (up, None, false),
        (up, Some(FileRules::unrestricted()), true),
        (&format!("{all}, {not_keys}"), None, false),
        (&format!("{all}, {not_kept}"), Some(FileRules::unrestricted()), false),
        (
            r#"{ allow = ["read", "write", "create", "mkdir", "symlink", "setattr"], paths = ["/**"] }"#,
            None,
            false,
        ),
    ] {
        let roles: Vec<FileRules> =
            [Some(rules(&format!("files = [{role}]"))), beside].into_iter().flatten().collect();
        for letters in ["-logDtpre.iLsfxCIvu", "-rle.L", "-rDe.L", "-rlte.L --safe-links"] {
            let line = format!("rsync --server {letters} . /up/box");
            let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let verdict = judge_transfer(&roles, &recognise(&argv).unwrap().unwrap());
            assert_eq!(verdict.allowed, allowed, "{role} {line}: {}", verdict.rule);
        }
    }
    // `rsync -a` without them goes on working, and so does fetching them.
    for line in
        ["rsync --server -ogtpre.iLsfxCIvu . /up/box", "rsync --server --sender -logDtpre.i . /up/box"]
    {
        let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let roles = [rules(&format!("files = [{up}]"))];
        assert!(judge_transfer(&roles, &recognise(&argv).unwrap().unwrap()).allowed, "{line}");
    }
}

/// `git-upload-pack x` opens `x.git` where there is no `x`.
#[test]
fn every_repository_that_git_may_open_is_judged() {
    let most = r#"{ allow = ["*"], paths = ["/git/**", "~/**"] }"#;
    let not = |path: &str| format!("{most}, {{ deny = [\"read\"], paths = [\"{path}\"] }}");
    for (role, path, allowed) in [
        (not("/git/secret.git/**"), "/git/secret", false),
        (not("/git/secret.git/**"), "/git/secret/", false),
        (not("/git/secret.git/**"), "/git/./secret//", false),
        (not("/git/secret.git/**"), "/git/secret.git", false),
        (not("/git/secret.git/**"), "/git/open", true),
        (not("/git/secret/.git/**"), "/git/secret", false),
        (not("/git/secret.git/.git/**"), "/git/secret", false),
        (not("/git/secret.git.git/**"), "/git/secret.git", false),
        (not("~/secret.git/**"), "secret", false),
        (not("~/secret.git/**"), "~/secret", false),
        (not("~/secret.git/**"), "~/open", true),
        (most.to_owned(), "~", false),
        (most.to_owned(), "/git/x", true),
        (most.to_owned(), "/git", false),
        (r#"{ allow = ["read"], paths = ["/git/x.git/**"] }"#.to_owned(), "/git/x.git", true),
        (r#"{ allow = ["read"], paths = ["/git/x.git/**"] }"#.to_owned(), "/git/x", false),
        (r#"{ allow = ["read"], paths = ["/git/x/**"] }"#.to_owned(), "/git/x", false),
        (r#"{ allow = ["read"], paths = ["/git/x/**"] }"#.to_owned(), "/git/x/.git", true),
        (r#"{ allow = ["read"], paths = ["/git/x/**", "/git/x.git/**"] }"#.to_owned(), "/git/x", true),
        (r#"{ allow = ["read"], paths = ["/**"] }"#.to_owned(), "/", true),
    ] {
        let roles = [rules(&format!("files = [{role}]"))];
        let argv = ["git-upload-pack".to_owned(), path.to_owned()];
        let verdict = judge_transfer(&roles, &recognise(&argv).unwrap().unwrap());
        assert_eq!(verdict.allowed, allowed, "{role} {path}: {}", verdict.rule);
    }
}

/// `/proc/self/root/etc/shadow` is `/etc/shadow`.
#[test]
fn other_names_of_everything_are_not_below_a_wide_rule() {
    let wide = r#"{ allow = ["*"], paths = ["/**", "~/**"] }, { deny = ["*"], paths = ["/etc/shadow"] }"#;
    for (more, line, allowed) in [
        ("", "scp -f /proc/self/root/etc/shadow", false),
        ("", "scp -f /proc/self/cwd/etc/shadow", false),
        ("", "scp -f //./proc/1/root/etc/shadow", false),
        ("", "scp -f /dev/fd/0", false),
        ("", "rsync --server --sender -We.L . /proc/self/root/etc/shadow", false),
        ("", "git-upload-pack /proc/self/root/git/x.git", false),
        ("", "git-upload-pack proc/self/root/git/x.git", false),
        ("", "scp -f proc/self/root/etc/shadow", false),
        ("", "scp -f ~/proc/x", false),
        ("", "scp -f dev/x", true),
        ("", "scp -f /etc/hosts", true),
        ("", "scp -f /srv/proc/x", true),
        ("", "scp -f /process/x", true),
        (r#", { allow = ["read"], paths = ["/proc/cpuinfo"] }"#, "scp -f /proc/cpuinfo", true),
        (r#", { allow = ["read"], paths = ["/proc/cpuinfo"] }"#, "scp -f /proc/self/root/etc/shadow", false),
        (r#", { allow = ["read"], paths = ["/dev/shm/**"] }"#, "scp -f /dev/shm/x", true),
        (r#", { allow = ["read"], paths = ["/dev/shm/**"] }"#, "scp -f /proc/self/root/x", false),
        (r#", { allow = ["read"], paths = ["~/proc/**"] }"#, "scp -f proc/x", true),
        (r#", { allow = ["read"], paths = ["/p*/cpuinfo"] }"#, "scp -f /proc/cpuinfo", false),
        (r#", { deny = ["read"], paths = ["/proc/cpuinfo"] }"#, "scp -f /proc/version", false),
    ] {
        let roles = [rules(&format!("files = [{wide}{more}]"))];
        let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let verdict = judge_transfer(&roles, &recognise(&argv).unwrap().unwrap());
        assert_eq!(verdict.allowed, allowed, "{more} {line}: {}", verdict.rule);
    }
}

#[test]
fn wrong_rules_do_not_load() {
    for (text, expect) in [
        (
            "files = [{ paths = [\"/a\"] }]",
            "f:1:10: the rule neither allows nor denies: write allow = [\"read\", \"list\"] or deny = [\"*\"]",
        ),
        (
            "files = [{ allow = [\"read\"], deny = [\"read\"], paths = [\"/a\"] }]",
            "f:1:30: both \"allow\" and \"deny\" are given: keep one",
        ),
        (
            "files = [{ allow = [], paths = [\"/a\"] }]",
            "f:1:20: \"allow\" is empty: name operations, or [\"*\"] for all",
        ),
        (
            "files = [{ allow = [\"raed\"], paths = [\"/a\"] }]",
            "f:1:21: unknown operation \"raed\"; did you mean \"read\"?: there are read, write, create, remove, rename, setattr, symlink, mkdir, list and \"*\"",
        ),
        (
            "files = [{ allow = [\"*\", \"read\"], paths = [\"/a\"] }]",
            "f:1:26: \"*\" is every operation already; leave out \"read\"",
        ),
        ("files = [{ allow = [\"read\", \"read\"], paths = [\"/a\"] }]", "f:1:29: \"read\" is listed twice"),
        (
            "files = [{ allow = [\"read\"] }]",
            "f:1:10: \"paths\" is missing in [[files]] number 1: the patterns of the rule, such as [\"/srv/upload/**\", \"~/**\"]",
        ),
        (
            "files = [{ allow = [\"read\"], paths = [] }]",
            "f:1:38: \"paths\" is empty, so the rule could never match",
        ),
        (
            "files = [{ allow = [\"read\"], paths = [\"var/log\"] }]",
            "f:1:39: \"var/log\": a path pattern begins with / or ~/",
        ),
        ("files = [{ allow = [\"read\"], paths = [\"/a\", \"/a\"] }]", "f:1:45: \"/a\" is listed twice"),
        (
            "files = [{ allow = [\"read\"], paths = [\"/a\"], nmae = \"x\" }]",
            "f:1:46: unknown key \"nmae\" in [[files]] number 1; did you mean \"name\"?",
        ),
        (
            "files = [{ allow = [\"read\"], paths = [\"/a\"], name = \"\" }]",
            "f:1:53: a rule's name is 1 to 64 bytes of text on one line",
        ),
        (
            "files = [{ allow = [\"read\"], paths = [\"/a\"], name = \"x\" }, { deny = [\"read\"], paths = [\"/b\"], name = \"x\" }]",
            "f:1:95: there is a rule \"x\" in this list already",
        ),
    ] {
        assert_eq!(problems(text), [expect], "{text}");
    }
}

#[test]
fn what_allows_everything_is_a_lint() {
    let all = rules(
        r#"files = [{ allow = ["*"], paths = ["/**"], name = "free" }, { deny = ["*"], paths = ["/**"] }]"#,
    );
    assert_eq!(all.lints(), ["free: allows everything everywhere; leave out \"files\" if that is meant"]);
    assert!(rules(USUAL).lints().is_empty());
}
