//! The real parts, on their own: each starts, does what the other tests ask of it, and stops. When one of these
//! fails, look at the machine first and at us later.

use std::fs;
use std::time::Duration;

use serde_json::json;

use crate::world::browser::Browser;
use crate::world::keys::{Key, describe};
use crate::world::provider::Provider;
use crate::world::second_client::second_client;
use crate::world::ssh::Ssh;
use crate::world::sshd::Sshd;
use crate::world::{PATIENCE, me, scratch};

/// A certificate authority, a person's key with a certificate for this account, a server that trusts the one and is
/// certified by another, and a client configuration `t` for it.
struct Site {
    dir: tempfile::TempDir,
    ca: Key,
    person: Key,
    sshd: Sshd,
}

impl Site {
    fn new() -> Self {
        let dir = scratch();
        let (ca, host_ca) = (Key::make(dir.path(), "ca"), Key::make(dir.path(), "host_ca"));
        let person = Key::make(dir.path(), "id");
        let certificate = ca.certify(&person, &["-I", "erin/test", "-n", &me(), "-V", "-1m:+5m", "-z", "7"]);
        assert!(describe(&certificate).contains("Serial: 7"));
        let sshd = Sshd::new()
            .trust_ca(&ca.public())
            .certified_by(&host_ca, "target.test")
            .line("ClientAliveInterval 60")
            .start();
        let known = format!("@cert-authority target.test {}\n", host_ca.public());
        fs::write(dir.path().join("known_hosts"), known).unwrap();
        let site = Self { dir, ca, person, sshd };
        site.write_config();
        site
    }

    fn write_config(&self) {
        let text = format!(
            "Host t\n HostName 127.0.0.1\n Port {}\n User {}\n HostKeyAlias target.test\n IdentityFile {}\n \
             IdentitiesOnly yes\n UserKnownHostsFile {}\n GlobalKnownHostsFile /dev/null\n \
             StrictHostKeyChecking yes\n BatchMode yes\n",
            self.sshd.port,
            me(),
            self.person.path.display(),
            self.known_hosts().display(),
        );
        fs::write(self.config(), text).unwrap();
    }

    fn known_hosts(&self) -> std::path::PathBuf {
        self.dir.path().join("known_hosts")
    }

    fn config(&self) -> std::path::PathBuf {
        self.dir.path().join("config")
    }

    fn ssh(&self) -> Ssh {
        Ssh::new(&self.config())
    }
}

#[test]
fn sshd_takes_a_certificate_of_its_authority_only() {
    let site = Site::new();
    assert_eq!(site.ssh().args(["t", "echo hello; exit 0"]).run().ok(), "hello\n");
    site.ssh().args(["t", "exit 137"]).run().ended(137);
    site.sshd.wait_for_log("ID erin/test (serial 7)");

    let stranger = Key::make(site.dir.path(), "stranger_ca");
    stranger.certify(&site.person, &["-I", "erin/test", "-n", &me(), "-V", "-1m:+5m"]);
    let refused = site.ssh().args(["t", "true"]).run();
    assert!(refused.ended(255).errors().contains("Permission denied"), "{}", refused.errors());

    let line = site.ca.public();
    let plain = Sshd::new().trust_ca(&line).trust_key(&site.person.public()).start();
    let known = format!("target.test {}\n", plain.host_key().public());
    assert!(plain.known_host().contains(&plain.host_key().public()));
    fs::write(site.known_hosts(), known).unwrap();
    site.ssh().args(["-p", &plain.port.to_string(), "t", "true"]).run().ended(0);
}

#[test]
fn sshd_stops_comes_back_and_changes_its_host_key() {
    let mut site = Site::new();
    site.sshd.stop();
    assert!(site.ssh().args(["t", "true"]).run().ended(255).errors().contains("Connection refused"));
    site.sshd.start_again();
    site.ssh().args(["t", "true"]).run().ended(0);
    site.sshd.change_host_key();
    site.sshd.start_again();
    let changed = site.ssh().args(["t", "true"]).run();
    assert!(changed.ended(255).errors().contains("Host key verification failed"), "{}", changed.errors());
}

