//! The demo: the main job on embedded parts, on loopback and free ports. An OpenID provider with three people, the
//! bastion on SQLite, two targets with real shells; one person is signed in without a browser.
//!
//! Everything is what a real installation has (configuration file, policy file, keys, store, recordings), so each part
//! can be looked at and used with the ordinary commands.

pub mod browser;
pub mod check;
pub mod provider;
pub mod target;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use russh::keys::ssh_key::{Algorithm, PrivateKey};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::ca::{self, Authority, Draft};
use crate::random::Random;
use crate::server::{self, Server};
use crate::time::Clock;

/// The account the demo's role opens. The demo's targets run everything as the user who started it.
pub const LOGIN: &str = "demo";
/// The demo's targets.
pub const TARGETS: [&str; 2] = ["web1", "db1"];
/// People the provider knows.
pub const PEOPLE: [&str; 3] = ["engineer", "reviewer", "auditor"];

const MARKER: &str = ".caponier-demo";
const LIFE: Duration = Duration::from_secs(24 * 3600);

/// What `caponier demo` was asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where everything goes; a new folder for temporary files when none is given.
    pub dir: Option<PathBuf>,
    /// Who is signed in.
    pub login: String,
    /// Play the story and end, instead of waiting.
    pub check: bool,
}

/// A running demo.
pub struct Demo {
    /// Its folder.
    pub dir: PathBuf,
    /// The web address of the bastion.
    pub url: String,
    /// Who is signed in.
    pub person: String,
    stop: CancellationToken,
    server: tokio::task::JoinHandle<anyhow::Result<()>>,
    _provider: provider::Provider,
}

/// Runs the demo: `true` when it ended well.
pub async fn run(
    options: Options,
    env: &BTreeMap<String, String>,
    out: &mut dyn Write,
) -> anyhow::Result<bool> {
    ensure!(
        PEOPLE.contains(&options.login.as_str()),
        "--login {}: the demo knows {}",
        options.login,
        PEOPLE.join(", ")
    );
    let dir = prepare(options.dir.as_deref(), env)?;
    writeln!(
        out,
        "starting an OpenID provider, the bastion and {} in {}",
        TARGETS.join(", "),
        dir.display()
    )?;
    let demo = start(dir, &options.login, env).await?;
    let result = if options.check { check::story(&demo, out).await } else { wait(&demo, out).await };
    demo.end().await?;
    result
}

/// Prints what to try and waits for Ctrl-C.
async fn wait(demo: &Demo, out: &mut dyn Write) -> anyhow::Result<bool> {
    let dir = demo.dir.display();
    writeln!(
        out,
        "
{person} is signed in. In another terminal:

    . {dir}/env
    ssh -F {dir}/ssh_config web1                  # a shell on web1, recorded
    ssh -F {dir}/ssh_config db1 uname -a          # one command
    ssh -F {dir}/ssh_config root@web1             # refused: no role opens root
    sftp -F {dir}/ssh_config web1
    caponier sessions
    caponier recordings ls
    caponier recordings play SESSION
    caponier status
    caponier logout                               # live sessions end

The bastion's web page: {url}  (people: {people})
Ctrl-C ends the demo; the folder stays.",
        person = demo.person,
        url = demo.url,
        people = PEOPLE.join(", "),
    )?;
    out.flush()?;
    tokio::signal::ctrl_c().await?;
    Ok(true)
}

impl Demo {
    /// The ssh configuration it wrote.
    pub fn ssh_config(&self) -> PathBuf {
        self.dir.join("ssh_config")
    }

    /// Our own program with the demo's client home and configuration.
    pub fn caponier(&self) -> anyhow::Result<Command> {
        caponier(&self.dir)
    }

    async fn end(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.server.await.context("server")?
    }
}

fn caponier(dir: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("where is this program?")?);
    command
        .env("CAPONIER_HOME", dir.join("home"))
        .env("CAPONIER_CONFIG", dir.join("caponier.toml"))
        .env_remove("SSH_AUTH_SOCK")
        .kill_on_drop(true)
        .stdin(Stdio::null());
    Ok(command)
}

/// A folder that is new, empty, or from an earlier demo (which is then cleared).
fn prepare(dir: Option<&Path>, env: &BTreeMap<String, String>) -> anyhow::Result<PathBuf> {
    let temporary = env.get("TMPDIR").map_or("/tmp", String::as_str);
    let dir = match dir {
        Some(dir) => std::path::absolute(dir)?,
        None => Path::new(temporary).join(format!("caponier-demo-{}", std::process::id())),
    };
    if dir.exists() {
        let ours = dir.join(MARKER).exists();
        let empty = fs::read_dir(&dir).with_context(|| dir.display().to_string())?.next().is_none();
        if !ours && !empty {
            bail!("{} is not empty and not from an earlier demo; name another folder", dir.display());
        }
        if ours {
            for old in ["state", "ca", "home", "recordings"] {
                let old = dir.join(old);
                if old.exists() {
                    fs::remove_dir_all(&old).with_context(|| old.display().to_string())?;
                }
            }
        }
    }
    for folder in ["", "state", "home"] {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir.join(folder))
            .with_context(|| dir.join(folder).display().to_string())?;
    }
    write(&dir.join(MARKER), "made by caponier demo; cleared by the next one\n")?;
    Ok(dir)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let opened = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| path.display().to_string())
}

