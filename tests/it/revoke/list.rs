//! The list for targets: `/v1/krl`, the updater in contrib, and a stock sshd that goes by it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use caponier::ca::krl::Krl;
use caponier::ca::{Authority, Draft, Permissions, Signer};
use caponier::config::Config;
use caponier::ids::SessionId;
use caponier::random::Random;
use caponier::store::{CertificateRow, Store};
use caponier::time::Clock;
use russh::keys::ssh_key::{HashAlg, PublicKey};

use super::{newest, revoke_on_server, stage_with_admin, text};
use crate::world::bastion::Bastion;
use crate::world::keys::Key;
use crate::world::process::{Finished, run};
use crate::world::ssh::Ssh;
use crate::world::sshd::Sshd;
use crate::world::stage::{Plan, Stage};
use crate::world::{PATIENCE, me, root, scratch};

/// The file of one target, and its updater.
struct Host {
    dir: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        Self { dir: scratch() }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("revoked_keys")
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.file()).unwrap()
    }

    fn list(&self) -> Krl {
        Krl::read(&self.bytes()).unwrap()
    }

    /// What the updater says, run by this shell with these programs in front of its path.
    fn update_with(&self, shell: &[&str], path: &str, args: &[&str]) -> Finished {
        let mut command = Command::new(shell[0]);
        command
            .args(&shell[1..])
            .arg(root().join("contrib/krl-update/krl-update"))
            .args(args)
            .arg(self.file());
        command.env("PATH", format!("{path}{}", std::env::var("PATH").unwrap()));
        let said = run(&mut command, b"", PATIENCE);
        // Whatever happens: there is a file, sshd reads it, and nothing lies about beside it.
        assert!(self.is_sound(), "{}", said.errors());
        let mut names: Vec<_> =
            self.dir.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.retain(|name| name != "revoked_keys" && name != "revoked_keys.etag");
        assert!(names.is_empty(), "{names:?}");
        assert_eq!(std::fs::metadata(self.file()).unwrap().permissions().mode() & 0o777, 0o644);
        said
    }

    fn update(&self, url: &str) -> Finished {
        self.update_with(&["sh"], "", &[url])
    }

    fn is_sound(&self) -> bool {
        run(Command::new("ssh-keygen").args(["-Q", "-l", "-f"]).arg(self.file()), b"", PATIENCE).status
            == Some(0)
    }
}

/// A server that gives the same bytes to everybody, and keeps what it was asked.
struct Canned {
    port: u16,
    answer: Arc<Mutex<Vec<u8>>>,
    asked: Arc<Mutex<String>>,
}

impl Canned {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (answer, asked) = (Arc::<Mutex<Vec<u8>>>::default(), Arc::<Mutex<String>>::default());
        let (give, keep) = (Arc::clone(&answer), Arc::clone(&asked));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
                    head.push(byte[0]);
                }
                *keep.lock().unwrap() = String::from_utf8_lossy(&head).into_owned();
                // A client that has seen enough goes away.
                drop(stream.write_all(&give.lock().unwrap()));
            }
        });
        Self { port, answer, asked }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn say(&self, head: &str, body: &[u8]) {
        let head = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        *self.answer.lock().unwrap() = [head.as_bytes(), body].concat();
    }
}

