//! The README leads to a first real host. This runs its very commands: the code blocks as they stand, with other names
//! for the machines and folders, a real sshd, a real provider and a real browser.

use std::path::Path;
use std::process::Command;

use crate::world::bastion::{CAPONIER, page_of};
use crate::world::browser::Browser;
use crate::world::process::{Finished, Kept, Running, run};
use crate::world::provider::Provider;
use crate::world::sshd::Sshd;
use crate::world::{PATIENCE, free_port, me, root, scratch, wait_for_port};

/// The code blocks of the README with this info string.
pub(crate) fn blocks(info: &str) -> Vec<String> {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let mut found = Vec::new();
    let mut open: Option<String> = None;
    for line in readme.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (Some(block), None) => {
                block.push_str(line);
                block.push('\n');
            }
            (Some(_), Some(_)) => found.extend(open.take()),
            (None, Some(said)) if said.trim() == info => open = Some(String::new()),
            (None, Some(said)) if !said.trim().is_empty() => {
                // Another block: skipped to its end by the branch below, as `open` holds what is thrown away.
                open = None;
            }
            (None, _) => {}
        }
    }
    assert!(!found.is_empty(), "the README has no block {info:?}");
    found
}

struct Walk {
    names: String,
    path: String,
    home: std::path::PathBuf,
}

impl Walk {
    /// A shell that has set the README's names, then runs the block.
    fn shell(&self, block: &str) -> Command {
        let mut shell = Command::new("bash");
        shell.arg("-euo").arg("pipefail").arg("-c").arg(format!("{}\n{block}", self.names));
        shell.env("PATH", &self.path).env("HOME", &self.home).env_remove("SSH_AUTH_SOCK");
        shell
    }

    #[track_caller]
    fn run(&self, block: &str) -> Finished {
        run(&mut self.shell(block), b"", PATIENCE)
    }
}

#[test]
fn the_readme_leads_to_a_first_real_host() {
    let dir = scratch();
    let (ssh_port, web_port) = (free_port(), free_port());
    let url = format!("http://127.0.0.1:{web_port}");
    let provider = Provider::start(&[&format!("{url}/callback/corp")]);
    let sshd = Sshd::new();
    let binaries = Path::new(CAPONIER).parent().unwrap().display().to_string();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let bastion = blocks("sh bastion");
    let names = [
        ("BASTION", "127.0.0.1".to_owned()),
        ("URL", url.clone()),
        ("ISSUER", provider.issuer.clone()),
        ("CLIENT_ID", Provider::CLIENT_ID.to_owned()),
        ("CLIENT_SECRET", Provider::CLIENT_SECRET.to_owned()),
        ("TARGET", "web1".to_owned()),
        ("TARGET_ADDRESS", format!("127.0.0.1:{}", sshd.port)),
        ("LOGIN", me()),
        ("GROUP", "engineers".to_owned()),
        ("ETC", at("etc")),
        ("STATE", at("state")),
        ("SSH_LISTEN", format!("127.0.0.1:{ssh_port}")),
        ("WEB_LISTEN", format!("127.0.0.1:{web_port}")),
    ];
    let mut all = bastion[0].clone();
    for (name, value) in &names {
        assert!(bastion[0].contains(&format!("{name}=")), "the README does not set {name}");
        all.push_str(&format!("{name}='{value}'\n"));
    }
    // The stock client finds its home in the password file, not in HOME; the test has a home of its own.
    all.push_str(
        "export CAPONIER_CONFIG=$ETC/caponier.toml\nssh() { command ssh -F \"$HOME/.ssh/config\" \"$@\"; }\n",
    );
    std::fs::create_dir(dir.path().join("home")).unwrap();
    let walk = Walk {
        names: all,
        path: format!("{binaries}:{}", std::env::var("PATH").unwrap()),
        home: dir.path().join("home"),
    };

    walk.run(&bastion[1]).ok();
    let etc = dir.path().join("etc");
    std::fs::copy(sshd.host_key().path.with_extension("pub"), etc.join("web1.pub")).unwrap();
    walk.run(&blocks("sh bastion-sign")[0]).ok();
    let mut serve = Kept::start(&mut walk.shell(&format!("exec {}", blocks("sh bastion-serve")[0].trim())));
    assert!(serve.ended().is_none());
    wait_for_port(web_port);

    let certificate = etc.join("web1-cert.pub").display().to_string();
    let lines = blocks("text target")[0]
        .replace("/etc/ssh/caponier_target_ca.pub", &etc.join("target_ca.pub").display().to_string())
        .replace("/etc/ssh/ssh_host_ed25519_key-cert.pub", &certificate)
        .replace("/etc/ssh/ssh_host_ed25519_key", &sshd.host_key().path.display().to_string());
    assert_eq!(lines.lines().count(), 3, "three lines on the target: {lines}");
    let sshd = lines.lines().fold(sshd, |sshd, line| sshd.line(line)).start();

    // The laptop: the browser goes where `caponier login` says.
    let line = blocks("sh laptop")[0].replace("caponier login", "caponier login --no-browser");
    let login = Running::start(&mut walk.shell(&line), b"");
    let mut browser = Browser::start();
    browser.goto(&page_of(&login));
    browser.click("Continue");
    browser.sign_in_at_provider("engineer");
    login.finish(PATIENCE).ok();

    let line = format!("{} hostname", blocks("sh laptop-ssh")[0].trim());
    walk.run(&line).ok();
    sshd.wait_for_log("Accepted publickey");
    let said = walk.run(&blocks("sh auditor")[0]).ok();
    assert!(said.contains("web1") && said.contains("exec: hostname"), "{said}");
    let said = run(walk.shell(&blocks("sh evidence")[0]).current_dir(&walk.home), b"", PATIENCE).ok();
    assert!(said.contains("Good \"recording@caponier\" signature"), "{said}");
}
