//! Our own compiled binary as people run it: `caponier serve` with a configuration in a folder of its own, and
//! `caponier login` on a person's machine. Knows the commands and the keys of the configuration; what must come of
//! them stands in the tests.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use super::process::{Finished, Kept, Running, run};
use super::provider::Provider;
use super::{PATIENCE, free_port, scratch, wait_for, wait_for_port};

/// The binary under test.
pub(crate) const CAPONIER: &str = env!("CARGO_BIN_EXE_caponier");

/// A provider as the configuration knows it.
pub(crate) struct Issuer {
    pub(crate) issuer: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
}

impl Issuer {
    /// The real provider.
    pub(crate) fn of(provider: &Provider) -> Self {
        Self {
            issuer: provider.issuer.clone(),
            client_id: Provider::CLIENT_ID.into(),
            client_secret: Provider::CLIENT_SECRET.into(),
        }
    }
}

/// One bastion: described first, then started, stopped, killed and started again on the same ports and state.
pub(crate) struct Bastion {
    dir: tempfile::TempDir,
    /// Its SSH door on 127.0.0.1.
    pub(crate) ssh_port: u16,
    /// Its HTTP door on 127.0.0.1.
    pub(crate) web_port: u16,
    kept: Option<Kept>,
}

impl Bastion {
    /// The name its host certificate bears.
    pub(crate) const NAME: &str = "127.0.0.1";
    /// The name that its configuration gives the provider; groups are `corp:GROUP`.
    pub(crate) const PROVIDER: &str = "corp";

    /// Picks its folder and ports. Then: [`Self::configure`], [`Self::make_authorities`], [`Self::start`].
    #[track_caller]
    pub(crate) fn new() -> Self {
        Self { dir: scratch(), ssh_port: free_port(), web_port: free_port(), kept: None }
    }

    /// How browsers and clients reach it.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.web_port)
    }

    /// Where the provider sends people back to.
    pub(crate) fn redirect_uri(&self) -> String {
        format!("{}/callback/corp", self.url())
    }

    /// The folder with everything it has.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("caponier.toml")
    }

    /// Writes configuration and policy; `extra` is more of the configuration, whole tables.
    pub(crate) fn configure(&self, provider: &Issuer, policy: &str, extra: &str) {
        let text = format!(
            r#"state_dir = "state"

[ssh]
listen = "127.0.0.1:{ssh}"
host_names = ["{name}"]

[web]
listen = "127.0.0.1:{web}"
public_url = "{url}"

[ca]
plain = true

[recording]
dir = "recordings"

[policy]
file = "policy.toml"

[[provider]]
name = "{corp}"
title = "Example Corp"
issuer = "{issuer}"
client_id = "{id}"
client_secret_file = "client_secret"
scopes = ["profile", "email", "groups"]

{extra}
"#,
            ssh = self.ssh_port,
            name = Self::NAME,
            web = self.web_port,
            url = self.url(),
            corp = Self::PROVIDER,
            issuer = provider.issuer,
            id = provider.client_id,
        );
        std::fs::write(self.config(), text).unwrap();
        self.write_policy(policy);
        self.write("client_secret", &provider.client_secret);
    }

    /// Writes a file beside the configuration that only its owner may read.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let file = self.dir.path().join(name);
        std::fs::write(&file, text).unwrap();
        own(&file);
    }

    /// Replaces texts of the configuration, each of which must stand there.
    #[track_caller]
    pub(crate) fn edit(&self, edits: &[(&str, &str)]) {
        let mut text = std::fs::read_to_string(self.config()).unwrap();
        for (old, new) in edits {
            assert!(text.contains(old), "the configuration has no {old:?}");
            text = text.replace(old, new);
        }
        std::fs::write(self.config(), text).unwrap();
    }

    /// `caponier ca init`, as the configuration wants it.
    #[track_caller]
    pub(crate) fn make_authorities(&self) {
        let plain = std::fs::read_to_string(self.config()).unwrap().contains("plain = true");
        self.admin(if plain { &["ca", "init", "--plain"] } else { &["ca", "init"] }).ok();
    }

    /// Takes another bastion's authorities for its own.
    pub(crate) fn share_authorities(&self, other: &Self) {
        let theirs = other.dir.path().join("state/ca").display().to_string();
        self.edit(&[("plain = true", &format!("plain = true\ndir = \"{theirs}\""))]);
    }

    /// Replaces the policy file.
    pub(crate) fn write_policy(&self, policy: &str) {
        std::fs::write(self.dir.path().join("policy.toml"), policy).unwrap();
    }

    /// Runs `caponier ARGS --config FILE` on the server, e.g. `ca init --plain`, `sessions`.
    #[track_caller]
    pub(crate) fn admin(&self, args: &[&str]) -> Finished {
        run(Command::new(CAPONIER).args(args).arg("--config").arg(self.config()), b"", PATIENCE)
    }

    /// Starts `caponier serve` and waits until both doors listen. Its standard error goes to `serve.log`.
    #[track_caller]
    pub(crate) fn start(&mut self) {
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.dir.path().join("serve.log"));
        let mut kept = Kept::start(
            Command::new(CAPONIER)
                .arg("serve")
                .arg("--config")
                .arg(self.config())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log.unwrap()),
        );
        for port in [self.ssh_port, self.web_port] {
            assert!(kept.ended().is_none(), "caponier serve ended: {}", self.log());
            wait_for_port(port);
        }
        self.kept = Some(kept);
    }

    /// What it logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("serve.log")).unwrap_or_default()
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.kept.as_ref().unwrap().id()
    }

    /// Stops it in order (SIGTERM).
    #[track_caller]
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.kept.take().unwrap().end("TERM", PATIENCE)
    }

    /// Kills it (SIGKILL), as a power cut would.
    #[track_caller]
    pub(crate) fn kill(&mut self) {
        self.kept.take().unwrap().end("KILL", PATIENCE);
    }
}

/// A person's own machine: an empty home, from which they sign in and run ssh.
pub(crate) struct Laptop {
    home: tempfile::TempDir,
}

impl Laptop {
    /// A machine that has never seen the bastion.
    pub(crate) fn new() -> Self {
        let home = scratch();
        own(home.path());
        Self { home }
    }

    /// Its home.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// `caponier ARGS` there.
    pub(crate) fn caponier(&self, args: &[&str]) -> Command {
        let mut command = Command::new(CAPONIER);
        command.args(args).env("HOME", self.home()).env("CAPONIER_HOME", self.home().join(".caponier"));
        command.env_remove("SSH_AUTH_SOCK");
        command
    }

    /// `caponier login URL --no-browser`, with `sign_in` going to the page that it names.
    #[track_caller]
    pub(crate) fn login(&self, bastion: &Bastion, sign_in: impl FnOnce(&str)) -> Finished {
        let mut login = self.caponier(&["login", &bastion.url(), "--no-browser"]);
        let login = Running::start(&mut login, b"");
        sign_in(&page_of(&login));
        login.finish(PATIENCE)
    }
}

/// The page that a running `caponier login` asks its person to open.
#[track_caller]
pub(crate) fn page_of(login: &Running) -> String {
    wait_for("an address from caponier login", PATIENCE, || {
        let said = login.errors() + &login.text();
        // Only whole lines: an address may come in pieces.
        let (whole, _rest) = said.rsplit_once('\n')?;
        whole.split_whitespace().find(|word| word.starts_with("http://")).map(str::to_owned)
    })
}

/// Takes everybody else's rights away.
fn own(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = if path.is_dir() { 0o700 } else { 0o600 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
