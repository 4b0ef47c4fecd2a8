//! The usual stage of a passage: a bastion (our binary), a real sshd as target `web1` with a host certificate of the
//! bastion's host CA, and a person's laptop that is signed in. Also a key that sshd accepts directly, to compare with.
//! Who knows the people is the demo's provider, or the real one with a real browser, as the test plans it.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use caponier::demo::{browser, provider as demo_provider};
use caponier::random::Random;
use caponier::time::Clock;
use tokio::runtime::Runtime;

use super::bastion::{Bastion, Issuer, Laptop};
use super::browser::Browser;
use super::keys::Key;
use super::provider::Provider;
use super::ssh::Ssh;
use super::sshd::Sshd;
use super::terminal::Terminal;
use super::{PATIENCE, me, scratch, wait_for};

/// What differs from the usual stage; the rest is as [`Stage::set`] says.
#[derive(Default)]
pub(crate) struct Plan<'a> {
    /// The real provider with ID tokens signed in this way, and a real browser to sign in with, instead of the demo's.
    pub(crate) real: Option<&'a str>,
    /// More settings for the real provider, as in `Provider::start_with`.
    pub(crate) provider: serde_json::Value,
    /// More of the configuration, whole tables; a second bastion has it too.
    pub(crate) config: &'a str,
    /// More lines for the role.
    pub(crate) role: &'a str,
    /// The store's URL instead of SQLite in the folder of the bastion.
    pub(crate) store: Option<String>,
    /// Texts of the configuration that are replaced by others.
    pub(crate) edits: &'a [(&'a str, &'a str)],
    /// Files beside the configuration, for its owner only.
    pub(crate) files: &'a [(&'a str, &'a str)],
    /// Nobody signs in yet.
    pub(crate) nobody: bool,
    /// More lines for the configuration of the target's sshd.
    pub(crate) sshd: &'a [&'a str],
}

/// Who knows the people.
enum Identity {
    Demo(demo_provider::Provider),
    // Behind a lock only because tests share a stage between threads.
    Real(Mutex<Provider>),
}

impl Identity {
    fn issuer(&self) -> Issuer {
        match self {
            Self::Demo(provider) => Issuer {
                issuer: provider.issuer.clone(),
                client_id: provider.client_id.clone(),
                client_secret: provider.client_secret.clone(),
            },
            Self::Real(provider) => Issuer::of(&provider.lock().unwrap()),
        }
    }
}

/// Everything of one passage.
pub(crate) struct Stage {
    pub(crate) bastion: Bastion,
    pub(crate) web1: Sshd,
    pub(crate) laptop: Laptop,
    dir: tempfile::TempDir,
    runtime: Runtime,
    identity: Identity,
    store: String,
    config: String,
}

impl Stage {
    /// Signed in as `engineer`, whom one role lets into `web1` as the account the tests run as.
    #[track_caller]
    pub(crate) fn set() -> Self {
        Self::set_to(Plan::default())
    }

    /// The same, changed as planned.
    #[track_caller]
    pub(crate) fn set_to(plan: Plan<'_>) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let bastion = Bastion::new();
        let identity = match plan.real {
            None => Identity::Demo(
                runtime.block_on(demo_provider::start(&Random::System, &Clock::System)).unwrap(),
            ),
            Some(alg) => {
                let mut settings =
                    if plan.provider.is_null() { serde_json::json!({}) } else { plan.provider };
                settings["alg"] = alg.into();
                settings["logout_uri"] = format!("{}/back-channel-logout/corp", bastion.url()).into();
                Identity::Real(Mutex::new(Provider::start_with(&[&bastion.redirect_uri()], settings)))
            }
        };
        let store = plan
            .store
            .unwrap_or_else(|| format!("sqlite:{}", bastion.dir().join("state/caponier.db").display()));
        bastion.configure(&identity.issuer(), "", &format!("[store]\nurl = \"{store}\"\n{}", plan.config));
        plan.files.iter().for_each(|(name, text)| bastion.write(name, text));
        bastion.edit(plan.edits);
        bastion.make_authorities();
        let dir = scratch();
        let direct = Key::make(dir.path(), "direct");
        let target_ca = bastion.admin(&["ca", "show", "--target-ca"]).ok();
        let web1 = Sshd::new().trust_ca(target_ca.trim()).trust_key(&direct.public());
        let web1 = plan.sshd.iter().fold(web1, |web1, line| web1.line(line));
        let web1 = certified(&bastion, web1, "web1").start();
        bastion.write_policy(&policy(web1.port, plan.role));
        let config = plan.config.to_owned();
        let mut stage = Self { bastion, web1, laptop: Laptop::new(), dir, runtime, identity, store, config };
        stage.bastion.start();
        if !plan.nobody {
            stage.login("engineer");
        }
        stage.write_ssh_configs();
        stage
    }

