//! What stock OpenSSH makes of the files that the client writes: which options hold for which names, and that a real
//! connection through a real jump works with the key in a file and with the key in the ssh-agent only.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use russh::keys::ssh_key::PublicKey;

use super::fake::Fake;
use super::{caponier, file, login, login_with, set_certificate};
use crate::world::bastion::Laptop;
use crate::world::keys::Key;
use crate::world::process::{Finished, Kept, run};
use crate::world::sshd::Sshd;
use crate::world::{PATIENCE, me, scratch, wait_for};

/// `ssh -F CONFIG ARGS` as the laptop's person runs it.
fn ssh(laptop: &Laptop, config: &Path, args: &[&str]) -> Finished {
    let mut command = Command::new("ssh");
    command.arg("-F").arg(config).args(args).env("HOME", laptop.home()).current_dir(laptop.home());
    run(&mut command, b"", PATIENCE)
}

fn user_config(laptop: &Laptop) -> PathBuf {
    laptop.home().join(".ssh/config")
}

/// The options that hold for `host`, one a line, lower-case names.
fn options(laptop: &Laptop, host: &str) -> String {
    ssh(laptop, &user_config(laptop), &["-G", host]).ok()
}

fn has(options: &str, line: &str) -> bool {
    options.lines().any(|l| l == line)
}

#[test]
fn options_hold_for_managed_names_and_no_others() {
    let (fake, laptop) = (Fake::start(), Laptop::new());
    login(&laptop, &fake, &[]).ended(0);
    let home = file(&laptop, "").display().to_string();
    let home = home.trim_end_matches('/');
    for host in ["web1", "WEB1", "a.web.test", "B.Web.Test", "db1"] {
        let said = options(&laptop, host);
        for line in [
            "proxyjump bastion.test",
            "port 22",
            "identitiesonly yes",
            "stricthostkeychecking true",
            "forwardagent no",
            "forwardx11 no",
            &format!("identityfile {home}/id"),
            &format!("certificatefile {home}/id-cert.pub"),
            &format!("userknownhostsfile {home}/known_hosts"),
        ] {
            assert!(has(&said, line), "{host}: no {line:?} in\n{said}");
        }
    }
    let bastion = options(&laptop, "bastion.test");
    assert!(has(&bastion, "port 2222") && has(&bastion, &format!("identityfile {home}/id")), "{bastion}");
    assert!(!bastion.contains("proxyjump") && !bastion.contains("proxycommand"), "{bastion}");
    for host in
        ["github.com", "xweb1", "web10", "db1.example", "web.test", "a.web.test.evil", "bastion.test.evil"]
    {
        let without = ssh(&laptop, Path::new("/dev/null"), &["-G", host]).ok();
        assert_eq!(options(&laptop, host), without, "{host}");
    }
}

#[test]
fn names_with_shell_characters_run_nothing() {
    let (fake, laptop) = (Fake::start(), Laptop::new());
    login(&laptop, &fake, &[]).ended(0);
    for name in [
        "x$(touch${IFS}pwned).web.test",
        "x`touch${IFS}pwned`.web.test",
        "x;touch${IFS}pwned;.web.test",
        "x|touch${IFS}pwned;.web.test",
        "x&touch${IFS}pwned&.web.test",
    ] {
        // Old clients accept such names, new ones refuse them; neither may run them.
        for args in [vec!["-G", name], vec!["-oBatchMode=yes", name, "true"]] {
            ssh(&laptop, &user_config(&laptop), &args);
        }
        // Not on the command line, so no client refuses it: `Match host` sees this name, and runs `ensure`.
        let given = format!("HostName={name}");
        let said = ssh(&laptop, &user_config(&laptop), &["-G", "-o", &given, "web1"]).ok();
        assert!(has(&said, "proxyjump bastion.test"), "{said}");
        assert!(!laptop.home().join("pwned").exists(), "{name}");
    }
}

#[test]
fn when_renewing_fails_ssh_still_goes_through_the_bastion() {
    let (mut fake, laptop) = (Fake::start(), Laptop::new());
    login(&laptop, &fake, &[]).ended(0);
    set_certificate(&laptop, &fake, -300, -1);
    fake.stop();
    let finished = ssh(&laptop, &user_config(&laptop), &["-G", "web1"]);
    assert!(has(&finished.ok(), "proxyjump bastion.test"), "{}", finished.text());
    assert!(finished.errors().contains("caponier: cannot reach"), "{}", finished.errors());
    caponier(&laptop, &["logout"]).ended(1);
    let finished = ssh(&laptop, &user_config(&laptop), &["-G", "web1"]);
    assert!(has(&finished.ok(), "proxyjump bastion.test"), "also after a logout");
    assert!(
        finished.errors().contains("you are not signed in; run: caponier login"),
        "{}",
        finished.errors()
    );
}

