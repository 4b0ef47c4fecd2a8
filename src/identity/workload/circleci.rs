//! CircleCI. The issuer is one organisation. A job that somebody restarted with a shell on it says so, and pull requests of
//! forks run on branches called `pull/NUMBER`.
//!
//! Source: circleci.com/docs "Using OpenID Connect tokens in jobs".

use std::collections::BTreeSet;

use super::ClaimType::{Bool, Ref, Text, Uuid, Uuids};
use super::{Claim, NONE, Preset, Said, Shape, Values, is_any};
use crate::identity::claims::TokenRefused;
use crate::identity::run::Hazard;

pub(super) const PRESET: Preset = Preset {
    algorithms: &["RS256"],
    needs_jti: false,
    claims: &[
        Claim::new("project_id", &["oidc.circleci.com/project-id"], Uuid).identifies(),
        Claim::new("org_id", &["oidc.circleci.com/org-id"], Uuid),
        Claim::new("vcs_origin", &["oidc.circleci.com/vcs-origin"], Text),
        Claim::new("vcs_ref", &["oidc.circleci.com/vcs-ref"], Ref).needed().glob(),
        Claim::new("context_ids", &["oidc.circleci.com/context-ids"], Uuids),
        Claim::new("ssh_rerun", &["oidc.circleci.com/ssh-rerun"], Bool).needed().hidden(),
        Claim::new("job_id", &["oidc.circleci.com/job-id"], Uuid),
        Claim::new("pipeline_id", &["oidc.circleci.com/pipeline-id"], Uuid).hidden(),
        Claim::new("pipeline_definition_id", &["oidc.circleci.com/pipeline-definition-id"], Uuid),
    ],
    noun: "project",
    found: "the project's settings show it under Overview",
    ..NONE
};

pub(super) fn shape(said: &Said<'_>) -> Result<Shape, TokenRefused> {
    let project = said.need("project_id")?;
    Ok(Shape {
        label: said.get("vcs_origin").unwrap_or(project).to_owned(),
        id: said.owned("pipeline_id"),
        ..Shape::default()
    })
}

pub(super) fn hazards(values: &Values) -> BTreeSet<Hazard> {
    let mut hazards = BTreeSet::new();
    if is_any(values, "ssh_rerun", |rerun| rerun != "false") {
        hazards.insert(Hazard::SshRerun);
    }
    let fork = ["refs/heads/pull/", "refs/pull/", "pull/"];
    if is_any(values, "vcs_ref", |name| fork.into_iter().any(|of| name.starts_with(of))) {
        hazards.insert(Hazard::Fork);
    }
    hazards
}