    /// Signs a person in, on this stage's laptop.
    #[track_caller]
    pub(crate) fn login(&self, person: &str) {
        self.laptop
            .login(&self.bastion, |page| match &self.identity {
                Identity::Demo(_) => {
                    self.runtime.block_on(browser::sign_in_without_browser(page, person)).unwrap();
                }
                Identity::Real(_) => {
                    let mut browser = Browser::start();
                    browser.goto(page);
                    browser.click("Continue");
                    browser.sign_in_at_provider(person);
                    browser.expect("You can close this page");
                }
            })
            .ok();
    }

    /// The real provider of this stage.
    #[track_caller]
    pub(crate) fn real_provider(&self) -> std::sync::MutexGuard<'_, Provider> {
        match &self.identity {
            Identity::Real(provider) => provider.lock().unwrap(),
            Identity::Demo(_) => panic!("this stage was planned with the demo's provider"),
        }
    }

    /// The demo's provider of this stage.
    #[track_caller]
    pub(crate) fn demo_provider(&self) -> &demo_provider::Provider {
        match &self.identity {
            Identity::Demo(provider) => provider,
            Identity::Real(_) => panic!("this stage was planned with the real provider"),
        }
    }

    /// What the store says.
    pub(crate) fn ask_store<T>(&self, ask: impl AsyncFnOnce(caponier::store::Store) -> T) -> T {
        self.runtime.block_on(async { ask(caponier::store::Store::open(&self.store).await.unwrap()).await })
    }

    /// From now on it is another laptop, on which nobody is signed in; answers the one before.
    pub(crate) fn another_laptop(&mut self) -> Laptop {
        self.come_back_to(Laptop::new())
    }

    /// From now on it is this laptop; answers the one before.
    pub(crate) fn come_back_to(&mut self, laptop: Laptop) -> Laptop {
        let before = std::mem::replace(&mut self.laptop, laptop);
        self.write_ssh_configs();
        before
    }

    /// A second bastion beside the first: its own doors and host key, the same authorities, provider, policy and store.
    #[track_caller]
    pub(crate) fn second_bastion(&self) -> Bastion {
        let mut second = Bastion::new();
        let policy = policy(self.web1.port, "");
        let more = format!("[store]\nurl = \"{}\"\n{}", self.store, self.config);
        second.configure(&self.identity.issuer(), &policy, &more);
        second.share_authorities(&self.bastion);
        second.start();
        second
    }

    /// A shell at `web1` in a terminal, which has answered.
    #[track_caller]
    pub(crate) fn live_terminal(&self) -> Terminal {
        let terminal = self.ssh(&["-tt", "web1"]).terminal(80, 24);
        terminal.type_in("echo here-$((1+1))\n");
        terminal.wait_for("here-2");
        terminal
    }

    fn write_ssh_configs(&self) {
        let generated = self.laptop.home().join(".caponier/ssh_config");
        let through = format!(
            "Include \"{}\"\nHost web1\n    User {}\nHost *\n    BatchMode yes\n",
            generated.display(),
            me()
        );
        std::fs::write(self.through(), through).unwrap();
        let known = self.dir.path().join("known_hosts");
        std::fs::write(&known, self.web1.known_host()).unwrap();
        let direct = format!(
            "Host web1\n    HostName 127.0.0.1\n    Port {}\n    User {}\n    IdentityFile {}\n    IdentitiesOnly yes\n    \
             UserKnownHostsFile {}\n    GlobalKnownHostsFile /dev/null\n    BatchMode yes\n",
            self.web1.port,
            me(),
            self.dir.path().join("direct").display(),
            known.display()
        );
        std::fs::write(self.direct(), direct).unwrap();
    }

    /// The configuration with which `ssh web1` goes through the bastion.
    pub(crate) fn through(&self) -> PathBuf {
        self.dir.path().join("through")
    }

    /// The configuration with which `ssh web1` goes straight to sshd.
    pub(crate) fn direct(&self) -> PathBuf {
        self.dir.path().join("direct_config")
    }

    /// `ssh` through the bastion, with the laptop's home.
    pub(crate) fn ssh(&self, args: &[&str]) -> Ssh {
        self.at_home(Ssh::new(&self.through()).args(args))
    }

    /// Gives a program the laptop's home.
    pub(crate) fn at_home(&self, program: Ssh) -> Ssh {
        program.env("HOME", self.laptop.home()).env("CAPONIER_HOME", self.laptop.home().join(".caponier"))
    }

    /// A folder for the test's files.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The audit log so far, as stored: kind and fields.
    pub(crate) fn audit(&self) -> Vec<(String, String)> {
        self.runtime.block_on(async {
            let store = caponier::store::Store::open(&self.store).await.unwrap();
            let rows = store.audit(0, 10_000).await.unwrap();
            rows.into_iter().map(|row| (row.kind, row.json)).collect()
        })
    }

    /// Waits until the audit log holds an entry of `kind` whose fields contain `text`.
    #[track_caller]
    pub(crate) fn wait_for_audit(&self, kind: &str, text: &str) -> String {
        wait_for(&format!("{kind} with {text:?} in the audit log"), PATIENCE, || {
            self.audit().into_iter().find(|(k, json)| k == kind && json.contains(text)).map(|(_, json)| json)
        })
    }

    /// The text of the newest recording, once there are `count` of them.
    #[track_caller]
    pub(crate) fn recording(&self, session_part: &str) -> PathBuf {
        wait_for("a recording", PATIENCE, || {
            let listed = self.bastion.admin(&["recordings", "ls", "--json"]).ok();
            let rows: serde_json::Value = serde_json::from_str(&listed).unwrap();
            let row = rows.as_array()?.iter().find(|row| {
                row.to_string().contains(session_part) && row["state"].as_str() != Some("open")
            })?;
            let id = row.get("session").or_else(|| row.get("id"))?.as_str()?.to_owned();
            Some(PathBuf::from(self.bastion.admin(&["recordings", "path", &id]).ok().trim()))
        })
    }
}

