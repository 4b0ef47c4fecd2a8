//! The client against a server that speaks `/v1`: signing in, keeping the certificate fresh, leaving. What stock ssh
//! makes of the files is in `ssh`.

pub(crate) mod fake;
mod ssh;
pub(crate) mod tls;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fake::{CODE, Fake, Twist, USER_CODE};
use russh::keys::ssh_key::{HashAlg, PublicKey};
use serde_json::Value;

use crate::world::bastion::Laptop;
use crate::world::process::{Finished, Running, run};
use crate::world::{PATIENCE, wait_for};

/// `caponier ARGS` on the laptop.
fn caponier(laptop: &Laptop, args: &[&str]) -> Finished {
    run(&mut laptop.caponier(args), b"", PATIENCE)
}

/// A file of the client's folder.
fn file(laptop: &Laptop, name: &str) -> PathBuf {
    laptop.home().join(".caponier").join(name)
}

/// Plays the browser: one request to the client's listener, the whole answer.
fn browse(port: u16, target: &str, host: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {target} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The port that the client told the server it listens on.
fn listener_port(fake: &Fake) -> u16 {
    wait_for("a sign-in that begins", PATIENCE, || fake.mind().begun.as_ref().and_then(|begun| begun.port))
}

/// `caponier login` with these further arguments, brought to its end by a browser that has the code.
fn login(laptop: &Laptop, fake: &Fake, args: &[&str]) -> Finished {
    let url = fake.url();
    let all: Vec<&str> = ["login", &url, "--no-browser"].iter().chain(args).copied().collect();
    login_with(&mut laptop.caponier(&all), fake)
}

fn login_with(command: &mut std::process::Command, fake: &Fake) -> Finished {
    fake.mind().begun = None;
    let running = Running::start(command, b"");
    let port = listener_port(fake);
    browse(port, &format!("/?code={CODE}&id=pnd_1"), &format!("127.0.0.1:{port}"));
    running.finish(PATIENCE)
}

/// Every file below the client's folder with its bytes, but for the lock and the note of a failure.
fn files(laptop: &Laptop) -> BTreeMap<String, Vec<u8>> {
    let Ok(entries) = fs::read_dir(file(laptop, "")) else { return BTreeMap::new() };
    entries
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()))
        .filter(|(name, _)| name != "lock" && name != "renewal-failed.json")
        .collect()
}

