//! Reads and checks the policy, one file or a folder of them: from text to a [`Policy`] whose every name is parsed and every reference
//! resolved, or to every problem found. `target` and `role` read one table each; what a policy means is `decide`'s.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::role::{Draft, Sets};
use super::target::Targets;
use super::workload::{KnownIssuer, Rules, read_rules};
use super::{Outline, Policy, commands, extends, role, target};
use crate::config::{self, Config, Document, Problem, Section};
use crate::names::ProviderName;

/// Most files of a policy folder.
const FILES_MAX: usize = 1000;

/// Reads the file at `path`, or every `*.toml` of the folder there; every problem found is reported, not only the first. A policy without roles is legal:
/// nobody may do anything.
pub fn load(path: &Path) -> Result<Policy, Vec<Problem>> {
    read(path, None, |_, _| ()).map(|(policy, ())| policy)
}

/// As [`load`], and members of a provider or rules about an issuer that `config` does not have are problems at their place
/// in the file; rules may speak of the claims that their issuer's tokens have, and of no others.
pub fn load_for(path: &Path, config: &Config) -> Result<Policy, Vec<Problem>> {
    load_and(path, Some(config), |_, _| ()).map(|(policy, ())| policy)
}

/// As [`load_for`] with a configuration, as [`load`] without; and where things stand in the files.
pub fn load_outlined(path: &Path, config: Option<&Config>) -> Result<(Policy, Outline), Vec<Problem>> {
    load_and(path, config, Outline::of)
}