#[test]
fn ssh_renews_before_it_reads_the_certificate() {
    let (fake, laptop) = (Fake::start(), Laptop::new());
    login(&laptop, &fake, &[]).ended(0);
    set_certificate(&laptop, &fake, -300, -1);
    let before = fake.mind().count("/v1/certificate");
    options(&laptop, "web1");
    assert_eq!(fake.mind().count("/v1/certificate"), before + 1);
    options(&laptop, "github.com");
    options(&laptop, "db1");
    assert_eq!(fake.mind().count("/v1/certificate"), before + 1);
}

#[test]
fn a_bastion_whose_own_name_is_managed_does_not_jump_to_itself() {
    let (fake, laptop) = (Fake::start(), Laptop::new());
    fake.mind().ssh.host = "bastion.corp.test".into();
    fake.mind().ssh.patterns = vec!["*.corp.test".into()];
    login(&laptop, &fake, &[]).ended(0);
    assert!(!options(&laptop, "bastion.corp.test").contains("proxyjump"));
    assert!(has(&options(&laptop, "web1.corp.test"), "proxyjump bastion.corp.test"));
}

#[test]
fn folders_with_odd_names() {
    let (fake, laptop) = (Fake::start(), Laptop::new());
    let odd = laptop.home().join("my #1 (home); x & y! é");
    let args = ["login", &fake.url(), "--no-browser"];
    login_with(laptop.caponier(&args).env("CAPONIER_HOME", &odd), &fake).ended(0);
    assert!(has(&options(&laptop, "web1"), &format!("identityfile {}/id", odd.display())));
    fs::remove_file(odd.join("id-cert.pub")).unwrap();
    options(&laptop, "web1");
    assert!(odd.join("id-cert.pub").exists(), "ensure ran and found the folder");
    // Nothing can quote these.
    for name in ["a'b", "a\"b", "a$b", "a%b", "a*b"] {
        let mut command = laptop.caponier(&args);
        let finished = run(command.env("CAPONIER_HOME", laptop.home().join(name)), b"", PATIENCE);
        assert!(finished.ended(1).errors().contains("cannot be told this path safely"), "{name}");
    }
}

#[test]
fn ssh_config_is_printed_or_written_again() {
    let (fake, laptop) = (Fake::start(), Laptop::new());
    caponier(&laptop, &["ssh-config"]).ended(77);
    login(&laptop, &fake, &["--no-ssh-config"]).ended(0);
    let written = fs::read_to_string(file(&laptop, "ssh_config")).unwrap();
    fs::remove_file(file(&laptop, "ssh_config")).unwrap();
    assert_eq!(caponier(&laptop, &["ssh-config", "--print"]).ok().trim(), written.trim());
    assert!(!file(&laptop, "ssh_config").exists());
    let said = caponier(&laptop, &["ssh-config"]).ended(0).errors();
    assert!(said.contains("Add this line") && said.contains("Include \""), "{said}");
    assert_eq!(fs::read_to_string(file(&laptop, "ssh_config")).unwrap(), written);
}

/// A real sshd that plays both the bastion (`127.0.0.1`) and a host behind it (`localhost`).
fn real_bastion(fake: &Fake, dir: &Path) -> Sshd {
    let host_ca = Key::make(dir, "host_ca");
    let user_ca = PublicKey::new(fake.mind().user_ca.public_key().key_data().clone(), "");
    let sshd = Sshd::new()
        .trust_ca(&user_ca.to_openssh().unwrap())
        .certified_by(&host_ca, "127.0.0.1,localhost")
        .start();
    let mut mind = fake.mind();
    mind.ssh.host = "127.0.0.1".into();
    mind.ssh.port = sshd.port;
    mind.ssh.host_ca = host_ca.public();
    mind.ssh.patterns = vec!["localhost".into()];
    mind.principals = vec![me()];
    sshd
}

#[test]
fn a_real_connection_with_the_key_in_a_file() {
    let (fake, laptop, dir) = (Fake::start(), Laptop::new(), scratch());
    let sshd = real_bastion(&fake, dir.path());
    login(&laptop, &fake, &[]).ended(0);
    let port = sshd.port.to_string();
    // No question may be asked, so there is nobody to answer it.
    let args = ["-oBatchMode=yes", "-p", &port, "localhost", "echo through"];
    let finished = ssh(&laptop, &user_config(&laptop), &args);
    assert_eq!(finished.ok(), "through\n");
    assert_eq!(finished.errors(), "", "no warning, no \"permanently added\"");
    assert_eq!(sshd.log().matches("Accepted publickey").count(), 2, "{}", sshd.log());
    sshd.wait_for_log("ID corp:ada (serial 4711)");
    // Renewed on the way, by the first of the two ssh.
    set_certificate(&laptop, &fake, -300, -1);
    let before = fake.mind().count("/v1/certificate");
    ssh(&laptop, &user_config(&laptop), &args).ok();
    assert_eq!(fake.mind().count("/v1/certificate"), before + 1);
}