/// One request to the bastion's own door: status line and headers in lower case, and the body.
fn get(bastion: &Bastion, headers: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(("127.0.0.1", bastion.web_port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /v1/krl HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    (String::from_utf8_lossy(&answer[..end]).to_lowercase(), answer.split_off(end + 4))
}

fn header(head: &str, name: &str) -> String {
    let line =
        head.lines().find(|line| line.starts_with(&format!("{name}: "))).unwrap_or_else(|| panic!("{head}"));
    line.split_once(": ").unwrap().1.to_owned()
}

#[test]
fn the_list_is_served_once_and_asked_about() {
    let stage = Stage::set();
    let (head, body) = get(&stage.bastion, "");
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!(header(&head, "content-type"), "application/octet-stream");
    assert_eq!(header(&head, "cache-control"), "no-cache");
    let empty = Krl::read(&body).unwrap();
    assert!(empty.is_empty() && empty.version > 0);
    let etag = header(&head, "etag");
    let (head, body) = get(&stage.bastion, &format!("If-None-Match: {etag}\r\n"));
    assert!(head.starts_with("http/1.1 304") && body.is_empty(), "{head}");
    assert_eq!(header(&head, "etag"), etag);

    // A user's certificate is nothing for targets, but the list goes on.
    stage.ssh(&["web1", "true"]).run().ok();
    let opened = newest(&stage, "session_opened");
    revoke_on_server(&stage.bastion, &["--serial", &text(&opened, "client_serial")]).ok();
    let fresh = || get(&stage.bastion, &format!("If-None-Match: {etag}\r\n"));
    let (_, body) = crate::world::wait_for("a new list", PATIENCE, || {
        Some(fresh()).filter(|(head, _)| head.starts_with("http/1.1 200"))
    });
    let first = Krl::read(&body).unwrap();
    assert!(first.is_empty() && first.version > empty.version);
    revoke_on_server(&stage.bastion, &["--serial", &text(&opened, "target_serial")]).ok();
    crate::world::wait_for("the serial in the list", PATIENCE, || {
        let list = Krl::read(&fresh().1).unwrap();
        (!list.is_empty() && list.version > first.version).then_some(())
    });
    // A page that is not for everybody is still not kept.
    let mut stream = TcpStream::connect(("127.0.0.1", stage.bastion.web_port)).unwrap();
    write!(stream, "GET /device HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    assert_eq!(header(&page.to_lowercase(), "cache-control"), "no-store");
}

#[test]
fn the_updater_never_leaves_a_broken_list() {
    let stage = Stage::set();
    let (host, canned) = (Host::new(), Canned::start());
    let serial = {
        stage.ssh(&["web1", "true"]).run().ok();
        text(&newest(&stage, "session_opened"), "target_serial")
    };
    // No answer at first: an empty list is there all the same, so that nobody is locked out.
    host.update("http://127.0.0.1:1").ended(1);
    assert!(host.list().is_empty() && host.list().version == 0);
    host.update_with(&["sh"], "", &["--init", "http://127.0.0.1:1"]).ok();

    // First fetch, then nothing new, then something new.
    host.update(&stage.bastion.url()).ok();
    assert!(host.list().is_empty() && host.list().version > 0);
    let inode = std::fs::metadata(host.file()).unwrap().ino();
    assert_eq!(host.update(&stage.bastion.url()).errors(), "");
    assert_eq!(std::fs::metadata(host.file()).unwrap().ino(), inode, "it was left alone");
    revoke_on_server(&stage.bastion, &["--serial", &serial]).ok();
    let updated = || {
        host.update(&stage.bastion.url()).ok();
        (!host.list().is_empty()).then_some(())
    };
    crate::world::wait_for("the new list", PATIENCE, updated);
    assert_ne!(std::fs::metadata(host.file()).unwrap().ino(), inode, "not written in place");

    // The server is down, answers nonsense, or something older: the list stays.
    let good = host.bytes();
    host.update("http://127.0.0.1:1").ended(1);
    let older = Krl::new(5, 1, "older").write();
    let torn = &good[..good.len() - 3];
    let answers: &[(&str, &[u8], &str)] = &[
        ("200 OK", b"<html>maintenance</html>", "no list of revoked keys"),
        ("200 OK", b"", "no list of revoked keys"),
        ("200 OK", torn, "no list of revoked keys"),
        ("200 OK", &older, "is older than the present one"),
        ("500 Internal Server Error", &good, "answered 500"),
        ("302 Found\r\nLocation: http://127.0.0.1:1/", &good, "answered 302"),
        ("404 Not Found", b"", "answered 404"),
    ];
    for (head, body, why) in answers {
        canned.say(head, body);
        let said = host.update(&canned.url());
        said.ended(1);
        assert!(said.errors().contains(why), "{head}: {}", said.errors());
        assert_eq!(host.bytes(), good, "{head}");
    }
    // A version that fills all 64 bits is a number like others.
    let mut newest = Krl::new(u64::MAX, 1, "newest");
    newest.revoke_fingerprint([7; 32]);
    canned.say("200 OK\r\nETag: \"x y\\\r\n evil", &newest.write());
    host.update(&canned.url()).ok();
    assert_eq!(host.list(), newest);
    host.update(&canned.url()).ok();
    assert!(
        !canned.asked.lock().unwrap().to_lowercase().contains("if-none-match"),
        "an odd ETag is not repeated"
    );
    host.update(&stage.bastion.url()).ended(1);
    assert_eq!(host.list(), newest);
}

#[test]
fn the_updater_runs_where_there_is_little() {
    let stage = Stage::set();
    // Without curl: wget, of GNU and of busybox; by other shells.
    let bare = scratch();
    let hide = |names: &[&str], bare: &Path| {
        // Everything of the path but these, as links.
        for dir in ["/usr/bin", "/bin"] {
            for entry in Path::new(dir).read_dir().unwrap().map_while(Result::ok) {
                let name = entry.file_name();
                if !names.iter().any(|hidden| name == *hidden) {
                    // Both folders may be one.
                    drop(std::os::unix::fs::symlink(entry.path(), bare.join(name)));
                }
            }
        }
    };
    hide(&["curl", "wget"], bare.path());
    let update = |shell: &[&str]| {
        let host = Host::new();
        let script = root().join("contrib/krl-update/krl-update");
        for again in [false, true] {
            let mut command = Command::new(shell[0]);
            command.args(&shell[1..]).arg(&script).arg(stage.bastion.url()).arg(host.file());
            run(command.env("PATH", bare.path()), b"", PATIENCE).ok();
            assert!(host.is_sound() && host.list().version > 0, "{shell:?} {again}");
        }
    };
    std::os::unix::fs::symlink("/usr/bin/wget", bare.path().join("wget")).unwrap();
    update(&["dash"]);
    update(&["bash"]);
    std::fs::remove_file(bare.path().join("wget")).unwrap();
    std::os::unix::fs::symlink("busybox", bare.path().join("wget")).unwrap();
    update(&["busybox", "sh"]);
    std::fs::remove_file(bare.path().join("wget")).unwrap();
    let host = Host::new();
    let mut none = Command::new("dash");
    none.arg(root().join("contrib/krl-update/krl-update")).arg(stage.bastion.url()).arg(host.file());
    run(none.env("PATH", bare.path()), b"", PATIENCE).ended(1);
    assert!(host.is_sound(), "an empty list is there all the same");

    for wrong in [
        &["http://bastion.example"][..],
        &["https://bastion.example/$(touch x)"],
        &["--ca-file"],
        &["--sideways", "https://bastion.example"],
        &["ftp://bastion.example"],
    ] {
        host.update_with(&["sh"], "", wrong).ended(2);
    }
}

/// A session certificate as the bastion signs them, with its key in files: for the account that the tests run as.
fn session_certificate(stage: &Stage, dir: &Path, name: &str) -> (Key, u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let key = Key::make(dir, name);
    let public = PublicKey::from_openssh(&key.public()).unwrap();
    let (random, now) = (Random::System, Clock::System.now());
    let config = Config::load(&stage.bastion.config(), &std::collections::BTreeMap::new()).unwrap();
    let (login, session) = (me().parse().unwrap(), SessionId::random(&random));
    let serial = random.u64();
    runtime.block_on(async {
        let signer = Signer::open(&config.ca).await.unwrap();
        let store = Store::open(config.store_url.expose()).await.unwrap();
        let sign_in = store.sign_ins(now).await.unwrap().into_iter().next().unwrap().id;
        let draft = Draft::target(
            &public,
            serial,
            &format!("corp:engineer/{session}"),
            &sign_in,
            &session,
            &login,
            Permissions::default(),
            now,
        )
        .unwrap();
        let mut tx = store.begin().await.unwrap();
        tx.insert_certificate(&CertificateRow {
            serial,
            kind: "target",
            sign_in,
            session: None,
            key_id: draft.key_id().into(),
            key_fingerprint: public.fingerprint(HashAlg::Sha256).to_string(),
            principals: me(),
            valid_after: draft.valid_after(),
            valid_before: draft.valid_before(),
        })
        .await
        .unwrap();
        let event = caponier::audit::AuditEvent::ServerStarted { version: "test".into(), interrupted: 0 };
        tx.commit(now, event).await.unwrap();
        let certificate = signer.sign(&draft, &random, now).await.unwrap();
        let path = format!("{}-cert.pub", key.path.display());
        std::fs::write(path, certificate.to_openssh().unwrap()).unwrap();
    });
    (key, serial)
}

/// `ssh` with this key and its certificate, straight to the target.
fn straight(stage: &Stage, dir: &Path, key: &Key) -> Finished {
    let known = dir.join("known");
    std::fs::write(&known, stage.web1.known_host()).unwrap();
    let config = dir.join("straight");
    let text = format!(
        "Host web1\n HostName 127.0.0.1\n Port {}\n User {}\n IdentityFile {}\n IdentitiesOnly yes\n BatchMode yes\n \
         UserKnownHostsFile {}\n GlobalKnownHostsFile /dev/null\n StrictHostKeyChecking yes\n",
        stage.web1.port,
        me(),
        key.path.display(),
        known.display(),
    );
    std::fs::write(&config, text).unwrap();
    Ssh::new(&config).args(["web1", "true"]).run()
}

#[test]
fn a_stock_sshd_refuses_the_revoked_certificate_and_accepts_the_next_one() {
    let host = Host::new();
    host.update_with(&["sh"], "", &["--init", "https://bastion.example"]).ok();
    let line = format!("RevokedKeys {}", host.file().display());
    let (stage, admin) = stage_with_admin(Plan { sshd: &[&line], ..Plan::default() });
    stage.ssh(&["web1", "true"]).run().ok();
    let dir = scratch();
    let (first, serial) = session_certificate(&stage, dir.path(), "first");
    straight(&stage, dir.path(), &first).ok();

    super::revoke(&admin, &["--serial", &serial.to_string()]).ok();
    host.update(&stage.bastion.url()).ok();
    straight(&stage, dir.path(), &first).ended(255);
    stage.web1.wait_for_log("revoked by file");
    let (next, _) = session_certificate(&stage, dir.path(), "next");
    straight(&stage, dir.path(), &next).ok();
    stage.ssh(&["web1", "true"]).run().ok();

    // By its key; also without a certificate.
    let fingerprint =
        PublicKey::from_openssh(&next.public()).unwrap().fingerprint(HashAlg::Sha256).to_string();
    super::revoke(&admin, &["--key", &fingerprint]).ok();
    host.update(&stage.bastion.url()).ok();
    straight(&stage, dir.path(), &next).ended(255);
    stage.ssh(&["web1", "true"]).run().ok();

    // What the updater is there for: without the file nobody gets in, by the bastion neither.
    std::fs::remove_file(host.file()).unwrap();
    stage.ssh(&["web1", "true"]).run().ended(255);
    host.update(&stage.bastion.url()).ok();
    stage.ssh(&["web1", "true"]).run().ok();
}

#[test]
fn a_stock_sshd_refuses_all_that_a_revoked_authority_signed() {
    let (host, dir) = (Host::new(), scratch());
    let mut stage = Stage::set();
    let (old, person) = (Key::make(dir.path(), "old_target_ca"), Key::make(dir.path(), "person"));
    old.certify(&person, &["-I", "corp:erin/ses_1", "-n", &me(), "-V", "-1m:+5m", "-z", "7"]);
    host.update(&stage.bastion.url()).ok();
    let ours = stage.bastion.admin(&["ca", "show", "--target-ca"]).ok();
    let sshd = Sshd::new()
        .trust_ca(&format!("{}\n{}", ours.trim(), old.public()))
        .line(&format!("RevokedKeys {}", host.file().display()))
        .start();
    stage.web1 = sshd;
    straight(&stage, dir.path(), &person).ok();
    let (next, _) = session_certificate(&stage, dir.path(), "next");
    let old_public = old.path.with_extension("pub");
    revoke_on_server(&stage.bastion, &["--ca", old_public.to_str().unwrap()]).ok();
    crate::world::wait_for("the authority in the list", PATIENCE, || {
        host.update(&stage.bastion.url()).ok();
        (!host.list().is_empty()).then_some(())
    });
    straight(&stage, dir.path(), &person).ended(255);
    straight(&stage, dir.path(), &next).ok();
    let key = PublicKey::from_openssh(&old.public()).unwrap();
    assert!(host.list().revokes_key(key.key_data()));
    let active = PublicKey::from_openssh(ours.trim()).unwrap();
    assert!(!host.list().revokes_key(active.key_data()), "{:?}", Authority::Target);
}
