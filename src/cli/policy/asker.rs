//! Who is meant by `caponier policy explain` where it is no person: a run of a job, described by claims, or a service account;
//! and what the rules make of a run, in words.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::config::{SERVICE, hint};
use crate::identity::Identity;
use crate::names::{ServiceName, SubjectName};
use crate::policy::Policy;
use crate::policy::workload::{Judged, check_claim, claims_of, described_run};

/// Somebody, and where what is known of them comes from.
pub(super) struct Asker {
    pub(super) who: Identity,
    pub(super) source: &'static str,
}

/// `NAME=VALUE`.
pub(super) fn claim(text: &str) -> Result<(String, String), String> {
    let (name, value) =
        text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// A service account, or the run that the claims describe together with the subject; none when it is neither.
pub(super) fn given(
    policy: &Policy,
    user: &SubjectName,
    claims: &[(String, String)],
) -> anyhow::Result<Option<Asker>> {
    if user.provider().as_str() == SERVICE {
        let name =
            user.subject().strip_prefix("account/").context("a service account is service:account/NAME")?;
        let service = name.parse::<ServiceName>().ok().and_then(|name| policy.services.get(&name));
        let Some(who) = service.and_then(|service| service.example()) else {
            let known: Vec<&str> = policy.services.keys().map(ServiceName::as_str).collect();
            bail!("there is no [[service]] {name:?}{}", hint(name, &known));
        };
        return Ok(Some(Asker { who, source: "as in the policy" }));
    }
    if claims.is_empty() {
        return Ok(None);
    }
    let issuer = user.provider();
    let mut all = claims_of(policy, issuer, user.subject())
        .with_context(|| format!("no [[workload]] is about runs of {issuer} called {}", user.subject()))?;
    for (name, value) in claims {
        check_claim(policy, issuer, name).map_err(anyhow::Error::msg)?;
        if all.insert(name.clone(), value.clone()).is_some_and(|other| other != *value) {
            bail!("the claim {name} is given twice, and differently");
        }
    }
    Ok(run(policy, user, all).map(|who| Asker { who, source: "as given" }))
}

/// The run of which nothing is known but what it is; none when no rule is about such.
pub(super) fn bare(policy: &Policy, user: &SubjectName) -> Option<Identity> {
    run(policy, user, claims_of(policy, user.provider(), user.subject())?)
}

fn run(policy: &Policy, user: &SubjectName, claims: BTreeMap<String, String>) -> Option<Identity> {
    described_run(policy, user.provider(), claims)
}

/// Which rules a run fits, and why not the others that are about it.
pub(super) fn lines(judged: &Judged, source: &str) -> Vec<String> {
    let names: Vec<&str> = judged.matching.iter().map(|name| name.as_str()).collect();
    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let near = judged.near.iter().map(|(rule, why)| format!("not {rule}: {why}"));
    [format!("rules: {names} (claims {source})")].into_iter().chain(near).collect()
}

/// The same for programs.
pub(super) fn json(judged: &Judged) -> Value {
    let near = judged.near.iter().map(|(rule, why)| {
        json!({ "rule": rule.as_str(), "claim": why.claim, "wanted": why.wanted, "found": why.found })
    });
    json!({
        "rules": judged.matching.iter().map(|name| name.as_str()).collect::<Vec<_>>(),
        "near": near.collect::<Vec<_>>(),
    })
}
