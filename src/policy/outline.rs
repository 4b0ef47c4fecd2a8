//! What a [`super::Policy`] loses of its files: where things stand, and what stands there that nobody uses. Kept for
//! hints to the author; nothing here decides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::CommandSet;
use super::file::Read;
use super::role::Draft;
use crate::config::{Section, Spot};
use crate::names::{RoleName, ServiceName, TargetName};

/// Where things stand in the files of a policy.
#[derive(Clone, Debug, Default)]
pub struct Outline {
    /// Every role, templates included.
    pub roles: BTreeMap<RoleName, RoleOutline>,
    /// Every command set.
    pub sets: BTreeMap<String, SetOutline>,
    /// Every target.
    pub targets: BTreeMap<TargetName, Spot>,
    /// Every rule about runs of jobs, and whether a role names it.
    pub workloads: BTreeMap<String, (Spot, bool)>,
    /// Every service account, and whether a role names it.
    pub services: BTreeMap<String, (Spot, bool)>,
}

/// One `[[role]]`.
#[derive(Clone, Debug)]
pub struct RoleOutline {
    /// Where it stands.
    pub spot: Spot,
    /// It is only there to be extended.
    pub template: bool,
    /// Some role extends it.
    pub extended: bool,
}

/// One `[[commands]]`.
#[derive(Clone, Debug)]
pub struct SetOutline {
    /// Where it stands.
    pub spot: Spot,
    /// The set.
    pub set: Arc<CommandSet>,
    /// Some role names it.
    pub used: bool,
}

impl Outline {
    /// Looks at the tables, which have been read, a second time. `drafts` are the roles before they are joined.
    pub(super) fn of(tops: &mut [Section<'_>], read: &Read<'_, '_>) -> Self {
        let Read { sets, rules, drafts } = read;
        let mut outline = Self::default();
        for draft in *drafts {
            let name = &draft.name.value;
            let extends = |other: &Draft<'_>| other.extends.as_ref().is_some_and(|base| base.value == *name);
            let extended = drafts.iter().any(extends);
            let role = RoleOutline { spot: draft.section.spot(), template: draft.template, extended };
            outline.roles.insert(name.clone(), role);
        }
        for mut section in tops.iter_mut().flat_map(|top| top.children("commands")) {
            let Some(set) = section.text("name").and_then(|name| sets.read.get(name.value)) else { continue };
            let names =
                |draft: &Draft<'_>| draft.commands.as_ref().is_some_and(|at| Arc::ptr_eq(&at.value, set));
            let used = drafts.iter().any(names);
            let entry = SetOutline { spot: section.spot(), set: Arc::clone(set), used };
            outline.sets.insert(set.name.clone(), entry);
        }
        for mut section in tops.iter_mut().flat_map(|top| top.children("target")) {
            if let Some(name) = section.text("name").and_then(|name| name.value.parse().ok()) {
                outline.targets.insert(name, section.spot());
            }
        }
        let members = || drafts.iter().filter_map(|draft| draft.members.as_ref());
        let workloads: BTreeSet<&str> =
            members().flat_map(|layer| &layer.workloads).map(|rule| rule.name.as_str()).collect();
        let services: BTreeSet<&str> =
            members().flat_map(|layer| layer.services.keys()).map(ServiceName::as_str).collect();
        outline.workloads = spots(tops, "workload", &rules.named_workloads, &workloads);
        outline.services = spots(tops, "service", &rules.named_services, &services);
        outline
    }
}

/// Where the tables of this kind stand, and which of them roles name.
fn spots(
    tops: &mut [Section<'_>],
    key: &'static str,
    named: &BTreeSet<String>,
    used: &BTreeSet<&str>,
) -> BTreeMap<String, (Spot, bool)> {
    let mut spots = BTreeMap::new();
    for mut section in tops.iter_mut().flat_map(|top| top.children(key)) {
        let Some(name) = section.text("name").filter(|name| named.contains(name.value)) else { continue };
        spots.insert(name.value.to_owned(), (section.spot(), used.contains(name.value)));
    }
    spots
}
