//! The commands as a person sees them: what they print, what they refuse, what they leave on disk.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};

use clap::Parser as _;
use russh::keys::{Algorithm, PrivateKey};

use super::*;
use crate::ca::verify::verify_host;
use crate::config;
use crate::secret::Secret;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    ca: CaArgs,
}

struct Desk {
    dir: tempfile::TempDir,
    config: Config,
    random: Random,
    /// What would have gone into the audit log.
    entries: Arc<Mutex<Vec<AuditEvent>>>,
}

fn desk(source: impl FnOnce(&Path) -> CaSource) -> Desk {
    let dir = tempfile::tempdir().unwrap();
    let anywhere: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let hour = Duration::from_secs(3600);
    let config = Config {
        state_dir: dir.path().into(),
        ssh: config::Ssh {
            listen: anywhere,
            host_names: vec!["bastion.example.com".into()],
            public_port: 2222,
            client_patterns: vec!["web*".into(), "*.prod.example.com".into()],
            connections_max: 1,
            unauthenticated_max: 1,
            login_grace: hour,
        },
        web: config::Web {
            listen: anywhere,
            public_url: "http://127.0.0.1:1".parse().unwrap(),
            tls_cert: None,
            tls_key: None,
            trusted_proxies: vec![],
        },
        store_url: Secret::new("sqlite::memory:".into()),
        ca: config::Ca { dir: dir.path().join("ca"), source: source(dir.path()) },
        certificates: config::Certificates { life: Duration::from_secs(300), bind_source_address: true },
        providers: vec![],
        issuers: vec![],
        sign_in_life: hour,
        checks: config::Checks {
            every: hour,
            outage: config::Outage::Keep,
            outage_max: hour,
            keys: config::KeySource::Own(dir.path().join("sign_in_keys")),
        },
        admins: config::People::default(),
        auditors: config::People::default(),
        watchers: config::People::default(),
        killers: config::People::default(),
        sessions: config::Sessions { max: hour, idle: hour, env: vec![], dial: hour },
        recording: config::Recording {
            dir: dir.path().into(),
            input: false,
            exec_output_max: 1,
            index: config::RecordingIndex::Nothing,
            part_max: 1 << 20,
            free_min: 0,
        },
        archive: None,
        audit: config::Audit::default(),
        notify: config::Notify::default(),
        alerts: config::Alerts::default(),
        policy_file: dir.path().join("policy.toml"),
        log_json: false,
    };
    Desk { dir, config, random: Random::seeded(1), entries: Arc::default() }
}

fn plain(_: &Path) -> CaSource {
    CaSource::Files(Passphrase::Plain)
}

impl Desk {
    /// Types one command line; the last line of `Err` is the cause.
    async fn type_in(&self, words: &[&str]) -> Result<String, String> {
        let line = Line::try_parse_from([&["ca"], words].concat()).map_err(|e| e.to_string())?;
        let mut out = Vec::new();
        let outcome = match line.ca.command {
            Command::SignHost(args) => {
                let entries = Arc::clone(&self.entries);
                let record = async |event| {
                    entries.lock().unwrap().push(event);
                    Ok(())
                };
                sign_host(&args, &self.config, record, NOW, &self.random, &mut out).await
            }
            command @ (Command::Init(_) | Command::Show(_)) => {
                let clock = Clock::fixed(NOW);
                let no_store = async || -> anyhow::Result<Store> { bail!("no store is needed for this") };
                run(CaArgs { command }, &self.config, no_store, &clock, &self.random, &mut out)
                    .await
                    .map(|_| ())
            }
        };
        match outcome {
            Ok(()) => Ok(String::from_utf8(out).unwrap()),
            Err(e) => Err(format!("{e:#}")),
        }
    }

    fn host_key(&self, name: &str) -> PathBuf {
        let key = self.random.with(|rng| PrivateKey::random(rng, Algorithm::Ed25519)).unwrap();
        let path = self.dir.path().join(name);
        std::fs::write(&path, format!("{} root@web1\n", key.public_key().to_openssh().unwrap())).unwrap();
        path
    }

    fn entry_count(&self) -> usize {
        self.entries.lock().unwrap().len()
    }
}

