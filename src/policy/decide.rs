//! The one function that says yes or no. Pure.

use std::collections::BTreeSet;

use super::{Ask, Policy, Refusal, Target, Terms};
use crate::identity::Identity;
use crate::names::{LoginName, RoleName, TargetName};

/// The answer of the policy.
#[derive(Clone, Debug)]
#[must_use]
pub enum Verdict {
    /// Allowed, by these roles, under these terms, at this target (address and host key included, so that
    /// whoever acts cannot look up another one).
    Allow {
        /// The target.
        target: Target,
        /// The narrowed terms.
        terms: Terms,
        /// The first role that allows it.
        role: RoleName,
    },
    /// Refused.
    Refuse(Refusal),
}

/// Judges one ask. Default deny.
pub fn decide(policy: &Policy, who: &Identity, ask: &Ask) -> Verdict {
    let _ = (policy, who, ask);
    unimplemented!()
}

/// Every login that any role opens for `who` on any target: the principals a certificate may carry.
pub fn logins_for(policy: &Policy, who: &Identity) -> BTreeSet<LoginName> {
    let _ = (policy, who);
    unimplemented!()
}

/// The targets `who` may reach, each with the logins, for `ssh bastion targets`.
pub fn targets_for(policy: &Policy, who: &Identity) -> Vec<(TargetName, BTreeSet<LoginName>)> {
    let _ = (policy, who);
    unimplemented!()
}
