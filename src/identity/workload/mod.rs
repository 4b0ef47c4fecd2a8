//! What a platform's token for a job must look like, and which run it tells of: one strict table per platform. A claim of
//! another type than its platform writes refuses the token; a claim that no table has is not looked at. Pure. Signature,
//! `iss`, `aud`, times and `jti` are judged elsewhere; which runs may do what is the policy's.
//!
//! `sub` decides nothing here: its parts can be chosen by those who write workflows, and its form changes without notice.

mod buildkite;
mod circleci;
mod github;
mod gitlab;
mod kubernetes;
mod oidc;
#[cfg(test)]
mod tests;
mod value;
mod web;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::claims::{TokenRefused, label};
use super::run::{Hazard, Run};
use crate::platform::Platform;

pub use crate::config::{Bind, Generic};
pub use value::{ClaimType, VALUE_BYTES_MAX};

/// Longest label of a run or its actor, in bytes.
const LABEL_BYTES_MAX: usize = 128;
/// Longest subject, in bytes: locks and revocations name it.
const SUBJECT_BYTES_MAX: usize = 255;
/// Most claims of an open name (`repo_property_*`) in one token.
const OPEN_CLAIMS_MAX: usize = 100;

/// One claim of a platform.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// Our name for it, which rules use: the platform's own, or its last part.
    pub name: &'static str,
    /// Where it stands in the token: the keys from the outside inwards.
    pub path: &'static [&'static str],
    /// Its type.
    pub kind: ClaimType,
    /// Without it the token is refused.
    pub needed: bool,
    /// The platform writes null where there is nothing to say.
    pub nullable: bool,
    /// Whether a rule may speak of it. Only such claims are kept.
    pub rules: bool,
    /// Whether a rule may use `*` in it.
    pub glob: bool,
    /// It is (part of) the immutable id, which every rule must name.
    pub identifies: bool,
}

impl Claim {
    /// An optional claim that rules may match exactly.
    const fn new(name: &'static str, path: &'static [&'static str], kind: ClaimType) -> Self {
        Self { name, path, kind, needed: false, nullable: false, rules: true, glob: false, identifies: false }
    }

    const fn needed(self) -> Self {
        Self { needed: true, ..self }
    }

    const fn nullable(self) -> Self {
        Self { nullable: true, ..self }
    }

    const fn identifies(self) -> Self {
        Self { needed: true, identifies: true, ..self }
    }

    const fn glob(self) -> Self {
        Self { glob: true, ..self }
    }

    const fn hidden(self) -> Self {
        Self { rules: false, ..self }
    }
}

/// What a rule means about a claim that it does not name.
#[derive(Clone, Copy, Debug)]
pub struct Implied {
    /// Only where the rule names this claim; none: always.
    pub with: Option<&'static str>,
    /// The claim that the rule does not name.
    pub claim: &'static str,
    /// What it must be; none: it must not be there.
    pub value: Option<&'static str>,
}

/// What is known of a platform.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// The signature algorithms that it uses, by their names of RFC 7518. A token with another one is refused.
    pub algorithms: &'static [&'static str],
    /// Whether its tokens have a `jti`, and a token without one is therefore refused.
    pub needs_jti: bool,
    /// How its tokens are bound to a key.
    pub bind: Bind,
    /// `iss`, where there is one instance of the platform that most people use.
    pub default_issuer: Option<&'static str>,
    /// The claims.
    pub claims: &'static [Claim],
    /// Claims whose names begin so are text that rules may match exactly; what follows is chosen by the platform's users.
    pub open: Option<&'static str>,
    /// The claim that tells what started the run; the values that pass where a rule does not name it; and the values that
    /// speak of pull or merge requests, which pass only where a rule names them.
    pub event: Option<(&'static str, &'static [&'static str], &'static [&'static str])>,
    /// What rules mean where they say nothing.
    pub implied: &'static [Implied],
    /// What the immutable id is the id of: the first word of a subject.
    pub noun: &'static str,
    /// Where people find the immutable id, as the end of a sentence.
    pub found: &'static str,
}

impl Preset {
    /// The claim of this name.
    pub fn claim(&self, name: &str) -> Option<&'static Claim> {
        self.claims.iter().find(|claim| claim.name == name)
    }

    /// The claims that are the immutable id, in the order in which a subject has their values.
    pub fn id(&self) -> impl Iterator<Item = &'static str> {
        self.claims.iter().filter(|claim| claim.identifies).map(|claim| claim.name)
    }

    /// The values of the claims that are the immutable id, of a subject: `repository/123456`.
    pub fn id_of(&self, subject: &str) -> Option<Vec<(&'static str, String)>> {
        let rest = subject.strip_prefix(self.noun)?.strip_prefix('/')?;
        let parts: Vec<&str> = rest.split('/').collect();
        let fits = !self.noun.is_empty() && parts.len() == self.id().count();
        fits.then(|| self.id().zip(parts).map(|(name, part)| (name, part.to_owned())).collect())
    }

    /// Whether this value of the event claim speaks of a pull or merge request, known or not.
    pub fn is_pull_request(&self, event: &str) -> bool {
        self.event.is_some_and(|(_, _, known)| {
            known.contains(&event) || event.starts_with("pull_request") || event.starts_with("merge_request")
        })
    }
}