#[tokio::test]
async fn init_says_what_to_do() {
    let file = |dir: &Path| CaSource::Files(Passphrase::File(dir.join("pass phrase")));
    let unset = |_: &Path| CaSource::Files(Passphrase::Env("CAPONIER_TEST_NOT_SET".into()));
    let agent = |_: &Path| CaSource::Agent("/run/agent.sock".into());
    for (desk, words, expect) in [
        (desk(plain), &["init"][..], "run: caponier ca init --plain"),
        (desk(file), &["init", "--plain"], "--plain contradicts the configuration"),
        (desk(file), &["init"], "(umask 077 && head -c 32 /dev/urandom | base64 > '"),
        (desk(unset), &["init"], "CAPONIER_TEST_NOT_SET, which is not set"),
        (desk(agent), &["init"], "an ssh-agent at /run/agent.sock holds the keys"),
        (desk(plain), &["show"], "caponier ca init makes them"),
    ] {
        let refused = desk.type_in(words).await.unwrap_err();
        assert!(refused.contains(expect), "{refused}");
        assert!(!desk.config.ca.dir.exists(), "{expect}");
    }
}

#[tokio::test]
async fn init_then_show() {
    let desk = desk(plain);
    let said = desk.type_in(&["init", "--plain"]).await.unwrap();
    let made = init::made(&desk.config.ca.dir).unwrap();
    let lines = Authority::ALL.map(|authority| made.public_key(authority).to_openssh().unwrap());
    let prints = Authority::ALL
        .map(|authority| made.public_key(authority).fingerprint(Default::default()).to_string());
    let text = desk.type_in(&["show"]).await.unwrap();
    for fingerprint in &prints {
        assert!(said.contains(fingerprint) && text.contains(fingerprint), "{said}{text}");
    }
    let known_hosts =
        format!("@cert-authority [bastion.example.com]:2222,web*,*.prod.example.com {}", lines[2]);
    let to_copy: Vec<&str> = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert_eq!(to_copy, [lines[1].as_str(), known_hosts.as_str()]);
    assert!(text.contains("#   TrustedUserCAKeys /etc/ssh/caponier_target_ca.pub\n"), "{text}");
    for (flag, line) in [("--user-ca", &lines[0]), ("--target-ca", &lines[1]), ("--host-ca", &lines[2])] {
        assert_eq!(desk.type_in(&["show", flag]).await.unwrap(), format!("{line}\n"));
    }
    let json: serde_json::Value =
        serde_json::from_str(&desk.type_in(&["show", "--json"]).await.unwrap()).unwrap();
    assert_eq!(json["target_ca"]["public_key"], lines[1].as_str());
    assert_eq!(json["user_ca"]["fingerprint"], prints[0].as_str());
    assert_eq!(json["known_hosts"], known_hosts.as_str());
    assert!(desk.type_in(&["show", "--json", "--host-ca"]).await.is_err());
    let again = desk.type_in(&["init", "--plain"]).await.unwrap_err();
    assert!(again.contains("nothing was changed"), "{again}");
    assert_eq!(desk.type_in(&["show"]).await.unwrap(), text);
}

#[tokio::test]
async fn sign_host_writes_next_to_the_key() {
    let desk = desk(plain);
    desk.type_in(&["init", "--plain"]).await.unwrap();
    let host_ca = init::made(&desk.config.ca.dir).unwrap().public_key(Authority::Host).clone();
    let path = desk.host_key("ssh_host_ed25519_key.pub");
    let said = desk
        .type_in(&["sign-host", path.to_str().unwrap(), "--name", "web1", "--name", "web1.example.com"])
        .await;
    let said = said.unwrap();
    assert!(said.ends_with("\nHostCertificate /etc/ssh/ssh_host_ed25519_key-cert.pub\n"), "{said}");
    let written = desk.dir.path().join("ssh_host_ed25519_key-cert.pub");
    assert_eq!(written.metadata().unwrap().permissions().mode() & 0o777, 0o644);
    let certificate = Certificate::read_file(&written).unwrap();
    for name in ["web1", "web1.example.com"] {
        verify_host(&certificate, &host_ca, name, NOW).unwrap();
    }
    assert_eq!(certificate.valid_before(), NOW.as_secs() + 30 * 24 * 3600);
    assert_eq!(certificate.comment(), "root@web1");
    let entries = desk.entries.lock().unwrap();
    let AuditEvent::HostCertificateIssued { principals, serial, valid_before } = &entries[0] else {
        panic!("{entries:?}")
    };
    assert_eq!(principals, &["web1", "web1.example.com"]);
    assert_eq!((*serial, *valid_before), (certificate.serial(), certificate.valid_before()));
    let names: Vec<_> = desk.dir.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains(".new-")), "{names:?}");
}

