//! The server and what it stands on: a folder with configuration, policy, authorities and a database in which everybody is
//! signed in already; and the look at what is in that database afterwards.

use std::collections::BTreeSet;
use std::fs::{File, Permissions};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use caponier::audit::AuditEvent;
use caponier::ca::verify;
use caponier::cli::client::sign::Key;
use caponier::identity::{Identity, Kind};
use caponier::ids::SignInId;
use caponier::random::Random;
use caponier::store::{SignIn, Store};
use caponier::time::Clock;
use russh::keys::ssh_key::{Certificate, HashAlg, PublicKey};
use sqlx::{Connection as _, Executor as _, Row as _};
use tempfile::TempDir;

use crate::issuer::JobIssuer;
use crate::load::{Answers, Work};

const CAPONIER: &str = env!("CARGO_BIN_EXE_caponier");
/// How long the server may take to start.
const START: Duration = Duration::from_secs(30);
/// Ticks of a second in /proc, the same on every Linux.
const TICKS: f64 = 100.0;

/// A running server.
pub(crate) struct Site {
    dir: TempDir,
    server: Child,
    web: u16,
}

/// A moment: what the processor has done until then.
pub(crate) struct Mark {
    pub(crate) at: Instant,
    /// Seconds of processor time.
    pub(crate) server: f64,
    pub(crate) clients: f64,
    /// Of everything on the machine.
    pub(crate) all: f64,
}

/// What was found in the database.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checked {
    /// Certificates that were acknowledged, which are as many as rows and audit entries.
    pub(crate) certificates: usize,
    /// Of which so many were looked at whole.
    pub(crate) verified: usize,
}

/// The middle of how long the disk takes to sync a small file.
pub(crate) fn sync_time(folder: &Path) -> anyhow::Result<Duration> {
    let mut file = tempfile::tempfile_in(folder)?;
    let mut times = Vec::new();
    for _ in 0..50 {
        file.write_all(&[0x55; 4096])?;
        let began = Instant::now();
        file.sync_data()?;
        times.push(began.elapsed());
    }
    times.sort();
    times.get(times.len() / 2).copied().context("no time was measured")
}

fn fingerprint(key: &Key) -> String {
    key.public().fingerprint(HashAlg::Sha256).to_string()
}

impl Site {
    /// Makes the folder, signs everybody in, and starts the server.
    pub(crate) async fn set(
        folder: &Path,
        (ssh, web): (u16, u16),
        work: &Work,
        issuer: Option<&JobIssuer>,
        random: &Random,
    ) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("bench-").tempdir_in(folder)?;
        std::fs::write(dir.path().join("policy.toml"), policy(issuer.is_some()))?;
        let secret = dir.path().join("client_secret");
        std::fs::write(&secret, "nobody signs in here")?;
        std::fs::set_permissions(&secret, Permissions::from_mode(0o600))?;
        let mut text = configuration(ssh, web);
        if let Some(issuer) = issuer {
            std::fs::write(dir.path().join("jwks.json"), issuer.jwks())?;
            text.push_str(&format!(
                "\n[[issuer]]\nname = \"github\"\ntype = \"github\"\nissuer = \"{}\"\njwks_file = \"jwks.json\"\n",
                issuer.issuer
            ));
        }
        std::fs::write(dir.path().join("caponier.toml"), text)?;
        let made = caponier(dir.path(), &["ca", "init", "--plain"]).output()?;
        ensure!(made.status.success(), "caponier ca init: {}", String::from_utf8_lossy(&made.stderr));
        sign_in(&url(&dir), work.signed_in(), random).await?;
        let log = File::create(dir.path().join("serve.log"))?;
        let server = caponier(dir.path(), &["serve"]).stdout(Stdio::null()).stderr(log).spawn()?;
        let mut site = Self { dir, server, web };
        let deadline = Instant::now() + START;
        while !site.answers() {
            let ended = site.server.try_wait()?.is_some();
            ensure!(!ended && Instant::now() < deadline, "the server does not start: {}", site.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // That connection still counts for a moment, and there may be 64.
        tokio::time::sleep(Duration::from_millis(200)).await;
        Ok(site)
    }

    fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(self.address()) else { return false };
        let asked = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n");
        asked.and_then(|()| std::io::read_to_string(stream)).is_ok_and(|said| said.ends_with("ok\n"))
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("serve.log")).unwrap_or_default()
    }

    /// Its HTTP door.
    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.web).into()
    }

    /// How far the processor is.
    pub(crate) fn mark(&self) -> anyhow::Result<Mark> {
        let id = self.server.id().to_string();
        let (server, clients) = (processor_time(&id)?, processor_time("self")?);
        Ok(Mark { at: Instant::now(), server, clients, all: all_processor_time()? })
    }

    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.server.kill()?;
        self.server.wait()?;
        Ok(())
    }

    /// Every certificate that was acknowledged has its row and its audit entry, and there are no others; and those that were
    /// kept are good ones, for the key that asked.
    pub(crate) async fn check(&self, answers: &[Answers], work: &Work) -> anyhow::Result<Checked> {
        let store = Store::open(&url(&self.dir)).await?;
        let acknowledged: BTreeSet<u64> = answers.iter().flat_map(|one| &one.serials).copied().collect();
        let count: usize = answers.iter().map(|one| one.serials.len()).sum();
        ensure!(acknowledged.len() == count, "a serial came twice");
        let mut entries = BTreeSet::new();
        let mut seen = 0;
        loop {
            let look = store.audit_of_kinds(seen, &["certificate_issued"], 1000).await?;
            for row in look.rows {
                let json: serde_json::Value = serde_json::from_str(&row.json)?;
                let serial = json.get("serial").context("an entry without a serial")?;
                let serial = serial.as_u64().or_else(|| serial.as_str()?.parse().ok());
                ensure!(
                    entries.insert(serial.context("a serial that is none")?),
                    "two entries for one certificate"
                );
            }
            seen = look.seen;
            if !look.more {
                break;
            }
        }
        ensure!(entries == acknowledged, "{} audit entries, {count} acknowledged", entries.len());
        for serial in &acknowledged {
            ensure!(store.certificate(*serial).await?.is_some(), "certificate {serial} has no row");
        }
        store.close().await;
        let mut connection = sqlx::AnyConnection::connect(&url(&self.dir)).await?;
        let rows: i64 = connection.fetch_one("SELECT COUNT(*) AS n FROM certificate").await?.try_get("n")?;
        connection.close().await?;
        ensure!(usize::try_from(rows)? == count, "{rows} rows, {count} acknowledged");
        let verified = self.verify(answers, work)?;
        Ok(Checked { certificates: count, verified })
    }

    fn verify(&self, answers: &[Answers], work: &Work) -> anyhow::Result<usize> {
        let ca = std::fs::read_to_string(self.dir.path().join("state/ca/user_ca.pub"))?;
        let ca = PublicKey::from_openssh(&ca)?;
        let mut verified = 0;
        for one in answers {
            for (key, text) in &one.some {
                let key = work.key(*key)?;
                let certificate = Certificate::from_openssh(text)?;
                // At the moment it was made: some may have expired by now.
                let then = caponier::time::Timestamp::from_secs(certificate.valid_after());
                let good = verify::verify_user(&certificate, &ca, Ipv4Addr::LOCALHOST.into(), then)?;
                ensure!(good.key_fingerprint() == fingerprint(key), "a certificate for another key");
                ensure!(one.serials.contains(&good.serial()), "a certificate with another serial");
                verified += 1;
            }
        }
        Ok(verified)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // It may have ended, or been killed, before.
        drop(self.server.kill());
        drop(self.server.wait());
    }
}