const NONE: Preset = Preset {
    algorithms: &[],
    needs_jti: true,
    bind: Bind::Signature,
    default_issuer: None,
    claims: &[],
    open: None,
    event: None,
    implied: &[],
    noun: "",
    found: "",
};

/// What is known of the platform. Of a service account nothing: it has no tokens.
pub fn preset(platform: Platform) -> &'static Preset {
    match platform {
        Platform::GitHub => &github::GITHUB,
        Platform::Forgejo => &github::FORGEJO,
        Platform::GitLab => &gitlab::PRESET,
        Platform::Buildkite => &buildkite::PRESET,
        Platform::CircleCi => &circleci::PRESET,
        Platform::Kubernetes => &kubernetes::PRESET,
        Platform::Oidc => &oidc::PRESET,
        Platform::Service => &NONE,
    }
}

/// The run that the claims of a verified token tell of. `generic` says which claims count for [`Platform::Oidc`], and is not
/// looked at for others. Refuses (code `claim`) what is missing, or not of the type that the platform writes.
pub fn read(
    platform: Platform,
    generic: Option<&Generic>,
    claims: &Map<String, Value>,
) -> Result<Run, TokenRefused> {
    let preset = preset(platform);
    let said = Said { claims, values: schema(preset, claims)? };
    let shape = match platform {
        Platform::GitHub => github::github(&said)?,
        Platform::Forgejo => github::forgejo(&said)?,
        Platform::GitLab => gitlab::shape(&said)?,
        Platform::Buildkite => buildkite::shape(&said)?,
        Platform::CircleCi => circleci::shape(&said)?,
        Platform::Kubernetes => kubernetes::shape(&said)?,
        Platform::Oidc => {
            let generic = generic.ok_or_else(|| refused("this issuer has no \"id_claim\""))?;
            return oidc::read(generic, claims);
        }
        Platform::Service => return Err(refused("a service account has no tokens")),
    };
    let subject = subject(preset, &said.values).ok_or_else(|| refused("the token has no id"))?;
    let hazards = hazards(platform, &said.values);
    let mut kept = open_claims(preset, claims)?;
    let rules = |name: &str| preset.claim(name).is_some_and(|claim| claim.rules);
    kept.extend(said.values.into_iter().filter(|(name, _)| rules(name)));
    shape.into_run(platform, subject, kept, hazards)
}

/// A run as somebody describes it with some of its claims, for questions to a policy; never from a token. `id` is the claim
/// that is the immutable id where the platform has no own. Claims and hazards are what [`read`] would make of them.
pub fn described(platform: Platform, id: Option<&str>, claims: BTreeMap<String, String>) -> Run {
    let preset = preset(platform);
    let own = || id.and_then(|id| claims.get(id)).map(|id| format!("id/{id}"));
    let subject = subject(preset, &claims).or_else(own).unwrap_or_default();
    Run {
        platform,
        label: subject.clone(),
        subject,
        id: None,
        attempt: None,
        commit: None,
        url: None,
        actor: None,
        hazards: hazards(platform, &claims),
        claims,
        // The platform is not asked; questions are about runs that are running.
        announced: true,
        sign_in: None,
    }
}

/// `NOUN/ID`.
fn subject(preset: &Preset, values: &Values) -> Option<String> {
    let ids: Option<Vec<&str>> = preset.id().map(|name| values.get(name).map(String::as_str)).collect();
    let ids = ids.filter(|ids| !ids.is_empty())?;
    Some(format!("{}/{}", preset.noun, ids.join("/")))
}

/// What in the claims makes a run one that strangers may steer.
fn hazards(platform: Platform, values: &Values) -> BTreeSet<Hazard> {
    match platform {
        Platform::GitHub | Platform::Forgejo => github::hazards(preset(platform), values),
        Platform::GitLab => gitlab::hazards(values),
        Platform::Buildkite => buildkite::hazards(values),
        Platform::CircleCi => circleci::hazards(values),
        Platform::Kubernetes | Platform::Oidc | Platform::Service => BTreeSet::new(),
    }
}

