//! Reads and checks the policy file: from text to a [`Policy`] whose every name is parsed and every reference
//! resolved, or to every problem found. `target` and `role` read one table each; what a policy means is `decide`'s.

use std::collections::BTreeSet;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::target::Targets;
use super::{Policy, role, target};
use crate::config::{self, Config, Document, Problem, Section};
use crate::names::{ProviderName, RoleName};

/// Reads the file at `path`; every problem found is reported, not only the first. A policy without roles is legal:
/// nobody may do anything.
pub fn load(path: &Path) -> Result<Policy, Vec<Problem>> {
    read(path, None)
}

/// As [`load`], and members of a provider that `config` does not have are problems at their place in the file.
pub fn load_for(path: &Path, config: &Config) -> Result<Policy, Vec<Problem>> {
    let known: Vec<ProviderName> = config.providers.iter().map(|provider| provider.name.clone()).collect();
    super::clients::check(path, read(path, Some(&known))?, config)
}

/// What of a policy does not fit the configuration: members of unknown providers, whom nobody could ever be.
/// The places are lost in a [`Policy`], so the problems name the role; [`load_for`] gives line and column.
pub fn check_against(policy: &Policy, config: &Config) -> Vec<Problem> {
    let known: Vec<&str> = config.providers.iter().map(|provider| provider.name.as_str()).collect();
    let mut problems = Vec::new();
    for role in &policy.roles {
        let groups = role.members.groups.iter().map(|group| (group.provider().as_str(), group.to_string()));
        let subjects = role.members.subjects.iter().map(|subject| {
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
    problems
}

fn read(path: &Path, providers: Option<&[ProviderName]>) -> Result<Policy, Vec<Problem>> {
    let text = config::read_text(path).map_err(|problem| vec![problem])?;
    let doc = Document::new(path, &text);
    let policy = doc.parse().map(|table| {
        let mut top = Section::top(&doc, table.get_ref());
        let targets = read_targets(&mut top);
        let roles = read_roles(&mut top, &targets, providers);
        top.finish();
        let digest = Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        Policy { targets: targets.read, roles, digest }
    });
    match policy {
        Some(policy) if doc.is_clean() => Ok(policy),
        Some(_) | None => Err(doc.into_problems()),
    }
}

fn read_targets(top: &mut Section<'_>) -> Targets {
    let mut targets = Targets::default();
    for mut section in top.children("target") {
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

fn read_roles(
    top: &mut Section<'_>,
    targets: &Targets,
    providers: Option<&[ProviderName]>,
) -> Vec<super::Role> {
    let mut roles = Vec::new();
    let mut seen: BTreeSet<RoleName> = BTreeSet::new();
    for mut section in top.children("role") {
        if let Some(role) = role::read(&mut section, targets, providers) {
            if !seen.insert(role.name.clone()) {
                let place = section.place_of("name").unwrap_or(section.place);
                section.problem(place, format!("there is a role \"{}\" already", role.name));
            }
            roles.push(role);
        }
        section.finish();
    }
    roles
}