/// Puts a certificate of this window (seconds from now) into the folder, as if time had passed.
fn set_certificate(laptop: &Laptop, fake: &Fake, from: i64, until: i64) {
    let key = PublicKey::from_openssh(&fs::read_to_string(file(laptop, "id.pub")).unwrap()).unwrap();
    let text = fake.mind().certificate(&key, from, until);
    fs::write(file(laptop, "id-cert.pub"), format!("{text}\n")).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

#[test]
fn login_over_loopback_writes_everything() {
    let (fake, laptop) = (Fake::start(), Laptop::new());
    fs::create_dir(laptop.home().join(".ssh")).unwrap();
    fs::write(laptop.home().join(".ssh/config"), "Host *\n  User ada\n").unwrap();
    let running = Running::start(&mut laptop.caponier(&["login", &fake.url(), "--no-browser"]), b"");
    let port = listener_port(&fake);
    let (ours, code) = (format!("127.0.0.1:{port}"), format!("/?code={CODE}&id=pnd_1"));
    // A connection that never says anything, and requests that are not the one.
    let silent = TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert!(browse(port, "/favicon.ico", &ours).starts_with("HTTP/1.1 404"));
    assert!(browse(port, &code, "evil.example").starts_with("HTTP/1.1 400"));
    assert!(browse(port, "/?code=a&code=b&id=pnd_1", &ours).starts_with("HTTP/1.1 400"));
    // Any page can make the browser ask this, and end nothing by it.
    for junk in ["/?code=junk", "/?error=denied", "/?code=junk&id=pnd_2", "/?error=denied&id="] {
        assert!(browse(port, junk, &ours).starts_with("HTTP/1.1 404"), "{junk}");
    }
    let page = browse(port, &code, &ours);
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("<h1>Signed in</h1>"), "{page}");
    assert!(page.contains("Content-Security-Policy: default-src 'none'"), "{page}");
    let finished = running.finish(PATIENCE);
    let said = finished.ended(0).errors();
    drop(silent);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "it listens no more");
    assert!(
        said.contains("Signed in as Ada [31mLovelace (corp:ada)") && said.contains("Next: ssh web1"),
        "{said}"
    );
    assert!(!said.contains('\u{1b}'));
    let key = PublicKey::from_openssh(&fs::read_to_string(file(&laptop, "id.pub")).unwrap()).unwrap();
    assert!(said.contains(&key.fingerprint(HashAlg::Sha256).to_string()), "to compare: {said}");

    assert_eq!(mode(&file(&laptop, "")), 0o700);
    for name in ["client.json", "id", "id.pub", "id-cert.pub", "known_hosts", "ssh_config"] {
        assert_eq!(mode(&file(&laptop, name)), 0o600, "{name}");
    }
    let config = fs::read_to_string(laptop.home().join(".ssh/config")).unwrap();
    let include = format!("Include \"{}\"\n\nHost *\n", file(&laptop, "ssh_config").display());
    assert!(config.starts_with(&include), "{config}");
    assert_eq!(fake.mind().begun.as_ref().unwrap().mode, caponier::web::api::SignInMode::Loopback);

    // Again, without an address: the same key, one Include.
    let key = fs::read(file(&laptop, "id")).unwrap();
    login_with(&mut laptop.caponier(&["login", "--no-browser"]), &fake).ended(0);
    assert_eq!(fs::read(file(&laptop, "id")).unwrap(), key);
    assert_eq!(fs::read_to_string(laptop.home().join(".ssh/config")).unwrap(), config);
}

#[test]
fn a_sign_in_refused_in_the_browser_is_told_and_leaves_nothing() {
    let (fake, laptop) = (Fake::start(), Laptop::new());
    let running = Running::start(&mut laptop.caponier(&["login", &fake.url(), "--no-browser"]), b"");
    let port = listener_port(&fake);
    let page = browse(port, "/?error=no%1b[2J+<b>access&id=pnd_1", &format!("localhost:{port}"));
    assert!(page.contains("no[2J &lt;b&gt;access"), "{page}");
    let finished = running.finish(PATIENCE);
    assert!(finished.ended(1).errors().contains("caponier: the sign-in did not succeed: no[2J <b>access"));
    assert!(files(&laptop).is_empty() && !laptop.home().join(".ssh").exists());
    // A code of somebody else's sign-in.
    fake.mind().begun = None;
    let running = Running::start(&mut laptop.caponier(&["login", &fake.url(), "--no-browser"]), b"");
    let port = listener_port(&fake);
    let page = browse(port, "/?code=stolen&id=pnd_1", &format!("127.0.0.1:{port}"));
    assert!(page.contains("<h1>Not signed in</h1>"), "{page}");
    running.finish(PATIENCE).ended(1);
    assert!(files(&laptop).is_empty());
}

#[test]
fn login_with_a_code_asks_until_it_is_confirmed() {
    let (fake, laptop) = (Fake::start(), Laptop::new());
    fake.mind().polls_left = 1;
    let finished = caponier(&laptop, &["login", &fake.url(), "--device", "--no-ssh-config"]);
    let said = finished.ended(0).errors();
    assert!(said.contains(USER_CODE) && said.contains("/sign-in/pnd_1"), "{said}");
    assert_eq!(fake.mind().count("/v1/sign-in/finish"), 2);
    assert!(!laptop.home().join(".ssh").exists(), "--no-ssh-config");
    caponier(&laptop, &["ensure"]).ended(0);
}

