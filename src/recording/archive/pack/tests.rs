//! Files that go in and come out, and objects that were changed on the way.

use std::path::PathBuf;

use age::secrecy::ExposeSecret as _;

use super::*;

struct Yard {
    dir: tempfile::TempDir,
}

impl Yard {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A key of an auditor: what to encrypt to, and how to read it.
    fn auditor(&self, name: &str) -> (String, Identity) {
        let key = age::x25519::Identity::generate();
        let path = self.write(name, key.to_string().expose_secret().as_bytes());
        (key.to_public().to_string(), Identity::read(&path).unwrap())
    }
}

/// Bytes that do not repeat soon.
fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * n / 7 % 251) as u8).collect()
}

#[test]
fn what_goes_in_comes_out() {
    let yard = Yard::new();
    let (public, identity) = yard.auditor("key");
    for length in [0, 1, FRAME - 1, FRAME, FRAME + 1, 3 * FRAME + 5] {
        let from = yard.write("0001.cast", &bytes(length));
        for (to, stored) in [(Vec::new(), "0001.cast.zst"), (vec![public.clone()], "0001.cast.zst.age")] {
            let object = yard.path(stored);
            let packed = pack(&from, &object, &Recipients::read(&to).unwrap(), 3).unwrap();
            assert_eq!(packed.bytes, length as u64);
            assert_eq!(packed.sha256, digest(&bytes(length)));
            assert_eq!(packed.stored_sha256, digest(&std::fs::read(&object).unwrap()));
            assert_eq!(packed.frames.len(), length.div_ceil(FRAME).max(1));
            let back = yard.path("back");
            unpack((&object, stored), &back, &packed, Some(&identity)).unwrap();
            assert_eq!(std::fs::read(&back).unwrap(), bytes(length), "{length} {stored}");
        }
    }
}

#[test]
fn each_frame_stands_alone() {
    let yard = Yard::new();
    let plain = bytes(2 * FRAME + 100);
    let from = yard.write("x", &plain);
    let packed = pack(&from, &yard.path("x.zst"), &Recipients::default(), 3).unwrap();
    let object = std::fs::read(yard.path("x.zst")).unwrap();
    let mut at = 0;
    for (number, length) in packed.frames.iter().enumerate() {
        let end = at + *length as usize;
        let frame = zstd::bulk::decompress(&object[at..end], FRAME).unwrap();
        let expect = &plain[number * FRAME..(number * FRAME + FRAME).min(plain.len())];
        assert_eq!(frame, expect, "frame {number}");
        at = end;
    }
    assert_eq!(at, object.len());
}

#[test]
fn what_was_changed_does_not_come_out() {
    let yard = Yard::new();
    let (public, identity) = yard.auditor("key");
    let (_, stranger) = yard.auditor("other");
    let from = yard.write("x", &bytes(1000));
    let object = yard.path("x.zst.age");
    let packed = pack(&from, &object, &Recipients::read(&[public]).unwrap(), 3).unwrap();
    let back = yard.path("back");
    let open = |packed: &Packed, key: Option<&Identity>| unpack((&object, "x.zst.age"), &back, packed, key);
    assert!(matches!(open(&packed, None), Err(ArchiveError::Locked(_))));
    assert!(matches!(open(&packed, Some(&stranger)), Err(ArchiveError::Locked(_))));
    assert!(open(&packed, Some(&identity)).is_ok());
    for other in [
        Packed { bytes: 999, ..packed.clone() },
        Packed { sha256: digest(b""), ..packed.clone() },
        Packed { stored_bytes: 1, ..packed.clone() },
        Packed { stored_sha256: digest(b""), ..packed.clone() },
    ] {
        assert!(matches!(open(&other, Some(&identity)), Err(ArchiveError::Altered(..))), "{other:?}");
    }
    let whole = std::fs::read(&object).unwrap();
    for at in [0, whole.len() / 2, whole.len() - 1] {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        std::fs::write(&object, &flipped).unwrap();
        assert!(open(&packed, Some(&identity)).is_err(), "byte {at}");
        // And by somebody who changes the list as well: age and zstd have digests of their own.
        let list = Packed { stored_sha256: digest(&flipped), ..packed.clone() };
        assert!(open(&list, Some(&identity)).is_err(), "byte {at} with the list");
    }
}

/// A small object of endless zeros writes no more than the list says.
#[test]
fn a_bomb_does_not_fill_the_disk() {
    let yard = Yard::new();
    let from = yard.write("zeros", &vec![0; 64 << 20]);
    let object = yard.path("x.zst");
    let mut packed = pack(&from, &object, &Recipients::default(), 3).unwrap();
    packed.bytes = 10;
    let back = yard.path("back");
    assert!(unpack((&object, "x.zst"), &back, &packed, None).is_err());
    assert!(std::fs::metadata(&back).unwrap().len() <= 11);
}

#[test]
fn whose_keys_are_taken() {
    let yard = Yard::new();
    let rows = [
        ("", "is no private key of age or OpenSSH"),
        ("AGE-SECRET-KEY-1NONSENSE", "is no private key of age or OpenSSH"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nnonsense\n", "is no private key of type ssh-ed25519"),
    ];
    for (text, says) in rows {
        let error = Identity::read(&yard.write("key", text.as_bytes())).unwrap_err().to_string();
        assert!(error.contains(says), "{text:?}: {error}");
    }
    for bad in ["", "age1x", "ssh-rsa AAAA", "ssh-ed25519 AAAA"] {
        assert!(Recipients::read(&[bad.to_owned()]).is_err(), "{bad:?}");
    }
}
