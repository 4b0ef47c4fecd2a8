//! The signer's second look, and what holds of everything it signs.

use std::time::Duration;

use russh::keys::Algorithm;

use super::*;
use crate::ca::Permissions;
use crate::ca::draft::{BACKDATE, TARGET_HOST_LIFE_MAX, TARGET_LIFE, USER_LIFE_MAX};
use crate::ids::{SessionId, SignInId};
use crate::names::LoginName;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_900);
const LIFE: Duration = Duration::from_secs(300);

fn new_key(random: &Random) -> PrivateKey {
    random.with(|rng| PrivateKey::random(rng, Algorithm::Ed25519)).unwrap()
}

fn signer(random: &Random) -> Signer {
    let keys = Trio::make(|_| Ok::<_, ()>(new_key(random))).unwrap();
    let public = Trio::make(|authority| Ok::<_, ()>(keys.of(authority).public_key().clone())).unwrap();
    Signer { inner: Arc::new(Inner { public, keys: Keys::Here(Box::new(keys)) }) }
}

fn user_draft(random: &Random) -> Draft {
    let (sign_in, names) = (SignInId::random(random), ["root".parse().unwrap()]);
    Draft::user(new_key(random).public_key(), 1, "ann", &sign_in, &names, None, NOW, LIFE).unwrap()
}

#[tokio::test]
async fn caps_are_checked_again_before_signing() {
    type Spoil = fn(&mut Draft);
    let random = Random::seeded(5);
    let signer = signer(&random);
    let after = |secs| NOW.plus(Duration::from_secs(secs));
    let rows: &[(&str, Spoil, Timestamp, &str)] = &[
        ("good", |_| {}, NOW, ""),
        ("good to the end", |_| {}, after(299), ""),
        ("too late", |_| {}, after(300), "the draft is for"),
        ("clock turned back", |_| {}, NOW.minus(BACKDATE + Duration::from_secs(1)), "the draft is for"),
        (
            "clock turned back a little",
            |d| d.valid_before = d.valid_before.plus(Duration::from_secs(600)),
            NOW.minus(Duration::from_secs(30)),
            "may until",
        ),
        ("too long", |d| d.valid_before = d.valid_before.plus(Duration::from_secs(601)), NOW, "over the cap"),
        ("for ever", |d| d.valid_before = Timestamp::from_millis(u64::MAX), NOW, "over the cap"),
        ("nobody", |d| d.principals.clear(), NOW, "at least one principal"),
        ("everybody", |d| d.principals = vec![String::new()], NOW, "does not carry that"),
        ("joined", |d| d.principals = vec!["root,ann".into()], NOW, "does not carry that"),
        ("other authority", |d| d.kind = Kind::Target, NOW, "over the cap"),
        ("host", |d| d.kind = Kind::Host, NOW, "does not carry that"),
        ("option", |d| drop(d.critical.insert("verify-required", String::new())), NOW, "does not carry that"),
        ("list", |d| drop(d.critical.insert(OPTION_SOURCE, "192.0.2.1/32,x".into())), NOW, "not sound"),
        ("sign-in", |d| drop(d.extensions.insert("sign-in@caponier", "sgn_x".into())), NOW, "not sound"),
    ];
    for (what, spoil, now, expect) in rows {
        let mut draft = user_draft(&random);
        spoil(&mut draft);
        let outcome = signer.sign(&draft, &random, *now).await;
        let said = outcome.as_ref().err().map(ToString::to_string).unwrap_or_default();
        assert_eq!(outcome.is_ok(), expect.is_empty(), "{what}: {said}");
        assert!(said.contains(expect), "{what}: {said}");
    }
}

/// An agent that signs with another key, or something else, is found out before anything leaves.
#[test]
fn answers_of_another_key_are_found_out() {
    use signature::Signer as _;
    let random = Random::seeded(6);
    let (ca, other) = (new_key(&random), new_key(&random));
    let draft = user_draft(&random);
    let probe = Stand::probe(ca.public_key());
    assert!(filled_in(&draft, [1; NONCE_BYTES]).unwrap().sign(&probe).is_err());
    let text = probe.into_text();
    let finish = |nonce: u8, answer: Signature| {
        let stand = Stand::with(ca.public_key(), text.clone(), answer);
        let certificate = filled_in(&draft, [nonce; NONCE_BYTES]).unwrap().sign(&stand)?;
        assert!(confirm(&draft, &certificate, ca.public_key(), NOW).is_ok());
        Ok::<_, ssh_key::Error>(())
    };
    let good: Signature = ca.try_sign(&text).unwrap();
    assert!(finish(1, good.clone()).is_ok());
    assert!(finish(2, good).is_err(), "a signature over another text");
    let stand = Stand::with(ca.public_key(), text.clone(), other.try_sign(&text).unwrap());
    // The builder checks signatures in debug builds only; our own check does not depend on that.
    if let Ok(certificate) = filled_in(&draft, [1; NONCE_BYTES]).unwrap().sign(&stand) {
        assert!(confirm(&draft, &certificate, ca.public_key(), NOW).is_err());
    }
    let by_other = filled_in(&draft, [1; NONCE_BYTES]).unwrap().sign(&other).unwrap();
    assert!(confirm(&draft, &by_other, ca.public_key(), NOW).is_err());
    let another = user_draft(&random);
    let certificate = filled_in(&another, [1; NONCE_BYTES]).unwrap().sign(&ca).unwrap();
    assert!(confirm(&draft, &certificate, ca.public_key(), NOW).is_err());
}