#[test]
fn sshd_shows_a_certificate_made_elsewhere() {
    let dir = scratch();
    let host_ca = Key::make(dir.path(), "host_ca");
    let sshd = Sshd::new();
    let copy = Key { path: dir.path().join("copy") };
    fs::copy(sshd.host_key().path.with_extension("pub"), copy.path.with_extension("pub")).unwrap();
    let made = host_ca.certify(&copy, &["-h", "-I", "x", "-n", "target.test", "-V", "-5m:+1h"]);
    let sshd = sshd.certificate(&fs::read_to_string(made).unwrap()).start();
    fs::write(dir.path().join("known"), format!("@cert-authority target.test {}\n", host_ca.public()))
        .unwrap();
    fs::write(dir.path().join("config"), "").unwrap();
    let refused = Ssh::new(&dir.path().join("config"))
        .args(["-v", "-oBatchMode=yes", "-oStrictHostKeyChecking=yes", "-oHostKeyAlias=target.test"])
        .args([format!("-oUserKnownHostsFile={}", dir.path().join("known").display())])
        .args(["-p", &sshd.port.to_string(), "127.0.0.1", "true"])
        .run();
    let said = refused.ended(255).errors();
    assert!(
        said.contains("matches the ED25519-CERT host certificate") && said.contains("Permission denied"),
        "{said}"
    );
}

#[test]
fn ssh_runs_in_a_terminal_that_changes_its_size() {
    let site = Site::new();
    let terminal = site.ssh().args(["-tt", "t", "PS1='% ' exec sh"]).terminal(101, 41);
    terminal.wait_for("% ");
    terminal.type_in("stty size\n");
    let seen = terminal.wait_for("41 101");
    terminal.resize(77, 22);
    // The window's change travels beside the keys: ask until it is there.
    terminal.type_in("until [ \"$(stty size)\" = '22 77' ]; do :; done; echo re''sized; exit 3\n");
    terminal.wait_for_after(seen, "resized");
    let (status, shown) = terminal.finish(PATIENCE);
    assert_eq!(status, Some(3), "{shown}");
}

#[test]
fn files_pass_by_scp_sftp_rsync_and_git() {
    let site = Site::new();
    let at = |name: &str| site.dir.path().join(name);
    let bytes: Vec<u8> = (0..200_000_u32).flat_map(u32::to_be_bytes).collect();
    fs::write(at("from"), &bytes).unwrap();
    let config = site.config();

    Ssh::scp(&config)
        .args(
            [at("from"), "t:".into()]
                .map(|p| p.display().to_string().replace("t:", &format!("t:{}", at("scp").display()))),
        )
        .run()
        .ended(0);
    Ssh::sftp(&config)
        .args(["t"])
        .input(format!("put {} {}\n", at("from").display(), at("sftp").display()))
        .run()
        .ended(0);
    Ssh::rsync(&config)
        .args([at("from").display().to_string(), format!("t:{}", at("rsync").display())])
        .run()
        .ended(0);
    for name in ["scp", "sftp", "rsync"] {
        assert!(fs::read(at(name)).unwrap() == bytes, "{name} changed the file");
    }
    let echoed = site.ssh().args(["t", "cat"]).input(bytes.clone()).patience(2 * PATIENCE).run();
    assert!(echoed.ended(0).stdout == bytes, "cat changed the bytes");

    let repository = at("repository.git").display().to_string();
    Ssh::git(&config).args(["init", "-q", "--bare", &repository]).run().ended(0);
    let cloned = Ssh::git(&config)
        .args(["clone", &format!("t:{repository}"), &at("clone").display().to_string()])
        .run();
    assert!(cloned.ended(0).errors().contains("empty repository"), "{}", cloned.errors());
}

