//! From the text of `caponier.toml` to a [`Config`], or to every problem in it. Each table has its reader; this file
//! has the order, the small tables and what stands between tables. Whether the parts work (ports free, database
//! reachable, provider up) is left to the start of the server.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::document::{self, At, Document, Place, hint};
use super::section::Section;
use super::{Checks, Config, People, Problem, Recording, RecordingIndex, Sessions, checks, defaults};
use super::{alerts, archive, audit, ca, doors, issuer, notify, provider, store_url};
use crate::names::{GroupName, SubjectName};

/// The surroundings that a configuration refers to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings<'a> {
    /// The configuration file itself.
    pub(super) file: &'a Path,
    /// Its folder, absolute: relative paths start here.
    pub(super) folder: &'a Path,
    /// The environment.
    pub(super) env: &'a BTreeMap<String, String>,
}

impl Surroundings<'_> {
    /// A path key, made absolute.
    pub(super) fn path(&self, section: &mut Section<'_>, key: &'static str) -> Option<At<PathBuf>> {
        let text = section.text(key)?;
        if text.value.is_empty() || text.value.contains('\0') {
            section.problem(text.place, format!("{key:?} must be a path"));
            return None;
        }
        Some(At { value: self.folder.join(text.value), place: text.place })
    }

    /// The value of the environment variable that the key names; not set or empty is a problem.
    pub(super) fn variable(
        &self,
        section: &mut Section<'_>,
        key: &'static str,
    ) -> Option<At<(String, String)>> {
        let name = section.text(key)?;
        // Somebody may have put the secret itself here, so what is no variable's name is not repeated.
        if !is_variable_name(name.value) {
            section.problem(
                name.place,
                format!("{key:?} must be the name of an environment variable, not a value"),
            );
            return None;
        }
        match self.env.get(name.value) {
            Some(value) if !value.is_empty() => {
                Some(At { value: (name.value.to_owned(), value.clone()), place: name.place })
            }
            _ => {
                let message =
                    format!("{key:?}: the environment variable {} is not set; export it first", name.value);
                section.problem(name.place, message);
                None
            }
        }
    }
}

