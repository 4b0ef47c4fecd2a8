//! What a list says of serials, what its bytes are, and what the reader refuses. That OpenSSH agrees is shown in
//! `tests/it/krl.rs`.

use rand::RngExt as _;
use russh::keys::{Algorithm, PrivateKey};

use super::*;
use crate::random::Random;

fn key(seed: u64) -> KeyData {
    let key = Random::seeded(seed).with(|rng| PrivateKey::random(rng, Algorithm::Ed25519)).unwrap();
    key.public_key().key_data().clone()
}

fn with_serials(ca: &KeyData, serials: &[(u64, u64)]) -> Krl {
    let mut krl = Krl::new(7, 1000, "caponier");
    for (first, last) in serials {
        krl.revoke_serials(ca, *first, *last).unwrap();
    }
    krl
}

#[test]
fn the_empty_list_is_its_head() {
    let bytes = Krl::new(1, 2, "c").write();
    let expect = [
        b"SSHKRL\n\0".as_slice(),
        &[0, 0, 0, 1],
        &1_u64.to_be_bytes(),
        &2_u64.to_be_bytes(),
        &[0; 8],
        &[0; 4],
        &[0, 0, 0, 1, b'c'],
    ];
    assert_eq!(bytes, expect.concat());
    assert!(Krl::read(&bytes).unwrap().is_empty());
}

#[test]
fn serials_come_back_however_they_are_packed() {
    let ca = key(1);
    let body = with_serials(&ca, &[]).write().len();
    let max = u64::MAX;
    // What is revoked, and the most bytes that the serials may take with the head of their section.
    let head = 5 + 4 + 51 + 4;
    let rows: &[(&[(u64, u64)], usize)] = &[
        (&[(5, 5)], head + 5 + 8),
        (&[(1, max)], head + 21),
        (&[(max, max)], head + 5 + 8),
        (&[(1, 1), (max, max)], head + 5 + 16),
        (&[(10, 11)], head + 21),
        (&[(10, 12)], head + 21),
        // Every second one of a hundred: bits.
        (&std::array::from_fn::<_, 50, _>(|n| (100 + 2 * n as u64, 100 + 2 * n as u64)), head + 31),
        // Far apart: a list.
        (
            &std::array::from_fn::<_, 50, _>(|n| (1 + 1_000_000 * n as u64, 1 + 1_000_000 * n as u64)),
            head + 405,
        ),
        // Two long runs with a gap between: two ranges.
        (&[(1, 10_000), (10_010, 20_000)], head + 42),
    ];
    for (serials, most) in rows {
        let krl = with_serials(&ca, serials);
        let bytes = krl.write();
        assert_eq!(Krl::read(&bytes).unwrap(), krl, "{serials:?}");
        assert!(bytes.len() - body <= *most, "{serials:?}: {} bytes, at most {most}", bytes.len() - body);
    }
}

#[test]
fn ranges_that_touch_are_one() {
    let mut serials = Serials::default();
    for (first, last) in
        [(10, 20), (22, 30), (1, 2), (21, 21), (25, 40), (u64::MAX - 1, u64::MAX), (u64::MAX, u64::MAX)]
    {
        serials.insert(first, last);
    }
    let runs: Vec<_> = serials.0.iter().map(|(a, b)| (*a, *b)).collect();
    assert_eq!(runs, [(1, 2), (10, 40), (u64::MAX - 1, u64::MAX)]);
    for (serial, expect) in
        [(0, false), (1, true), (3, false), (9, false), (40, true), (41, false), (u64::MAX, true)]
    {
        assert_eq!(serials.contains(serial), expect, "{serial}");
    }
}

#[test]
fn what_cannot_stand_in_a_list() {
    let (ca, mut krl) = (key(1), Krl::default());
    assert_eq!(krl.revoke_serials(&ca, 0, 0), Err(KrlRefused::SerialZero));
    assert_eq!(krl.revoke_serials(&ca, 3, 2), Err(KrlRefused::Backwards));
    for bad in ["", "a\0b", &"x".repeat(513)] {
        assert_eq!(krl.revoke_key_id(&ca, bad), Err(KrlRefused::KeyId), "{bad:?}");
    }
    assert!(krl.is_empty());
}