#[test]
fn a_process_beside_the_test_is_watched_and_ended() {
    let site = Site::new();
    let beside = site.ssh().args(["t", "echo up; exec cat"]).start();
    // Its standard input is empty and closed, so cat ends by itself.
    beside.wait_for_text("up", PATIENCE);
    assert_eq!(beside.finish(PATIENCE).ok(), "up\n");

    let long = site.ssh().env("LANG", "C").args(["-v", "t", "echo up; exec sleep 20"]).start();
    long.wait_for_text("up\n", PATIENCE);
    assert!(long.text() == "up\n" && long.errors().contains("Authenticated to") && long.id() > 0);
    long.signal("KILL");
    assert_eq!(long.finish(Duration::from_secs(5)).signal, Some(9));
}

#[test]
fn the_second_client_does_what_ssh_does() {
    let site = Site::new();
    let at = |name: &str| site.dir.path().join(name);
    let known = format!("[127.0.0.1]:{} {}\n", site.sshd.port, site.sshd.host_key().public());
    fs::write(at("known_plain"), known).unwrap();
    fs::write(at("from"), "some bytes\0\n").unwrap();
    let there = json!({"host": "127.0.0.1", "port": site.sshd.port, "login": me()});
    let mut wish = json!({
        "bastion": there, "target": there,
        "key": site.person.path, "certificate": site.dir.path().join("id-cert.pub"),
        "known_hosts": at("known_plain"),
        "command": "cat; echo oops >&2; exit 7", "input": "aGVsbG8K",
        "put": {"from": at("from"), "to": at("there")}, "get": {"from": at("there"), "to": at("back")},
    });
    let answer = second_client(&wish);
    assert_eq!(
        answer,
        json!({"ok": true, "status": 7, "signal": null, "stdout": "aGVsbG8K", "stderr": "b29wcwo="})
    );
    assert_eq!(fs::read(at("back")).unwrap(), b"some bytes\0\n");

    wish["known_hosts"] = json!("/dev/null");
    let answer = second_client(&wish);
    assert!(answer["error"].as_str().unwrap().contains("HostKeyNotVerifiable"), "{answer}");
}

#[test]
fn the_provider_signs_people_in_through_a_browser() {
    let elsewhere = "http://127.0.0.1:1/never";
    let mut provider = Provider::start_with(&[elsewhere], json!({"alg": "ES256"}));
    let mut browser = Browser::start();
    assert_eq!(browser.goto(&format!("{}/.well-known/openid-configuration", provider.issuer)), 200);
    browser.expect(&format!("\"issuer\":\"{}\"", provider.issuer));

    let begin = format!(
        "{}/auth?client_id={}&response_type=code&scope=openid+groups&redirect_uri={elsewhere}&state=s&nonce=n\
         &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256",
        provider.issuer,
        Provider::CLIENT_ID
    );
    assert_eq!(browser.goto(&begin), 200);
    browser.fill("input[name=login]", "engineer");
    browser.fill("input[name=password]", "wrong");
    browser.click("Sign in");
    browser.expect("Wrong name or password.");
    let dir = scratch();
    let picture = dir.path().join("page.png");
    browser.screenshot(&picture);
    assert!(fs::read(&picture).unwrap().starts_with(b"\x89PNG"));
    assert_eq!(browser.problems(), Vec::<String>::new());

    browser.sign_in_at_provider("engineer");
    let page = browser.page();
    assert!(page["html"].as_str().unwrap().contains("never"), "the browser was not sent to us: {page}");

    let without_pkce = format!("{}/auth?client_id=caponier&response_type=code&scope=openid", provider.issuer);
    let answer = browser.try_step(&json!({"do": "goto", "url": without_pkce}));
    assert_ne!(answer["status"], 200, "{answer}");
    provider.stop();
}

#[test]
fn the_browser_tells_what_a_page_tried_against_its_policy() {
    let provider = Provider::start(&["http://127.0.0.1:1/never"]);
    let mut browser = Browser::start_with_scripts();
    browser.goto(&format!("{}/no-such-page", provider.issuer));
    let problems = browser.problems();
    assert!(problems.iter().any(|problem| problem.contains("404")), "{problems:?}");
}
