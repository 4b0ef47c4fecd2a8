//! Which runs of CI jobs, and which service accounts, a role is for: the rules of `[[workload]]` and `[[service]]`, and the one
//! function that judges a run by a rule. Pure. What a platform's token must look like is `identity::workload`'s; whether the
//! run is still running, and from where a service account calls, the flow asks.

mod account;
mod pattern;
mod read;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::{Members, Policy, Role};
use crate::config::{Generic, hint};
use crate::identity::run::Hazard;
use crate::identity::workload::{described, is_open, preset};
use crate::identity::{Identity, Kind, Run};
use crate::names::{ProviderName, ServiceName, WorkloadName};
use crate::platform::Platform;

pub use account::{KEY_CLAIM, Service, service_of};
pub use pattern::Pattern;
pub(super) use read::{Rules, read_rules};

/// `[[workload]]`: runs of one issuer, by what their tokens say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadRule {
    /// Its name.
    pub name: WorkloadName,
    /// The `[[issuer]]`.
    pub issuer: ProviderName,
    /// What the issuer is. Guessed from the rule where the configuration is not known.
    pub platform: Platform,
    /// By claim, the values that it takes: every claim must have one of its values. What the platform's preset implies is
    /// written out here.
    pub wants: BTreeMap<String, Vec<Pattern>>,
    /// Claims that must not be there.
    pub absent: BTreeSet<String>,
    /// Of the claims above, those that are the immutable id.
    pub id: Vec<String>,
    /// It holds only while the platform's webhook says that the run is running.
    pub announced: bool,
}

/// Why a run does not fit a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Mismatch {
    /// `issuer`, `event`, `fork`, `rerun`, `announced`, or `no-rule` for any other claim.
    pub code: &'static str,
    /// The claim that does not fit.
    pub claim: String,
    /// What the rule wants of it.
    pub wanted: String,
    /// What the token says.
    pub found: Option<String>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { claim, wanted, found, .. } = self;
        match found {
            Some(found) => write!(f, "{claim} must be {wanted}, and is {found}"),
            None => write!(f, "{claim} must be {wanted}, and the token does not say it"),
        }
    }
}

/// What a policy makes of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// The rules that it fits, in the order of their names.
    pub matching: Vec<WorkloadName>,
    /// The rules for this very repository, project or account that it does not fit, and why. Of rules for others nobody
    /// learns anything here.
    pub near: Vec<(WorkloadName, Mismatch)>,
}

/// Judges a run of the issuer `provider` by every rule.
pub fn judge(policy: &Policy, provider: &ProviderName, run: &Run) -> Judged {
    let mut judged = Judged::default();
    for rule in policy.workloads.values() {
        match rule.judge(provider, run) {
            Ok(()) => judged.matching.push(rule.name.clone()),
            Err(mismatch) if rule.is_about(provider, run) => {
                judged.near.push((rule.name.clone(), mismatch));
            }
            Err(_) => {}
        }
    }
    judged
}

impl WorkloadRule {
    /// Whether a run of the issuer `provider` fits. A claim that is not there fits nothing. The code of a fork and a job with
    /// a shell on it never pass; what a pull request started passes where the rule names that event.
    pub fn judge(&self, provider: &ProviderName, run: &Run) -> Result<(), Mismatch> {
        if *provider != self.issuer || run.platform != self.platform {
            return Err(Mismatch {
                code: "issuer",
                claim: "issuer".to_owned(),
                wanted: format!("{} ({})", self.issuer, self.platform),
                found: Some(format!("{provider} ({})", run.platform)),
            });
        }
        for name in &self.id {
            self.claim(name, run)?;
        }
        self.hazards(run)?;
        for name in self.wants.keys() {
            self.claim(name, run)?;
        }
        if self.announced && !run.announced {
            return Err(Mismatch {
                code: "announced",
                claim: "announced".to_owned(),
                wanted: "true: the platform's webhook says that the run is running".to_owned(),
                found: None,
            });
        }
        match self.absent.iter().find_map(|name| Some((name, run.claim(name)?))) {
            None => Ok(()),
            Some((name, found)) => Err(mismatch("no-rule", name, "absent", Some(found))),
        }
    }

    /// Whether the rule is for the very thing that runs.
    fn is_about(&self, provider: &ProviderName, run: &Run) -> bool {
        let fits = |name: &String| self.claim(name, run).is_ok();
        *provider == self.issuer
            && run.platform == self.platform
            && !self.id.is_empty()
            && self.id.iter().all(fits)
    }