/// One connection through the bastion that many sessions share (ControlMaster); closed with its handle.
pub(crate) struct Multiplexed<'a> {
    stage: &'a Stage,
    /// The control socket.
    pub(crate) socket: String,
}

impl<'a> Multiplexed<'a> {
    /// Opens it with a first session.
    #[track_caller]
    pub(crate) fn over(stage: &'a Stage) -> Self {
        let socket = stage.dir().join("mux").display().to_string();
        let master = ["-o", "ControlMaster=yes", "-o", "ControlPersist=60", "-S", &socket, "web1", "true"];
        stage.ssh(&master).run().ok();
        Self { stage, socket }
    }

    /// One more session over it.
    pub(crate) fn ssh(&self, command: &str) -> Ssh {
        self.stage.ssh(&["-S", &self.socket, "web1", command])
    }
}

impl Drop for Multiplexed<'_> {
    fn drop(&mut self) {
        drop(self.stage.ssh(&["-S", &self.socket, "-O", "exit", "web1"]).run());
    }
}

/// Has the bastion certify this server's host key for `name`.
#[track_caller]
pub(crate) fn certified(bastion: &Bastion, sshd: Sshd, name: &str) -> Sshd {
    let public = sshd.host_key().path.with_extension("pub");
    let certificate =
        bastion.admin(&["ca", "sign-host", public.to_str().unwrap(), "--name", name, "--out", "-"]).ok();
    let line = certificate.lines().find(|line| line.contains("-cert-v01@openssh.com")).unwrap().to_owned();
    sshd.certificate(&line)
}

/// One target, one role for the group `engineers`.
pub(crate) fn policy(port: u16, role: &str) -> String {
    format!(
        r#"[[target]]
name = "web1"
address = "127.0.0.1:{port}"
host_key = {{ ca = true }}

[[target]]
name = "down1"
address = "127.0.0.1:1"
host_key = {{ ca = true }}

[[target]]
name = "other1"
address = "127.0.0.1:{port}"
host_key = {{ ca = true }}

[[target]]
name = "pinned1"
address = "127.0.0.1:{port}"
host_key = {{ pinned = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPlHpQzzwRxXkjuRb3vEVSQkBJvyYFy1rR8JCWBTRmPQ"] }}

[[role]]
name = "engineers"
members = {{ groups = ["corp:engineers"] }}
targets = {{ names = ["web1", "down1", "other1", "pinned1"] }}
logins = ["{me}", "nobody"]
channels = ["shell", "exec", "sftp"]
standing = true
{role}
"#,
        me = me()
    )
}
