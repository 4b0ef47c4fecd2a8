//! The pinned host CA: a job has nobody who could look at a fingerprint, so what it believes is said beforehand. Pure.

use std::str::FromStr;

use russh::keys::ssh_key::{Fingerprint, HashAlg, PublicKey};

use crate::cli::Environment;
use crate::cli::terminal::plain;

/// Where the pin stands unless the command line says it.
pub(super) const VARIABLE: &str = "CAPONIER_CA_FINGERPRINT";

/// Why the server is not spoken to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PinError {
    /// Nothing is pinned.
    #[error(
        "which host CA is the right one? A job trusts none at first sight: say --ca-fingerprint SHA256:..., or \
         {VARIABLE}; the bastion's administrator reads it off with: caponier ca show"
    )]
    Missing,
    /// Not a fingerprint.
    #[error("{0:?} is not a fingerprint of a host CA: it looks like SHA256: with 43 characters behind it")]
    Malformed(String),
    /// What the server shows cannot be read.
    #[error("the server shows no host CA that can be read")]
    Unreadable,
    /// Another one.
    #[error("the server's host CA is {0}, which is not the pinned one: nothing was sent to it")]
    Other(String),
}

/// A fingerprint that a host CA may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pin(Fingerprint);

impl FromStr for Pin {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        read(text).map_err(|error| error.to_string())
    }
}

/// The pins: those of the command line, else those of the environment, divided by commas.
pub(super) fn pins(said: &[Pin], env: &Environment) -> Result<Vec<Pin>, PinError> {
    if !said.is_empty() {
        return Ok(said.to_vec());
    }
    let variable = env.get(VARIABLE).ok_or(PinError::Missing)?;
    variable.split(',').map(|one| read(one.trim())).collect()
}

/// Whether this host CA, one line of public key, is a pinned one.
pub(super) fn check(host_ca: &str, pins: &[Pin]) -> Result<(), PinError> {
    let key = PublicKey::from_openssh(host_ca).map_err(|_| PinError::Unreadable)?;
    let found = key.fingerprint(HashAlg::Sha256);
    if pins.iter().any(|pin| pin.0 == found) { Ok(()) } else { Err(PinError::Other(found.to_string())) }
}

fn read(text: &str) -> Result<Pin, PinError> {
    let fingerprint = text.parse::<Fingerprint>().ok().filter(|one| one.is_sha256());
    fingerprint.map(Pin).ok_or_else(|| PinError::Malformed(plain(text, 80)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CA: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
    const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPcMNu7XfmPS1EaLWdNfn3qIO0xJmCZLM+IsCYt0Jz5N";

    fn fingerprint(line: &str) -> String {
        PublicKey::from_openssh(line).unwrap().fingerprint(HashAlg::Sha256).to_string()
    }

    #[test]
    fn only_the_pinned_one_is_believed() {
        let pin: Pin = fingerprint(CA).parse().unwrap();
        assert_eq!(check(CA, std::slice::from_ref(&pin)), Ok(()));
        assert_eq!(check(OTHER, std::slice::from_ref(&pin)), Err(PinError::Other(fingerprint(OTHER))));
        assert_eq!(check(OTHER, &[]), Err(PinError::Other(fingerprint(OTHER))));
        assert_eq!(check("", &[pin]), Err(PinError::Unreadable));
    }

    #[test]
    fn where_pins_come_from() {
        let env = Environment::of(&[(VARIABLE, &format!("{}, {}", fingerprint(CA), fingerprint(OTHER)))]);
        assert_eq!(pins(&[], &env).unwrap().len(), 2, "while a host CA is being changed");
        let said: Pin = fingerprint(CA).parse().unwrap();
        assert_eq!(pins(std::slice::from_ref(&said), &env).unwrap(), [said]);
        assert_eq!(pins(&[], &Environment::default()), Err(PinError::Missing));
        let md5 = "MD5:16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48";
        let sha512 = format!("SHA512:{}", "A".repeat(86));
        for bad in ["SHA256:", "SHA256:short", md5, &sha512, "*", "x,y"] {
            let found = pins(&[], &Environment::of(&[(VARIABLE, bad)]));
            assert!(matches!(found, Err(PinError::Malformed(_))), "{bad}: {found:?}");
        }
    }
}