/// A real ssh-agent, gone with its handle.
struct SshAgent {
    _kept: Kept,
    socket: PathBuf,
}

impl SshAgent {
    fn start(dir: &Path) -> Self {
        let socket = dir.join("agent");
        let mut command = Command::new("ssh-agent");
        command.arg("-D").arg("-a").arg(&socket).stdout(Stdio::null());
        let kept = Kept::start(&mut command);
        wait_for("the agent's socket", PATIENCE, || {
            std::os::unix::net::UnixStream::connect(&socket).ok().map(drop)
        });
        Self { _kept: kept, socket }
    }

    /// What `ssh-add -l` says.
    fn keys(&self) -> String {
        run(Command::new("ssh-add").arg("-l").env("SSH_AUTH_SOCK", &self.socket), b"", PATIENCE).text()
    }

    fn with(&self, laptop: &Laptop, args: &[&str]) -> Command {
        let mut command = laptop.caponier(args);
        command.env("SSH_AUTH_SOCK", &self.socket);
        command
    }
}

#[test]
fn the_key_in_the_agent_only() {
    let (fake, laptop, dir) = (Fake::start(), Laptop::new(), scratch());
    let sshd = real_bastion(&fake, dir.path());
    let agent = SshAgent::start(dir.path());
    let url = fake.url();
    let arguments = ["login", &url, "--no-browser", "--agent"];
    assert!(caponier(&laptop, &arguments).ended(1).errors().contains("SSH_AUTH_SOCK is not set"));
    assert!(fake.mind().asked.is_empty(), "asked before anybody signs in for nothing");
    login_with(&mut agent.with(&laptop, &arguments), &fake).ended(0);
    assert!(!file(&laptop, "id").exists(), "no private key on disk");
    assert_eq!(agent.keys().matches("caponier (ED25519)").count(), 1, "{}", agent.keys());

    let mut command = Command::new("ssh");
    command.args(["-oBatchMode=yes", "-p", &sshd.port.to_string(), "-F"]).arg(user_config(&laptop));
    command.args(["localhost", "echo through"]).env("SSH_AUTH_SOCK", &agent.socket);
    assert_eq!(run(&mut command, b"", PATIENCE).ok(), "through\n");
    sshd.wait_for_log("ID corp:ada (serial 4711)");

    // Requests are signed by the agent.
    set_certificate(&laptop, &fake, -300, -1);
    let before = fake.mind().count("/v1/certificate");
    run(&mut agent.with(&laptop, &["ensure", "--quiet"]), b"", PATIENCE).ended(0);
    assert_eq!(fake.mind().count("/v1/certificate"), before + 1);
    assert!(run(&mut agent.with(&laptop, &["status"]), b"", PATIENCE).ok().contains("in the ssh-agent only"));

    // A new login replaces the key in the agent.
    let old = agent.keys();
    login_with(&mut agent.with(&laptop, &arguments), &fake).ended(0);
    assert_ne!(agent.keys(), old);
    assert_eq!(agent.keys().matches("caponier (ED25519)").count(), 1, "{}", agent.keys());

    // An agent that has forgotten the key (a new session, say) is noticed although the certificate is valid.
    run(Command::new("ssh-add").arg("-D").env("SSH_AUTH_SOCK", &agent.socket), b"", PATIENCE).ended(0);
    let finished = run(&mut agent.with(&laptop, &["ensure"]), b"", PATIENCE);
    assert!(finished.ended(77).errors().contains("run: caponier login --agent"), "{}", finished.errors());

    login_with(&mut agent.with(&laptop, &arguments), &fake).ended(0);
    // Without the agent nobody can be told: what is needed to do it later stays.
    let said = caponier(&laptop, &["logout"]).ended(1).errors();
    assert!(said.contains("run it again where the ssh-agent is"), "{said}");
    assert!(file(&laptop, "id.pub").exists() && !file(&laptop, "id-cert.pub").exists());
    assert!(fake.mind().signed_in.is_some());
    run(&mut agent.with(&laptop, &["logout"]), b"", PATIENCE).ended(0);
    assert!(fake.mind().signed_in.is_none() && !file(&laptop, "id.pub").exists());
    assert!(agent.keys().contains("no identities"), "{}", agent.keys());
    assert!(fake.mind().signed_in.is_none());
}
