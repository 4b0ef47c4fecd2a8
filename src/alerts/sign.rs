//! The signature on a webhook: `t=UNIX,v1=HEX`, an HMAC-SHA256 (RFC 2104) over `t`, a dot and the body. With two secrets
//! there are two `v1`, so that receivers can change from one to the other without missing any. Pure.
//!
//! What a receiver does: take `t` and every `v1`, refuse a `t` more than five minutes away, compute its own, compare in
//! constant time, and forget what it has seen by the notice's id.

use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::secret::Secret;
use crate::time::Timestamp;

/// The header's name.
pub const HEADER: &str = "x-caponier-signature";

/// The header's value for a body sent at `now`; none without secrets.
pub fn sign(secrets: &[Secret<String>], body: &str, now: Timestamp) -> Option<String> {
    let t = now.as_secs();
    let mut value = format!("t={t}");
    for secret in secrets {
        let tag = mac(secret.expose(), t, body)?.finalize().into_bytes();
        value.push_str(",v1=");
        tag.iter().for_each(|byte| value.push_str(&format!("{byte:02x}")));
    }
    (!secrets.is_empty()).then_some(value)
}

/// What a receiver checks: some `v1` of `header` is right for this secret, and `t` is at most `tolerance` from `now`.
pub fn is_signed(secret: &str, header: &str, body: &str, now: Timestamp, tolerance: Duration) -> bool {
    let part = |name: &'static str| {
        header.split(',').filter_map(move |part| part.split_once('=').filter(|(key, _)| *key == name))
    };
    let Some(t) = part("t").next().and_then(|(_, t)| t.parse::<u64>().ok()) else { return false };
    let sent = Timestamp::from_secs(t);
    let fresh = sent.since(now).max(now.since(sent)) <= tolerance;
    fresh
        && part("v1").any(|(_, hex)| {
            let tag = unhex(hex);
            mac(secret, t, body).zip(tag).is_some_and(|(mac, tag)| mac.verify_slice(&tag).is_ok())
        })
}

fn mac(secret: &str, t: u64, body: &str) -> Option<Hmac<Sha256>> {
    // A key of any length is one to HMAC.
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(t.to_string().as_bytes());
    mac.update(b".");
    mac.update(body.as_bytes());
    Some(mac)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    text.as_bytes().chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const FIVE: Duration = Duration::from_secs(300);

    #[test]
    fn known_answer() {
        // printf '1800000000.{"a":1}' | openssl dgst -sha256 -hmac 'open sesame, open'
        let value = sign(&[Secret::new("open sesame, open".into())], "{\"a\":1}", NOW).unwrap();
        assert_eq!(value, "t=1800000000,v1=646615a77b08220bec9dff6172df3c16e36af0c7f14428c77d0af59e7d0408b7");
        assert_eq!(sign(&[], "x", NOW), None);
    }

    #[test]
    fn what_a_receiver_takes() {
        let (old, new) = ("the old secret..", "the new secret..");
        let both = sign(&[Secret::new(old.into()), Secret::new(new.into())], "body", NOW).unwrap();
        assert_eq!(both.matches("v1=").count(), 2);
        for secret in [old, new] {
            assert!(is_signed(secret, &both, "body", NOW, FIVE));
            assert!(is_signed(secret, &both, "body", NOW.plus(FIVE), FIVE));
            assert!(is_signed(secret, &both, "body", NOW.minus(FIVE), FIVE));
        }
        let later = NOW.plus(FIVE + Duration::from_secs(1));
        let moved = both.replace("t=1800000000", "t=1800000001");
        for (secret, header, body, now) in [
            ("another secret..", both.as_str(), "body", NOW),
            (old, &both, "Body", NOW),
            (old, &both, "body", later),
            (old, &moved, "body", NOW),
            (old, "t=1800000000,v1=", "body", NOW),
            (old, "t=1800000000", "body", NOW),
            (old, "v1=00", "body", NOW),
            (old, "", "body", NOW),
            (old, "t=1800000000,v1=\u{e9}\u{e9}", "body", NOW),
        ] {
            assert!(!is_signed(secret, header, body, now, FIVE), "{header}");
        }
    }
}