/// Starts everything and signs `person` in.
pub async fn start(dir: PathBuf, person: &str, env: &BTreeMap<String, String>) -> anyhow::Result<Demo> {
    let (clock, random) = (Clock::System, Random::System);
    let stop = CancellationToken::new();
    let local = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let (ssh, web) = (local().await?, local().await?);
    let targets = [local().await?, local().await?];
    let url = format!("http://127.0.0.1:{}", web.local_addr()?.port());
    let provider = provider::start(&random, &clock).await?;

    ca::init::init(&dir.join("ca"), None, &random)?;
    let ports = [targets[0].local_addr()?.port(), targets[1].local_addr()?.port()];
    write(&dir.join("policy.toml"), &policy(ports))?;
    write(&dir.join("client_secret"), &provider.client_secret)?;
    let config = configuration(ssh.local_addr()?.port(), web.local_addr()?.port(), &url, &provider);
    write(&dir.join("caponier.toml"), &config)?;

    let (config, policy) = server::read(&dir.join("caponier.toml"), env)?;
    let app = server::assemble(config, policy, clock.clone(), random.clone()).await?;
    for (name, listener) in TARGETS.into_iter().zip(targets) {
        let host_key = random
            .with(|mut rng| PrivateKey::random(&mut rng, Algorithm::Ed25519))
            .context("a host key for a target")?;
        let draft =
            Draft::host(host_key.public_key(), random.u64(), name, &[name.to_owned()], clock.now(), LIFE)?;
        let setup = target::Setup {
            name: name.into(),
            certificate: app.signer.sign(&draft, &random, clock.now()).await?,
            host_key,
            target_ca: app.signer.public_key(Authority::Target).clone(),
            clock: clock.clone(),
        };
        tokio::spawn(target::serve(setup, listener, stop.clone()));
    }
    let server = tokio::spawn(Server::on(app, ssh, web)?.run(stop.clone()));
    sign_in(&dir, &url, person).await.context("signing in")?;
    write(&dir.join("ssh_config"), &ssh_config(&dir))?;
    write(&dir.join("env"), &environment(&dir)?)?;
    Ok(Demo { dir, url, person: person.into(), stop, server, _provider: provider })
}

fn policy([web1, db1]: [u16; 2]) -> String {
    format!(
        r#"# The demo's policy.
[[target]]
name = "web1"
address = "127.0.0.1:{web1}"
labels = {{ env = "demo" }}
host_key = {{ ca = true }}

[[target]]
name = "db1"
address = "127.0.0.1:{db1}"
labels = {{ env = "demo" }}
host_key = {{ ca = true }}

[[role]]
name = "engineers"
members = {{ groups = ["demo:engineers"] }}
targets = {{ labels = [{{ env = "demo" }}] }}
logins = ["{LOGIN}"]
channels = ["shell", "exec", "sftp"]
standing = true
session_max = "8h"
idle_max = "30m"

# Reviewers may run single commands on web1, nothing else. Auditors reach nothing.
[[role]]
name = "reviewers"
members = {{ groups = ["demo:reviewers"] }}
targets = {{ names = ["web1"] }}
logins = ["{LOGIN}"]
channels = ["exec"]
standing = true
"#
    )
}

fn configuration(ssh: u16, web: u16, url: &str, provider: &provider::Provider) -> String {
    format!(
        r#"# The demo's configuration; config/caponier.toml explains every key.
state_dir = "state"

[ssh]
listen = "127.0.0.1:{ssh}"
host_names = ["127.0.0.1"]
client_patterns = ["web1", "db1"]

[web]
listen = "127.0.0.1:{web}"
public_url = "{url}"

[ca]
dir = "ca"
plain = true

[recording]
dir = "recordings"

[policy]
file = "policy.toml"

[[provider]]
name = "demo"
title = "Demo"
issuer = "{issuer}"
client_id = "{client}"
client_secret_file = "client_secret"
"#,
        issuer = provider.issuer,
        client = provider.client_id,
    )
}

/// Runs `caponier login` as a person would and plays the browser.
async fn sign_in(dir: &Path, url: &str, person: &str) -> anyhow::Result<()> {
    let mut login = caponier(dir)?
        .args(["login", url, "--no-browser", "--no-ssh-config"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut said = Vec::new();
    let mut lines = BufReader::new(login.stderr.take().context("no standard error")?).lines();
    while let Some(line) = lines.next_line().await? {
        if let Some(page) = line.split_whitespace().find(|word| word.starts_with(url)) {
            browser::sign_in_without_browser(page, person).await?;
        }
        said.push(line);
    }
    ensure!(login.wait().await?.success(), "caponier login: {}", said.join("\n"));
    Ok(())
}

fn ssh_config(dir: &Path) -> String {
    let own = dir.join("home").join("ssh_config");
    format!("Include \"{}\"\nHost web1 db1\n    User {LOGIN}\n", own.display())
}

fn environment(dir: &Path) -> anyhow::Result<String> {
    let program = std::env::current_exe()?;
    let folder = program.parent().context("this program lies nowhere")?;
    Ok(format!(
        "# . this file: the demo's client home and configuration for this shell\n\
         export CAPONIER_HOME='{home}'\nexport CAPONIER_CONFIG='{config}'\nexport PATH='{folder}':\"$PATH\"\n",
        home = dir.join("home").display(),
        config = dir.join("caponier.toml").display(),
        folder = folder.display(),
    ))
}
