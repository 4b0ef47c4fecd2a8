//! Roles that are open to somebody: because they stand, or because a grant says so. What a grant is narrower in than its role
//! holds here as well.

use std::ops::Deref;
use std::sync::Arc;

use crate::access::{Grant, Once};
use crate::identity::Identity;
use crate::policy::request::Access;
use crate::policy::{Ask, ChannelKind, Circumstances, CommandSet, Granted, Role};
use crate::time::Timestamp;

/// A role that is open, and by what.
#[derive(Clone, Debug)]
pub(super) struct Open<'p> {
    role: &'p Role,
    /// The grant behind it; none for standing access.
    pub(super) grant: Option<&'p Grant>,
    /// Only these commands.
    pinned: Option<Arc<CommandSet>>,
}

impl Deref for Open<'_> {
    type Target = Role;
    fn deref(&self) -> &Role {
        self.role
    }
}

impl Open<'_> {
    /// Whether it opens this kind of channel.
    pub(super) fn opens(&self, kind: ChannelKind) -> bool {
        self.role.channels.contains(&kind) && (kind == ChannelKind::Exec || !self.commands_only())
    }

    /// Nothing but commands may be done with it.
    pub(super) fn commands_only(&self) -> bool {
        self.pinned.is_some() || self.grant.is_some_and(|grant| grant.once() == Some(Once::Exec))
    }

    /// Every set of command rules that must allow.
    pub(super) fn command_sets(&self) -> impl Iterator<Item = &CommandSet> {
        self.role.commands.iter().chain(&self.pinned).map(AsRef::as_ref)
    }

    /// Whether doing something under it uses up what is for one use.
    fn is_to_be_taken(&self) -> bool {
        self.grant.is_some_and(Grant::is_to_be_taken)
    }

    /// When the grant behind it is over.
    pub(super) fn over(&self) -> Option<Timestamp> {
        self.grant.map(|grant| grant.until)
    }
}

/// Those of `allowing` under which something is done. What is for one use is taken by the session that begins, and of such
/// grants one; only where nothing else allows the same, or, with `widens`, where nothing else of the same role does (the role
/// then says more of what may be done later). Without taking it nobody has anything of it: not its end, not its rules.
pub(super) fn done_under<'p>(allowing: &[&'p Open<'p>], widens: bool) -> Vec<&'p Open<'p>> {
    let lasting: Vec<&Open<'_>> = allowing.iter().filter(|role| !role.is_to_be_taken()).copied().collect();
    let adds = |role: &Open<'_>| match widens {
        true => !lasting.iter().any(|other| other.name == role.name),
        false => lasting.is_empty(),
    };
    let taken = allowing.iter().position(|role| role.is_to_be_taken() && adds(role));
    let is_kept = |(at, role): &(usize, &&Open<'_>)| !role.is_to_be_taken() || Some(*at) == taken;
    allowing.iter().enumerate().filter(is_kept).map(|(_, role)| *role).collect()
}

/// Those of `eligible` that are open now: once for each grant, where grants open them.
pub(super) fn open<'p>(
    eligible: &[&'p Role],
    who: &Identity,
    ask: &Ask,
    at: &'p Circumstances,
) -> Vec<Open<'p>> {
    let mut open = Vec::new();
    for role in eligible.iter().copied() {
        match (&role.access, &at.held.granted) {
            (Access::Standing, _) | (Access::ByRequest(_), Granted::Assumed) => {
                open.push(Open { role, grant: None, pinned: None });
            }
            (Access::ByRequest(_), Granted::Only(grants)) => {
                let session = at.held.session.as_ref();
                let opens = |grant: &&Grant| {
                    grant.who.is(who)
                        && grant.scope.role == role.name
                        && grant.opens(&ask.target, &ask.login, session, at.now)
                };
                open.extend(grants.iter().filter(opens).map(|grant| Open {
                    role,
                    grant: Some(grant),
                    pinned: pinned(grant),
                }));
            }
        }
    }
    open
}

fn pinned(grant: &Grant) -> Option<Arc<CommandSet>> {
    let commands = &grant.scope.commands;
    (!commands.is_empty()).then(|| Arc::new(CommandSet::of_lines("granted", commands)))
}
