//! Reads the `[[workload]]` and `[[service]]` tables. A rule that does not name what runs by its immutable id does not load, and
//! neither does one whose values no token could have: such a rule is a mistake, and would be found when it is too late.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{KnownIssuer, Pattern, Service, WorkloadRule, account};
use crate::config::{At, Generic, Section, hint, nearest};
use crate::identity::workload::{ClaimType, Preset, VALUE_BYTES_MAX, is_open, preset};
use crate::names::{ProviderName, ServiceName, WorkloadName};
use crate::platform::Platform;

/// Most values of one claim in a rule.
const VALUES_MAX: usize = 200;
/// Claims that are judged for every token.
const STANDARD: [&str; 6] = ["iss", "aud", "exp", "nbf", "iat", "jti"];

/// The rules and accounts of the files.
#[derive(Debug, Default)]
pub(in crate::policy) struct Rules {
    /// Those that are right.
    pub(in crate::policy) workloads: BTreeMap<WorkloadName, Arc<WorkloadRule>>,
    /// Likewise.
    pub(in crate::policy) services: BTreeMap<ServiceName, Arc<Service>>,
    /// Every name of a rule, also of those that are wrong.
    pub(in crate::policy) named_workloads: BTreeSet<String>,
    /// Likewise of accounts.
    pub(in crate::policy) named_services: BTreeSet<String>,
}

/// Reads every table of both kinds. `issuers`, when known, are those that rules may speak of.
pub(in crate::policy) fn read_rules(tops: &mut [Section<'_>], issuers: Option<&[KnownIssuer]>) -> Rules {
    let mut rules = Rules::default();
    for mut section in tops.iter_mut().flat_map(|top| top.children("workload")) {
        if let Some(name) = section.text("name")
            && !rules.named_workloads.insert(name.value.to_owned())
        {
            section.problem(name.place, format!("there is a [[workload]] {:?} already", name.value));
        }
        if let Some(rule) = rule(section, issuers) {
            rules.workloads.entry(rule.name.clone()).or_insert_with(|| Arc::new(rule));
        }
    }
    let mut taken = Vec::new();
    for mut section in tops.iter_mut().flat_map(|top| top.children("service")) {
        if let Some(name) = section.text("name")
            && !rules.named_services.insert(name.value.to_owned())
        {
            section.problem(name.place, format!("there is a [[service]] {:?} already", name.value));
        }
        if let Some(At { value: service, .. }) = account::read(section, &mut taken) {
            rules.services.entry(service.name.clone()).or_insert_with(|| Arc::new(service));
        }
    }
    rules
}

type Key<'d> = (At<&'d str>, Vec<At<String>>);

fn rule(mut section: Section<'_>, issuers: Option<&[KnownIssuer]>) -> Option<WorkloadRule> {
    section.require("name", "a name of your choice; roles name it under members");
    section.require("issuer", "the name of an [[issuer]] in caponier.toml");
    let name = section.parsed::<WorkloadName>("name");
    let issuer = section.parsed::<ProviderName>("issuer");
    let announced = section.flag("announced").is_some_and(|at| at.value);
    let keys = section.others();
    let schema = issuer.as_ref().and_then(|issuer| match issuers {
        Some(issuers) => schema_of(&section, issuer, issuers),
        None => Some(guessed(&issuer.value, &keys)),
    });
    let read = schema.map(|schema| (wants(&section, &schema, &keys), schema));
    section.finish_open();
    let ((wants, absent), schema) = read?;
    Some(WorkloadRule {
        name: name?.value,
        issuer: issuer?.value,
        platform: schema.platform,
        wants,
        absent,
        id: schema.id().into_iter().map(str::to_owned).collect(),
        announced,
    })
}

/// Which claims a rule may speak of.
#[derive(Debug)]
struct Schema {
    platform: Platform,
    preset: &'static Preset,
    /// What counts at a generic issuer; none at others, or where the configuration is not known.
    generic: Option<Generic>,
}

impl Schema {
    fn new(platform: Platform, generic: Option<Generic>) -> Self {
        Self { platform, preset: preset(platform), generic }
    }

    fn id(&self) -> Vec<&str> {
        match &self.generic {
            Some(generic) => vec![&generic.id_claim],
            None => self.preset.id().collect(),
        }
    }

