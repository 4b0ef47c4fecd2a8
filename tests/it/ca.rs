//! The certificate authorities, judged by OpenSSH: keys that `ssh-keygen` reads, certificates that it describes as
//! they were drafted, certificates that it makes and that our verifier judges, and a real `ssh-agent` as key store.

use std::ffi::OsStr;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use caponier::ca::draft::{Draft, JUMP_HOST_LIFE, Permissions};
use caponier::ca::init::{InitError, init};
use caponier::ca::signer::{Authority, Signer, SignerError};
use caponier::ca::verify::{verify_host, verify_user};
use caponier::config::{self, CaSource, Passphrase};
use caponier::ids::{SessionId, SignInId};
use caponier::random::Random;
use caponier::secret::Secret;
use caponier::time::Timestamp;
use russh::keys::{Certificate, PublicKey};

use crate::keygen::{Agent, described, keygen, new_key, public_half, run, sign};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const SIGN_IN: &str = "sgn_0123456789abcdefghjkmnpqrs";

/// A folder with authorities, and their configuration.
struct Place {
    dir: tempfile::TempDir,
    ca: config::Ca,
    random: Random,
}

impl Place {
    fn plain() -> Self {
        let place = Self::empty(|_| CaSource::Files(Passphrase::Plain));
        init(&place.ca.dir, None, &place.random).unwrap();
        place
    }

    fn empty(source: impl FnOnce(&Path) -> CaSource) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ca = config::Ca { dir: dir.path().join("ca"), source: source(dir.path()) };
        Self { dir, ca, random: Random::System }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn ca_file(&self, name: &str) -> PathBuf {
        self.ca.dir.join(name)
    }

    fn copy(&self, from: &str, to: &str) {
        assert_ne!(std::fs::copy(self.ca_file(from), self.ca_file(to)).unwrap(), 0);
    }

    fn client_key(&self, kind: &str) -> (PathBuf, PublicKey) {
        let path = public_half(&new_key(self.path(), &format!("id_{kind}"), kind));
        let key = PublicKey::read_openssh_file(&path).unwrap();
        (path, key)
    }

    async fn refusal(&self) -> String {
        match Signer::open(&self.ca).await {
            Ok(_) => "opened".into(),
            Err(refused) => refused.to_string(),
        }
    }

