//! Old `scp`, `rsync` and `git` against path rules, with the stock programs and with command lines written by hand, at a
//! real sshd: what the rules allow goes on working, and what would lead past them does not reach the target.

use std::os::unix::fs::symlink;
use std::process::Command;

use crate::sftp::Tree;
use crate::world::PATIENCE;
use crate::world::process::{Finished, run};
use crate::world::ssh::Ssh;

impl Tree {
    fn names(&self, args: &[&str]) -> Vec<String> {
        args.iter().map(|arg| arg.replace('@', &self.top.display().to_string())).collect()
    }

    /// `rsync` with these arguments, in which `@` is the top of the tree.
    fn rsync(&self, args: &[&str]) -> Finished {
        self.stage.at_home(Ssh::rsync(&self.stage.through()).args(self.names(args))).run()
    }

    fn git(&self, args: &[&str]) -> Finished {
        self.stage.at_home(Ssh::git(&self.stage.through()).args(self.names(args))).run()
    }

    /// `ssh web1 LINE`.
    fn line(&self, line: &str) -> Finished {
        self.stage.ssh(&["web1", &self.names(&[line])[0]]).run()
    }

    /// A role with these path rules, in which `@` is the top of the tree.
    fn rule_by(&self, rules: &str) {
        self.rule(&format!("files = [{}]", self.names(&[rules])[0]));
    }
}

#[track_caller]
fn refused(said: &Finished, what: &str) {
    assert_ne!(said.status, Some(0), "{what}");
    assert!(said.errors().contains("[file]"), "{what}: {}", said.errors());
}

