//! Rules about runs of jobs that nobody uses, or that let more pass than their author may think.

use super::Lint;
use crate::platform::Platform;
use crate::policy::decide::opens_target;
use crate::policy::outline::Outline;
use crate::policy::workload::WorkloadRule;
use crate::policy::{Policy, Role};

/// Values of the label `env` that are production to most people.
const PRODUCTION: [&str; 3] = ["prod", "production", "live"];

/// What is unwise in rules and accounts by themselves.
pub(super) fn lints(policy: &Policy, outline: &Outline) -> Vec<Lint> {
    let mut lints = Vec::new();
    for (name, (spot, used)) in &outline.workloads {
        let mut add = |code, text: String| {
            let subject = format!("workload \"{name}\"");
            lints.push(Lint { code, place: Some(spot.clone()), subject, text });
        };
        if !used {
            let text =
                "no role names this rule: remove it, or name it under \"workloads\" of a role's members";
            add("unused-workload", text.to_owned());
        }
        let rule = policy.workloads.iter().find(|(known, _)| known.as_str() == name);
        if let Some(claims) = rule.and_then(|(_, rule)| every_branch(rule)) {
            let text = format!("whoever may push a branch there passes, whatever stands in it: say {claims}");
            add("every-branch", text);
        }
    }
    for (name, (spot, _)) in outline.services.iter().filter(|(_, (_, used))| !used) {
        let text = "no role names this account: remove it, or name it under \"services\" of a role's members";
        let subject = format!("service \"{name}\"");
        lints.push(Lint {
            code: "unused-service",
            place: Some(spot.clone()),
            subject,
            text: text.to_owned(),
        });
    }
    lints
}

/// What a rule would have to say so that not every branch passes; none when it does, or when the platform knows no branches.
/// GitLab's rules want protected branches unless they say otherwise.
fn every_branch(rule: &WorkloadRule) -> Option<&'static str> {
    let (claims, text): (&[&str], &str) = match rule.platform {
        Platform::GitHub => (
            &["ref", "environment", "job_workflow_ref", "workflow_ref", "ref_protected"],
            "\"ref\" or \"environment\"",
        ),
        Platform::Forgejo => (&["ref", "workflow_ref", "ref_protected"], "\"ref\""),
        Platform::GitLab => {
            (&["ref", "ref_path", "ref_protected", "environment"], "\"ref\" or \"environment\"")
        }
        Platform::Buildkite => (&["build_branch", "build_tag"], "\"build_branch\" or \"build_tag\""),
        Platform::CircleCi => (&["vcs_ref", "context_ids"], "\"vcs_ref\" or \"context_ids\""),
        Platform::Kubernetes | Platform::Oidc | Platform::Service => return None,
    };
    (!claims.iter().any(|claim| rule.wants.contains_key(*claim))).then_some(text)
}

/// An environment is where these platforms let people approve, and keep branches out.
pub(super) fn no_environment(policy: &Policy, role: &Role) -> Option<String> {
    let is_production =
        |label: Option<&String>| label.is_some_and(|label| PRODUCTION.contains(&label.as_str()));
    let target = policy
        .targets
        .values()
        .find(|target| is_production(target.labels.get("env")) && opens_target(role, target))?;
    let bare = |rule: &&std::sync::Arc<WorkloadRule>| {
        matches!(rule.platform, Platform::GitHub | Platform::GitLab)
            && !rule.wants.contains_key("environment")
    };
    let rule = role.members.iter().flat_map(|layer| &layer.workloads).find(bare)?;
    // Whoever must be asked first is the human gate.
    role.access.rules().is_none().then(|| {
        format!(
            "it opens {} (production) to jobs of no environment, by the rule \"{}\": say \"environment\" there, so that the \
             platform's approvals count, or make the role by request",
            target.name, rule.name
        )
    })
}