#[test]
fn a_valid_certificate_costs_no_network_and_no_time() {
    let (mut fake, laptop) = (Fake::start(), Laptop::new());
    login(&laptop, &fake, &[]).ended(0);
    let asked = fake.mind().asked.len();
    fake.stop();
    let home = file(&laptop, "");
    let mut times: Vec<Duration> = (0..50)
        .map(|_| {
            let started = Instant::now();
            let args = ["ensure", "--quiet", "--home", home.to_str().unwrap()];
            let status = laptop.caponier(&args).status().unwrap();
            assert!(status.success());
            started.elapsed()
        })
        .collect();
    assert_eq!(fake.mind().asked.len(), asked);
    times.sort();
    // The fastest of fifty, start of the process included: the others wait for the machine's other work.
    println!("ensure: fastest {:?}, median {:?}", times[0], times[25]);
    assert!(times[0] < Duration::from_millis(5), "{times:?}");
}

#[test]
fn twenty_at_once_renew_once() {
    let (fake, laptop) = (Fake::start(), Laptop::new());
    login(&laptop, &fake, &[]).ended(0);
    set_certificate(&laptop, &fake, -300, 5);
    let before = fake.mind().count("/v1/certificate");
    let all: Vec<Running> =
        (0..20).map(|_| Running::start(&mut laptop.caponier(&["ensure", "--quiet"]), b"")).collect();
    for one in all {
        assert_eq!(one.finish(PATIENCE).ended(0).errors(), "");
    }
    assert_eq!(fake.mind().count("/v1/certificate"), before + 1);
}

#[test]
fn renewal_keeps_the_ssh_configuration_fresh_and_says_so() {
    let (fake, laptop) = (Fake::start(), Laptop::new());
    login(&laptop, &fake, &[]).ended(0);
    set_certificate(&laptop, &fake, -300, -1);
    fake.mind().ssh.patterns = vec!["*.web.test".into(), "web1".into(), "cache1".into()];
    let said = caponier(&laptop, &["ensure", "--quiet"]).ended(0).errors();
    assert!(said.contains("now reached through the bastion: cache1"), "{said}");
    assert!(said.contains("no longer reached through the bastion: db1"), "{said}");
    let config = fs::read_to_string(file(&laptop, "ssh_config")).unwrap();
    assert!(config.contains("*.web.test,web1,cache1") && !config.contains("db1"), "{config}");
    assert!(fs::read_to_string(file(&laptop, "known_hosts")).unwrap().contains("cache1,[cache1]:*"));
    set_certificate(&laptop, &fake, -300, -1);
    assert_eq!(caponier(&laptop, &["ensure", "--quiet"]).ended(0).errors(), "", "once");
}