#[test]
fn one_key_cannot_be_two_authorities() {
    let random = Random::seeded(7);
    let [a, b, c] = [(); 3].map(|()| new_key(&random).public_key().clone());
    let trio = |user: &PublicKey, target: &PublicKey, host: &PublicKey| Trio {
        user: user.clone(),
        target: target.clone(),
        host: host.clone(),
    };
    assert!(check_distinct(&trio(&a, &b, &c)).is_ok());
    for same in [trio(&a, &a, &c), trio(&a, &b, &a), trio(&a, &b, &b), trio(&a, &a, &a)] {
        assert!(check_distinct(&same).is_err());
    }
}

/// What one seed's arguments led to.
async fn try_anything(signer: &Signer, seed: u64) -> bool {
    let random = Random::seeded(seed);
    let pick = |n: u64| random.u64() % n;
    let lives =
        [0, 1, 999, 1000, 1001, 60_000, 899_999, 900_000, 900_001, 7_776_000_000, 7_776_000_001, u64::MAX];
    let life = Duration::from_millis(lives[usize::try_from(pick(12)).unwrap()]);
    let times = [0, 1, 59_999, 60_000, 1_800_000_000_000, 1_800_000_000_999, u64::MAX - 1_000_000, u64::MAX];
    let now = Timestamp::from_millis(times[usize::try_from(pick(8)).unwrap()]);
    let words = ["root", "deploy", "_apt", "a.b-c", "0day", "x", "web1", "db-1"];
    let some: Vec<&str> = (0..pick(4)).map(|_| words[usize::try_from(pick(8)).unwrap()]).collect();
    let addresses = ["192.0.2.7", "::ffff:192.0.2.7", "2001:db8::1", "::1", "0.0.0.0", "::"];
    let source: Option<IpAddr> =
        addresses.get(usize::try_from(pick(9)).unwrap()).map(|text| text.parse().unwrap());
    let key_id = [
        "",
        "ann",
        "ann (corp:1)",
        "a
b",
        "é",
    ][usize::try_from(pick(5)).unwrap()];
    let (key, serial, sign_in) = (new_key(&random), random.u64(), SignInId::random(&random));
    let key = key.public_key();
    let kind = pick(3);
    let draft = match kind {
        0 => {
            let names: Vec<LoginName> = some.iter().map(|name| name.parse().unwrap()).collect();
            Draft::user(key, serial, key_id, &sign_in, &names, source, now, life)
        }
        1 => {
            let (session, login) = (SessionId::random(&random), "root".parse().unwrap());
            Draft::target(
                key,
                serial,
                key_id,
                &sign_in,
                &session,
                &login,
                Permissions { pty: pick(2) == 0, ..Permissions::default() },
                now,
            )
        }
        _ => {
            let names: Vec<String> = some.iter().map(|name| (*name).to_owned()).collect();
            Draft::host(key, serial, key_id, &names, now, life)
        }
    };
    let Ok(draft) = draft else { return false };
    let late = now.plus(Duration::from_millis(pick(2000)));
    let Ok(certificate) = signer.sign(&draft, &random, late).await else { return false };
    let cap = [USER_LIFE_MAX, TARGET_LIFE, TARGET_HOST_LIFE_MAX][usize::try_from(kind).unwrap()] + BACKDATE;
    assert!(certificate.valid_before() - certificate.valid_after() <= cap.as_secs(), "seed {seed}");
    assert!(certificate.valid_before() <= now.plus(cap - BACKDATE).as_secs(), "seed {seed}");
    assert!(!certificate.valid_principals().is_empty(), "seed {seed}");
    let user_ca = signer.public_key(Authority::User);
    let from = source.unwrap_or(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)));
    let verdict = verify::verify_user(&certificate, user_ca, from, late);
    assert_eq!(verdict.is_ok(), kind == 0, "seed {seed}: {verdict:?}");
    true
}

/// Whatever the constructors are given: what gets signed is accepted from a good caller, only the user CA makes
/// what the bastion accepts, and nothing lives longer than the cap.
#[tokio::test]
async fn whatever_is_signed_holds() {
    let signer = signer(&Random::seeded(8));
    let mut signed = 0;
    for seed in 0..3000 {
        signed += u32::from(try_anything(&signer, seed).await);
    }
    // Guards against a test that tries nothing.
    assert!((300..2700).contains(&signed), "{signed} of 3000");
}
