//! GitLab CI. Its booleans are text; its `ref` is a short name, so a branch and a tag can look alike; and a merge request
//! from a fork may run in the project that it wants to change.
//!
//! Source: docs.gitlab.com "OpenID Connect (OIDC) authentication using ID tokens"; work item 563038 for the claims of the
//! project in which a job runs.

use std::collections::BTreeSet;

use super::ClaimType::{BoolText, Id, IdOrNumber, Ref, Text};
use super::{Claim, Implied, NONE, Preset, Said, Shape, Values, is_any, web};
use crate::identity::claims::TokenRefused;
use crate::identity::run::Hazard;

pub(super) const PRESET: Preset = Preset {
    algorithms: &["RS256"],
    default_issuer: Some("https://gitlab.com"),
    claims: &[
        Claim::new("project_id", &["project_id"], Id).identifies(),
        Claim::new("namespace_id", &["namespace_id"], Id).needed(),
        Claim::new("project_path", &["project_path"], Text).needed(),
        Claim::new("namespace_path", &["namespace_path"], Text),
        Claim::new("project_visibility", &["project_visibility"], Text),
        Claim::new("job_project_id", &["job_project_id"], Id).nullable(),
        Claim::new("source_project_id", &["source_project_id"], Id).nullable(),
        Claim::new("ref", &["ref"], Text).needed().glob(),
        Claim::new("ref_type", &["ref_type"], Text).needed(),
        Claim::new("ref_path", &["ref_path"], Ref).nullable().glob(),
        Claim::new("ref_protected", &["ref_protected"], BoolText).needed(),
        Claim::new("sha", &["sha"], Text),
        Claim::new("environment", &["environment"], Text).nullable(),
        Claim::new("environment_protected", &["environment_protected"], BoolText).nullable(),
        Claim::new("environment_action", &["environment_action"], Text).nullable(),
        Claim::new("deployment_tier", &["deployment_tier"], Text).nullable(),
        Claim::new("pipeline_source", &["pipeline_source"], Text).needed(),
        Claim::new("ci_config_ref_uri", &["ci_config_ref_uri"], Text).nullable(),
        Claim::new("ci_config_sha", &["ci_config_sha"], Text).nullable(),
        Claim::new("runner_id", &["runner_id"], IdOrNumber).nullable(),
        Claim::new("runner_environment", &["runner_environment"], Text).nullable(),
        Claim::new("user_id", &["user_id"], Id),
        Claim::new("user_access_level", &["user_access_level"], Text).nullable(),
        Claim::new("user_login", &["user_login"], Text).hidden(),
        Claim::new("pipeline_id", &["pipeline_id"], Id).needed().hidden(),
        Claim::new("job_id", &["job_id"], Id).needed(),
    ],
    event: Some((
        "pipeline_source",
        &["push", "schedule"],
        &["merge_request_event", "external_pull_request_event"],
    )),
    implied: &[
        Implied { with: None, claim: "ref_protected", value: Some("true") },
        Implied { with: Some("ref"), claim: "ref_type", value: Some("branch") },
    ],
    noun: "project",
    found: "the project's page shows it in the menu beside the name, and a job has it as CI_PROJECT_ID",
    ..NONE
};

pub(super) fn shape(said: &Said<'_>) -> Result<Shape, TokenRefused> {
    let (path, pipeline) = (said.need("project_path")?, said.need("pipeline_id")?);
    let url = said.issuer().and_then(|iss| {
        // `-` as a whole name is GitLab's own separator, so no project is called so.
        web::address(iss, &format!("{path}/-/pipelines/{pipeline}"))
    });
    Ok(Shape {
        label: path.to_owned(),
        id: Some(pipeline.to_owned()),
        attempt: None,
        commit: said.owned("sha"),
        url,
        actor: said.owned("user_login"),
    })
}

pub(super) fn hazards(values: &Values) -> BTreeSet<Hazard> {
    let mut hazards = BTreeSet::new();
    let of_request = is_any(values, "pipeline_source", |source| PRESET.is_pull_request(source))
        || is_any(values, "ref_path", |path| path.starts_with("refs/merge-requests/"))
        || is_any(values, "ref", |name| name.starts_with("refs/merge-requests/"));
    if of_request {
        hazards.insert(Hazard::PullRequest);
    }
    let project = values.get("project_id");
    let elsewhere = |claim| values.get(claim).map(|id| Some(id) != project);
    // A child pipeline does not tell what its parent ran for. Where GitLab is too old to say in which project the job
    // runs, both could be a fork's.
    let unknown = of_request || is_any(values, "pipeline_source", |source| source == "parent_pipeline");
    if elsewhere("job_project_id").unwrap_or(unknown) || elsewhere("source_project_id").unwrap_or(false) {
        hazards.insert(Hazard::Fork);
    }
    hazards
}
