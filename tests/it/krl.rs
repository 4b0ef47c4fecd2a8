//! Our key revocation lists and OpenSSH's: what we write, `ssh-keygen -Q` reads as we do, and what `ssh-keygen -k`
//! writes, we read as it does, over lists and certificates drawn at random. `ssh-keygen` is the judge.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use caponier::ca::krl::Krl;
use caponier::random::Random;
use rand::RngExt as _;
use russh::keys::ssh_key::certificate::{Builder, CertType};
use russh::keys::ssh_key::{Certificate, HashAlg, PublicKey};
use russh::keys::{Algorithm, PrivateKey};

use crate::keygen::{keygen, run};

/// Something to ask about: a file, and what it holds.
enum Shown {
    Key(PublicKey),
    Certificate(Box<Certificate>),
}

/// Three authorities, and keys and certificates in files.
struct Pool {
    dir: tempfile::TempDir,
    authorities: Vec<PrivateKey>,
    keys: Vec<PublicKey>,
    serials: Vec<u64>,
    files: BTreeMap<PathBuf, Shown>,
}

impl Pool {
    fn new(random: &Random) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let new = || random.with(|rng| PrivateKey::random(rng, Algorithm::Ed25519)).unwrap();
        let authorities: Vec<PrivateKey> = (0..3).map(|_| new()).collect();
        for (n, authority) in authorities.iter().enumerate() {
            let line = authority.public_key().to_openssh().unwrap();
            std::fs::write(dir.path().join(format!("ca{n}.pub")), line).unwrap();
        }
        let keys: Vec<PublicKey> = (0..8).map(|_| new().public_key().clone()).collect();
        let mut serials: Vec<u64> = vec![1, 2, 3, 7, 8, 64, 65, 1000, 1001, 70_000, u64::MAX - 1, u64::MAX];
        serials.extend((0..8).map(|_| random.u64().max(1)));
        let mut files = BTreeMap::new();
        for (n, key) in keys.iter().enumerate() {
            let path = dir.path().join(format!("key{n}.pub"));
            std::fs::write(&path, key.to_openssh().unwrap()).unwrap();
            files.insert(path, Shown::Key(key.clone()));
        }
        // Serial 0 too: nobody's serial, which no list revokes.
        for (n, serial) in serials.iter().copied().chain([0]).enumerate() {
            let authority = &authorities[n % authorities.len()];
            let mut builder = Builder::new(
                random.bytes::<16>(),
                keys[n % keys.len()].key_data().clone(),
                1_000_000,
                4_000_000_000,
            )
            .unwrap();
            builder.serial(serial).unwrap().cert_type(CertType::User).unwrap();
            builder.key_id(format!("corp:erin/{}", n % 5)).unwrap().valid_principal("root").unwrap();
            let certificate = builder.sign(authority).unwrap();
            let path = dir.path().join(format!("cert{n}-cert.pub"));
            std::fs::write(&path, certificate.to_openssh().unwrap()).unwrap();
            files.insert(path, Shown::Certificate(Box::new(certificate)));
        }
        Self { dir, authorities, keys, serials, files }
    }

    /// What `ssh-keygen -Q` says of each file: whether it is revoked.
    fn judged(&self, list: &Path) -> BTreeMap<PathBuf, bool> {
        let mut command = Command::new("ssh-keygen");
        let answer = run(command.args(["-Q", "-f"]).arg(list).args(self.files.keys()));
        let verdicts: BTreeMap<PathBuf, bool> = answer
            .stdout
            .lines()
            .map(|line| {
                let (path, verdict) = line.rsplit_once(": ").unwrap();
                let path = path.split(" (").next().unwrap();
                assert!(matches!(verdict, "ok" | "REVOKED"), "{line}");
                (path.into(), verdict == "REVOKED")
            })
            .collect();
        assert_eq!(verdicts.len(), self.files.len(), "{}{}", answer.stdout, answer.stderr);
        verdicts
    }

    /// What we say of them.
    fn ours(&self, krl: &Krl) -> BTreeMap<PathBuf, bool> {
        let verdict = |shown: &Shown| match shown {
            Shown::Key(key) => krl.revokes_key(key.key_data()),
            Shown::Certificate(certificate) => krl.revokes(certificate),
        };
        self.files.iter().map(|(path, shown)| (path.clone(), verdict(shown))).collect()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// What a list is to revoke.
#[derive(Debug, Default)]
struct Wish {
    /// Authority, first, last.
    serials: Vec<(usize, u64, u64)>,
    /// Authority, key id.
    key_ids: Vec<(usize, String)>,
    keys: Vec<PublicKey>,
    fingerprints: Vec<PublicKey>,
}

impl Wish {
    fn at_random(pool: &Pool, random: &Random) -> Self {
        random.with(|rng| {
            let mut wish = Self::default();
            for _ in 0..rng.random_range(0..12) {
                let first = pool.serials[rng.random_range(0..pool.serials.len())];
                let more = [0, 0, 1, 2, 60, 5000][rng.random_range(0..6)];
                // `ssh-keygen -k` takes no range up to the very last serial; `ca::krl` has that in its own tests.
                let (first, last) = (first.min(u64::MAX - 1), first.saturating_add(more).min(u64::MAX - 1));
                wish.serials.push((rng.random_range(0..2), first, last));
            }
            for _ in 0..rng.random_range(0..3) {
                wish.key_ids.push((rng.random_range(0..2), format!("corp:erin/{}", rng.random_range(0..7))));
            }
            for _ in 0..rng.random_range(0..2) {
                wish.keys.push(pool.keys[rng.random_range(0..pool.keys.len())].clone());
                wish.fingerprints.push(pool.keys[rng.random_range(0..pool.keys.len())].clone());
            }
            // An authority itself, now and then: all that it signed.
            match rng.random_range(0..8) {
                0 => wish.keys.push(pool.authorities[2].public_key().clone()),
                1 => wish.fingerprints.push(pool.authorities[2].public_key().clone()),
                _ => {}
            }
            wish
        })
    }

    fn ours(&self, pool: &Pool) -> Krl {
        let mut krl = Krl::new(7, 1_000_000, "");
        let ca = |n: usize| pool.authorities[n].public_key().key_data();
        for (n, first, last) in &self.serials {
            krl.revoke_serials(ca(*n), *first, *last).unwrap();
        }
        for (n, key_id) in &self.key_ids {
            krl.revoke_key_id(ca(*n), key_id).unwrap();
        }
        for key in &self.keys {
            krl.revoke_key(key.key_data()).unwrap();
        }
        for key in &self.fingerprints {
            krl.revoke_fingerprint(key.fingerprint(HashAlg::Sha256).as_bytes().try_into().unwrap());
        }
        krl
    }

    /// The same by `ssh-keygen -k`, one authority after the other.
    fn theirs(&self, pool: &Pool) -> PathBuf {
        let (list, lines) = (pool.path("theirs"), pool.path("lines"));
        for n in 0..2 {
            let mut text = String::new();
            for (_, first, last) in self.serials.iter().filter(|(of, ..)| *of == n) {
                // A range of one is none to `ssh-keygen`.
                let range = if first == last { String::new() } else { format!("-{last}") };
                writeln!(text, "serial: {first}{range}").unwrap();
            }
            for (_, key_id) in self.key_ids.iter().filter(|(of, _)| *of == n) {
                writeln!(text, "id: {key_id}").unwrap();
            }
            if n == 0 {
                self.keys
                    .iter()
                    .for_each(|key| writeln!(text, "key: {}", key.to_openssh().unwrap()).unwrap());
                for key in &self.fingerprints {
                    writeln!(text, "sha256: {}", key.to_openssh().unwrap()).unwrap();
                }
            }
            std::fs::write(&lines, text).unwrap();
            let ca = pool.path(&format!("ca{n}.pub"));
            let mut args: Vec<std::ffi::OsString> = ["-q", "-k", "-z", "7"].map(Into::into).into();
            args.extend((n == 1).then(|| "-u".into()));
            args.extend(["-f".into(), list.clone().into(), "-s".into(), ca.into(), lines.clone().into()]);
            keygen(args);
        }
        list
    }
}

#[test]
fn ssh_keygen_agrees_with_our_reader() {
    let rounds = if std::env::var_os("CAPONIER_TEST_FUZZ").is_some() { 1000 } else { 40 };
    let (mut revoked, mut asked, mut our_bytes, mut their_bytes) = (0, 0, 0, 0);
    let pool = Pool::new(&Random::seeded(1));
    for seed in 0..rounds {
        let wish = Wish::at_random(&pool, &Random::seeded(seed));
        let krl = wish.ours(&pool);
        let bytes = krl.write();
        let path = pool.path("ours");
        std::fs::write(&path, &bytes).unwrap();
        let read = Krl::read(&bytes).unwrap();
        let verdicts = pool.judged(&path);
        assert_eq!(pool.ours(&read), verdicts, "a list of ours, seed {seed}: {wish:#?}");

        let theirs = std::fs::read(wish.theirs(&pool)).unwrap();
        let read =
            Krl::read(&theirs).unwrap_or_else(|e| panic!("a list of theirs, seed {seed}: {e} {wish:#?}"));
        assert_eq!(pool.judged(&pool.path("theirs")), verdicts, "the same things, seed {seed}: {wish:#?}");
        assert_eq!(pool.ours(&read), verdicts, "a list of theirs, seed {seed}: {wish:#?}");
        assert_eq!(read.version, 7);
        revoked += verdicts.values().filter(|revoked| **revoked).count();
        asked += verdicts.len();
        our_bytes += bytes.len();
        their_bytes += theirs.len();
    }
    assert!(revoked > asked / 20 && revoked < asked / 2, "{revoked} of {asked}: says little");
    assert!(our_bytes <= their_bytes, "{our_bytes} bytes, ssh-keygen needs {their_bytes}");
    println!(
        "{rounds} lists, {asked} questions, {revoked} revoked; {our_bytes} bytes, ssh-keygen's {their_bytes}"
    );
}

#[test]
fn an_authority_takes_all_it_signed_with_it() {
    let random = Random::seeded(2);
    let pool = Pool::new(&random);
    let mut krl = Krl::new(1, 2, "caponier");
    krl.revoke_key(pool.authorities[1].public_key().key_data()).unwrap();
    let path = pool.path("ours");
    std::fs::write(&path, krl.write()).unwrap();
    for (file, revoked) in pool.judged(&path) {
        let expect = match &pool.files[&file] {
            Shown::Key(_) => false,
            Shown::Certificate(of) => of.signature_key() == pool.authorities[1].public_key().key_data(),
        };
        assert_eq!(revoked, expect, "{}", file.display());
    }
}

#[test]
fn what_our_reader_refuses_for_being_broken_ssh_keygen_refuses_too() {
    let random = Random::seeded(3);
    let pool = Pool::new(&random);
    let mut krl = Krl::new(1, 2, "caponier");
    let ca = pool.authorities[0].public_key().key_data();
    for serial in [1, 3, 5, 7, 9, 11, 13, 5000] {
        krl.revoke_serials(ca, serial, serial).unwrap();
    }
    krl.revoke_key_id(ca, "corp:erin/1").unwrap();
    let good = krl.write();
    let path = pool.path("bent");
    let reads = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        run(Command::new("ssh-keygen").args(["-Q", "-l", "-f"]).arg(&path)).ok
    };
    assert!(reads(&good));
    let mut refused = 0;
    for _ in 0..200 {
        let mut bent = good.clone();
        let (at, to) = random.with(|rng| (rng.random_range(0..good.len()), rng.random()));
        bent[at] = to;
        // We are the stricter ones: what they cannot read, we do not either.
        if !reads(&bent) {
            assert!(Krl::read(&bent).is_err(), "byte {at} as {to}");
            refused += 1;
        }
    }
    assert!(refused > 20, "{refused}");
}
