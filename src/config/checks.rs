//! `[sign_in]`: how people who are signed in are looked for again at their provider, and the keys under which what is
//! needed for that is kept. What an answer means is left to `flow::recheck`.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use super::document::{At, Place, hint};
use super::load::Surroundings;
use super::section::Section;
use super::{defaults, files};
use crate::secret::Keyring;

/// `[sign_in]`, as far as it is about asking the provider again.
#[derive(Clone, Debug)]
pub struct Checks {
    /// How often each sign-in is checked, and how old its last check may be when a certificate is renewed.
    pub every: Duration,
    /// What happens to a sign-in whose provider does not answer.
    pub outage: Outage,
    /// How long without an answer its certificates are still renewed.
    pub outage_max: Duration,
    /// Where the keys are that refresh tokens are sealed under.
    pub keys: KeySource,
}

/// `sign_in.provider_outage`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// After `outage_max` no certificate is renewed; the sign-in and what is open go on.
    Keep,
    /// After `outage_max` the sign-in ends as well, and its sessions are closed.
    End,
}

impl Outage {
    const WORDS: [&str; 2] = ["keep", "end"];

    /// As the file has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::End => "end",
        }
    }
}

/// Where the keys are.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// In this file of the state folder, which the server makes by itself.
    Own(PathBuf),
    /// In this file, which was read.
    File(PathBuf, Keyring),
    /// In this environment variable, which was read.
    Env(String, Keyring),
}

/// Reads the keys of `[sign_in]` that are about this; `section` is that table.
pub(super) fn read(section: &mut Section<'_>, here: Surroundings<'_>, state_dir: &Path) -> Checks {
    let every = section.duration("check_every", &defaults::CHECK_EVERY);
    let every_place = every.as_ref().map(|at| at.place);
    let every = every.map_or(defaults::CHECK_EVERY.default, |at| at.value);
    let outage = section.text("provider_outage").and_then(|text| match text.value {
        "keep" => Some(Outage::Keep),
        "end" => Some(Outage::End),
        other => {
            let message = format!(
                "\"provider_outage\" must be \"keep\" or \"end\", not {other:?}{}",
                hint(other, &Outage::WORDS)
            );
            section.problem(text.place, message);
            None
        }
    });
    let outage_max = section.duration("provider_outage_max", &defaults::PROVIDER_OUTAGE_MAX);
    let outage_place = outage_max.as_ref().map(|at| at.place);
    let outage_max = outage_max.map_or(defaults::PROVIDER_OUTAGE_MAX.default, |at| at.value);
    if outage_max < every {
        let message = "\"provider_outage_max\" is shorter than \"check_every\": between two checks that succeed \
                       nothing could be renewed; make it longer";
        section.problem(outage_place.or(every_place).unwrap_or(Place::File), message);
    }
    Checks {
        every,
        outage: outage.unwrap_or(defaults::PROVIDER_OUTAGE),
        outage_max,
        keys: keys(section, here).unwrap_or_else(|| KeySource::Own(state_dir.join(defaults::KEYS_FILE))),
    }
}

fn keys(section: &mut Section<'_>, here: Surroundings<'_>) -> Option<KeySource> {
    let file = here.path(section, "key_file");
    let variable = here.variable(section, "key_env");
    section.only_one(&["key_file", "key_env"]);
    if let Some(At { value: path, place }) = file {
        match read_file(&path) {
            Ok(keyring) => return Some(KeySource::File(path, keyring)),
            Err(message) => section.problem(place, message),
        }
    }
    let At { value: (name, text), place } = variable?;
    // A variable holds no line ends in some places; blanks do as well.
    let lines = Zeroizing::new(text.split_whitespace().collect::<Vec<_>>().join("\n"));
    match Keyring::parse(&lines) {
        Ok(keyring) => Some(KeySource::Env(name, keyring)),
        Err(bad) => {
            section.problem(place, format!("the environment variable {name}: {bad}"));
            None
        }
    }
}

fn read_file(path: &Path) -> Result<Keyring, String> {
    let file = files::open_guarded(path, files::PRIVATE)?;
    let mut text = Zeroizing::new(String::new());
    let shown = path.display();
    file.take(files::SECRET_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|e| format!("cannot read {shown}: {e}"))?;
    Keyring::parse(&text).map_err(|bad| format!("{shown}: {bad}"))
}