fn is_variable_name(text: &str) -> bool {
    text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Reads and checks the file. What [`Config::load`] promises.
pub(super) fn load(path: &Path, env: &BTreeMap<String, String>) -> Result<Config, Vec<Problem>> {
    let text = document::read_text(path).map_err(|problem| vec![problem])?;
    let folder = folder_of(path);
    let doc = Document::new(path, &text);
    let config = doc.parse().and_then(|table| {
        let mut top = Section::top(&doc, table.get_ref());
        let config = read(&mut top, Surroundings { file: path, folder: &folder, env });
        top.finish();
        config
    });
    match config {
        Some(config) if doc.is_clean() => Ok(config),
        None if doc.is_clean() => {
            // A reader that returns nothing and blames nothing is our mistake; refuse rather than guess.
            doc.problem(Place::File, "cannot be used, and we do not know why; please report this");
            Err(doc.into_problems())
        }
        Some(_) | None => Err(doc.into_problems()),
    }
}

/// The policy file that the configuration at `path` names, even when other things in it are wrong, so that
/// `config check` can report both files at once.
pub(super) fn policy_file_of(path: &Path) -> Option<PathBuf> {
    let text = document::read_text(path).ok()?;
    let doc = Document::new(path, &text);
    let table = doc.parse()?;
    let mut top = Section::top(&doc, table.get_ref());
    let mut section = top.child("policy");
    let folder = folder_of(path);
    let file = section.text("file").map_or(defaults::POLICY_FILE, |file| file.value);
    Some(folder.join(file))
}

fn folder_of(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.parent().map_or_else(|| PathBuf::from("/"), Path::to_owned)
}

/// Reads every table before it gives up on any, so that all problems are seen.
fn read(top: &mut Section<'_>, here: Surroundings<'_>) -> Option<Config> {
    let state_dir =
        here.path(top, "state_dir").map_or_else(|| here.folder.join(defaults::STATE_DIR), |p| p.value);
    let ssh = doors::ssh(top);
    let web = doors::web(top, here);
    if let (Some(ssh), Some(web)) = (&ssh, &web)
        && ssh.listen == web.listen
        && ssh.listen.port() != 0
    {
        let place = top.child("web").place_of("listen").or_else(|| top.child("ssh").place_of("listen"));
        let message = format!("[ssh] and [web] both listen on {}: give each its own port", ssh.listen);
        top.problem(place.unwrap_or(Place::File), message);
    }
    let store_url = store_url::read(top, here, &state_dir);
    let ca = ca::read(top, here, &state_dir);
    let certificates = ca::certificates(top);
    let (providers, names) = provider::read(top, here);
    let issuers = issuer::read(top, here, &providers, web.as_ref().map(|web| &web.public_url));
    let (sign_in_life, checks, [admins, auditors, watchers, killers]) =
        sign_in(top, &names, here, &state_dir);
    let sessions = sessions(top);
    let recording = recording(top, here, &state_dir);
    let archive = archive::read(top, here);
    let audit = audit::read(top, here);
    let notify = notify::read(top, here);
    let alerts = alerts::read(top);
    let policy_file = policy_file(top, here);
    let log_json = log(top);
    Some(Config {
        state_dir,
        ssh: ssh?,
        web: web?,
        store_url: store_url?,
        ca: ca?,
        certificates,
        providers,
        issuers,
        sign_in_life,
        checks,
        admins,
        auditors,
        watchers,
        killers,
        sessions,
        recording,
        archive,
        audit,
        notify,
        alerts: alerts?,
        policy_file,
        log_json,
    })
}

fn sign_in(
    top: &mut Section<'_>,
    providers: &[String],
    here: Surroundings<'_>,
    state_dir: &Path,
) -> (Duration, Checks, [People; 4]) {
    let mut section = top.child("sign_in");
    let life = section.duration("life", &defaults::SIGN_IN_LIFE);
    let checks = checks::read(&mut section, here, state_dir);
    let people =
        ["admins", "auditors", "watchers", "killers"].map(|name| people(section.child(name), providers));
    section.finish();
    (life.map_or(defaults::SIGN_IN_LIFE.default, |at| at.value), checks, people)
}

/// The form of a role's members, so that nobody has to guess whether a name is a person or a group.
fn people(mut table: Section<'_>, providers: &[String]) -> People {
    let groups = table.names::<GroupName>("groups").map(|at| at.value).unwrap_or_default();
    let subjects = table.names::<SubjectName>("subjects").map(|at| at.value).unwrap_or_default();
    let named = groups.iter().map(|group| (group.place, group.value.provider()));
    for (place, named) in named.chain(subjects.iter().map(|one| (one.place, one.value.provider()))) {
        let known: Vec<&str> = providers.iter().map(String::as_str).collect();
        let named = named.as_str();
        if !known.contains(&named) {
            table.problem(place, format!("there is no provider {named:?}{}", hint(named, &known)));
        }
    }
    table.finish();
    People {
        groups: groups.into_iter().map(|at| at.value).collect(),
        subjects: subjects.into_iter().map(|at| at.value).collect(),
    }
}

fn sessions(top: &mut Section<'_>) -> Sessions {
    let mut section = top.child("sessions");
    let max = section.duration("max", &defaults::SESSION_MAX);
    let idle = section.duration("idle", &defaults::SESSION_IDLE);
    if let (Some(max), Some(idle)) = (&max, &idle)
        && idle.value > max.value
    {
        section.problem(
            idle.place,
            "\"idle\" is longer than \"max\" and would never end a session: make it shorter",
        );
    }
    let dial = section.duration("dial", &defaults::SESSION_DIAL);
    let env = match section.texts("env") {
        None => defaults::SESSION_ENV.map(str::to_owned).to_vec(),
        Some(names) => {
            for name in &names.value {
                if let Some(message) = wrong_env_pattern(name.value) {
                    section.problem(name.place, message);
                }
            }
            names.value.iter().map(|name| name.value.to_owned()).collect()
        }
    };
    section.finish();
    Sessions {
        max: max.map_or(defaults::SESSION_MAX.default, |at| at.value),
        idle: idle.map_or(defaults::SESSION_IDLE.default, |at| at.value),
        env,
        dial: dial.map_or(defaults::SESSION_DIAL.default, |at| at.value),
    }
}

/// Variables that make a program load or run other code: with them a judged command would not be the command that
/// runs, so no pattern may let them pass.
const ENV_NEVER: [&str; 12] = [
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "LD_AUDIT",
    "BASH_ENV",
    "ENV",
    "SHELLOPTS",
    "BASHOPTS",
    "PROMPT_COMMAND",
    "PS4",
    "IFS",
    "PATH",
    "GCONV_PATH",
];

fn wrong_env_pattern(pattern: &str) -> Option<String> {
    let stem = pattern.strip_suffix('*').unwrap_or(pattern);
    if !is_variable_name(stem) {
        return Some(format!("{pattern:?} is not a variable's name, with \"*\" at most at the end"));
    }
    let matches = |name: &&str| if pattern.ends_with('*') { name.starts_with(stem) } else { **name == *stem };
    let caught = ENV_NEVER.iter().find(|name| matches(name))?;
    Some(format!(
        "{pattern:?} would let {caught} pass, which makes programs run other code; list harmless names"
    ))
}

fn recording(top: &mut Section<'_>, here: Surroundings<'_>, state_dir: &Path) -> Recording {
    let mut section = top.child("recording");
    let dir = here.path(&mut section, "dir");
    let input = section.flag("input");
    let exec_output_max = section.size("exec_output_max", &defaults::RECORDING_EXEC_OUTPUT_MAX);
    let part_max = section.size("part_max", &defaults::RECORDING_PART_MAX);
    let free_min = section.size("free_min", &defaults::RECORDING_FREE_MIN);
    let index = section.text("index").and_then(|text| match text.value {
        "screen" => Some(RecordingIndex::Screen),
        "commands" => Some(RecordingIndex::Commands),
        "none" => Some(RecordingIndex::Nothing),
        other => {
            let known = RecordingIndex::WORDS;
            let message = format!(
                "\"index\" must be \"screen\", \"commands\" or \"none\", not {other:?}{}",
                hint(other, &known)
            );
            section.problem(text.place, message);
            None
        }
    });
    section.finish();
    Recording {
        dir: dir.map_or_else(|| state_dir.join(defaults::RECORDING_DIR), |at| at.value),
        input: input.map_or(defaults::RECORDING_INPUT, |at| at.value),
        exec_output_max: exec_output_max.map_or(defaults::RECORDING_EXEC_OUTPUT_MAX.default, |at| at.value),
        index: index.unwrap_or(defaults::RECORDING_INDEX),
        part_max: part_max.map_or(defaults::RECORDING_PART_MAX.default, |at| at.value),
        free_min: free_min.map_or(defaults::RECORDING_FREE_MIN.default, |at| at.value),
    }
}

fn policy_file(top: &mut Section<'_>, here: Surroundings<'_>) -> PathBuf {
    let mut section = top.child("policy");
    let file = here.path(&mut section, "file");
    section.finish();
    file.map_or_else(|| here.folder.join(defaults::POLICY_FILE), |at| at.value)
}

fn log(top: &mut Section<'_>) -> bool {
    let mut section = top.child("log");
    let format = section.text("format");
    if let Some(at) = &format
        && !matches!(at.value, "text" | "json")
    {
        section.problem(at.place, format!("\"format\" must be \"text\" or \"json\", not {:?}", at.value));
    }
    section.finish();
    format.map_or(defaults::LOG_FORMAT, |at| at.value) == "json"
}

#[cfg(test)]
mod tests;