#[tokio::test]
async fn sign_host_elsewhere_and_again() {
    let desk = desk(plain);
    desk.type_in(&["init", "--plain"]).await.unwrap();
    let path = desk.host_key("key");
    let key = path.to_str().unwrap();
    let line = desk.type_in(&["sign-host", key, "--name", "web1", "--out", "-"]).await.unwrap();
    assert!(Certificate::from_openssh(line.trim_end()).is_ok(), "{line}");
    let other = desk.dir.path().join("other");
    desk.type_in(&["sign-host", key, "--name", "web1", "--out", other.to_str().unwrap()]).await.unwrap();
    let first = Certificate::read_file(&other).unwrap();
    desk.type_in(&["sign-host", key, "--name", "web1", "--days", "90", "--out", other.to_str().unwrap()])
        .await
        .unwrap();
    let renewed = Certificate::read_file(&other).unwrap();
    assert!(renewed.valid_before() > first.valid_before() && renewed.serial() != first.serial());
    desk.type_in(&["sign-host", key, "--name", "web1"]).await.unwrap();
    assert!(desk.dir.path().join("key-cert.pub").exists());
    assert_eq!(desk.entry_count(), 4);
}

#[tokio::test]
async fn sign_host_refusals_leave_nothing() {
    let desk = desk(plain);
    desk.type_in(&["init", "--plain"]).await.unwrap();
    let path = desk.host_key("key.pub");
    let key = path.to_str().unwrap();
    let host_ca = desk.config.ca.dir.join("host_ca");
    let certificate = desk.dir.path().join("cert.txt");
    std::fs::write(
        &certificate,
        desk.type_in(&["sign-host", key, "--name", "x", "--out", "-"]).await.unwrap(),
    )
    .unwrap();
    let missing = desk.dir.path().join("none.pub");
    let before = desk.entry_count();
    let rows: &[(&Path, &[&str], &str)] = &[
        (&path, &[], "--name"),
        (&path, &["--name", "*"], "is not a host name"),
        (&path, &["--name", "Web1"], "is not a host name"),
        (&path, &["--name", "web1,web2"], "is not a host name"),
        (&path, &["--name", "web1", "--days", "0"], "0 is not in 1..=90"),
        (&path, &["--name", "web1", "--days", "91"], "91 is not in 1..=90"),
        (&missing, &["--name", "web1"], "none.pub"),
        (&host_ca, &["--name", "web1"], "is a private key"),
        (&certificate, &["--name", "web1"], "is itself a certificate"),
    ];
    for (file, more, expect) in rows {
        let refused =
            desk.type_in(&[&["sign-host", file.to_str().unwrap()], *more].concat()).await.unwrap_err();
        assert!(refused.contains(expect), "{refused}");
    }
    // No key, no entry: a file that others can read stops the signer before anything is written down.
    std::fs::set_permissions(&host_ca, std::fs::Permissions::from_mode(0o640)).unwrap();
    let refused = desk.type_in(&["sign-host", key, "--name", "web1"]).await.unwrap_err();
    assert!(refused.contains("run: chmod 600 "), "{refused}");
    assert_eq!(desk.entry_count(), before);
    assert!(!desk.dir.path().join("key-cert.pub").exists());
}

#[test]
fn where_certificates_go() {
    let args = |file: &str, out: Option<&str>| SignHostArgs {
        pubkey_file: file.into(),
        names: vec![],
        days: 1,
        out: out.map(Into::into),
    };
    for (file, out, expect) in [
        ("k.pub", None, Some("k-cert.pub")),
        ("/etc/ssh/k.pub", None, Some("/etc/ssh/k-cert.pub")),
        ("k", None, Some("k-cert.pub")),
        ("k.pub", Some("/tmp/c"), Some("/tmp/c")),
        ("k.pub", Some("-"), None),
        ("-", None, None),
        ("-", Some("c"), Some("c")),
    ] {
        let expect = expect.map_or(Destination::Stdout, |path| Destination::File(path.into()));
        assert_eq!(destination(&args(file, out)), expect, "{file} {out:?}");
    }
}
