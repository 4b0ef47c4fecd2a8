//! `[ca]` and `[certificates]`: where the authorities' keys are, and how long what they sign lives.

use std::path::Path;

use super::defaults;
use super::files;
use super::load::Surroundings;
use super::section::Section;
use super::{Ca, CaSource, Certificates, Passphrase};

/// The ways to the keys, of which exactly one must be taken.
const SOURCES: [&str; 5] = ["passphrase_file", "passphrase_env", "passphrase_credential", "plain", "agent"];

/// Reads `[ca]`.
pub(super) fn read(top: &mut Section<'_>, here: Surroundings<'_>, state_dir: &Path) -> Option<Ca> {
    let mut section = top.child("ca");
    let dir = here.path(&mut section, "dir");
    let source = source(&mut section, here);
    section.finish();
    Some(Ca { dir: dir.map_or_else(|| state_dir.join(defaults::CA_DIR), |at| at.value), source: source? })
}

fn source(section: &mut Section<'_>, here: Surroundings<'_>) -> Option<CaSource> {
    let mut found = Vec::new();
    if let Some(path) = here.path(section, "passphrase_file") {
        match files::read_secret(&path.value) {
            Ok(_) => found.push(CaSource::Files(Passphrase::File(path.value))),
            Err(message) => section.problem(path.place, message),
        }
    }
    if let Some(variable) = here.variable(section, "passphrase_env") {
        found.push(CaSource::Files(Passphrase::Env(variable.value.0)));
    }
    if let Some(name) = section.text("passphrase_credential") {
        let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if name.value.is_empty() || name.value.starts_with('.') || !name.value.bytes().all(known) {
            let message =
                format!("{:?} is not the name of a systemd credential (a-z A-Z 0-9 . _ -)", name.value);
            section.problem(name.place, message);
        }
        found.push(CaSource::Files(Passphrase::Credential(name.value.to_owned())));
    }
    let plain = section.flag("plain");
    if plain.as_ref().is_some_and(|plain| plain.value) {
        found.push(CaSource::Files(Passphrase::Plain));
    }
    if let Some(path) = here.path(section, "agent") {
        found.push(CaSource::Agent(path.value));
    }
    let refused = plain.as_ref().is_some_and(|plain| !plain.value);
    let keys: Vec<&str> = SOURCES.into_iter().filter(|key| *key != "plain" || !refused).collect();
    if section.only_one(&keys) == 0 {
        section.problem(
            section.place,
            "[ca] says nowhere how the keys are protected: set one of \"passphrase_file\", \"passphrase_env\", \
             \"passphrase_credential\" or \"agent\" (or, for trying out, \"plain = true\")",
        );
    }
    found.into_iter().next()
}

/// Reads `[certificates]`.
pub(super) fn certificates(top: &mut Section<'_>) -> Certificates {
    let mut section = top.child("certificates");
    let life = section.duration("life", &defaults::CERTIFICATE_LIFE);
    let bind = section.flag("bind_source_address");
    section.finish();
    Certificates {
        life: life.map_or(defaults::CERTIFICATE_LIFE.default, |at| at.value),
        bind_source_address: bind.map_or(defaults::BIND_SOURCE_ADDRESS, |at| at.value),
    }
}