    fn names(&self) -> Vec<&str> {
        let own = self.preset.claims.iter().filter(|claim| claim.rules).map(|claim| claim.name);
        let generic = self.generic.iter();
        own.chain(generic.flat_map(|one| one.claims.iter().chain([&one.id_claim]).map(String::as_str)))
            .collect()
    }

    /// The type of the claim, and whether a rule may use `*` in it; or why no rule can speak of it.
    fn claim(&self, name: &str) -> Result<(ClaimType, bool), String> {
        if let Some(claim) = self.preset.claim(name) {
            if claim.rules {
                return Ok((claim.kind, claim.glob));
            }
            return Err(format!(
                "{name:?} tells people what a run is, and no rule can speak of it: {}",
                self.instead()
            ));
        }
        if self.preset.open.is_some_and(|prefix| is_open(prefix, name)) {
            return Ok((ClaimType::Text, false));
        }
        let known = self.names();
        if known.contains(&name) {
            return Ok((ClaimType::Any, false));
        }
        if name == "sub" {
            let message = "no rule speaks of \"sub\": whoever may write a workflow can shape it, and its form changes without \
                           notice";
            return Err(format!("{message}; {}", self.instead()));
        }
        if STANDARD.contains(&name) {
            return Err(format!("{name:?} is judged for every token, so no rule speaks of it"));
        }
        if self.platform == Platform::Oidc && self.generic.is_none() {
            return Ok((ClaimType::Any, false));
        }
        let what = self.platform;
        Err(format!("tokens of {what} have no claim {name:?} for rules{}", hint(name, &known)))
    }

    fn instead(&self) -> String {
        match self.id().as_slice() {
            [] => "name the claim that is the immutable id".to_owned(),
            id => format!("say {}", quoted(id)),
        }
    }
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(" and ")
}

fn schema_of(section: &Section<'_>, issuer: &At<ProviderName>, issuers: &[KnownIssuer]) -> Option<Schema> {
    let found = issuers.iter().find(|known| known.name == issuer.value);
    if found.is_none() {
        let known: Vec<&str> = issuers.iter().map(|known| known.name.as_str()).collect();
        let hint = hint(issuer.value.as_str(), &known);
        section.problem(issuer.place, format!("there is no [[issuer]] \"{}\"{hint}", issuer.value));
    }
    found.map(|known| Schema::new(known.platform, known.generic.clone()))
}

