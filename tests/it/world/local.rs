//! The gateway in this process, on SQLite and a fixed policy, with a clock the test moves. A person is signed in by
//! writing the rows that a sign-in writes, so that certificates can be bent in ways the product never would.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use caponier::app::App;
use caponier::audit::AuditEvent;
use caponier::ca::{Authority, Draft, Signer, init};
use caponier::config::Config;
use caponier::flow::Caller;
use caponier::flow::change::end_of_log;
use caponier::flow::recognise::recognise_certificate;
use caponier::gateway;
use caponier::identity::{Identity, Kind};
use caponier::ids::SignInId;
use caponier::jobs;
use caponier::names::LoginName;
use caponier::policy::{self, Policy};
use caponier::random::Random;
use caponier::store::{SignIn, Store};
use caponier::time::Clock;
use russh::keys::ssh_key::{Certificate, PublicKey};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::keys::Key;
use super::ssh::Ssh;
use super::sshd::Sshd;
use super::{PATIENCE, me, recordings, scratch, wait_for};

/// A gateway in this process, and a real sshd as `web1` behind it.
pub(crate) struct Local {
    pub(crate) app: App,
    pub(crate) web1: Sshd,
    pub(crate) port: u16,
    pub(crate) runtime: Runtime,
    dir: tempfile::TempDir,
    stop: CancellationToken,
}

/// What differs from the usual one.
#[derive(Default)]
pub(crate) struct Change<'a> {
    /// The policy, with PORT for the port of `web1`, instead of the usual one; and the clock's work is done.
    pub(crate) policy: Option<&'a str>,
    /// The store's URL instead of SQLite in the folder.
    pub(crate) store: Option<String>,
    /// A clock that the test moves.
    pub(crate) clock: Option<Clock>,
}

