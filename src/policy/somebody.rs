//! Identities that no provider vouched for: who a policy speaks of, for hints, cases and explanations. None of them ever
//! reaches a door.

use std::collections::BTreeSet;

use super::{Members, Policy, Role};
use crate::identity::{Identity, Kind};
use crate::names::{BadName, GroupName, ProviderName};

/// Most combinations of members that are looked at for one role.
const COMBINATIONS_MAX: usize = 256;

/// Somebody of whom nothing more is known. No role can name an empty subject.
pub fn person(provider: ProviderName, subject: String, groups: BTreeSet<GroupName>) -> Identity {
    let (issuer, display) = (String::new(), String::new());
    Identity { kind: Kind::Person, provider, issuer, subject, display, groups, run: None }
}

/// A group of the provider, written as the provider does (`dev`) or as the policy does (`corp:dev`).
pub fn group_of(provider: &ProviderName, text: &str) -> Result<GroupName, BadName> {
    let own = text.strip_prefix(provider.as_str()).and_then(|rest| rest.strip_prefix(':'));
    GroupName::new(provider.clone(), own.unwrap_or(text))
}

/// Every provider that some role has members of.
pub fn providers(policy: &Policy) -> BTreeSet<ProviderName> {
    policy.roles.iter().flat_map(|role| &role.members).flat_map(providers_of).collect()
}

fn providers_of(layer: &Members) -> Vec<ProviderName> {
    let subjects = layer.subjects.iter().filter_map(|text| text.split_once(':')?.0.parse().ok());
    layer.groups.iter().map(|group| group.provider().clone()).chain(subjects).collect()
}

/// Every person with no more groups than the role asks for: whoever is in the role, and no job or service, is one of these, perhaps with more
/// groups. `None` when there are too many combinations to look at.
pub(super) fn least_members(role: &Role) -> Option<Vec<Identity>> {
    let providers: BTreeSet<ProviderName> = role.members.iter().flat_map(providers_of).collect();
    let mut all = Vec::new();
    for provider in providers {
        let mut people = vec![person(provider.clone(), String::new(), BTreeSet::new())];
        for layer in &role.members {
            let groups = layer.groups.iter().filter(|group| *group.provider() == provider);
            let groups: Vec<&GroupName> = groups.collect();
            let subjects = layer.subjects.iter().filter_map(|text| text.split_once(':'));
            let subjects: Vec<&str> =
                subjects.filter(|(of, _)| *of == provider.as_str()).map(|(_, subject)| subject).collect();
            let mut more = Vec::new();
            for one in people {
                more.extend(groups.iter().map(|group| with_group(&one, group)));
                // Nobody is two people.
                let fits = |subject: &&&str| one.subject.is_empty() || one.subject == **subject;
                more.extend(subjects.iter().filter(fits).map(|subject| with_subject(&one, subject)));
            }
            if more.len() > COMBINATIONS_MAX {
                return None;
            }
            people = more;
        }
        all.extend(people);
    }
    Some(all)
}

fn with_group(one: &Identity, group: &GroupName) -> Identity {
    let mut more = one.clone();
    more.groups.insert(group.clone());
    more
}

fn with_subject(one: &Identity, subject: &str) -> Identity {
    Identity { subject: subject.to_owned(), ..one.clone() }
}