    fn user_draft(&self, key: &PublicKey) -> Draft {
        let names = ["deploy".parse().unwrap(), "root".parse().unwrap()];
        let source = Some("::ffff:192.0.2.7".parse().unwrap());
        let sign_in = SIGN_IN.parse().unwrap();
        Draft::user(key, u64::MAX, "ann (corp:17)", &sign_in, &names, source, NOW, Duration::from_secs(300))
            .unwrap()
    }
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// `ssh-keygen -L` must have each of these lines.
fn assert_lines(described: &[String], wanted: &[&str]) {
    for line in wanted {
        assert!(described.iter().any(|is| is == line), "{line:?} is not in {described:#?}");
    }
}

#[tokio::test]
async fn ssh_keygen_reads_our_encrypted_keys() {
    let place = Place::empty(|dir| CaSource::Files(Passphrase::File(dir.join("passphrase"))));
    std::fs::write(place.path().join("passphrase"), "open sesame\nignored\n").unwrap();
    chmod(&place.path().join("passphrase"), 0o600);
    let made = init(&place.ca.dir, Some(&Secret::new("open sesame".into())), &place.random).unwrap();
    let signer = Signer::open(&place.ca).await.unwrap();
    for authority in Authority::ALL {
        let file = place.ca_file(authority.file_name());
        assert_eq!(signer.public_key(authority).key_data(), made.public_key(authority).key_data());
        let public = keygen([
            OsStr::new("-y"),
            "-P".as_ref(),
            "open sesame".as_ref(),
            "-f".as_ref(),
            file.as_os_str(),
        ]);
        assert_eq!(public, std::fs::read_to_string(public_half(&file)).unwrap());
        let wrong = run(Command::new("ssh-keygen").args(["-y", "-P", "wrong", "-f"]).arg(&file));
        assert!(!wrong.ok && wrong.stderr.contains("incorrect passphrase"), "{}", wrong.stderr);
        let line = keygen([OsStr::new("-l"), "-f".as_ref(), public_half(&file).as_os_str()]);
        assert!(
            line.contains(&made.public_key(authority).fingerprint(Default::default()).to_string()),
            "{line}"
        );
    }
    std::fs::write(place.path().join("passphrase"), "open sesam\n").unwrap();
    let refused = place.refusal().await;
    assert!(refused.contains("user_ca cannot be decrypted"), "{refused}");
}

#[tokio::test]
async fn we_read_the_keys_of_ssh_keygen() {
    let place = Place::empty(|dir| CaSource::Files(Passphrase::File(dir.join("passphrase"))));
    std::fs::create_dir(&place.ca.dir).unwrap();
    for authority in Authority::ALL {
        let file = new_key(&place.ca.dir, authority.file_name(), "ed25519");
        keygen([
            OsStr::new("-q"),
            "-p".as_ref(),
            "-N".as_ref(),
            "hunter2".as_ref(),
            "-f".as_ref(),
            file.as_os_str(),
        ]);
    }
    std::fs::write(place.path().join("passphrase"), "hunter2").unwrap();
    chmod(&place.path().join("passphrase"), 0o400);
    let signer = Signer::open(&place.ca).await.unwrap();
    let (_, key) = place.client_key("ed25519");
    assert!(signer.sign(&place.user_draft(&key), &place.random, NOW).await.is_ok());
}

#[tokio::test]
async fn openssh_describes_what_was_drafted() {
    let place = Place::plain();
    let signer = Signer::open(&place.ca).await.unwrap();
    let fingerprint = |authority| signer.public_key(authority).fingerprint(Default::default()).to_string();
    for (kind, name) in [("ed25519", "ED25519"), ("ecdsa", "ECDSA"), ("rsa", "RSA")] {
        let (_, key) = place.client_key(kind);
        let certificate = signer.sign(&place.user_draft(&key), &place.random, NOW).await.unwrap();
        let said = described(place.path(), &certificate.to_openssh().unwrap());
        let subject = key.fingerprint(Default::default());
        let signed_by = format!("Signing CA: ED25519 {} (using ssh-ed25519)", fingerprint(Authority::User));
        assert_lines(
            &said,
            &[
                &format!("Public key: {name}-CERT {subject}"),
                &signed_by,
                "Key ID: \"ann (corp:17)\"",
                "Serial: 18446744073709551615",
                "Valid: from 2027-01-15T07:59:00 to 2027-01-15T08:05:00",
                "deploy",
                "root",
                "source-address 192.0.2.7/32",
                "permit-pty",
            ],
        );
        assert!(
            said.iter().any(|line| line.starts_with("Type: ") && line.ends_with(" user certificate")),
            "{said:?}"
        );
        assert!(said.iter().any(|line| line.starts_with("sign-in@caponier UNKNOWN OPTION")), "{said:?}");
        let from = "192.0.2.7".parse().unwrap();
        let verified = verify_user(&certificate, signer.public_key(Authority::User), from, NOW).unwrap();
        assert_eq!(verified.sign_in().as_str(), SIGN_IN);
    }
}

#[tokio::test]
async fn openssh_describes_target_and_host_certificates() {
    let place = Place::plain();
    let signer = Signer::open(&place.ca).await.unwrap();
    let (_, key) = place.client_key("ed25519");
    let (session, login) = (SessionId::random(&place.random), "deploy".parse().unwrap());
    let sign_in: SignInId = SIGN_IN.parse().unwrap();
    let draft =
        Draft::target(&key, 7, "ann", &sign_in, &session, &login, Permissions::default(), NOW).unwrap();
    let certificate = signer.sign(&draft, &place.random, NOW).await.unwrap();
    let said = described(place.path(), &certificate.to_openssh().unwrap());
    assert_lines(
        &said,
        &["Valid: from 2027-01-15T07:59:00 to 2027-01-15T08:02:00", "Critical Options: (none)", "deploy"],
    );
    assert!(!said.iter().any(|line| line == "permit-pty"), "{said:?}");
    // What opens targets does not open the bastion.
    let from = "192.0.2.7".parse().unwrap();
    let refused = verify_user(&certificate, signer.public_key(Authority::User), from, NOW).unwrap_err();
    assert_eq!(refused.code, "wrong-ca");

    let names = ["web1".to_owned(), "192.0.2.9".to_owned()];
    let draft = Draft::host(&key, 8, "host web1", &names, NOW, JUMP_HOST_LIFE).unwrap();
    let certificate = signer.sign(&draft, &place.random, NOW).await.unwrap();
    let said = described(place.path(), &certificate.to_openssh().unwrap());
    assert_lines(&said, &["web1", "192.0.2.9", "Critical Options: (none)", "Extensions: (none)"]);
    assert!(said.iter().any(|line| line.ends_with(" host certificate")), "{said:?}");
    assert!(verify_host(&certificate, signer.public_key(Authority::Host), "192.0.2.9", NOW).is_ok());
}

/// OpenSSH checks a certificate's signature when it reads one, so what it describes above it also believes.
#[tokio::test]
async fn openssh_checks_our_signature() {
    let place = Place::plain();
    let signer = Signer::open(&place.ca).await.unwrap();
    let (_, key) = place.client_key("ed25519");
    let certificate = signer.sign(&place.user_draft(&key), &place.random, NOW).await.unwrap();
    let mut bytes = certificate.to_bytes().unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    let tampered = Certificate::from_bytes(&bytes).unwrap();
    for (certificate, is_good) in [(&certificate, true), (&tampered, false)] {
        let path = place.path().join("shown-cert.pub");
        std::fs::write(&path, certificate.to_openssh().unwrap()).unwrap();
        let answer = run(Command::new("ssh-keygen").arg("-L").arg("-f").arg(&path));
        assert_eq!(answer.ok, is_good, "{}{}", answer.stdout, answer.stderr);
    }
}

/// OpenSSH's own certificates, one for each word of the verifier that `ssh-keygen -s` can bring about.
#[test]
fn certificates_of_ssh_keygen_are_judged() {
    let place = Place::plain();
    let (ours, other) = (place.ca_file("user_ca"), place.ca_file("target_ca"));
    let user_ca = PublicKey::read_openssh_file(public_half(&ours)).unwrap();
    let (key, _) = place.client_key("ed25519");
    let (dsa, _) = place.client_key("dsa");
    let small = place.path().join("id_small");
    keygen([
        OsStr::new("-q"),
        "-t".as_ref(),
        "rsa".as_ref(),
        "-b".as_ref(),
        "1024".as_ref(),
        "-N".as_ref(),
        "".as_ref(),
        "-f".as_ref(),
        small.as_os_str(),
    ]);
    let small = public_half(&small);
    let window = |from: u64, until: u64| format!("{from:#x}:{until:#x}");
    let now = NOW.as_secs();
    let good = window(now - 60, now + 300);
    let extension = format!("extension:sign-in@caponier={SIGN_IN}");
    let rows: &[(&str, &Path, &Path, &str, &[&str])] = &[
        ("ok", &ours, &key, &good, &["-n", "root"]),
        ("ok", &ours, &key, &good, &["-n", "root", "-O", "source-address=192.0.2.0/24,10.0.0.1/32"]),
        ("ok", &ours, &key, &good, &["-n", "root", "-O", "extension:unheard-of@example.com"]),
        ("expired", &ours, &key, &window(now - 300, now), &["-n", "root"]),
        ("not-yet-valid", &ours, &key, &window(now + 1, now + 300), &["-n", "root"]),
        ("too-long", &ours, &key, &window(now - 60, now + 901), &["-n", "root"]),
        ("too-long", &ours, &key, "always:forever", &["-n", "root"]),
        ("wrong-ca", &other, &key, &good, &["-n", "root"]),
        ("wrong-type", &ours, &key, &good, &["-h", "-n", "root"]),
        ("no-principals", &ours, &key, &good, &[]),
        ("bad-principal", &ours, &key, &good, &["-n", "*"]),
        ("bad-principal", &ours, &key, &good, &["-n", "root,-oProxyCommand=x"]),
        ("unknown-critical-option", &ours, &key, &good, &["-n", "root", "-O", "force-command=/bin/true"]),
        ("unknown-critical-option", &ours, &key, &good, &["-n", "root", "-O", "verify-required"]),
        ("unknown-critical-option", &ours, &key, &good, &["-n", "root", "-O", "critical:x@example.com=1"]),
        ("source-address", &ours, &key, &good, &["-n", "root", "-O", "source-address=192.0.2.8/32"]),
        ("weak-key", &ours, &dsa, &good, &["-n", "root"]),
        ("weak-key", &ours, &small, &good, &["-n", "root"]),
        ("no-sign-in", &ours, &key, &good, &["-n", "root", "-O", "extension:sign-in@caponier=me"]),
    ];
    for (expect, ca, public, window, more) in rows {
        let mut options = vec!["-V", *window, "-z", "1"];
        // Host certificates take no extensions at ssh-keygen.
        if !more.contains(&"-h") && *expect != "no-sign-in" {
            options.extend(["-O", extension.as_str()]);
        }
        options.extend(more.iter());
        let line = sign(ca, public, &options);
        let verdict = Certificate::from_openssh(&line).map(|certificate| {
            verify_user(&certificate, &user_ca, "192.0.2.7".parse().unwrap(), NOW)
                .map_or_else(|e| e.code, |_| "ok")
        });
        assert_eq!(verdict, Ok(*expect), "{options:?}");
    }
}

#[tokio::test]
async fn agent_holds_the_keys() {
    let mut place = Place::plain();
    let agent = Agent::start(place.path());
    place.ca.source = CaSource::Agent(agent.socket.clone());
    let none = place.refusal().await;
    assert!(none.contains("does not hold SHA256:") && none.contains("ssh-add"), "{none}");
    for authority in Authority::ALL {
        let file = place.ca_file(authority.file_name());
        agent.add(["-q".as_ref(), file.as_os_str()]);
        std::fs::remove_file(file).unwrap();
    }
    let signer = Signer::open(&place.ca).await.unwrap();
    let (_, key) = place.client_key("ed25519");
    // More at once than the agent has places in its queue.
    let tasks: Vec<_> = (0..300)
        .map(|_| {
            let (signer, random, draft) = (signer.clone(), place.random.clone(), place.user_draft(&key));
            tokio::spawn(async move { signer.sign(&draft, &random, NOW).await })
        })
        .collect();
    let mut nonces = std::collections::BTreeSet::new();
    for task in tasks {
        let certificate = task.await.unwrap().unwrap();
        assert!(nonces.insert(certificate.nonce().to_vec()));
    }
    let names = ["web1".to_owned()];
    let host = Draft::host(&key, 8, "host web1", &names, NOW, JUMP_HOST_LIFE).unwrap();
    let certificate = signer.sign(&host, &place.random, NOW).await.unwrap();
    let said = described(place.path(), &certificate.to_openssh().unwrap());
    assert_lines(&said, &["web1", "Serial: 8"]);
    // A key taken out, and an agent that is gone.
    agent.add(["-q", "-D"]);
    assert!(matches!(signer.sign(&host, &place.random, NOW).await, Err(SignerError::Agent(_))));
    drop(agent);
    assert!(matches!(signer.sign(&host, &place.random, NOW).await, Err(SignerError::Agent(_))));
    assert!(place.refusal().await.contains("agent.sock"));
}

#[tokio::test]
async fn files_that_others_could_use_are_refused() {
    type Spoil = fn(&Place);
    let rows: &[(&str, Spoil)] = &[
        ("opened", |_| {}),
        ("run: chmod 600 ", |p| chmod(&p.ca_file("user_ca"), 0o640)),
        ("run: chmod 600 ", |p| chmod(&p.ca_file("target_ca"), 0o604)),
        ("run: chmod 600 ", |p| chmod(&p.ca_file("host_ca"), 0o620)),
        ("run: chmod 644 ", |p| chmod(&p.ca_file("host_ca.pub"), 0o666)),
        ("user_ca is a symbolic link", |p| {
            std::fs::rename(p.ca_file("user_ca"), p.ca_file("real")).unwrap();
            symlink(p.ca_file("real"), p.ca_file("user_ca")).unwrap();
        }),
        ("No such file", |p| std::fs::remove_file(p.ca_file("host_ca")).unwrap()),
        ("does not belong to the private key beside it; run: ssh-keygen -y -f ", |p| {
            p.copy("host_ca.pub", "target_ca.pub");
        }),
        ("are the same key", |p| {
            p.copy("user_ca", "target_ca");
            p.copy("user_ca.pub", "target_ca.pub");
        }),
        ("CA keys are Ed25519", |p| {
            std::fs::remove_file(p.ca_file("user_ca")).unwrap();
            drop(new_key(&p.ca.dir, "user_ca", "ecdsa"));
        }),
        ("not a private key in OpenSSH's format", |p| std::fs::write(p.ca_file("user_ca"), "x").unwrap()),
        ("says ca.plain = true", |p| {
            let file = p.ca_file("user_ca");
            drop(keygen([
                OsStr::new("-q"),
                "-p".as_ref(),
                "-N".as_ref(),
                "secret".as_ref(),
                "-f".as_ref(),
                file.as_os_str(),
            ]));
        }),
    ];
    for (expect, spoil) in rows {
        let place = Place::plain();
        spoil(&place);
        let refused = place.refusal().await;
        assert!(refused.contains(expect), "{expect}: {refused}");
    }
}

#[tokio::test]
async fn plain_files_under_a_passphrase_are_refused() {
    let mut place = Place::plain();
    std::fs::write(place.path().join("passphrase"), "x").unwrap();
    chmod(&place.path().join("passphrase"), 0o600);
    place.ca.source = CaSource::Files(Passphrase::File(place.path().join("passphrase")));
    let refused = place.refusal().await;
    assert!(refused.contains("is not encrypted") && refused.contains("ssh-keygen -p -f"), "{refused}");
    chmod(&place.path().join("passphrase"), 0o644);
    assert!(place.refusal().await.contains("run: chmod 600 "));
}

/// Many start at once in one folder: one makes the keys, whole; the others change nothing.
#[test]
fn init_happens_once() {
    let place = Place::empty(|_| CaSource::Files(Passphrase::Plain));
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (dir, random) = (place.ca.dir.clone(), place.random.clone());
            std::thread::spawn(move || init(&dir, None, &random))
        })
        .collect();
    let outcomes: Vec<_> = tasks.into_iter().map(|task| task.join().unwrap()).collect();
    let made: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
    assert_eq!(made.len(), 1);
    for refused in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        assert!(matches!(refused, InitError::Exists(_)), "{refused}");
    }
    assert_eq!(place.ca.dir.read_dir().unwrap().count(), 6);
    for authority in Authority::ALL {
        let public =
            PublicKey::read_openssh_file(place.ca_file(&format!("{}.pub", authority.file_name()))).unwrap();
        assert_eq!(public, *made[0].public_key(authority));
    }
}