fn url(dir: &TempDir) -> String {
    format!("sqlite:{}", dir.path().join("state/caponier.db").display())
}

fn caponier(dir: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(CAPONIER);
    command.args(words).arg("--config").arg(dir.join("caponier.toml")).stdin(Stdio::null());
    command
}

/// A port of 127.0.0.1 that nobody listens on.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Processor time of a process, in seconds: fields 14 and 15 of its `stat`, the 12th and 13th after the name.
fn processor_time(process: &str) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, rest) = stat.rsplit_once(')').context("stat")?;
    let ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<u32>);
    Ok(ticks.sum::<Result<u32, _>>().map(f64::from)? / TICKS)
}

/// Processor time of everything: `cpu` of /proc/stat, without what was idle (the fourth and fifth number).
fn all_processor_time() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let first = stat.lines().next().context("stat")?;
    let ticks = first.split_whitespace().skip(1).take(8).enumerate();
    let busy = ticks.filter(|(place, _)| !matches!(place, 3 | 4)).map(|(_, ticks)| ticks.parse::<u32>());
    Ok(busy.sum::<Result<u32, _>>().map(f64::from)? / TICKS)
}

async fn sign_in(url: &str, keys: &[Key], random: &Random) -> anyhow::Result<()> {
    let store = Store::open(url).await?;
    let now = Clock::System.now();
    for (number, key) in keys.iter().enumerate() {
        let row = SignIn {
            id: SignInId::random(random),
            who: Identity {
                kind: Kind::Person,
                provider: "corp".parse()?,
                issuer: "https://login.example.com".into(),
                subject: format!("person-{number}"),
                display: format!("Person {number}"),
                groups: ["corp:engineers".parse()?].into(),
                run: None,
            },
            key_fingerprint: Some(fingerprint(key)),
            method: "loopback".into(),
            from: "127.0.0.1".into(),
            client: "bench".into(),
            created: now,
            expires: now.plus(Duration::from_secs(36_000)),
            ended: None,
        };
        let mut tx = store.begin().await?;
        tx.insert_sign_in(&row).await?;
        let event = AuditEvent::SignedIn {
            sign_in: row.id,
            who: row.who,
            method: "loopback",
            key: row.key_fingerprint,
            replaced: Vec::new(),
            from: row.from,
        };
        tx.commit(now, event).await?;
    }
    store.close().await;
    Ok(())
}

fn configuration(ssh: u16, web: u16) -> String {
    format!(
        r#"state_dir = "state"

[ssh]
listen = "127.0.0.1:{ssh}"
host_names = ["127.0.0.1"]

[web]
listen = "127.0.0.1:{web}"
public_url = "http://127.0.0.1:{web}"

[ca]
plain = true

[recording]
dir = "recordings"

[policy]
file = "policy.toml"

[[provider]]
name = "corp"
title = "Example Corp"
issuer = "https://login.example.com"
client_id = "caponier"
client_secret_file = "client_secret"
"#
    )
}

/// What everybody may; with jobs, they may too.
fn policy(jobs: bool) -> String {
    let (rule, member) = if jobs {
        (
            "[[workload]]\nname = \"deploy-shop\"\nissuer = \"github\"\nrepository_id = \"123456\"\nref = \"refs/heads/main\"\n",
            ", workloads = [\"deploy-shop\"]",
        )
    } else {
        ("", "")
    };
    format!(
        r#"[[target]]
name = "web1"
address = "127.0.0.1:22"
host_key = {{ ca = true }}

{rule}
[[role]]
name = "engineers"
members = {{ groups = ["corp:engineers"]{member} }}
targets = {{ names = ["web1"] }}
logins = ["deploy", "nobody"]
channels = ["shell", "exec", "sftp"]
standing = true
"#
    )
}
