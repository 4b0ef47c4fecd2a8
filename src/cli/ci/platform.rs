//! Which platform a job runs on, as its environment says, and which folder is the job's own. Pure: what exists is asked through
//! an argument.

use std::path::{Path, PathBuf};

use crate::cli::Environment;
use crate::cli::client::home;
use crate::identity::run::Platform;

/// Where a pod has the token that was projected for us, unless it is said.
pub(super) const KUBERNETES_TOKEN: &str = "/var/run/secrets/tokens/caponier";
/// Longest path of a socket that every system takes (`sun_path` has 104 bytes on some).
const SOCKET_MAX: usize = 100;

/// Why the platform is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unknown {
    /// Nothing of any.
    #[error(
        "this looks like no job of a known platform: looked for GITHUB_ACTIONS, GITLAB_CI, FORGEJO_ACTIONS or \
         GITEA_ACTIONS, BUILDKITE, CIRCLECI, and a projected token at {KUBERNETES_TOKEN}; say --platform, or \
         --service NAME --key FILE on a machine without a platform"
    )]
    None,
    /// Signs of several.
    #[error("this looks like a job of several platforms at once ({0}); say --platform")]
    Several(String),
}

/// The platform of this environment. `exists` tells whether a file is there; `token_file` is where a pod's token was said to be.
pub(super) fn detect(
    env: &Environment,
    token_file: Option<&Path>,
    exists: impl Fn(&Path) -> bool,
) -> Result<Platform, Unknown> {
    let on = |name: &str| env.get(name) == Some("true");
    // Forgejo's runner speaks GitHub's language and says so; its own variable decides.
    let forgejo = on("FORGEJO_ACTIONS") || on("GITEA_ACTIONS");
    let token = token_file.unwrap_or_else(|| Path::new(KUBERNETES_TOKEN));
    let signs = [
        (Platform::GitHub, on("GITHUB_ACTIONS") && !forgejo),
        (Platform::Forgejo, forgejo),
        (Platform::GitLab, on("GITLAB_CI")),
        (Platform::Buildkite, on("BUILDKITE")),
        (Platform::CircleCi, on("CIRCLECI")),
        // Runners of other platforms live in pods too; only the token says that this one is meant.
        (Platform::Kubernetes, env.get("KUBERNETES_SERVICE_HOST").is_some() && exists(token)),
    ];
    let found: Vec<Platform> = signs.into_iter().filter_map(|(one, is)| is.then_some(one)).collect();
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(Unknown::None),
        several => {
            Err(Unknown::Several(several.iter().map(Platform::to_string).collect::<Vec<_>>().join(", ")))
        }
    }
}