#[test]
fn a_server_that_is_away() {
    let (mut fake, laptop) = (Fake::start(), Laptop::new());
    login(&laptop, &fake, &[]).ended(0);
    fake.stop();
    // Still valid, though about to end: used.
    set_certificate(&laptop, &fake, -300, 20);
    assert_eq!(caponier(&laptop, &["ensure", "--quiet"]).ended(0).errors(), "");
    assert!(caponier(&laptop, &["ensure"]).ended(0).errors().contains("still valid"));
    // Over: one line; the second ssh of a jump, a moment later, does not repeat it.
    set_certificate(&laptop, &fake, -300, -1);
    let said = caponier(&laptop, &["ensure"]).ended(1).errors();
    assert!(said.starts_with("caponier: cannot reach http://127.0.0.1:"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(caponier(&laptop, &["ensure", "--quiet"]).ended(1).errors(), "");
    let status = caponier(&laptop, &["status"]).ok();
    assert!(status.contains("last problem") && status.contains("cannot reach"), "{status}");
}

#[test]
fn a_sign_in_that_is_over() {
    let (fake, laptop) = (Fake::start(), Laptop::new());
    assert_eq!(
        caponier(&laptop, &["ensure"]).ended(77).errors(),
        "caponier: you are not signed in; run: caponier login\n"
    );
    login(&laptop, &fake, &[]).ended(0);
    set_certificate(&laptop, &fake, -300, -1);
    fake.mind().signed_in = None;
    let ended = "caponier: your sign-in has ended; run: caponier login\n";
    assert_eq!(caponier(&laptop, &["ensure", "--quiet"]).ended(77).errors(), ended);
    caponier(&laptop, &["status"]).ended(0);
    assert_eq!(caponier(&laptop, &["status", "--check"]).ended(77).errors(), ended);
    // Over by the clock: the server is not even asked.
    let mut state: Value = serde_json::from_slice(&fs::read(file(&laptop, "client.json")).unwrap()).unwrap();
    state["sign_in"]["expires"] = 1_700_000_000.into();
    fs::write(file(&laptop, "client.json"), state.to_string()).unwrap();
    let asked = fake.mind().asked.len();
    assert_eq!(caponier(&laptop, &["ensure"]).ended(77).errors(), ended);
    caponier(&laptop, &["status"]).ended(77);
    assert_eq!(fake.mind().asked.len(), asked);
    // The policy says no: not a matter of signing in.
    login(&laptop, &fake, &[]).ended(0);
    set_certificate(&laptop, &fake, -300, -1);
    fake.mind().refuses = Some("no-access");
    let said = caponier(&laptop, &["ensure"]).ended(1).errors();
    assert_eq!(said, "caponier: the server refused: no[2J way\n");
    let finished = login(&laptop, &fake, &[]);
    assert!(finished.ended(0).errors().contains("There is nothing you may reach yet: no[2J way"));
    assert!(!file(&laptop, "id-cert.pub").exists());
}

/// Changes what the server says.
type Lie = fn(&mut fake::Mind);

/// What a hostile or broken server may say about the ssh configuration, and what the person reads.
const BAD_SETTINGS: &[(Lie, &str)] = &[
    (|mind| mind.ssh.patterns.push("*".into()), "\"*\" in your ssh configuration, which is not"),
    (|mind| mind.ssh.patterns.push("web1\nHost *\n  ProxyCommand x".into()), "not a host pattern"),
    (|mind| mind.ssh.patterns.push("web1\" exec \"x".into()), "not a host pattern"),
    (|mind| mind.ssh.patterns = (0..501).map(|n| format!("web{n}")).collect(), "501 host patterns"),
    (|mind| mind.ssh.host = "b\" exec \"touch x".into(), "not a host name"),
    (|mind| mind.ssh.host = "-oProxyCommand=x".into(), "not a host name"),
    (|mind| mind.ssh.host_ca.push_str("\n* ssh-ed25519 AAAA"), "host CA is not"),
    (|mind| mind.ssh.port = 0, "port 0"),
    (|mind| mind.ssh.patterns.push("web*".into()), "wildcards only in the first label"),
];

/// What may be said at a login, and not in passing.
const BIG_CHANGES: &[(Lie, &str)] = &[
    (|mind| mind.ssh.host = "elsewhere.test".into(), "the bastion's name"),
    (|mind| mind.ssh.host_ca = fake::new_key().public_key().to_openssh().unwrap(), "its host CA"),
    (|mind| mind.ssh.patterns.push("*.bank.example".into()), "wildcards"),
];

/// The same for certificates.
const BAD_CERTIFICATES: &[(Lie, &str)] = &[
    (|mind| mind.twist = Twist::OtherKey, "for another key"),
    (|mind| mind.twist = Twist::Host, "not a user certificate"),
    (|mind| mind.twist = Twist::Expired, "set the clock"),
    (|mind| mind.twist = Twist::TwoLines, "not a certificate on one line"),
];

#[test]
fn lies_of_a_server_write_nothing() {
    for (lie, why) in BAD_SETTINGS.iter().chain(BAD_CERTIFICATES) {
        let (fake, laptop) = (Fake::start(), Laptop::new());
        lie(&mut fake.mind());
        let said = login(&laptop, &fake, &[]).ended(1).errors();
        assert!(said.contains(why), "{why}: {said}");
        assert!(files(&laptop).is_empty() && !laptop.home().join(".ssh").exists(), "{why}");
    }
    for (lie, why) in BAD_CERTIFICATES {
        let (fake, laptop) = (Fake::start(), Laptop::new());
        login(&laptop, &fake, &[]).ended(0);
        set_certificate(&laptop, &fake, -300, -1);
        let before = files(&laptop);
        lie(&mut fake.mind());
        let said = caponier(&laptop, &["ensure", "--quiet"]).ended(1).errors();
        assert!(said.contains(why), "{why}: {said}");
        assert_eq!(files(&laptop), before, "{why}");
    }
    for url in [
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://evil.example/",
        "https://evil.example/sign-in/pnd_1",
        "https://127.0.0.1/sign-in/pnd_1",
        "http://127.0.0.1:1/sign-in/pnd_1",
        "-x",
        "vbscript://x/",
    ] {
        let (fake, laptop) = (Fake::start(), Laptop::new());
        fake.mind().url = Some(url.into());
        let said = caponier(&laptop, &["login", &fake.url()]).ended(1).errors();
        assert!(said.contains("not one of its own pages"), "{url}: {said}");
    }
}

#[test]
fn settings_that_are_no_good_do_not_keep_the_certificate_from_being_renewed() {
    let (fake, laptop) = (Fake::start(), Laptop::new());
    login(&laptop, &fake, &[]).ended(0);
    let honest = fake.mind().ssh.clone();
    for (lie, why) in BAD_SETTINGS.iter().chain(BIG_CHANGES) {
        set_certificate(&laptop, &fake, -300, -1);
        let mut before = files(&laptop);
        lie(&mut fake.mind());
        let said = caponier(&laptop, &["ensure", "--quiet"]).ended(0).errors();
        assert!(said.contains(why) && said.contains("stays as it was"), "{why}: {said}");
        let mut after = files(&laptop);
        assert_ne!(before.remove("id-cert.pub"), after.remove("id-cert.pub"), "{why}");
        assert_eq!(after, before, "{why}");
        fake.mind().ssh = honest.clone();
    }
    // A person who logs in again is told, and has accepted it.
    for (lie, _) in BIG_CHANGES {
        lie(&mut fake.mind());
    }
    let said = login(&laptop, &fake, &[]).ended(0).errors();
    for part in ["host CA has changed", "bastion is now elsewhere.test", "the bastion: *.bank.example"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    set_certificate(&laptop, &fake, -300, -1);
    assert_eq!(caponier(&laptop, &["ensure", "--quiet"]).ended(0).errors(), "");
}

#[test]
fn what_is_no_server_of_ours_is_said_plainly() {
    let laptop = Laptop::new();
    let said = |url: &str| caponier(&laptop, &["login", url]).ended(1).errors();
    assert!(said("http://bastion.example").contains("http is for loopback only"));
    assert!(said("https://bastion.example/path").contains("without a path"));
    let dead = crate::world::free_port();
    assert!(said(&format!("http://127.0.0.1:{dead}")).contains("cannot reach"));
    assert!(caponier(&laptop, &["login"]).ended(1).errors().contains("which server?"));
    caponier(&laptop, &["login", "--nonsense"]).ended(2);
    assert!(files(&laptop).is_empty());
}

#[test]
fn files_that_others_can_read_are_refused() {
    let (fake, laptop) = (Fake::start(), Laptop::new());
    login(&laptop, &fake, &[]).ended(0);
    for (name, open, right) in [("id", 0o644, 0o600), ("", 0o750, 0o700)] {
        let path = file(&laptop, name);
        fs::set_permissions(&path, fs::Permissions::from_mode(open)).unwrap();
        for command in ["ensure", "status", "logout"] {
            let said = caponier(&laptop, &[command]).ended(1).errors();
            assert!(said.contains(&format!("chmod {right:o} ")), "{command}: {said}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(right)).unwrap();
    }
    caponier(&laptop, &["ensure"]).ended(0);
}

/// Starts a command that finds the lock taken, changes the state meanwhile, and lets it go on.
fn while_it_waits(laptop: &Laptop, command: &str, change: impl FnOnce(&mut Value)) -> Finished {
    let lock = fs::OpenOptions::new().write(true).open(file(laptop, "lock")).unwrap();
    lock.lock().unwrap();
    let running = Running::start(&mut laptop.caponier(&[command]), b"");
    let held = fs::canonicalize(file(laptop, "lock")).unwrap();
    wait_for("the command to be at the lock", PATIENCE, || {
        let open = fs::read_dir(format!("/proc/{}/fd", running.id())).ok()?;
        let mut open = open.flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
        open.any(|path| path == held).then_some(())
    });
    let path = file(laptop, "client.json");
    let mut state: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut state);
    fs::write(&path, state.to_string()).unwrap();
    lock.unlock().unwrap();
    running.finish(PATIENCE)
}

#[test]
fn what_changed_while_waiting_for_the_lock_counts() {
    let (fake, laptop) = (Fake::start(), Laptop::new());
    login(&laptop, &fake, &[]).ended(0);
    set_certificate(&laptop, &fake, -300, -1);
    let asked = fake.mind().count("/v1/certificate");
    // A logout was faster than this renewal.
    while_it_waits(&laptop, "ensure", |state| drop(state.as_object_mut().unwrap().remove("sign_in")))
        .ended(77);
    assert_eq!(fake.mind().count("/v1/certificate"), asked);

    login(&laptop, &fake, &[]).ended(0);
    // A login was faster than this logout; what it set up stays.
    while_it_waits(&laptop, "logout", |state| state["ssh"]["patterns"] = serde_json::json!(["new1"]))
        .ended(0);
    assert!(fs::read_to_string(file(&laptop, "client.json")).unwrap().contains("new1"));
}

#[test]
fn a_login_elsewhere_ends_the_earlier_sign_in() {
    let (first, mut second, third) = (Fake::start(), Fake::start(), Fake::start());
    let laptop = Laptop::new();
    login(&laptop, &first, &[]).ended(0);
    login(&laptop, &second, &[]).ended(0);
    assert!(first.mind().signed_in.is_none() && second.mind().signed_in.is_some());
    // At the same server with the same key it is replaced there.
    let deleted = second.mind().count("/v1/sign-in");
    login(&laptop, &second, &[]).ended(0);
    assert_eq!(second.mind().count("/v1/sign-in"), deleted);
    // A server that is away keeps nobody from going elsewhere.
    second.stop();
    let said = login(&laptop, &third, &[]).ended(0).errors();
    assert!(said.contains("was not ended") && said.contains(&second.url()), "{said}");
    caponier(&laptop, &["status", "--check"]).ended(0);
}

#[test]
fn status_and_logout() {
    let (mut fake, laptop) = (Fake::start(), Laptop::new());
    caponier(&laptop, &["status"]).ended(77);
    let json = caponier(&laptop, &["status", "--json"]).ended(77).text();
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["signed_in"], false);
    login(&laptop, &fake, &[]).ended(0);
    let text = caponier(&laptop, &["status", "--check"]).ok();
    for part in ["Ada [31mLovelace (corp:ada)", "serial 4711, logins deploy, until", "bastion.test port 2222"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let json: Value = serde_json::from_str(&caponier(&laptop, &["status", "--json"]).ok()).unwrap();
    assert_eq!(json["certificate"]["principals"][0], "deploy");
    assert_eq!(json["key"]["place"], "file");

    caponier(&laptop, &["logout"]).ended(0);
    assert!(fake.mind().signed_in.is_none(), "the server was told");
    let left: Vec<String> = files(&laptop).into_keys().collect();
    assert_eq!(left, ["client.json", "known_hosts", "ssh_config"], "ssh still goes through the bastion");
    caponier(&laptop, &["status"]).ended(77);
    caponier(&laptop, &["logout"]).ended(0);

    login_with(&mut laptop.caponier(&["login", "--no-browser"]), &fake).ended(0);
    fake.stop();
    let said = caponier(&laptop, &["logout"]).ended(1).errors();
    assert!(said.contains("removed here, but the server could not be told"), "{said}");
    assert!(!file(&laptop, "id").exists() && !file(&laptop, "id-cert.pub").exists());
}
