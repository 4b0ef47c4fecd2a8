//! GitHub Actions, and Forgejo Actions, which writes a part of the same claims. Pull requests are told by the event and by
//! the branches that only they have.
//!
//! Source: docs.github.com "OpenID Connect reference"; forgejo.org "Security OpenID Connect".

use std::collections::BTreeSet;

use super::ClaimType::{BoolText, Id, IdOrNumber, Ref, Text};
use super::{Bind, Claim, NONE, Preset, Said, Shape, Values, is_any, web};
use crate::identity::claims::TokenRefused;
use crate::identity::run::Hazard;

const EVENTS: &[&str] = &["push", "workflow_dispatch", "schedule", "release"];
/// `workflow_run` often follows a pull request, with the rights of the base repository; anybody may comment.
const PULL_REQUEST_EVENTS: &[&str] = &[
    "pull_request",
    "pull_request_target",
    "pull_request_review",
    "pull_request_review_comment",
    "workflow_run",
    "issue_comment",
];

const PUBLIC_ISSUER: &str = "https://token.actions.githubusercontent.com";

pub(super) const GITHUB: Preset = Preset {
    algorithms: &["RS256"],
    bind: Bind::Audience,
    default_issuer: Some(PUBLIC_ISSUER),
    claims: &[
        Claim::new("repository_id", &["repository_id"], Id).identifies(),
        Claim::new("repository_owner_id", &["repository_owner_id"], Id).needed(),
        Claim::new("repository", &["repository"], Text).needed(),
        Claim::new("repository_owner", &["repository_owner"], Text),
        Claim::new("repository_visibility", &["repository_visibility"], Text),
        Claim::new("ref", &["ref"], Ref).needed().glob(),
        Claim::new("ref_type", &["ref_type"], Text).needed(),
        Claim::new("ref_protected", &["ref_protected"], BoolText),
        Claim::new("sha", &["sha"], Text),
        Claim::new("environment", &["environment"], Text),
        Claim::new("event_name", &["event_name"], Text).needed(),
        Claim::new("workflow_ref", &["workflow_ref"], Text),
        Claim::new("workflow_sha", &["workflow_sha"], Text),
        Claim::new("job_workflow_ref", &["job_workflow_ref"], Text),
        Claim::new("job_workflow_sha", &["job_workflow_sha"], Text),
        Claim::new("runner_environment", &["runner_environment"], Text),
        Claim::new("enterprise", &["enterprise"], Text),
        Claim::new("enterprise_id", &["enterprise_id"], Id),
        Claim::new("actor_id", &["actor_id"], Id),
        Claim::new("run_id", &["run_id"], Id).needed().hidden(),
        Claim::new("run_attempt", &["run_attempt"], Id).needed(),
        Claim::new("actor", &["actor"], Text).hidden(),
        Claim::new("head_ref", &["head_ref"], Text),
        Claim::new("base_ref", &["base_ref"], Text),
    ],
    open: Some("repo_property_"),
    noun: "repository",
    event: Some(("event_name", EVENTS, PULL_REQUEST_EVENTS)),
    found: "`gh api repos/OWNER/NAME --jq .id` tells it",
    ..NONE
};

pub(super) const FORGEJO: Preset = Preset {
    algorithms: &["RS256"],
    bind: Bind::Audience,
    claims: &[
        Claim::new("repository_id", &["repository_id"], IdOrNumber).identifies(),
        Claim::new("repository_owner_id", &["repository_owner_id"], IdOrNumber),
        Claim::new("repository", &["repository"], Text).needed(),
        Claim::new("repository_owner", &["repository_owner"], Text),
        Claim::new("ref", &["ref"], Ref).needed().glob(),
        Claim::new("ref_type", &["ref_type"], Text),
        Claim::new("ref_protected", &["ref_protected"], BoolText),
        Claim::new("sha", &["sha"], Text),
        Claim::new("event_name", &["event_name"], Text).needed(),
        Claim::new("workflow_ref", &["workflow_ref"], Text),
        Claim::new("run_id", &["run_id"], IdOrNumber).needed().hidden(),
        Claim::new("run_attempt", &["run_attempt"], IdOrNumber),
        Claim::new("run_number", &["run_number"], IdOrNumber).hidden(),
        Claim::new("actor", &["actor"], Text).hidden(),
        Claim::new("head_ref", &["head_ref"], Text),
        Claim::new("base_ref", &["base_ref"], Text),
    ],
    event: Some(("event_name", EVENTS, PULL_REQUEST_EVENTS)),
    noun: "repository",
    found: "`curl HOST/api/v1/repos/OWNER/NAME` tells it as \"id\" (tokens have it since Forgejo 16)",
    ..NONE
};

pub(super) fn github(said: &Said<'_>) -> Result<Shape, TokenRefused> {
    let (run, attempt) = (said.need("run_id")?, said.need("run_attempt")?);
    let url = said.issuer().and_then(server).and_then(|server| {
        let repository = said.get("repository")?;
        web::address(&server, &format!("{repository}/actions/runs/{run}/attempts/{attempt}"))
    });
    shape(said, url)
}

pub(super) fn forgejo(said: &Said<'_>) -> Result<Shape, TokenRefused> {
    let server = said.issuer().and_then(|iss| iss.strip_suffix("/api/actions"));
    let url = server.and_then(|server| {
        let (repository, number) = (said.get("repository")?, said.get("run_number")?);
        web::address(server, &format!("{repository}/actions/runs/{number}"))
    });
    shape(said, url)
}

fn shape(said: &Said<'_>, url: Option<String>) -> Result<Shape, TokenRefused> {
    Ok(Shape {
        label: said.need("repository")?.to_owned(),
        id: said.owned("run_id"),
        attempt: said.owned("run_attempt"),
        commit: said.owned("sha"),
        url,
        actor: said.owned("actor"),
    })
}

pub(super) fn hazards(preset: &Preset, values: &Values) -> BTreeSet<Hazard> {
    let of_request = is_any(values, "event_name", |event| preset.is_pull_request(event))
        || is_any(values, "head_ref", |branch| !branch.is_empty())
        || is_any(values, "base_ref", |branch| !branch.is_empty())
        || is_any(values, "ref", |name| name.starts_with("refs/pull/"));
    of_request.then_some(Hazard::PullRequest).into_iter().collect()
}

/// The web server that belongs to an issuer: github.com (perhaps with an enterprise's path in the issuer), a host of
/// ghe.com, or an enterprise server.
fn server(issuer: &str) -> Option<String> {
    if issuer == PUBLIC_ISSUER || issuer.strip_prefix(PUBLIC_ISSUER).is_some_and(|rest| rest.starts_with('/'))
    {
        return Some("https://github.com".to_owned());
    }
    let host = issuer.strip_prefix("https://")?;
    if let Some(host) =
        host.strip_prefix("token.actions.").filter(|host| is_plain(host) && host.ends_with(".ghe.com"))
    {
        return Some(format!("https://{host}"));
    }
    host.strip_suffix("/_services/token").filter(|host| is_plain(host)).map(|host| format!("https://{host}"))
}

fn is_plain(host: &str) -> bool {
    !host.contains('/')
}
