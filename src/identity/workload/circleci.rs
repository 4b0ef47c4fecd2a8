//! CircleCI. The issuer is one organisation. A job that somebody restarted with a shell on it says so, and pull requests of
//! forks run on branches called `pull/NUMBER`.
//!
//! Source: circleci.com/docs "Using OpenID Connect tokens in jobs".

use std::collections::BTreeSet;

use super::ClaimType::{Bool, Text, Uuid, Uuids};
use super::{Claim, NONE, Preset, Said, Shape};
use crate::identity::claims::TokenRefused;
use crate::identity::run::Hazard;

pub(super) const PRESET: Preset = Preset {
    algorithms: &["RS256"],
    needs_jti: false,
    claims: &[
        Claim::new("project_id", &["oidc.circleci.com/project-id"], Uuid).identifies(),
        Claim::new("org_id", &["oidc.circleci.com/org-id"], Uuid),
        Claim::new("vcs_origin", &["oidc.circleci.com/vcs-origin"], Text),
        Claim::new("vcs_ref", &["oidc.circleci.com/vcs-ref"], Text).glob(),
        Claim::new("context_ids", &["oidc.circleci.com/context-ids"], Uuids),
        Claim::new("ssh_rerun", &["oidc.circleci.com/ssh-rerun"], Bool).needed().hidden(),
        Claim::new("job_id", &["oidc.circleci.com/job-id"], Uuid),
        Claim::new("pipeline_id", &["oidc.circleci.com/pipeline-id"], Uuid).hidden(),
        Claim::new("pipeline_definition_id", &["oidc.circleci.com/pipeline-definition-id"], Uuid),
    ],
    found: "the project's settings show it under Overview",
    ..NONE
};

pub(super) fn shape(said: &Said<'_>) -> Result<Shape, TokenRefused> {
    let project = said.need("project_id")?;
    let mut hazards = BTreeSet::new();
    if said.need("ssh_rerun")? != "false" {
        hazards.insert(Hazard::SshRerun);
    }
    let fork = ["refs/heads/pull/", "refs/pull/", "pull/"];
    if said.get("vcs_ref").is_some_and(|name| fork.into_iter().any(|of| name.starts_with(of))) {
        hazards.insert(Hazard::Fork);
    }
    Ok(Shape {
        subject: format!("project/{project}"),
        label: said.get("vcs_origin").unwrap_or(project).to_owned(),
        id: said.owned("pipeline_id"),
        hazards,
        ..Shape::default()
    })
}
