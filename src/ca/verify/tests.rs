//! The verifier against certificates written byte by byte.

use russh::keys::signature::Signer as _;
use russh::keys::ssh_encoding::Encode as _;
use russh::keys::ssh_key::public::{Ed25519PublicKey, RsaPublicKey, SkEd25519};
use russh::keys::ssh_key::{Mpint, Signature};
use russh::keys::{Algorithm, PrivateKey};

use super::*;
use crate::random::Random;

const NOW: u64 = 1_800_000_000;
const SIGN_IN: &str = "sgn_0123456789abcdefghjkmnpqrs";

/// A certificate written byte by byte (PROTOCOL.certkeys), so that it can say what no library would make.
#[derive(Clone)]
struct Plan {
    subject: KeyData,
    kind: u32,
    principals: Vec<String>,
    from: u64,
    until: u64,
    critical: Vec<(&'static str, Vec<u8>)>,
    extensions: Vec<(&'static str, Vec<u8>)>,
    signer: PrivateKey,
    /// The CA key as it stands in the certificate, when it is not the signer's.
    signed_by: Option<Vec<u8>>,
    flip: bool,
}

fn key(seed: u64) -> PrivateKey {
    Random::seeded(seed).with(|rng| PrivateKey::random(rng, Algorithm::Ed25519)).unwrap()
}

fn string(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

fn option(name: &'static str, value: &str) -> (&'static str, Vec<u8>) {
    (name, string(value))
}

fn plan() -> Plan {
    Plan {
        subject: key(1).public_key().key_data().clone(),
        kind: 1,
        principals: vec!["root".into()],
        from: NOW - 60,
        until: NOW + 300,
        critical: vec![],
        extensions: vec![("permit-pty", vec![]), option("sign-in@caponier", SIGN_IN)],
        signer: key(2),
        signed_by: None,
        flip: false,
    }
}

fn write(plan: &Plan) -> Vec<u8> {
    let mut subject = Vec::new();
    plan.subject.encode(&mut subject).unwrap();
    let after_name = 4 + plan.subject.algorithm().as_str().len();
    let list = |options: &[(&str, Vec<u8>)]| {
        string(
            options
                .iter()
                .flat_map(|(name, value)| [string(name), string(value)].concat())
                .collect::<Vec<u8>>(),
        )
    };
    let signed_by = plan.signed_by.clone().unwrap_or_else(|| plan.signer.public_key().to_bytes().unwrap());
    let mut bytes = [
        string(plan.subject.algorithm().to_certificate_type()),
        string([7; 32]),
        subject[after_name..].to_vec(),
        9_u64.to_be_bytes().to_vec(),
        plan.kind.to_be_bytes().to_vec(),
        string("ann (corp:1)"),
        string(plan.principals.iter().flat_map(string).collect::<Vec<u8>>()),
        plan.from.to_be_bytes().to_vec(),
        plan.until.to_be_bytes().to_vec(),
        list(&plan.critical),
        list(&plan.extensions),
        string([]),
        string(signed_by),
    ]
    .concat();
    let signature: Vec<u8> = Signature::try_into(plan.signer.try_sign(&bytes).unwrap()).unwrap();
    bytes.extend(string(signature));
    if plan.flip {
        *bytes.last_mut().unwrap() ^= 1;
    }
    bytes
}

fn judge(plan: &Plan, from: &str, now: Timestamp) -> String {
    match Certificate::from_bytes(&write(plan)) {
        Ok(certificate) => match verify_user(&certificate, key(2).public_key(), from.parse().unwrap(), now) {
            Ok(_) => "ok".into(),
            Err(refused) => refused.code.into(),
        },
        Err(_) => "undecodable".into(),
    }
}

fn sk() -> KeyData {
    KeyData::SkEd25519(SkEd25519::new(Ed25519PublicKey([9; 32]), "ssh:"))
}

fn rsa(bytes: usize) -> KeyData {
    let n = Mpint::from_positive_bytes(&vec![0xff; bytes]);
    KeyData::Rsa(RsaPublicKey::new(Mpint::from_positive_bytes(&[1, 0, 1]), n).unwrap())
}

fn inner_certificate() -> Vec<u8> {
    write(&Plan { subject: key(2).public_key().key_data().clone(), ..plan() })
}

type Spoil = fn(&mut Plan);

fn check_rows(rows: &[(&str, Spoil)]) {
    for (n, (expect, spoil)) in rows.iter().enumerate() {
        let mut plan = plan();
        spoil(&mut plan);
        assert_eq!(judge(&plan, "192.0.2.7", Timestamp::from_millis(NOW * 1000 + 999)), *expect, "row {n}");
    }
}

#[test]
fn number_of_principals() {
    let many = |n: u32| (0..n).map(|n| format!("u{n}")).collect::<Vec<_>>();
    assert_eq!(
        judge(&Plan { principals: many(256), ..plan() }, "192.0.2.7", Timestamp::from_secs(NOW)),
        "ok"
    );
    assert_eq!(
        judge(&Plan { principals: many(257), ..plan() }, "192.0.2.7", Timestamp::from_secs(NOW)),
        "bad-principal"
    );
}

#[test]
fn one_row_for_each_code() {
    check_rows(&[
        ("ok", |_| {}),
        ("ok", |p| p.subject = rsa(512)),
        ("ok", |p| p.critical = vec![option("source-address", "192.0.2.7/32")]),
        ("ok", |p| p.critical = vec![option("source-address", "10.0.0.0/8,192.0.2.0/24")]),
        ("ok", |p| p.critical = vec![option("source-address", "::ffff:192.0.2.7/128")]),
        ("ok", |p| p.extensions.insert(1, ("permit-unheard-of", vec![]))),
        // The last second is not part of the window, the first one is.
        ("expired", |p| p.until = NOW),
        ("ok", |p| p.until = NOW + 1),
        ("expired", |p| (p.from, p.until) = (NOW, NOW)),
        ("expired", |p| (p.from, p.until) = (NOW + 10, NOW - 10)),
        ("expired", |p| (p.from, p.until) = (u64::MAX, 0)),
        ("ok", |p| p.from = NOW),
        ("not-yet-valid", |p| p.from = NOW + 1),
        ("ok", |p| (p.from, p.until) = (NOW - 60, NOW + 900)),
        ("too-long", |p| (p.from, p.until) = (NOW - 60, NOW + 901)),
        ("too-long", |p| (p.from, p.until) = (0, u64::MAX)),
        ("wrong-ca", |p| p.signer = key(3)),
        ("bad-signature", |p| {
            p.signed_by = Some(p.signer.public_key().to_bytes().unwrap());
            p.signer = key(3);
        }),
        ("bad-signature", |p| p.flip = true),
        ("wrong-type", |p| p.kind = 2),
        ("undecodable", |p| p.kind = 0),
        ("undecodable", |p| p.kind = 3),
        ("weak-key", |p| p.subject = rsa(255)),
        ("weak-key", |p| p.subject = rsa(1024)),
        ("weak-key", |p| p.subject = sk()),
        ("weak-key", |p| p.subject = KeyData::Ed25519(Ed25519PublicKey([0; 32]))),
        ("nested-key", |p| p.signed_by = Some(inner_certificate())),
        ("wrong-ca", |p| {
            let mut encoded = Vec::new();
            sk().encode(&mut encoded).unwrap();
            p.signed_by = Some(encoded);
        }),
    ]);
}

#[test]
fn one_row_for_each_code_of_what_it_carries() {
    check_rows(&[
        ("no-principals", |p| p.principals.clear()),
        ("bad-principal", |p| p.principals = vec!["root".into(), String::new()]),
        ("bad-principal", |p| p.principals = vec!["root,ann".into()]),
        ("bad-principal", |p| p.principals = vec!["*".into()]),
        ("bad-principal", |p| p.principals = vec!["root\0".into()]),
        ("bad-principal", |p| p.principals = vec!["r\u{f6}\u{f6}t".into()]),
        ("unknown-critical-option", |p| p.critical = vec![option("force-command", "/bin/true")]),
        ("unknown-critical-option", |p| p.critical = vec![("verify-required", vec![])]),
        ("unknown-critical-option", |p| p.critical = vec![option("made-up@example.com", "x")]),
        ("unknown-critical-option", |p| {
            p.critical = vec![option("source-address", "192.0.2.7/32"), ("verify-required", vec![])];
        }),
        ("unknown-critical-option", |p| p.critical = vec![option("Source-Address", "192.0.2.7/32")]),
        ("source-address", |p| p.critical = vec![option("source-address", "192.0.2.8/32")]),
        ("source-address", |p| p.critical = vec![option("source-address", "192.0.2.7/32,oops")]),
        ("source-address", |p| p.critical = vec![("source-address", vec![])]),
        // Twice or out of order: ssh-key does not decode that. What is behind a value it drops, and then it is not
        // what was signed.
        ("undecodable", |p| {
            let twice = option("source-address", "192.0.2.7/32");
            p.critical = vec![twice.clone(), twice];
        }),
        ("undecodable", |p| p.extensions.reverse()),
        ("bad-signature", |p| {
            let (name, mut value) = option("source-address", "192.0.2.7/32");
            value.push(0);
            p.critical = vec![(name, value)];
        }),
        // The empty text written the long way: decoded, but not what was signed when encoded again.
        ("bad-signature", |p| p.critical = vec![("source-address", string([]))]),
        ("no-sign-in", |p| p.extensions.truncate(1)),
        ("no-sign-in", |p| p.extensions = vec![("sign-in@caponier", vec![])]),
        ("no-sign-in", |p| p.extensions = vec![option("sign-in@caponier", "sgn_../../../../etc/passwd00")]),
        ("no-sign-in", |p| p.extensions = vec![option("sign-in@caponier", "ses_0123456789abcdefghjkmnpqrs")]),
    ]);
}

#[test]
fn source_address_meets_ipv4_in_ipv6() {
    let bound = Plan { critical: vec![option("source-address", "192.0.2.7/32")], ..plan() };
    for (from, expect) in [
        ("192.0.2.7", "ok"),
        ("::ffff:192.0.2.7", "ok"),
        ("::192.0.2.7", "source-address"),
        ("::ffff:192.0.2.8", "source-address"),
        ("2001:db8::7", "source-address"),
    ] {
        assert_eq!(judge(&bound, from, Timestamp::from_secs(NOW)), expect, "{from}");
    }
}

#[test]
fn what_is_verified_is_what_was_signed() {
    let certificate = Certificate::from_bytes(&write(&plan())).unwrap();
    let from = "192.0.2.7".parse().unwrap();
    let verified = verify_user(&certificate, key(2).public_key(), from, Timestamp::from_secs(NOW)).unwrap();
    assert_eq!((verified.serial(), verified.key_id()), (9, "ann (corp:1)"));
    assert_eq!(verified.sign_in().as_str(), SIGN_IN);
    assert_eq!(verified.principals(), ["root".parse().unwrap()]);
    assert_eq!(verified.key_fingerprint(), key(1).public_key().fingerprint(HashAlg::Sha256).to_string());
    assert_eq!(verified.valid_before(), Timestamp::from_secs(NOW + 300));
}

/// Every single flipped bit of a good certificate is noticed.
#[test]
fn no_flipped_bit_passes() {
    let good = write(&plan());
    let from = "192.0.2.7".parse().unwrap();
    for at in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[at / 8] ^= 1 << (at % 8);
        if let Ok(certificate) = Certificate::from_bytes(&bytes) {
            let verdict = verify_user(&certificate, key(2).public_key(), from, Timestamp::from_secs(NOW));
            assert!(verdict.is_err(), "bit {at}");
        }
    }
}

#[test]
fn host_certificates() {
    let host =
        Plan { kind: 2, principals: vec!["web1".into(), "10.0.0.5".into()], extensions: vec![], ..plan() };
    let rows: &[(&str, &str, Spoil)] = &[
        ("ok", "web1", |_| {}),
        ("ok", "10.0.0.5", |_| {}),
        ("bad-principal", "web2", |_| {}),
        ("bad-principal", "WEB1", |_| {}),
        ("bad-principal", "", |_| {}),
        ("bad-principal", "web1", |p| p.principals = vec!["web*".into(), "*".into()]),
        ("no-principals", "web1", |p| p.principals.clear()),
        ("wrong-type", "web1", |p| p.kind = 1),
        ("expired", "web1", |p| p.until = NOW),
        ("not-yet-valid", "web1", |p| p.from = NOW + 1),
        ("wrong-ca", "web1", |p| p.signer = key(3)),
        ("bad-signature", "web1", |p| p.flip = true),
        ("nested-key", "web1", |p| p.signed_by = Some(inner_certificate())),
        ("weak-key", "web1", |p| p.subject = rsa(128)),
        ("unknown-critical-option", "web1", |p| p.critical = vec![option("source-address", "192.0.2.7/32")]),
        ("unknown-critical-option", "web1", |p| p.critical = vec![option("force-command", "x")]),
    ];
    for (n, (expect, name, spoil)) in rows.iter().enumerate() {
        let mut plan = host.clone();
        spoil(&mut plan);
        let certificate = Certificate::from_bytes(&write(&plan)).unwrap();
        let verdict = verify_host(&certificate, key(2).public_key(), name, Timestamp::from_secs(NOW));
        let code = verdict.map_or_else(|refused| refused.code, |()| "ok");
        assert_eq!(code, *expect, "row {n}");
    }
}