    fn claim(&self, name: &str, run: &Run) -> Result<(), Mismatch> {
        let wanted = self.wants.get(name).map(Vec::as_slice).unwrap_or_default();
        let found = run.claim(name);
        if found.is_some_and(|found| wanted.iter().any(|pattern| pattern.fits(found))) {
            return Ok(());
        }
        let is_event = preset(self.platform).event.is_some_and(|(event, _, _)| event == name);
        let code = if is_event { "event" } else { "no-rule" };
        let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
        Err(mismatch(code, name, &wanted.join(" or "), found))
    }

    fn hazards(&self, run: &Run) -> Result<(), Mismatch> {
        if run.hazards.contains(&Hazard::Fork) {
            return Err(mismatch("fork", "the code", "the project's own", Some("that of a fork")));
        }
        if run.hazards.contains(&Hazard::SshRerun) {
            return Err(mismatch("rerun", "ssh_rerun", "false", Some("true")));
        }
        if run.hazards.contains(&Hazard::PullRequest) && !self.names_event_of(run) {
            let event = preset(self.platform).event.map_or("event", |(event, _, _)| event);
            let wanted = "none of a pull or merge request, or named by the rule";
            return Err(mismatch("event", event, wanted, run.claim(event)));
        }
        Ok(())
    }

    /// Whether the event of the run is one of a pull request, and the rule names it. The events that pass where a rule says
    /// nothing have none of these among them.
    fn names_event_of(&self, run: &Run) -> bool {
        let preset = preset(self.platform);
        preset.event.is_some_and(|(event, _, _)| {
            run.claim(event).is_some_and(|found| preset.is_pull_request(found))
                && self.claim(event, run).is_ok()
        })
    }

    /// A run that fits, as far as the rule says what fits; for hints, never for a door.
    pub(super) fn example(&self) -> Identity {
        let first = |patterns: &Vec<Pattern>| patterns.first().map(Pattern::example);
        let claims = self.wants.iter().filter_map(|(name, wanted)| Some((name.clone(), first(wanted)?)));
        described_as(&self.issuer, self.platform, self.id.first().map(String::as_str), claims.collect())
    }
}

fn mismatch(code: &'static str, claim: &str, wanted: &str, found: Option<&str>) -> Mismatch {
    Mismatch { code, claim: claim.to_owned(), wanted: wanted.to_owned(), found: found.map(ToOwned::to_owned) }
}

/// A run that somebody describes with some of its claims, for questions to a policy. None when no rule is about runs of
/// this issuer. Claims are text: `true`, `123`.
pub fn described_run(
    policy: &Policy,
    issuer: &ProviderName,
    claims: BTreeMap<String, String>,
) -> Option<Identity> {
    let rule = about(policy, issuer).next()?;
    Some(described_as(issuer, rule.platform, rule.id.first().map(String::as_str), claims))
}

