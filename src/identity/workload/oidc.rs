//! Any other issuer: the configuration names the claims that count, and none other is looked at.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{ClaimType, Generic, NONE, Preset, Shape, missing, refused, value};
use crate::identity::claims::TokenRefused;
use crate::identity::run::Run;
use crate::plain::is_hidden;
use crate::platform::Platform;

pub(super) const PRESET: Preset =
    Preset { algorithms: &["RS256", "ES256", "EdDSA"], needs_jti: false, noun: "id", ..NONE };

/// Longest id, in bytes: it becomes a subject, of which names have at most 256.
const ID_BYTES_MAX: usize = 200;

pub(super) fn read(generic: &Generic, claims: &Map<String, Value>) -> Result<Run, TokenRefused> {
    let id = claim(claims, &generic.id_claim)?.ok_or_else(|| missing(&generic.id_claim))?;
    if id.len() > ID_BYTES_MAX || id.chars().any(is_hidden) {
        return Err(refused(format!(
            "the claim {:?} is no id of at most {ID_BYTES_MAX} characters that can be seen",
            generic.id_claim
        )));
    }
    let also = |name: &Option<String>| name.as_ref().map_or(Ok(None), |name| claim(claims, name));
    let (label, run) = (also(&generic.label_claim)?, also(&generic.run_claim)?);
    let mut kept = BTreeMap::from([(generic.id_claim.clone(), id.clone())]);
    for name in &generic.claims {
        if let Some(value) = claim(claims, name)? {
            kept.insert(name.clone(), value);
        }
    }
    let run = run.filter(|run| !run.chars().any(|c| is_hidden(c) || c.is_whitespace()));
    let shape = Shape { label: label.unwrap_or_else(|| id.clone()), id: run, ..Shape::default() };
    shape.into_run(Platform::Oidc, format!("id/{id}"), kept, BTreeSet::new())
}

/// The claim of this name; a dot in it may also step into an object. A token in which both can be found is refused: two
/// readers could take it for two things.
fn claim(claims: &Map<String, Value>, name: &str) -> Result<Option<String>, TokenRefused> {
    let whole = claims.get(name);
    let inner = name.contains('.').then(|| inner(claims, name)).flatten();
    let found = match (whole, inner) {
        (Some(_), Some(_)) => return Err(refused(format!("the claim {name:?} stands in the token twice"))),
        (whole, inner) => whole.or(inner),
    };
    found.map(|found| value::read(name, ClaimType::Any, found)).transpose().map(Option::flatten)
}

fn inner<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c Value> {
    let mut steps = name.split('.');
    let mut at = claims.get(steps.next()?)?;
    for step in steps {
        at = at.as_object()?.get(step)?;
    }
    Some(at)
}
