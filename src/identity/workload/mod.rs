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
use super::run::{Hazard, Platform, Run};

pub use value::{ClaimType, VALUE_BYTES_MAX};

/// Longest label of a run or its actor, in bytes.
const LABEL_BYTES_MAX: usize = 128;
/// Longest subject, in bytes: locks and revocations name it.
const SUBJECT_BYTES_MAX: usize = 255;
/// Most claims of an open name (`repo_property_*`) in one token.
const OPEN_CLAIMS_MAX: usize = 100;

/// How a token is bound to the key that it is shown with, so that nobody else can use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bind {
    /// The job chooses the audience, and so the audience names the key.
    Audience,
    /// The audience is fixed before the key is made; the key signs the request that carries the token.
    Signature,
}

impl Bind {
    /// The word of configuration and wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Audience => "audience",
            Self::Signature => "signature",
        }
    }
}

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
    /// Where people find the immutable id, as the end of a sentence.
    pub found: &'static str,
}

impl Preset {
    /// The claim of this name.
    pub fn claim(&self, name: &str) -> Option<&'static Claim> {
        self.claims.iter().find(|claim| claim.name == name)
    }

    /// Whether this value of the event claim speaks of a pull or merge request, known or not.
    pub fn is_pull_request(&self, event: &str) -> bool {
        self.event.is_some_and(|(_, _, known)| {
            known.contains(&event) || event.starts_with("pull_request") || event.starts_with("merge_request")
        })
    }
}

/// What of a generic issuer's tokens counts, as configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Generic {
    /// The claim that is the immutable id. Text or a whole number.
    pub id_claim: String,
    /// The claim that people know it by.
    pub label_claim: Option<String>,
    /// The claim that is the id of the run.
    pub run_claim: Option<String>,
    /// The claims that rules may speak of: text, whole numbers or booleans. A dot steps into a claim that is an object.
    pub claims: Vec<String>,
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
    let mut kept = open_claims(preset, claims)?;
    let rules = |name: &str| preset.claim(name).is_some_and(|claim| claim.rules);
    let values = said.values.into_iter().filter(|(name, _)| rules(name));
    kept.extend(values.map(|(name, value)| (name.to_owned(), value)));
    shape.into_run(platform, kept)
}

/// What a platform's file makes of its claims.
#[derive(Debug, Default)]
struct Shape {
    subject: String,
    label: String,
    id: Option<String>,
    attempt: Option<String>,
    commit: Option<String>,
    url: Option<String>,
    actor: Option<String>,
    hazards: BTreeSet<Hazard>,
}

impl Shape {
    fn into_run(self, platform: Platform, claims: BTreeMap<String, String>) -> Result<Run, TokenRefused> {
        if self.subject.len() > SUBJECT_BYTES_MAX {
            return Err(refused(format!("its id has more than {SUBJECT_BYTES_MAX} characters")));
        }
        let shown = label(&self.label, LABEL_BYTES_MAX);
        let label_or_id = if shown.is_empty() { self.subject.clone() } else { shown };
        let actor = self.actor.map(|actor| label(&actor, LABEL_BYTES_MAX)).filter(|actor| !actor.is_empty());
        Ok(Run {
            platform,
            subject: self.subject,
            label: label_or_id,
            id: self.id,
            attempt: self.attempt,
            commit: self.commit.filter(|commit| is_commit(commit)),
            url: self.url,
            actor,
            claims,
            hazards: self.hazards,
            sign_in: None,
        })
    }
}

/// The claims that the table has, checked, by our names.
struct Said<'c> {
    claims: &'c Map<String, Value>,
    values: BTreeMap<&'static str, String>,
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

fn schema(
    preset: &Preset,
    claims: &Map<String, Value>,
) -> Result<BTreeMap<&'static str, String>, TokenRefused> {
    let mut values = BTreeMap::new();
    for claim in preset.claims {
        let value = at(claims, claim.path)?.filter(|value| !(claim.nullable && value.is_null()));
        let text = value.map(|value| value::read(claim.name, claim.kind, value)).transpose()?.flatten();
        match text {
            Some(text) => {
                values.insert(claim.name, text);
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

fn open_claims(
    preset: &Preset,
    claims: &Map<String, Value>,
) -> Result<BTreeMap<String, String>, TokenRefused> {
    let mut kept = BTreeMap::new();
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
