//! Buildkite. Its tokens tell the pipeline's id only when the job asks for that claim, and they do not tell pull requests
//! from pushes: who builds those of forks must have Buildkite prefix their branches, and the prefix is recognised here.
//!
//! Source: buildkite.com/docs "buildkite-agent oidc", "OIDC in Buildkite Pipelines".

use std::collections::BTreeSet;

use super::ClaimType::{IdOrNumber, Text, Uuid};
use super::{Bind, Claim, Implied, NONE, Preset, Said, Shape, Values, is_any, web};
use crate::identity::claims::TokenRefused;
use crate::identity::run::Hazard;

const ISSUER: &str = "https://agent.buildkite.com";

pub(super) const PRESET: Preset = Preset {
    algorithms: &["RS256"],
    // Older agents' tokens have none.
    needs_jti: false,
    bind: Bind::Audience,
    default_issuer: Some(ISSUER),
    claims: &[
        Claim::new("pipeline_id", &["pipeline_id"], Uuid).identifies(),
        Claim::new("organization_id", &["organization_id"], Uuid),
        Claim::new("organization_slug", &["organization_slug"], Text).needed(),
        Claim::new("pipeline_slug", &["pipeline_slug"], Text).needed(),
        Claim::new("build_branch", &["build_branch"], Text).needed().glob(),
        Claim::new("build_tag", &["build_tag"], Text).nullable().glob(),
        Claim::new("build_commit", &["build_commit"], Text),
        Claim::new("build_source", &["build_source"], Text),
        Claim::new("step_key", &["step_key"], Text).nullable(),
        Claim::new("cluster_id", &["cluster_id"], Uuid).nullable(),
        Claim::new("queue_id", &["queue_id"], Uuid).nullable(),
        Claim::new("runner_environment", &["runner_environment"], Text),
        Claim::new("job_id", &["job_id"], Uuid).needed(),
        Claim::new("build_id", &["build_id"], Uuid).hidden(),
        Claim::new("build_number", &["build_number"], IdOrNumber).needed().hidden(),
    ],
    implied: &[Implied { with: Some("build_branch"), claim: "build_tag", value: None }],
    noun: "pipeline",
    found: "the job must ask for it: buildkite-agent oidc request-token --claim pipeline_id; the pipeline's settings show it \
            under API",
    ..NONE
};

pub(super) fn shape(said: &Said<'_>) -> Result<Shape, TokenRefused> {
    let (organization, pipeline) = (said.need("organization_slug")?, said.need("pipeline_slug")?);
    let number = said.need("build_number")?;
    let url = said.issuer().filter(|iss| *iss == ISSUER).and_then(|_| {
        web::address("https://buildkite.com", &format!("{organization}/{pipeline}/builds/{number}"))
    });
    Ok(Shape {
        label: format!("{organization}/{pipeline}"),
        id: said.owned("build_id").or_else(|| Some(number.to_owned())),
        commit: said.owned("build_commit"),
        url,
        ..Shape::default()
    })
}

/// No branch has a colon in its name; the prefix of a fork's has.
pub(super) fn hazards(values: &Values) -> BTreeSet<Hazard> {
    is_any(values, "build_branch", |name| name.contains(':')).then_some(Hazard::Fork).into_iter().collect()
}