#[test]
fn random_lists_come_back() {
    let ca = [key(1), key(2)];
    for seed in 0..200 {
        let krl = Random::seeded(seed).with(|rng| {
            let mut krl = Krl::new(rng.random(), rng.random(), "made at random");
            for _ in 0..rng.random_range(0..60) {
                let ca = &ca[rng.random_range(0..2)];
                // Close together half of the time.
                let first =
                    if rng.random() { rng.random_range(1..400) } else { rng.random_range(1..u64::MAX) };
                let more = if rng.random() { 0 } else { rng.random_range(0..300) };
                krl.revoke_serials(ca, first, first.saturating_add(more)).unwrap();
            }
            for n in 0..rng.random_range(0..3) {
                krl.revoke_key_id(&ca[0], &format!("corp:erin/{n}")).unwrap();
                krl.revoke_key(&key(100 + n)).unwrap();
                krl.revoke_fingerprint(rng.random());
            }
            krl
        });
        assert_eq!(Krl::read(&krl.write()).unwrap(), krl, "seed {seed}");
    }
}

#[test]
fn the_reader_refuses_what_it_does_not_know() {
    let ca = key(1);
    let mut krl = with_serials(&ca, &[(1, 1), (5, 900)]);
    krl.revoke_key_id(&ca, "corp:erin").unwrap();
    krl.revoke_key(&key(3)).unwrap();
    krl.revoke_fingerprint([7; 32]);
    let good = krl.write();
    Krl::read(&good).unwrap();
    for cut in 0..good.len() {
        // A list that ends between two sections is a shorter list; sshd cannot tell either.
        if let Ok(shorter) = Krl::read(&good[..cut]) {
            assert!(shorter != krl && good.starts_with(&shorter.write()), "cut at {cut}");
        }
    }
    let bent = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        Krl::read(&bytes).unwrap_err().to_string()
    };
    type Change<'c> = &'c dyn Fn(&mut Vec<u8>);
    let rows: &[(Change<'_>, &str)] = &[
        (&|b| b[0] = b'X', "does not begin"),
        (&|b| b[11] = 2, "another version"),
        (&|b| b[35] = 1, "flags"),
        (&|b| b.push(0), "ends too early"),
        (&|b| b.extend([9, 0, 0, 0, 0]), "kind that is not known"),
        // SHA-1 fingerprints and in-file signatures: not ours, and the latter refused by OpenSSH since 9.4.
        (&|b| b.extend([3, 0, 0, 0, 0]), "kind that is not known"),
        (&|b| b.extend([4, 0, 0, 0, 0]), "kind that is not known"),
        (&|b| b.extend([5, 0, 0, 0, 5, 0, 0, 0, 1, 9]), "not 32 bytes"),
        (&|b| b.extend([2, 0, 0, 0, 4, 0, 0, 0, 0]), "empty key"),
        (&|b| b.resize(read::BYTES_MAX + 1, 0), "too large"),
    ];
    for (change, why) in rows {
        let said = bent(change);
        assert!(said.contains(why), "{said:?} instead of {why:?}");
    }
    let part = |kind: u8, content: &[u8]| {
        let mut section = [0; 8].to_vec();
        wire::put_section(&mut section, kind, content);
        let mut bytes = Krl::default().write();
        wire::put_section(&mut bytes, wire::SECTION_CERTIFICATES, &section);
        Krl::read(&bytes).map(drop)
    };
    let two = |a: u64, b: u64| [a.to_be_bytes(), b.to_be_bytes()].concat();
    assert_eq!(part(0x21, &two(1, 2)), Ok(()));
    assert!(part(0x20, &0_u64.to_be_bytes()).is_err(), "serial 0");
    assert!(part(0x21, &two(3, 2)).is_err(), "backwards");
    assert!(part(0x21, &[two(1, 2), vec![0]].concat()).is_err(), "left over");
    assert!(part(0x22, &[&9_u64.to_be_bytes()[..], &[0, 0, 0, 1, 0x80]].concat()).is_err(), "negative");
    assert!(part(0x22, &[&u64::MAX.to_be_bytes()[..], &[0, 0, 0, 1, 2]].concat()).is_err(), "past the end");
    let wide = [&9_u64.to_be_bytes()[..], &2050_u32.to_be_bytes(), &[1; 2050]].concat();
    assert!(part(0x22, &wide).is_err(), "too wide");
    assert!(part(0x23, &[0, 0, 0, 0]).is_err(), "an empty key id");
    assert!(part(0x39, &[]).is_err(), "an extension");
}

#[test]
fn random_bytes_never_panic() {
    let good = with_serials(&key(1), &[(1, 3), (90, 90), (92, 92), (94, 94), (400, 9000)]).write();
    Random::seeded(5).with(|rng| {
        for _ in 0..20_000 {
            let mut bytes = good.clone();
            for _ in 0..rng.random_range(1..4) {
                let at = rng.random_range(0..bytes.len());
                bytes[at] = rng.random();
            }
            bytes.truncate(rng.random_range(0..=bytes.len()));
            // Whatever it makes of them, it makes it again of what it wrote.
            if let Ok(krl) = Krl::read(&bytes) {
                assert_eq!(Krl::read(&krl.write()), Ok(krl));
            }
        }
    });
}
