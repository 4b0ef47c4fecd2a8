//! The usual stage of a passage: a bastion (our binary), a real sshd as target `web1` with a host certificate of the
//! bastion's host CA, and a person's laptop that is signed in. Also a key that sshd accepts directly, to compare with.

use std::path::{Path, PathBuf};

use caponier::demo::{browser, provider as demo_provider};
use caponier::random::Random;
use caponier::time::Clock;
use tokio::runtime::Runtime;

use super::bastion::{Bastion, Issuer, Laptop};
use super::keys::Key;
use super::process::Running;
use super::ssh::Ssh;
use super::sshd::Sshd;
use super::{PATIENCE, me, scratch, wait_for};

/// Everything of one passage.
pub(crate) struct Stage {
    pub(crate) bastion: Bastion,
    pub(crate) web1: Sshd,
    pub(crate) laptop: Laptop,
    dir: tempfile::TempDir,
    runtime: Runtime,
    _provider: demo_provider::Provider,
}

impl Stage {
    /// Signed in as `engineer`, whom one role lets into `web1` as the account the tests run as.
    #[track_caller]
    pub(crate) fn set() -> Self {
        Self::set_with("", "", |sshd| sshd)
    }

    /// The same, with more of the configuration (whole tables), more lines for the role, and a changed sshd.
    #[track_caller]
    pub(crate) fn set_with(config: &str, role: &str, change: impl FnOnce(Sshd) -> Sshd) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let provider = runtime.block_on(demo_provider::start(&Random::System, &Clock::System)).unwrap();
        let bastion = Bastion::new();
        let issuer = Issuer {
            issuer: provider.issuer.clone(),
            client_id: provider.client_id.clone(),
            client_secret: provider.client_secret.clone(),
        };
        bastion.configure_for(&issuer, "", config);
        bastion.admin(&["ca", "init", "--plain"]).ok();
        let dir = scratch();
        let direct = Key::make(dir.path(), "direct");
        let target_ca = bastion.admin(&["ca", "show", "--target-ca"]).ok();
        let web1 = change(Sshd::new().trust_ca(target_ca.trim()).trust_key(&direct.public()));
        let web1 = certified(&bastion, web1, "web1").start();
        let mut stage = Self { bastion, web1, laptop: Laptop::new(), dir, runtime, _provider: provider };
        stage.bastion.write_policy(&policy(stage.web1.port, role));
        stage.bastion.start();
        stage.login("engineer");
        stage.write_ssh_configs();
        stage
    }

    /// Signs a person of the demo's provider in, on this stage's laptop.
    #[track_caller]
    pub(crate) fn login(&self, person: &str) {
        let mut login =
            self.laptop.caponier(&["login", &self.bastion.url(), "--no-browser", "--no-ssh-config"]);
        let login = Running::start(&mut login, b"");
        let page = wait_for("an address from caponier login", PATIENCE, || {
            let said = login.errors() + &login.text();
            let (whole, _) = said.rsplit_once('\n')?;
            whole.split_whitespace().find(|word| word.starts_with("http://")).map(str::to_owned)
        });
        self.runtime.block_on(browser::sign_in_without_browser(&page, person)).unwrap();
        login.finish(PATIENCE).ok();
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
        let url = format!("sqlite:{}", self.bastion.dir().join("state/caponier.db").display());
        self.runtime.block_on(async {
            let store = caponier::store::Store::open(&url).await.unwrap();
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
{role}
"#,
        me = me()
    )
}
