//! Whether a client can take what a policy opens to one member: the logins of one certificate, and the targets that
//! become names in the ssh configuration. Judged for each group, subject, rule and account by itself; a person in several groups
//! may still come to more, and is then told when asking.

use std::collections::BTreeSet;
use std::path::Path;

use super::somebody::person;
use super::{Policy, logins_for, targets_for};
use crate::config::{Config, Problem};
use crate::identity::Identity;
use crate::names::GroupName;
use crate::pattern::{LOGINS_MAX, PATTERNS_MAX};

/// The policy, or what of it no client could take.
pub(super) fn check(path: &Path, policy: Policy, config: &Config) -> Result<Policy, Vec<Problem>> {
    let mut problems = BTreeSet::new();
    let members = policy.roles.iter().flat_map(|role| {
        let groups = role
            .members
            .iter()
            .flat_map(|layer| &layer.groups)
            .map(|group| (group.to_string(), in_group(group)));
        let subjects = role.members.iter().flat_map(|layer| &layer.subjects);
        let subjects = subjects.filter_map(|text| Some((text.clone(), subject(text)?)));
        let jobs = role.members.iter().flat_map(|layer| &layer.workloads);
        let jobs = jobs.map(|rule| (format!("workload {}", rule.name), rule.example()));
        let services = role.members.iter().flat_map(|layer| layer.services.values());
        let services =
            services.filter_map(|service| Some((format!("service {}", service.name), service.example()?)));
        groups.chain(subjects).chain(jobs).chain(services)
    });
    for (member, who) in members {
        let logins = logins_for(&policy, &who).len();
        if logins > LOGINS_MAX {
            problems.insert(format!(
                "the roles of {member:?} open {logins} logins, but a certificate holds at most {LOGINS_MAX}: \
                 give this member fewer"
            ));
        }
        let targets = targets_for(&policy, &who).len();
        if targets > PATTERNS_MAX && config.ssh.client_patterns.is_empty() {
            problems.insert(format!(
                "the roles of {member:?} open {targets} targets, but clients take at most {PATTERNS_MAX} names: \
                 set \"client_patterns\" in [ssh]"
            ));
        }
    }
    if problems.is_empty() {
        return Ok(policy);
    }
    let problem = |message| Problem { file: path.to_owned(), line: 0, column: 0, message };
    Err(problems.into_iter().map(problem).collect())
}

/// Somebody who is in this group and nothing else. No subject is empty, so no role names it.
fn in_group(group: &GroupName) -> Identity {
    person(group.provider().clone(), String::new(), BTreeSet::from([group.clone()]))
}

fn subject(reference: &str) -> Option<Identity> {
    let (provider, subject) = reference.split_once(':')?;
    Some(person(provider.parse().ok()?, subject.to_owned(), BTreeSet::new()))
}