/// Without a configuration nobody says what an issuer is. An issuer that is called like a platform is taken for it, else the
/// first platform that has all of the claims; whatever no platform has is a generic issuer's, which may have any.
fn guessed(issuer: &ProviderName, keys: &[Key<'_>]) -> Schema {
    let has = |name: &str| keys.iter().any(|(key, _)| key.value == name);
    let known = |preset: &Preset, name: &str| {
        preset.claim(name).is_some() || preset.open.is_some_and(|prefix| is_open(prefix, name))
    };
    let could_be = |schema: &Schema| {
        keys.iter().all(|(key, values)| {
            let kind = schema.claim(key.value).ok();
            kind.is_some_and(|(kind, _)| {
                values.iter().all(|value| value.value.contains('*') || kind.could_be(&value.value))
            })
        })
    };
    let called: Option<Platform> = issuer.as_str().parse().ok();
    let own = || Platform::ISSUERS.into_iter().filter(|platform| *platform != Platform::Oidc);
    let all = || own().map(|platform| Schema::new(platform, None));
    let complete = |schema: &Schema| schema.preset.id().all(has);
    if let Some(platform) = called {
        return Schema::new(platform, None);
    }
    if let Some(schema) = all().find(|schema| complete(schema) && could_be(schema)) {
        return schema;
    }
    // A claim that nearly is a platform's is a mistake in a rule for that platform.
    let near = |schema: &Schema| {
        let names = schema.names();
        keys.iter().all(|(key, _)| {
            known(schema.preset, key.value) || nearest(key.value, names.iter().copied()).is_some()
        })
    };
    all().find(complete).or_else(|| all().find(near)).unwrap_or_else(|| Schema::new(Platform::Oidc, None))
}

/// What the rule wants, with what it implies.
fn wants(
    section: &Section<'_>,
    schema: &Schema,
    keys: &[Key<'_>],
) -> (BTreeMap<String, Vec<Pattern>>, BTreeSet<String>) {
    let mut wants = BTreeMap::new();
    for (key, values) in keys {
        match schema.claim(key.value) {
            Ok((kind, glob)) => {
                wants.insert(key.value.to_owned(), patterns(section, key, values, kind, glob));
            }
            Err(message) => section.problem(key.place, message),
        }
    }
    // What stands there and is wrong is not missing.
    for name in schema.id().into_iter().filter(|name| section.place_of(name).is_none()) {
        section.problem(section.place, missing(schema, name, &wants));
    }
    if keys.is_empty() && schema.id().is_empty() {
        section.problem(
            section.place,
            "the rule says nothing of the token, so any job of the platform would pass",
        );
    }
    let mut absent = BTreeSet::new();
    if let Some((event, allowed, _)) = schema.preset.event {
        imply(&mut wants, event, allowed);
    }
    for implied in schema.preset.implied {
        let holds = implied.with.is_none_or(|with| wants.contains_key(with));
        match implied.value {
            Some(value) if holds => imply(&mut wants, implied.claim, &[value]),
            None if holds && !wants.contains_key(implied.claim) => {
                absent.insert(implied.claim.to_owned());
            }
            Some(_) | None => {}
        }
    }
    (wants, absent)
}

fn imply(wants: &mut BTreeMap<String, Vec<Pattern>>, claim: &str, values: &[&str]) {
    let values = || values.iter().map(|value| Pattern::Exactly((*value).to_owned())).collect();
    wants.entry(claim.to_owned()).or_insert_with(values);
}

fn missing(schema: &Schema, name: &str, wants: &BTreeMap<String, Vec<Pattern>>) -> String {
    let found =
        if schema.preset.found.is_empty() { "it is the issuer's \"id_claim\"" } else { schema.preset.found };
    let why = if wants.contains_key("job_workflow_ref") {
        "\"job_workflow_ref\" names a workflow that any repository can call"
    } else {
        "names can be taken over by others, the id cannot"
    };
    format!("the rule does not say {name:?}, the immutable id of what runs: {why}; {found}")
}

fn patterns(
    section: &Section<'_>,
    key: &At<&str>,
    values: &[At<String>],
    kind: ClaimType,
    glob: bool,
) -> Vec<Pattern> {
    if values.is_empty() {
        section.problem(key.place, format!("{:?} is empty, so no run could ever fit", key.value));
    }
    if values.len() > VALUES_MAX {
        section.problem(key.place, format!("{:?} has more than {VALUES_MAX} values", key.value));
    }
    let mut patterns: Vec<Pattern> = Vec::new();
    for value in values {
        match pattern(key.value, &value.value, kind, glob) {
            Ok(pattern) if patterns.contains(&pattern) => {
                section.problem(value.place, format!("{:?} is listed twice", value.value));
            }
            Ok(pattern) => patterns.push(pattern),
            Err(message) => section.problem(value.place, message),
        }
    }
    patterns
}

fn pattern(claim: &str, value: &str, kind: ClaimType, glob: bool) -> Result<Pattern, String> {
    if !value.contains('*') {
        let text = value.to_owned();
        return match (kind.could_be(value), kind) {
            (false, _) => {
                Err(format!("{value:?} is not {}, so no token's {claim:?} could be it", kind.wanted()))
            }
            (true, ClaimType::Uuids) => Ok(Pattern::Among(text)),
            (true, _) => Ok(Pattern::Exactly(text)),
        };
    }
    if !glob {
        return Err(format!("{claim:?} takes no wildcards, only branches and tags do: name each value"));
    }
    let literal = |text: &str| text.bytes().any(|b| b.is_ascii_alphanumeric());
    // `refs/*/main` would take a tag for a branch.
    let begins = |text: &str| {
        let mut parts = text.splitn(3, '/');
        parts.next() == Some("refs")
            && parts.next().is_some_and(|kind| !kind.contains('*'))
            && parts.next().is_some()
    };
    if value.len() > VALUE_BYTES_MAX || value.contains("**") || value.chars().any(char::is_control) {
        return Err(format!("{value:?} is not a pattern: a name with * for characters without a slash"));
    }
    if kind == ClaimType::Ref && !begins(value) {
        return Err(format!(
            "{value:?}: a pattern begins with refs/heads/ or refs/tags/, so that no tag is taken for a branch"
        ));
    }
    if kind != ClaimType::Ref && !literal(value) {
        return Err(format!(
            "{value:?} would fit every name without a slash: say more, or leave {claim:?} out"
        ));
    }
    Ok(Pattern::Glob(value.to_owned()))
}
