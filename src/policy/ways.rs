//! The ways to a target: which roles lead there, for whom, and who must say yes. Worked out from the roles alone; whether
//! somebody gets in at a given moment is `decide`'s.

use std::collections::BTreeSet;

use super::decide::{is_member, opens_target};
use super::{Members, Policy, Role, workload};
use crate::identity::Identity;
use crate::names::TargetName;

/// One role that leads somewhere.
#[derive(Clone, Debug)]
pub struct Way<'p> {
    /// The role.
    pub role: &'p Role,
    /// The targets it opens, of those asked for.
    pub targets: Vec<&'p TargetName>,
}

/// The roles that open `target` (any, without one) and have `who` among their members (anybody, without one), in the
/// order of the policy.
pub fn ways<'p>(policy: &'p Policy, target: Option<&TargetName>, who: Option<&Identity>) -> Vec<Way<'p>> {
    let way = |role: &'p Role| {
        let wanted = policy.targets.values().filter(|one| target.is_none_or(|target| one.name == *target));
        let targets: Vec<_> = wanted.filter(|one| opens_target(role, one)).map(|one| &one.name).collect();
        (!targets.is_empty()).then_some(Way { role, targets })
    };
    let ours = |role: &&Role| who.is_none_or(|who| is_member(role, who));
    policy.roles.iter().filter(ours).filter_map(way).collect()
}

/// Whether the policy still opens one of `targets` to the role of this name.
pub fn still_leads(policy: &Policy, role: &str, targets: &BTreeSet<TargetName>) -> bool {
    let Some(role) = policy.roles.iter().find(|one| one.name.as_str() == role) else { return false };
    targets.iter().filter_map(|name| policy.targets.get(name)).any(|target| opens_target(role, target))
}

/// Whether somebody is among the members of a role.
pub fn has_member(role: &Role, who: &Identity) -> bool {
    is_member(role, who)
}

/// People whom the role names by their subject: in one of its layers, and in every other one that names subjects only.
pub fn named_subjects(role: &Role) -> BTreeSet<&str> {
    let all = role.members.iter().flat_map(|layer| &layer.subjects);
    let fits = |subject: &&String| {
        let in_layer = |layer: &Members| !layer.groups.is_empty() || layer.subjects.contains(*subject);
        role.members.iter().all(in_layer)
    };
    all.filter(fits).map(String::as_str).collect()
}

/// What of a role's members is about `who`: their groups and their name, the rules that they fit, so that nobody learns
/// whom else it is for.
pub fn members_seen_by(role: &Role, who: &Identity) -> Vec<Members> {
    let own = |layer: &Members| Members {
        groups: layer.groups.intersection(&who.groups).cloned().collect(),
        subjects: layer.subjects.iter().filter(|one| **one == who.reference()).cloned().collect(),
        ..workload::members_seen_by(layer, who)
    };
    role.members.iter().map(own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::somebody::person;

    fn policy() -> Policy {
        let text = r#"
[[target]]
name = "web1"
address = "192.0.2.1:22"
labels = { env = "prod" }
host_key = { ca = true }
[[target]]
name = "db1"
address = "192.0.2.2:22"
host_key = { ca = true }
[[role]]
name = "dev"
members = { groups = ["corp:dev"], subjects = ["corp:ann"] }
targets = { labels = [{ env = "prod" }] }
logins = ["app"]
channels = ["shell"]
standing = true
[[role]]
name = "narrow"
extends = "dev"
members = { subjects = ["corp:ann", "corp:bob"] }
standing = true
[[role]]
name = "dba"
members = { groups = ["corp:dba"] }
targets = { names = ["db1", "web1"] }
logins = ["postgres"]
channels = ["exec"]
standing = true
"#;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("policy.toml");
        std::fs::write(&file, text).unwrap();
        crate::policy::load(&file).unwrap()
    }

    #[test]
    fn who_could_get_where() {
        let policy = policy();
        let target = |name: &str| name.parse::<TargetName>().unwrap();
        let who = |subject: &str, groups: &[&str]| {
            let groups = groups.iter().map(|group| group.parse().unwrap()).collect();
            person("corp".parse().unwrap(), subject.into(), groups)
        };
        let rows: [(Option<&str>, Option<Identity>, &[&str]); 7] = [
            (None, None, &["dev", "narrow", "dba"]),
            (Some("web1"), None, &["dev", "narrow", "dba"]),
            (Some("db1"), None, &["dba"]),
            (Some("gone"), None, &[]),
            (Some("web1"), Some(who("bob", &["corp:dev"])), &["dev", "narrow"]),
            (Some("web1"), Some(who("bob", &[])), &[]),
            (None, Some(who("eve", &["corp:dba"])), &["dba"]),
        ];
        for (name, who, expect) in rows {
            let found = ways(&policy, name.map(target).as_ref(), who.as_ref());
            let names: Vec<&str> = found.iter().map(|way| way.role.name.as_str()).collect();
            assert_eq!(names, expect, "{name:?} {who:?}");
        }
        let names = |at: usize| named_subjects(&policy.roles[at]).into_iter().collect::<Vec<_>>();
        assert_eq!(names(0), ["corp:ann"]);
        assert_eq!(names(1), ["corp:ann", "corp:bob"], "bob may be in the group of the other layer");
        assert!(names(2).is_empty());
        assert!(still_leads(&policy, "dba", &[target("db1"), target("gone")].into()));
        assert!(!still_leads(&policy, "dev", &[target("db1")].into()));
        assert!(!still_leads(&policy, "gone", &[target("db1")].into()));
        let seen = members_seen_by(&policy.roles[0], &who("bob", &["corp:dev", "corp:other"]));
        assert_eq!((seen[0].groups.len(), seen[0].subjects.len()), (1, 0));
    }
}
