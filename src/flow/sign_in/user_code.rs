//! The short code that stands both at the client and in the browser: drawing it, reading it as people type it, and
//! keeping it readable for one browser only.

use sha2::{Digest as _, Sha256};

use crate::random::Random;

/// Consonants that are not mistaken for each other and spell no words (RFC 8628 section 6.1): 20^8 codes.
const ALPHABET: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
const LETTERS: usize = 8;
/// Bytes below this are mapped to letters without favouring any.
const FAIR: u8 = 240;

/// A fresh code, `BCDF-GHJK`.
pub(super) fn draw(random: &Random) -> String {
    let mut letters = String::new();
    while letters.len() < LETTERS {
        let bytes = random.bytes::<16>();
        let fair = bytes.iter().filter(|b| **b < FAIR);
        let drawn = fair.filter_map(|b| ALPHABET.get(usize::from(b % 20)));
        letters.extend(drawn.take(LETTERS - letters.len()).map(|b| char::from(*b)));
    }
    letters.insert(LETTERS / 2, '-');
    letters
}

/// The code in its one form, from what somebody typed: any case, with or without dashes and blanks.
pub(super) fn read(typed: &str) -> Option<String> {
    if typed.len() > 64 {
        return None;
    }
    let mut letters: String = typed
        .chars()
        .filter(|c| !c.is_whitespace() && !matches!(c, '-' | '\u{2010}'..='\u{2014}'))
        .map(|c| c.to_ascii_uppercase())
        .collect();
    let right = letters.len() == LETTERS && letters.bytes().all(|b| ALPHABET.contains(&b));
    right.then(|| {
        letters.insert(LETTERS / 2, '-');
        letters
    })
}

/// The code hidden under a pad that only the holder of `cookie` and `state` can make again; both are unguessable and
/// the pair is used once. The row can so be shown to the right browser without holding the code.
pub(super) fn seal(code: &str, cookie: &str, state_hash: &str) -> String {
    pad(cookie, state_hash).zip(code.bytes()).map(|(p, c)| format!("{:02x}", p ^ c)).collect()
}

/// What [`seal`] hid; none when the cookie is another one.
pub(super) fn unseal(sealed: &str, cookie: &str, state_hash: &str) -> Option<String> {
    let bytes = sealed.as_bytes().chunks(2).zip(pad(cookie, state_hash)).map(|(pair, p)| {
        let digits = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(digits, 16).ok().map(|b| char::from(b ^ p))
    });
    read(&bytes.collect::<Option<String>>()?)
}

fn pad(cookie: &str, state_hash: &str) -> impl Iterator<Item = u8> + use<> {
    Sha256::digest(format!("caponier user code\n{cookie}\n{state_hash}")).into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_as_people_type_them() {
        for typed in ["BCDF-GHJK", "bcdfghjk", " bcdf ghjk\n", "BCDF–GHJK"] {
            assert_eq!(read(typed).as_deref(), Some("BCDF-GHJK"), "{typed:?}");
        }
        for typed in ["", "BCDF-GHJ", "BCDF-GHJKL", "ACDF-GHJK", "BCDF-GHJ1", &"B".repeat(100), "ＢCDF-GHJK"]
        {
            assert_eq!(read(typed), None, "{typed:?}");
        }
    }

    #[test]
    fn codes_are_drawn_in_that_form() {
        let random = Random::seeded(3);
        for _ in 0..50 {
            let code = draw(&random);
            assert_eq!(read(&code).as_deref(), Some(code.as_str()));
        }
    }

    #[test]
    fn a_sealed_code_opens_with_its_cookie_only() {
        let sealed = seal("BCDF-GHJK", "cookie", "state");
        assert_eq!(unseal(&sealed, "cookie", "state").as_deref(), Some("BCDF-GHJK"));
        assert_ne!(unseal(&sealed, "other", "state").as_deref(), Some("BCDF-GHJK"));
        assert_eq!(unseal("zz", "cookie", "state"), None);
    }
}
