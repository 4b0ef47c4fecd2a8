//! What somebody may ask for, or has without asking: the roles of which they are a member, with what each opens.

use crate::identity::Identity;
use crate::names::TargetName;
use crate::policy::decide::{is_member, opens_target};
use crate::policy::{Policy, Role};

/// A role of somebody's.
#[derive(Clone, Debug)]
pub struct Eligible<'p> {
    /// The role.
    pub role: &'p Role,
    /// What it opens; never empty.
    pub targets: Vec<&'p TargetName>,
}

/// The roles of somebody, in the order of the policy; those that open nothing are left out.
pub fn eligible<'p>(policy: &'p Policy, who: &Identity) -> Vec<Eligible<'p>> {
    let mine = policy.roles.iter().filter(|role| is_member(role, who) && !role.channels.is_empty());
    let opened = |role: &'p Role| {
        let open = policy.targets.values().filter(|target| opens_target(role, target));
        Eligible { role, targets: open.map(|target| &target.name).collect() }
    };
    mine.map(opened).filter(|eligible| !eligible.targets.is_empty()).collect()
}