#[test]
fn rsync_makes_no_link_that_its_rules_would_follow() {
    let tree = Tree::grow();
    std::fs::create_dir(tree.at("here/box")).unwrap();
    std::fs::write(tree.at("here/box/file"), "delivered\n").unwrap();
    symlink("/", tree.at("here/box/e")).unwrap();
    let up =
        r#"allow = ["read", "list", "write", "create", "mkdir", "rename", "remove", "symlink", "setattr"]"#;
    tree.rule_by(&format!(r#"{{ {up}, paths = ["@/up/**"] }}"#));
    for more in [&["-a"][..], &["-rl"], &["-rD"], &["-a", "--no-links"], &["-a", "--no-D", "--safe-links"]] {
        let said = tree.rsync(&[more, &["@/here/box/", "web1:@/up/folder/"]].concat());
        refused(&said, &format!("{more:?}"));
        assert!(said.errors().contains("rsync: --no-links --no-D"), "{}", said.errors());
    }
    assert!(!tree.at("up/folder/e").is_symlink() && !tree.at("up/folder/file").exists());
    tree.rsync(&["-a", "--no-links", "--no-D", "@/here/box/", "web1:@/up/folder/"]).ok();
    assert_eq!(tree.read("up/folder/file"), "delivered\n");
    assert!(!tree.at("up/folder/e").is_symlink());
    // The way back brings links along, as they are.
    tree.rsync(&["-a", "web1:@/up/", "@/here/back"]).ok();
    assert!(tree.at("here/back/in").is_symlink());
    assert_eq!(tree.read("here/back/folder/file"), "delivered\n");
    // Who may do everything everywhere needs no care.
    tree.rule_by(r#"{ allow = ["*"], paths = ["/**"] }"#);
    tree.rsync(&["-a", "@/here/box/", "web1:@/up/folder/"]).ok();
    assert!(tree.at("up/folder/e").is_symlink());
}

#[test]
fn what_a_transfer_also_does_is_asked_for() {
    let tree = Tree::grow();
    std::fs::write(tree.at("here/file"), "hello\n").unwrap();
    tree.rule_by(r#"{ allow = ["read", "write", "create", "mkdir"], paths = ["@/up/**"] }"#);
    tree.rsync(&["@/here/file", "web1:@/up/folder/one"]).ok();
    for args in [
        &["-t", "@/here/file", "web1:@/up/folder/two"][..],
        &["-p", "@/here/file", "web1:@/up/folder/two"],
        &["-r", "--delete", "@/here/", "web1:@/up/folder/"],
        &["-r", "web1:@/up/folder/", "@/here/back"],
        &["--list-only", "web1:@/up/folder/"],
    ] {
        refused(&tree.rsync(args), &format!("{args:?}"));
    }
    let scp =
        |args: &[&str]| tree.stage.at_home(Ssh::scp(&tree.stage.through()).args(tree.names(args))).run();
    scp(&["-O", "@/here/file", "web1:@/up/folder/three"]).ok();
    refused(&scp(&["-O", "-p", "@/here/file", "web1:@/up/folder/four"]), "scp -p");
    refused(&scp(&["-O", "-r", "web1:@/up/folder", "@/here/back"]), "scp -r");
    assert!(!tree.at("up/folder/two").exists() && !tree.at("up/folder/four").exists());
    assert!(tree.at("up/folder/in").exists() && !tree.at("here/back").exists());
}

#[test]
fn no_option_stands_behind_the_paths_of_rsync() {
    let tree = Tree::grow();
    for line in [
        "rsync --server --sender -re.iLsfxCIvu . @/up/folder --log-file=@/secret/log",
        "rsync --server --sender -re.iLsfxCIvu . @/up/folder --copy-links",
        "rsync --server --sender -re.iLsfxCIvu . @/up/folder --files-from=@/secret/file",
        "rsync --server --sender -re.iLsfxCIvu . @/up/folder --remove-source-files",
        "rsync --server --sender -re.iLsfxCIvu . @/up/folder -L",
        "scp -f @/up/old -r",
    ] {
        let said = tree.line(line);
        assert_eq!(said.status, Some(126), "{line}");
        assert!(said.errors().contains("could be an option"), "{line}: {}", said.errors());
    }
    assert!(!tree.at("secret/log").exists() && tree.at("up/folder/in").exists());
}

#[test]
fn git_opens_no_other_repository_than_was_judged() {
    let tree = Tree::grow();
    let make = |args: &[&str]| {
        let mut git = Command::new("git");
        git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
        git.args(["-c", "user.name=t", "-c", "user.email=t@example.test", "-c", "init.defaultBranch=main"]);
        run(git.args(args).current_dir(&tree.top), b"", PATIENCE).ok();
    };
    make(&["init", "-q", "work"]);
    std::fs::write(tree.at("work/file"), "in git\n").unwrap();
    make(&["-C", "work", "add", "file"]);
    make(&["-C", "work", "commit", "-q", "-m", "one"]);
    for bare in ["git/open.git", "git/secret.git"] {
        make(&["clone", "-q", "--bare", "work", bare]);
    }
    tree.rule_by(
        r#"{ allow = ["*"], paths = ["@/git/**"] }, { deny = ["*"], paths = ["@/git/secret.git/**"] }"#,
    );
    for (path, name) in [("git/open.git", "one"), ("git/open", "two")] {
        tree.git(&["clone", "-q", &format!("web1:@/{path}"), &format!("@/here/{name}")]).ok();
        assert_eq!(tree.read(&format!("here/{name}/file")), "in git\n");
    }
    for path in ["git/secret.git", "git/secret", "git/secret/", "git/./secret"] {
        refused(&tree.git(&["clone", "-q", &format!("web1:@/{path}"), "@/here/stolen"]), path);
    }
    assert!(!tree.at("here/stolen").exists());
    // One repository alone, pushed to as well.
    tree.rule_by(r#"{ allow = ["read", "write", "create", "mkdir"], paths = ["@/git/open.git/**"] }"#);
    tree.git(&["-C", "@/here/one", "push", "-q", "origin", "HEAD:refs/heads/other"]).ok();
    refused(&tree.git(&["clone", "-q", "web1:@/git/open", "@/here/three"]), "by a name that is not ruled");
}