/// The claims that a subject of this issuer, `repository/123456`, stands for. None when no rule is about its runs, or the
/// subject is none of its platform.
pub fn claims_of(policy: &Policy, issuer: &ProviderName, subject: &str) -> Option<BTreeMap<String, String>> {
    let rule = about(policy, issuer).next()?;
    if let Some(id) = preset(rule.platform).id_of(subject) {
        return Some(id.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
    }
    let id = subject.strip_prefix("id/").filter(|_| rule.platform == Platform::Oidc)?;
    Some(BTreeMap::from([(rule.id.first()?.clone(), id.to_owned())]))
}

/// Whether tokens of this issuer have such a claim, as far as the platform or the rules tell; if not, what they have. A
/// misspelt claim in a question would be one that is not there, and the answer "no" would look right.
pub fn check_claim(policy: &Policy, issuer: &ProviderName, name: &str) -> Result<(), String> {
    let rules: Vec<&Arc<WorkloadRule>> = about(policy, issuer).collect();
    let Some(preset) = rules.first().map(|rule| preset(rule.platform)) else { return Ok(()) };
    let named = rules.iter().flat_map(|rule| rule.wants.keys()).map(String::as_str);
    let known: BTreeSet<&str> = preset.claims.iter().map(|claim| claim.name).chain(named).collect();
    if known.contains(name) || preset.open.is_some_and(|prefix| is_open(prefix, name)) {
        return Ok(());
    }
    let known: Vec<&str> = known.into_iter().collect();
    Err(format!("runs of \"{issuer}\" have no claim {name:?}{}", hint(name, &known)))
}

fn about<'p>(policy: &'p Policy, issuer: &'p ProviderName) -> impl Iterator<Item = &'p Arc<WorkloadRule>> {
    policy.workloads.values().filter(|rule| rule.issuer == *issuer)
}

fn described_as(
    issuer: &ProviderName,
    platform: Platform,
    id: Option<&str>,
    claims: BTreeMap<String, String>,
) -> Identity {
    workload(issuer.clone(), described(platform, id, claims))
}

/// An identity that no platform vouched for.
fn workload(provider: ProviderName, run: Run) -> Identity {
    Identity {
        kind: Kind::Workload,
        provider,
        issuer: String::new(),
        subject: run.subject.clone(),
        display: run.label.clone(),
        groups: BTreeSet::new(),
        run: Some(Arc::new(run)),
    }
}

/// Whether a job or service is among these members. Never a person, whatever they are called.
pub(super) fn is_among(members: &Members, who: &Identity) -> bool {
    let Some(run) = who.run.as_deref().filter(|run| run.subject == who.subject) else { return false };
    match (who.kind, run.platform) {
        (Kind::Person, _) => false,
        (Kind::Workload, Platform::Service) => account::is_among(members, who, run),
        (
            Kind::Workload,
            Platform::GitHub
            | Platform::GitLab
            | Platform::Forgejo
            | Platform::Buildkite
            | Platform::CircleCi
            | Platform::Kubernetes
            | Platform::Oidc,
        ) => members.workloads.iter().any(|rule| rule.judge(&who.provider, run).is_ok()),
    }
}

/// What of the members is about this job or service; nothing of people.
pub(super) fn members_seen_by(layer: &Members, who: &Identity) -> Members {
    let fits = |one: &Members| is_among(one, who);
    let rules = layer
        .workloads
        .iter()
        .filter(|rule| fits(&Members { workloads: vec![Arc::clone(rule)], ..Members::default() }));
    let services = layer.services.iter().map(|(name, service)| (name.clone(), Arc::clone(service)));
    let services = services.filter(|(name, service)| {
        let only = BTreeMap::from([(name.clone(), Arc::clone(service))]);
        fits(&Members { services: only, ..Members::default() })
    });
    Members { workloads: rules.cloned().collect(), services: services.collect(), ..Members::default() }
}

/// Whether some job or service could be in every layer of the role; certain when it says no.
pub(super) fn is_for_workloads(role: &Role) -> bool {
    let issuers = |layer: &Members| -> BTreeSet<ProviderName> {
        layer.workloads.iter().map(|rule| rule.issuer.clone()).collect()
    };
    let in_all = |issuer: &ProviderName| {
        role.members.iter().all(|layer| layer.workloads.iter().any(|rule| rule.issuer == *issuer))
    };
    let first = role.members.first();
    first.is_some_and(|layer| issuers(layer).iter().any(in_all)) || !common(role).1.is_empty()
}

/// The rules and accounts that stand in every layer of the role: who fits one is a member.
fn common(role: &Role) -> (BTreeSet<&WorkloadName>, BTreeSet<&ServiceName>) {
    let Some(first) = role.members.first() else { return Default::default() };
    let rule_in =
        |layer: &Members, name: &WorkloadName| layer.workloads.iter().any(|rule| rule.name == *name);
    let rules = first.workloads.iter().map(|rule| &rule.name);
    let services = first.services.keys();
    (
        rules.filter(|name| role.members.iter().all(|layer| rule_in(layer, name))).collect(),
        services.filter(|name| role.members.iter().all(|layer| layer.services.contains_key(*name))).collect(),
    )
}

/// Whether some run or account is certainly in both roles.
pub(super) fn overlap(one: &Role, other: &Role) -> bool {
    let (one, other) = (common(one), common(other));
    !one.0.is_disjoint(&other.0) || !one.1.is_disjoint(&other.1)
}

/// Whether every job and service of `less` is certainly in `more`.
pub(super) fn are_within(less: &Role, more: &Role) -> bool {
    let within = |less: &Members, more: &Members| {
        less.workloads.iter().all(|rule| more.workloads.iter().any(|other| other.name == rule.name))
            && less.services.keys().all(|name| more.services.contains_key(name))
    };
    !is_for_workloads(less)
        || more.members.iter().all(|more| less.members.iter().any(|less| within(less, more)))
}

/// An issuer of the configuration, as far as rules are concerned.
#[derive(Clone, Debug)]
pub(super) struct KnownIssuer {
    pub(super) name: ProviderName,
    pub(super) platform: Platform,
    pub(super) generic: Option<Generic>,
}