/// Claims by our names for them, as text.
type Values = BTreeMap<String, String>;

fn is_any(values: &Values, name: &str, is: impl Fn(&str) -> bool) -> bool {
    values.get(name).is_some_and(|value| is(value))
}

/// What a platform's file makes of its claims.
#[derive(Debug, Default)]
struct Shape {
    label: String,
    id: Option<String>,
    attempt: Option<String>,
    commit: Option<String>,
    url: Option<String>,
    actor: Option<String>,
}

impl Shape {
    fn into_run(
        self,
        platform: Platform,
        subject: String,
        claims: Values,
        hazards: BTreeSet<Hazard>,
    ) -> Result<Run, TokenRefused> {
        if subject.len() > SUBJECT_BYTES_MAX {
            return Err(refused(format!("its id has more than {SUBJECT_BYTES_MAX} characters")));
        }
        let shown = label(&self.label, LABEL_BYTES_MAX);
        let label_or_id = if shown.is_empty() { subject.clone() } else { shown };
        let actor = self.actor.map(|actor| label(&actor, LABEL_BYTES_MAX)).filter(|actor| !actor.is_empty());
        Ok(Run {
            platform,
            subject,
            label: label_or_id,
            id: self.id,
            attempt: self.attempt,
            commit: self.commit.filter(|commit| is_commit(commit)),
            url: self.url,
            actor,
            claims,
            hazards,
            announced: false,
            sign_in: None,
        })
    }
}

/// The claims that the table has, checked, by our names.
struct Said<'c> {
    claims: &'c Map<String, Value>,
    values: Values,
}

impl Said<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    fn owned(&self, name: &str) -> Option<String> {
        self.get(name).map(ToOwned::to_owned)
    }

    /// A claim that the table needs; so this does not fail after `schema`.
    fn need(&self, name: &str) -> Result<&str, TokenRefused> {
        self.get(name).ok_or_else(|| missing(name))
    }

    fn issuer(&self) -> Option<&str> {
        self.claims.get("iss")?.as_str()
    }
}

fn refused(reason: impl Into<String>) -> TokenRefused {
    TokenRefused::new("claim", reason)
}

fn missing(name: &str) -> TokenRefused {
    refused(format!("the token has no claim {name:?}"))
}

fn schema(preset: &Preset, claims: &Map<String, Value>) -> Result<Values, TokenRefused> {
    let mut values = Values::new();
    for claim in preset.claims {
        let value = at(claims, claim.path)?.filter(|value| !(claim.nullable && value.is_null()));
        let text = value.map(|value| value::read(claim.name, claim.kind, value)).transpose()?.flatten();
        match text {
            Some(text) => {
                values.insert(claim.name.to_owned(), text);
            }
            None if claim.needed => return Err(missing_of(preset, claim)),
            None => {}
        }
    }
    Ok(values)
}

fn missing_of(preset: &Preset, claim: &Claim) -> TokenRefused {
    if claim.identifies && !preset.found.is_empty() {
        refused(format!("the token has no claim {:?}; {}", claim.name, preset.found))
    } else {
        missing(claim.name)
    }
}

/// The value at the end of the path. What must be stepped into and is no object refuses the token.
fn at<'c>(claims: &'c Map<String, Value>, path: &[&str]) -> Result<Option<&'c Value>, TokenRefused> {
    let Some((last, outer)) = path.split_last() else { return Ok(None) };
    let mut map = claims;
    for key in outer {
        match map.get(*key) {
            None => return Ok(None),
            Some(Value::Object(inner)) => map = inner,
            Some(_) => return Err(refused(format!("the claim {key:?} is not an object"))),
        }
    }
    Ok(map.get(*last))
}

fn open_claims(preset: &Preset, claims: &Map<String, Value>) -> Result<Values, TokenRefused> {
    let mut kept = Values::new();
    let Some(prefix) = preset.open else { return Ok(kept) };
    for (name, value) in claims {
        if !is_open(prefix, name) {
            continue;
        }
        if kept.len() >= OPEN_CLAIMS_MAX {
            return Err(refused(format!("the token has more than {OPEN_CLAIMS_MAX} claims {prefix}*")));
        }
        if let Some(text) = value::read(name, ClaimType::Text, value)? {
            kept.insert(name.clone(), text);
        }
    }
    Ok(kept)
}

/// Whether this is a name that begins so, and goes on as names do.
pub fn is_open(prefix: &str, name: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| {
        (1..=100).contains(&rest.len())
            && rest.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    })
}

/// SHA-1 or SHA-256 in lower-case hexadecimal: it is written into key ids and logs.
fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'))
}