fn load_and<T>(
    path: &Path,
    config: Option<&Config>,
    also: impl FnOnce(&mut [Section<'_>], &Read<'_, '_>) -> T,
) -> Result<(Policy, T), Vec<Problem>> {
    let Some(config) = config else { return read(path, None, also) };
    let issuers = config.issuers.iter().map(|issuer| KnownIssuer {
        name: issuer.name.clone(),
        platform: issuer.platform,
        generic: issuer.generic.clone(),
    });
    let known = Known {
        providers: config.providers.iter().map(|provider| provider.name.clone()).collect(),
        issuers: issuers.collect(),
    };
    let (policy, more) = read(path, Some(&known), also)?;
    Ok((super::clients::check(path, policy, config)?, more))
}

/// What of the configuration a policy may speak of.
#[derive(Debug)]
struct Known {
    providers: Vec<ProviderName>,
    issuers: Vec<KnownIssuer>,
}

/// The tables of the files as they have been read, before roles are joined.
pub(super) struct Read<'r, 'd> {
    pub(super) sets: &'r Sets,
    pub(super) rules: &'r Rules,
    pub(super) drafts: &'r [Draft<'d>],
}

/// What of a policy does not fit the configuration: members of unknown providers, whom nobody could ever be, and rules about
/// issuers that are unknown or something else.
/// The places are lost in a [`Policy`], so the problems name the role; [`load_for`] gives line and column.
pub fn check_against(policy: &Policy, config: &Config) -> Vec<Problem> {
    let known: Vec<&str> = config.providers.iter().map(|provider| provider.name.as_str()).collect();
    let mut problems = Vec::new();
    for role in &policy.roles {
        let groups = role.members.iter().flat_map(|layer| &layer.groups);
        let groups = groups.map(|group| (group.provider().as_str(), group.to_string()));
        let subjects = role.members.iter().flat_map(|layer| &layer.subjects).map(|subject| {
            let provider = subject.split_once(':').map_or("", |(provider, _)| provider);
            (provider, subject.clone())
        });
        for (provider, member) in groups.chain(subjects).filter(|(provider, _)| !known.contains(provider)) {
            let hint = config::hint(provider, &known);
            let message =
                format!("role \"{}\": member {member:?}: there is no provider {provider:?}{hint}", role.name);
            problems.push(Problem { file: config.policy_file.clone(), line: 0, column: 0, message });
        }
    }
    for rule in policy.workloads.values() {
        let issuer = config.issuers.iter().find(|issuer| issuer.name == rule.issuer);
        let message = match issuer {
            Some(issuer) if issuer.platform == rule.platform => continue,
            Some(issuer) => format!("and the issuer is of {}", issuer.platform),
            None => {
                let known: Vec<&str> = config.issuers.iter().map(|issuer| issuer.name.as_str()).collect();
                format!("there is no [[issuer]] of this name{}", config::hint(rule.issuer.as_str(), &known))
            }
        };
        let message = format!(
            "workload \"{}\" is about runs of {} ({}): {message}",
            rule.name, rule.issuer, rule.platform
        );
        problems.push(Problem { file: config.policy_file.clone(), line: 0, column: 0, message });
    }
    problems
}

/// Reads everything; `also` is asked before the roles are joined.
fn read<T>(
    path: &Path,
    known: Option<&Known>,
    also: impl FnOnce(&mut [Section<'_>], &Read<'_, '_>) -> T,
) -> Result<(Policy, T), Vec<Problem>> {
    let files = files(path).map_err(|problem| vec![problem])?;
    let mut problems = Vec::new();
    let mut texts = Vec::new();
    for file in files {
        match config::read_text(&file) {
            Ok(text) => texts.push((file, text)),
            Err(problem) => problems.push(problem),
        }
    }
    let docs: Vec<Document<'_>> = texts.iter().map(|(file, text)| Document::new(file, text)).collect();
    let tables: Vec<_> = docs.iter().map(Document::parse).collect();
    let complete = problems.is_empty() && tables.iter().all(Option::is_some);
    let policy = if complete {
        let mut tops: Vec<Section<'_>> = docs
            .iter()
            .zip(&tables)
            .filter_map(|(doc, table)| Some(Section::top(doc, table.as_ref()?.get_ref())))
            .collect();
        let targets = read_targets(&mut tops);
        let sets = read_sets(&mut tops);
        let rules = read_rules(&mut tops, known.map(|known| known.issuers.as_slice()));
        let providers = known.map(|known| known.providers.as_slice());
        let sections = tops.iter_mut().flat_map(|top| top.children("role"));
        let drafts: Vec<Draft<'_>> =
            sections.filter_map(|section| role::read(section, &targets, &sets, &rules, providers)).collect();
        let more = also(&mut tops, &Read { sets: &sets, rules: &rules, drafts: &drafts });
        let roles = extends::join(drafts, &targets);
        tops.into_iter().for_each(Section::finish);
        let Rules { workloads, services, .. } = rules;
        let digest = digest(&texts);
        Some((Policy { targets: targets.read, roles, workloads, services, digest }, more))
    } else {
        None
    };
    let clean = docs.iter().all(Document::is_clean);
    drop(tables);
    problems.extend(docs.into_iter().flat_map(Document::into_problems));
    match policy {
        Some(policy) if clean && problems.is_empty() => Ok(policy),
        Some(_) | None => Err(problems),
    }
}

/// The file itself, or the `*.toml` files of a folder in the order of their names.
pub(crate) fn files(path: &Path) -> Result<Vec<PathBuf>, Problem> {
    let whole = |message| Problem { file: path.to_owned(), line: 0, column: 0, message };
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let meta = std::fs::metadata(path).map_err(|e| whole(format!("cannot be read: {e}")))?;
    if meta.permissions().mode() & 0o002 != 0 {
        return Err(whole(format!("everybody may write to this folder: chmod o-w {}", path.display())));
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|e| whole(format!("cannot be read: {e}")))? {
        let file = entry.map_err(|e| whole(format!("cannot be read: {e}")))?.path();
        // A leading dot is what editors and half-finished copies have.
        let hidden = file.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && file.extension().is_some_and(|end| end == "toml") {
            files.push(file);
        }
    }
    if files.len() > FILES_MAX {
        return Err(whole(format!("has more than {FILES_MAX} files")));
    }
    files.sort();
    Ok(files)
}

/// One file is named by its bytes alone; of a folder the names count too, because their order does.
fn digest(texts: &[(PathBuf, String)]) -> String {
    let mut hash = Sha256::new();
    match texts {
        [(_, text)] => hash.update(text.as_bytes()),
        many => {
            for (file, text) in many {
                let name = file.file_name().unwrap_or_default().as_encoded_bytes();
                for part in [name, text.as_bytes()] {
                    hash.update((part.len() as u64).to_be_bytes());
                    hash.update(part);
                }
            }
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_targets(tops: &mut [Section<'_>]) -> Targets {
    let mut targets = Targets::default();
    for mut section in tops.iter_mut().flat_map(|top| top.children("target")) {
        if let Some(name) = section.text("name")
            && !targets.named.insert(name.value.to_owned())
        {
            section.problem(name.place, format!("there is a target {:?} already", name.value));
        }
        match target::read(&mut section) {
            Some(target) => {
                targets.read.entry(target.name.clone()).or_insert(target);
            }
            None => targets.incomplete = true,
        }
        section.finish();
    }
    targets
}

fn read_sets(tops: &mut [Section<'_>]) -> Sets {
    let mut sets = Sets::default();
    for mut section in tops.iter_mut().flat_map(|top| top.children("commands")) {
        if let Some(name) = section.text("name")
            && !sets.named.insert(name.value.to_owned())
        {
            section.problem(name.place, format!("there are [[commands]] called {:?} already", name.value));
        }
        if let Some(set) = commands::read(&mut section) {
            sets.read.entry(set.name.clone()).or_insert_with(|| Arc::new(set));
        }
        section.finish();
    }
    sets
}