/// Another gateway beside the first: its own door, the same authorities, policy and store.
pub(crate) struct Beside {
    pub(crate) app: App,
    _dir: tempfile::TempDir,
    stop: CancellationToken,
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Local {
    /// Nobody is signed in yet.
    #[track_caller]
    pub(crate) fn start() -> Self {
        Self::start_with(Change::default())
    }

    /// The same, changed.
    #[track_caller]
    pub(crate) fn start_with(change: Change<'_>) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let dir = scratch();
        let (random, clock) = (Random::System, change.clock.unwrap_or(Clock::System));
        init::init(&dir.path().join("ca"), None, &random).unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let config = config(dir.path(), port, &dir.path().join("ca"), change.store.as_deref());
        let signer = runtime.block_on(Signer::open(&config.ca)).unwrap();
        let store = runtime.block_on(Store::open(config.store_url.expose())).unwrap();
        let public = |authority| signer.public_key(authority).to_openssh().unwrap();
        let sshd = Sshd::new().trust_ca(&public(Authority::Target));
        let host_key = PublicKey::from_openssh(&sshd.host_key().public()).unwrap();
        let draft =
            Draft::host(&host_key, 7, "web1", &["web1".into()], clock.now(), Duration::from_secs(3600))
                .unwrap();
        let certificate = runtime.block_on(signer.sign(&draft, &random, clock.now())).unwrap();
        let web1 = sshd.certificate(&certificate.to_openssh().unwrap()).start();
        let text = match change.policy {
            Some(text) => text.replace("PORT", &web1.port.to_string()),
            None => super::stage::policy(web1.port, ""),
        };
        let app = App {
            recordings: recordings(&config, &random, "local:1"),
            policy: Arc::new(watch::Sender::new(Arc::new(policy(dir.path(), &text)))),
            config: Arc::new(config),
            store,
            signer,
            clock,
            random: random.clone(),
            desk: Arc::default(),
            node: "local:1".into(),
        };
        let host_key = init::host_key(&app.config.state_dir, &random).unwrap();
        let stop = CancellationToken::new();
        let seen = runtime.block_on(end_of_log(&app)).unwrap();
        runtime.spawn(gateway::serve(app.clone(), host_key, listener, stop.clone()));
        if change.policy.is_some() {
            runtime.spawn(jobs::run(app.clone(), seen, stop.clone()));
        }
        Self { app, web1, port, runtime, dir, stop }
    }

    /// Another gateway over the same store.
    #[track_caller]
    pub(crate) fn beside(&self) -> Beside {
        let dir = scratch();
        let listener = self.runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let store_url = self.app.config.store_url.expose().to_owned();
        let config = config(dir.path(), port, &self.dir.path().join("ca"), Some(&store_url));
        std::fs::copy(self.dir.path().join("policy.toml"), dir.path().join("policy.toml")).unwrap();
        let app = App {
            recordings: recordings(&config, &self.app.random, "local:2"),
            policy: Arc::new(watch::Sender::new(self.app.policy())),
            signer: self.runtime.block_on(Signer::open(&config.ca)).unwrap(),
            store: self.runtime.block_on(Store::open(&store_url)).unwrap(),
            clock: self.app.clock.clone(),
            random: self.app.random.clone(),
            config: Arc::new(config),
            desk: Arc::default(),
            node: "local:2".into(),
        };
        let host_key = init::host_key(&app.config.state_dir, &app.random).unwrap();
        let stop = CancellationToken::new();
        let seen = self.runtime.block_on(end_of_log(&app)).unwrap();
        self.runtime.spawn(gateway::serve(app.clone(), host_key, listener, stop.clone()));
        self.runtime.spawn(jobs::run(app.clone(), seen, stop.clone()));
        Beside { app, _dir: dir, stop }
    }

    /// Replaces the policy file; who reads it is the clock's work.
    pub(crate) fn write_policy(&self, text: &str) {
        let text = text.replace("PORT", &self.web1.port.to_string());
        std::fs::write(self.dir.path().join("policy.toml"), text).unwrap();
    }

    /// A folder for the test's files.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Signs `engineer` in with this key; answers the sign-in.
    #[track_caller]
    pub(crate) fn sign_in(&self, key: &Key) -> SignInId {
        self.sign_in_as(key, engineer())
    }

    /// Signs this person in.
    #[track_caller]
    pub(crate) fn sign_in_as(&self, key: &Key, who: Identity) -> SignInId {
        let public = PublicKey::from_openssh(&key.public()).unwrap();
        let now = self.app.clock.now();
        let row = SignIn {
            id: SignInId::random(&self.app.random),
            who,
            key_fingerprint: Some(public.fingerprint(russh::keys::HashAlg::Sha256).to_string()),
            method: "loopback".into(),
            from: "127.0.0.1".into(),
            client: "test".into(),
            created: now,
            expires: now.plus(Duration::from_secs(3600)),
            ended: None,
        };
        let event = AuditEvent::SignedIn {
            sign_in: row.id.clone(),
            who: row.who.clone(),
            method: "loopback",
            key: row.key_fingerprint.clone(),
            replaced: Vec::new(),
            from: row.from.clone(),
        };
        self.runtime.block_on(async {
            let mut tx = self.app.store.begin().await.unwrap();
            tx.insert_sign_in(&row).await.unwrap();
            tx.commit(now, event).await.unwrap();
        });
        row.id
    }

    /// A good certificate for the account of the tests, beside the key where ssh finds it.
    #[track_caller]
    pub(crate) fn certify(&self, key: &Key, sign_in: &SignInId) -> PathBuf {
        let public = PublicKey::from_openssh(&key.public()).unwrap();
        let logins: Vec<LoginName> = vec![me().parse().unwrap()];
        let now = self.app.clock.now();
        let life = Duration::from_secs(300);
        let serial = self.app.random.u64();
        let draft = Draft::user(&public, serial, "corp:engineer", sign_in, &logins, None, now, life).unwrap();
        let certificate = self.runtime.block_on(self.app.signer.sign(&draft, &self.app.random, now)).unwrap();
        let path = PathBuf::from(format!("{}-cert.pub", key.path.display()));
        std::fs::write(&path, certificate.to_openssh().unwrap()).unwrap();
        path
    }

    /// Who shows this key's certificate.
    #[track_caller]
    pub(crate) fn caller(&self, app: &App, key: &Key) -> Caller {
        let text = std::fs::read_to_string(format!("{}-cert.pub", key.path.display())).unwrap();
        let certificate = Certificate::from_openssh(&text).unwrap();
        let from = "127.0.0.1".parse().unwrap();
        self.runtime.block_on(recognise_certificate(app, &certificate, from)).unwrap()
    }

    /// The user CA's private key file, for certificates that `ssh-keygen` makes.
    pub(crate) fn user_ca(&self) -> Key {
        Key { path: self.dir.path().join("ca").join("user_ca") }
    }

    /// `ssh` with this key through the bastion, by hand: `-J` and one known_hosts line.
    pub(crate) fn ssh(&self, key: &Key) -> Ssh {
        Ssh::new(&self.ssh_config(key, self.port)).env("HOME", self.dir.path())
    }

    /// The configuration for that, with the bastion at this port.
    pub(crate) fn ssh_config(&self, key: &Key, port: u16) -> PathBuf {
        let known = self.dir.path().join("known_hosts");
        let host_ca = self.app.signer.public_key(Authority::Host).to_openssh().unwrap();
        if !known.exists() {
            std::fs::write(&known, format!("@cert-authority * {host_ca}\n")).unwrap();
        }
        let name = key.path.file_name().unwrap().to_str().unwrap();
        let config = self.dir.path().join(format!("ssh_config-{name}-{port}"));
        let text = format!(
            "Host bastion\n    HostName 127.0.0.1\n    HostKeyAlias 127.0.0.1\n    Port {}\nHost web1 web2\n    ProxyJump bastion\n\
             Host *\n    User {}\n    IdentityFile {}\n    IdentitiesOnly yes\n    UserKnownHostsFile {}\n    \
             GlobalKnownHostsFile /dev/null\n    StrictHostKeyChecking yes\n    BatchMode yes\n",
            port,
            me(),
            key.path.display(),
            known.display()
        );
        // Somebody may just be reading it.
        if std::fs::read_to_string(&config).ok().as_ref() != Some(&text) {
            std::fs::write(&config, text).unwrap();
        }
        config
    }

    /// The audit log so far: kind and fields.
    pub(crate) fn audit(&self) -> Vec<(String, String)> {
        let rows = self.runtime.block_on(self.app.store.audit(0, 10_000)).unwrap();
        rows.into_iter().map(|row| (row.kind, row.json)).collect()
    }

    /// Waits for an entry of `kind` that contains `text`.
    #[track_caller]
    pub(crate) fn wait_for_audit(&self, kind: &str, text: &str) -> String {
        wait_for(&format!("{kind} with {text:?} in {:#?}", self.audit()), PATIENCE, || {
            self.audit().into_iter().find(|(k, json)| k == kind && json.contains(text)).map(|(_, json)| json)
        })
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn engineer() -> Identity {
    person("engineer", "Erin Engineer", &["corp:engineers"])
}

/// Somebody with these groups.
pub(crate) fn person(subject: &str, display: &str, groups: &[&str]) -> Identity {
    Identity {
        kind: Kind::Person,
        provider: "corp".parse().unwrap(),
        issuer: "https://login.example.test".into(),
        subject: subject.into(),
        display: display.into(),
        groups: groups.iter().map(|group| group.parse().unwrap()).collect(),
        run: None,
    }
}

fn config(dir: &Path, port: u16, ca: &Path, store: Option<&str>) -> Config {
    let store = store.map(|url| format!("[store]\nurl = \"{url}\"\n")).unwrap_or_default();
    let ca = ca.display();
    let text = format!(
        r#"state_dir = "state"
[ssh]
listen = "127.0.0.1:{port}"
host_names = ["127.0.0.1", "bastion"]
[web]
listen = "127.0.0.1:0"
public_url = "http://127.0.0.1:1"
{store}[ca]
dir = "{ca}"
plain = true
[recording]
dir = "recordings"
[policy]
file = "policy.toml"
[[provider]]
name = "corp"
title = "Corp"
issuer = "https://login.example.test"
client_id = "caponier"
"#
    );
    std::fs::create_dir(dir.join("state")).unwrap();
    let path = dir.join("caponier.toml");
    std::fs::write(&path, text).unwrap();
    Config::load(&path, &BTreeMap::new()).unwrap()
}

fn policy(dir: &Path, text: &str) -> Policy {
    let path = dir.join("policy.toml");
    std::fs::write(&path, text).unwrap();
    policy::file::load(&path).unwrap()
}