/// The job's own folder, the same for `login` and `done` of one job and for no other: below the folder that the runner clears
/// away, where its socket's path is not too long there, else below TMPDIR. `user` is our numeric id.
pub(super) fn folder(env: &Environment, user: u32) -> PathBuf {
    let job: String = ["CI_JOB_ID", "BUILDKITE_JOB_ID", "CIRCLE_WORKFLOW_JOB_ID", "GITHUB_RUN_ID"]
        .iter()
        .find_map(|name| env.get(name))
        .unwrap_or_default()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .take(40)
        .collect();
    let dash = if job.is_empty() { "" } else { "-" };
    let shared = env.get("TMPDIR").unwrap_or("/tmp");
    let runner = env.get("RUNNER_TEMP").map(|temp| Path::new(temp).join("caponier"));
    let project = env.get("CI_PROJECT_DIR").map(|dir| PathBuf::from(format!("{dir}.tmp")));
    let builds = env.get("CI_BUILDS_DIR").map(PathBuf::from);
    let gitlab = [project, builds].into_iter().flatten().map(|dir| dir.join(format!("caponier{dash}{job}")));
    let fits = |dir: &PathBuf| dir.join(home::SOCKET).as_os_str().len() <= SOCKET_MAX;
    let own = runner.into_iter().chain(gitlab).find(fits);
    own.unwrap_or_else(|| Path::new(shared).join(format!("caponier-{user}{dash}{job}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platform_shows_itself() {
        let check = |pairs: &[(&str, &str)], files: &[&str], expect: Result<Platform, &str>| {
            let exists = |path: &Path| files.iter().any(|file| Path::new(file) == path);
            let found = detect(&Environment::of(pairs), None, exists);
            match (&found, expect) {
                (Ok(found), Ok(expect)) => assert_eq!(*found, expect, "{pairs:?}"),
                (Err(why), Err(part)) => assert!(why.to_string().contains(part), "{pairs:?}: {why}"),
                _ => panic!("{pairs:?}: {found:?}"),
            }
        };
        let pod = ("KUBERNETES_SERVICE_HOST", "10.0.0.1");
        check(&[("GITHUB_ACTIONS", "true")], &[], Ok(Platform::GitHub));
        check(&[("GITHUB_ACTIONS", "true"), ("FORGEJO_ACTIONS", "true")], &[], Ok(Platform::Forgejo));
        check(&[("GITHUB_ACTIONS", "true"), ("GITEA_ACTIONS", "true")], &[], Ok(Platform::Forgejo));
        check(&[("GITLAB_CI", "true"), pod], &[], Ok(Platform::GitLab));
        check(&[("BUILDKITE", "true")], &[], Ok(Platform::Buildkite));
        check(&[("CIRCLECI", "true")], &[], Ok(Platform::CircleCi));
        check(&[pod], &[KUBERNETES_TOKEN], Ok(Platform::Kubernetes));
        check(&[pod], &["/var/run/secrets/kubernetes.io/serviceaccount/token"], Err("looks like no job"));
        check(&[], &[KUBERNETES_TOKEN], Err("looked for GITHUB_ACTIONS, GITLAB_CI"));
        check(&[("GITHUB_ACTIONS", "false"), ("GITLAB_CI", "")], &[], Err("say --platform"));
        check(&[("GITLAB_CI", "true"), ("CIRCLECI", "true")], &[], Err("(gitlab, circleci)"));
        check(&[("GITLAB_CI", "true"), pod], &[KUBERNETES_TOKEN], Err("(gitlab, kubernetes)"));
    }

    #[test]
    fn a_token_elsewhere_counts_where_it_was_said_to_be() {
        let env = Environment::of(&[("KUBERNETES_SERVICE_HOST", "10.0.0.1")]);
        let said = Path::new("/run/token");
        assert_eq!(detect(&env, Some(said), |path| path == said), Ok(Platform::Kubernetes));
    }

    #[test]
    fn each_job_has_a_folder_of_its_own() {
        let long = format!("/builds/{}", "group/".repeat(16));
        let rows: &[(&[(&str, &str)], &str)] = &[
            (&[("RUNNER_TEMP", "/w/_temp"), ("GITHUB_RUN_ID", "9")], "/w/_temp/caponier"),
            (
                &[("CI_PROJECT_DIR", "/builds/acme/shop"), ("CI_BUILDS_DIR", "/builds"), ("CI_JOB_ID", "7")],
                "/builds/acme/shop.tmp/caponier-7",
            ),
            (
                &[("CI_PROJECT_DIR", &long), ("CI_BUILDS_DIR", "/builds"), ("CI_JOB_ID", "7")],
                "/builds/caponier-7",
            ),
            (&[("CI_PROJECT_DIR", &long), ("CI_JOB_ID", "7")], "/tmp/caponier-1000-7"),
            (&[("BUILDKITE_JOB_ID", "0190-ab"), ("TMPDIR", "/var/tmp")], "/var/tmp/caponier-1000-0190-ab"),
            (&[("CIRCLE_WORKFLOW_JOB_ID", "../../etc")], "/tmp/caponier-1000-etc"),
            (&[], "/tmp/caponier-1000"),
        ];
        for (pairs, expect) in rows {
            assert_eq!(folder(&Environment::of(pairs), 1000), Path::new(expect), "{pairs:?}");
        }
    }
}
