//! Tokens as the platforms write them, and everything that can be wrong with each of their claims.

use serde_json::json;

use super::*;

fn map(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn github() -> Value {
    json!({
        "jti": "6f1c6c9e-5b0e-4b1c-9f5e-0d6f3a0e6b11",
        "sub": "repo:acme@4242/shop@123456:environment:production",
        "aud": "https://bastion.example?ssh-key-sha256=00", "iss": "https://token.actions.githubusercontent.com",
        "nbf": 1_790_000_000, "exp": 1_790_000_900, "iat": 1_790_000_600,
        "ref": "refs/heads/main", "sha": "0123456789abcdef0123456789abcdef01234567",
        "repository": "acme/shop", "repository_owner": "acme", "repository_owner_id": "4242",
        "run_id": "987654321", "run_number": "57", "run_attempt": "2", "repository_visibility": "private",
        "repository_id": "123456", "actor_id": "583231", "actor": "octocat", "workflow": "Deploy 🚀",
        "head_ref": "", "base_ref": "", "event_name": "push", "ref_protected": "true", "ref_type": "branch",
        "workflow_ref": "acme/shop/.github/workflows/deploy.yml@refs/heads/main",
        "workflow_sha": "0123456789abcdef0123456789abcdef01234567",
        "job_workflow_ref": "acme/ci/.github/workflows/ship.yml@refs/tags/v3",
        "job_workflow_sha": "89abcdef0123456789abcdef0123456789abcdef",
        "runner_environment": "github-hosted", "enterprise": "acme-inc", "enterprise_id": "77",
        "environment": "production", "environment_node_id": "EN_kw", "check_run_id": "31415926535",
        "repo_property_team": "shop", "repo_property_tier": "1,2"
    })
}

fn forgejo() -> Value {
    json!({
        "iss": "https://code.example/api/actions", "aud": "https://bastion.example?ssh-key-sha256=00",
        "sub": "repo:acme-12/shop-34:ref:refs/heads/main", "jti": "a", "iat": 1, "nbf": 1, "exp": 2,
        "actor": "erin", "actor_id": -2, "base_ref": "", "head_ref": "", "event_name": "push",
        "ref": "refs/heads/main", "ref_protected": "true", "ref_type": "branch", "repository": "acme/shop",
        "repository_id": "34", "repository_owner": "acme", "repository_owner_id": 12, "run_attempt": "1",
        "run_id": "3705365", "run_number": "8", "sha": "0123456789abcdef0123456789abcdef01234567",
        "workflow": "deploy.yml", "workflow_ref": "acme/shop/.forgejo/workflows/deploy.yml@refs/heads/main"
    })
}

fn gitlab() -> Value {
    json!({
        "namespace_id": "72", "namespace_path": "acme", "project_id": "20", "project_path": "acme/apps/shop",
        "user_id": "1", "user_login": "erin", "user_email": "erin@acme.example", "user_access_level": "maintainer",
        "user_identities": [{"provider": "github", "extern_uid": "2435223452345"}],
        "pipeline_id": "574", "pipeline_source": "push", "job_id": "302", "job_source": "push",
        "ref": "main", "ref_type": "branch", "ref_path": "refs/heads/main", "ref_protected": "true",
        "groups_direct": ["acme/ops"], "environment": "production", "environment_protected": "true",
        "deployment_tier": "production", "environment_action": "start", "runner_id": 12,
        "runner_environment": "gitlab-hosted", "sha": "714a629c0b401fdce83e847fc9589983fc6f46bc",
        "project_visibility": "private",
        "ci_config_ref_uri": "gitlab.com/acme/apps/shop//.gitlab-ci.yml@refs/heads/main",
        "ci_config_sha": "714a629c0b401fdce83e847fc9589983fc6f46bc",
        "job_project_id": "20", "job_project_path": "acme/apps/shop", "job_namespace_id": "72",
        "source_project_id": "20",
        "jti": "235b3a54-b797-45c7-ae9a-f72d7bc6ef5b", "iss": "https://gitlab.com", "iat": 1, "nbf": 1, "exp": 2,
        "sub": "project_path:acme/apps/shop:ref_type:branch:ref:main", "aud": "https://bastion.example"
    })
}

fn buildkite() -> Value {
    json!({
        "iss": "https://agent.buildkite.com", "aud": "https://bastion.example?ssh-key-sha256=00",
        "sub": "organization:acme:pipeline:shop:ref:refs/heads/main:commit:b5ffe3aeea51cec6c41aef16e45ee6bce47d8810:step:",
        "iat": 1, "nbf": 1, "exp": 2, "jti": "0194b014-8517-7cef-b232-76a827315f08",
        "organization_slug": "acme", "organization_id": "0184990a-477b-4fa8-9968-496074483c00",
        "pipeline_slug": "shop", "pipeline_id": "0184990a-4782-42b5-afc1-16715b10b8ff", "build_number": 5,
        "build_id": "01945ecf-80f0-41e8-9b83-a2970a9305aa", "build_branch": "main", "build_tag": null,
        "build_commit": "b5ffe3aeea51cec6c41aef16e45ee6bce47d8810", "step_key": null,
        "job_id": "01945ecf-80f0-41e8-9b83-a2970a9305a1", "agent_id": "01945ecf-8bcf-40a6-9d70-a765db9a0928",
        "build_source": "webhook", "runner_environment": "buildkite-hosted",
        "cluster_id": "01945ecf-8bcf-40a6-9d70-a765db9a0929", "queue_id": "01945ecf-8bcf-40a6-9d70-a765db9a0930"
    })
}

fn circleci() -> Value {
    json!({
        "iss": "https://oidc.circleci.com/org/6ae1b2d3-0c6a-4d53-9a3c-0d3d0a5b1f11", "aud": "https://bastion.example",
        "sub": "org/6ae1b2d3-0c6a-4d53-9a3c-0d3d0a5b1f11/project/4d3c/user/55", "iat": 1, "exp": 2,
        "oidc.circleci.com/project-id": "b6d1b5b4-17b3-4a1c-92c5-5f2b3a4d0e22",
        "oidc.circleci.com/org-id": "6ae1b2d3-0c6a-4d53-9a3c-0d3d0a5b1f11",
        "oidc.circleci.com/vcs-origin": "github.com/acme/shop", "oidc.circleci.com/vcs-ref": "refs/heads/main",
        "oidc.circleci.com/context-ids": ["a74579f1-2e7d-451e-b009-5c082ad2729e", "cb32986e-2f6f-4f43-b2bd-d3c2fd98e903"],
        "oidc.circleci.com/ssh-rerun": false,
        "oidc.circleci.com/job-id": "11111111-2e7d-451e-b009-5c082ad2729e",
        "oidc.circleci.com/pipeline-id": "22222222-2e7d-451e-b009-5c082ad2729e",
        "oidc.circleci.com/pipeline-definition-id": "33333333-2e7d-451e-b009-5c082ad2729e"
    })
}

fn kubernetes() -> Value {
    json!({
        "aud": ["https://bastion.example"], "iss": "https://kubernetes.default.svc.cluster.local",
        "iat": 1, "nbf": 1, "exp": 2, "jti": "e7e5b3c0-3c3e-4f16-9a3b-4e7b8f0d1a2b",
        "kubernetes.io": {
            "namespace": "shop", "node": {"name": "node-1.internal", "uid": "8bb2f5c1-0000-4c3c-8b3f-0a0a0a0a0a0a"},
            "pod": {"name": "deploy-7d9f", "uid": "7aa2f5c1-1111-4c3c-8b3f-0a0a0a0a0a0a"},
            "serviceaccount": {"name": "deployer", "uid": "6992f5c1-2222-4c3c-8b3f-0a0a0a0a0a0a"},
            "warnafter": 1_790_000_000
        },
        "sub": "system:serviceaccount:shop:deployer"
    })
}

fn good() -> [(Platform, Value); 6] {
    [
        (Platform::GitHub, github()),
        (Platform::Forgejo, forgejo()),
        (Platform::GitLab, gitlab()),
        (Platform::Buildkite, buildkite()),
        (Platform::CircleCi, circleci()),
        (Platform::Kubernetes, kubernetes()),
    ]
}

fn run(platform: Platform, claims: Value) -> Result<Run, TokenRefused> {
    read(platform, None, &map(claims))
}

/// The token with `value` at `path`; without it, where there is none.
fn with(mut claims: Value, path: &[&str], value: Option<Value>) -> Value {
    let (last, outer) = path.split_last().unwrap();
    let mut at = &mut claims;
    for key in outer {
        at = &mut at[*key];
    }
    let object = at.as_object_mut().unwrap();
    match value {
        Some(value) => drop(object.insert((*last).to_owned(), value)),
        None => drop(object.remove(*last)),
    }
    claims
}

/// Subject, label, id, address and commit of a run.
type Told = (&'static str, &'static str, Option<&'static str>, Option<&'static str>, Option<&'static str>);

#[test]
fn what_good_tokens_tell() {
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let pod = "7aa2f5c1-1111-4c3c-8b3f-0a0a0a0a0a0a";
    let pipeline = "pipeline/0184990a-4782-42b5-afc1-16715b10b8ff";
    let circle = "project/b6d1b5b4-17b3-4a1c-92c5-5f2b3a4d0e22";
    let rows: [Told; 6] = [
        (
            "repository/123456",
            "acme/shop",
            Some("987654321"),
            Some("https://github.com/acme/shop/actions/runs/987654321/attempts/2"),
            Some(commit),
        ),
        (
            "repository/34",
            "acme/shop",
            Some("3705365"),
            Some("https://code.example/acme/shop/actions/runs/8"),
            Some(commit),
        ),
        (
            "project/20",
            "acme/apps/shop",
            Some("574"),
            Some("https://gitlab.com/acme/apps/shop/-/pipelines/574"),
            Some("714a629c0b401fdce83e847fc9589983fc6f46bc"),
        ),
        (
            pipeline,
            "acme/shop",
            Some("01945ecf-80f0-41e8-9b83-a2970a9305aa"),
            Some("https://buildkite.com/acme/shop/builds/5"),
            Some("b5ffe3aeea51cec6c41aef16e45ee6bce47d8810"),
        ),
        (circle, "github.com/acme/shop", Some("22222222-2e7d-451e-b009-5c082ad2729e"), None, None),
        ("serviceaccount/shop/deployer", "shop/deploy-7d9f", Some(pod), None, None),
    ];
    for ((platform, claims), (subject, label, id, url, commit)) in good().into_iter().zip(rows) {
        let run = run(platform, claims).unwrap();
        assert_eq!((run.platform, run.subject.as_str(), run.label.as_str()), (platform, subject, label));
        assert_eq!((run.id.as_deref(), run.url.as_deref(), run.commit.as_deref()), (id, url, commit));
        assert!(run.hazards.is_empty(), "{platform}");
        let preset = preset(platform);
        for claim in preset.claims.iter().filter(|claim| claim.identifies) {
            assert!(run.claim(claim.name).is_some(), "{platform} {}", claim.name);
        }
        for name in run.claims.keys() {
            let ruled = preset.claim(name).is_some_and(|claim| claim.rules);
            assert!(ruled || preset.open.is_some_and(|prefix| is_open(prefix, name)), "{platform} {name}");
        }
        for standard in ["iss", "aud", "sub", "exp", "nbf", "iat", "jti"] {
            assert_eq!(run.claim(standard), None, "{platform}");
        }
    }
    let run = run(Platform::GitHub, github()).unwrap();
    assert_eq!((run.attempt.as_deref(), run.actor.as_deref()), (Some("2"), Some("octocat")));
    assert_eq!((run.claim("repo_property_tier"), run.claim("head_ref")), (Some("1,2"), None));
    let run = read(Platform::CircleCi, None, &map(circleci())).unwrap();
    assert_eq!(
        run.claim("context_ids"),
        Some("a74579f1-2e7d-451e-b009-5c082ad2729e cb32986e-2f6f-4f43-b2bd-d3c2fd98e903")
    );
    assert!(read(Platform::Service, None, &map(github())).is_err());
    assert!(read(Platform::Oidc, None, &map(github())).is_err());
}

#[test]
fn what_is_needed_is_missed() {
    for (platform, claims) in good() {
        let preset = preset(platform);
        assert!(preset.claims.iter().any(|claim| claim.identifies), "{platform}");
        for claim in preset.claims {
            let present = at(&map(claims.clone()), claim.path).unwrap().is_some();
            assert!(present, "{platform}: the good token has no {}", claim.name);
            let without = run(platform, with(claims.clone(), claim.path, None));
            match without {
                Ok(run) => {
                    assert!(!claim.needed && run.claim(claim.name).is_none(), "{platform} {}", claim.name)
                }
                Err(refused) => {
                    assert!(claim.needed, "{platform} {}", claim.name);
                    assert_eq!(refused.code, "claim");
                    assert!(refused.reason.contains(&format!("{:?}", claim.name)), "{refused}");
                }
            }
        }
    }
}

/// Values of every JSON type, and those that are nearly of a type.
fn values() -> Vec<Value> {
    let mut all = vec![
        json!(null),
        json!(true),
        json!(false),
        json!(7),
        json!(0),
        json!(-7),
        json!(7.5),
        json!(1e30),
        json!([]),
        json!(["7"]),
        json!([["7"]]),
        json!({}),
        json!({"id": "7"}),
        json!("x".repeat(513)),
        json!("two\nlines"),
        json!("nul\u{0}"),
        json!("del\u{7f}"),
    ];
    let texts = [
        "7",
        "07",
        "0",
        "+7",
        "-7",
        " 7",
        "7 ",
        "7.0",
        "٧",
        "７",
        "1e3",
        "0x7",
        "true",
        "false",
        "True",
        "TRUE",
        "yes",
        "1 ",
        "123456789012345678901",
        "0184990A-4782-42B5-AFC1-16715B10B8FF",
        "0184990a478242b5afc116715b10b8ff",
        "0184990a-4782-42b5-afc1-16715b10b8f",
        "a/b",
        "-a",
        "A",
        "a_b",
    ];
    all.extend(texts.map(|text| json!(text)));
    all
}

/// Whether a value is of the type, said a second time and in other words than `value` does.
fn fits(kind: ClaimType, value: &Value) -> bool {
    let text = |allowed: &[&str]| value.as_str().is_some_and(|text| allowed.contains(&text));
    match kind {
        ClaimType::Text | ClaimType::Ref => {
            value.as_str().is_some_and(|text| text.len() < 513 && !text.contains(['\n', '\0', '\x7f']))
        }
        ClaimType::Name => text(&[
            "7",
            "07",
            "0",
            "7.0",
            "1e3",
            "0x7",
            "true",
            "false",
            "yes",
            "123456789012345678901",
            "0184990a478242b5afc116715b10b8ff",
            "0184990a-4782-42b5-afc1-16715b10b8f",
        ]),
        ClaimType::Id => text(&["7"]),
        ClaimType::Number => *value == json!(7),
        ClaimType::IdOrNumber => text(&["7"]) || *value == json!(7),
        ClaimType::Uuid => false,
        ClaimType::Uuids => *value == json!([]),
        ClaimType::BoolText => text(&["true", "false"]),
        ClaimType::Bool => value.is_boolean(),
        ClaimType::Any => unreachable!("no platform has it"),
    }
}

#[test]
fn every_claim_has_its_type_and_no_other() {
    for (platform, claims) in good() {
        for claim in preset(platform).claims {
            for value in values() {
                let expect = fits(claim.kind, &value) || (claim.nullable && value.is_null());
                let got = run(platform, with(claims.clone(), claim.path, Some(value.clone())));
                assert_eq!(got.is_ok(), expect, "{platform} {} {value}: {got:?}", claim.name);
                let Err(refused) = got else { continue };
                assert_eq!(refused.code, "claim");
                assert!(refused.reason.contains(&format!("{:?}", claim.name)), "{refused}");
                let quoted = value.as_str().filter(|text| text.len() > 5).unwrap_or("\u{1}");
                assert!(!refused.reason.contains(quoted), "{refused}");
            }
            let huge = json!("7".repeat(1 << 20));
            assert!(run(platform, with(claims.clone(), claim.path, Some(huge))).is_err(), "{platform}");
        }
    }
}

#[test]
fn no_claim_hides_in_another_shape() {
    for value in
        [json!(null), json!([]), json!("shop"), json!({"namespace": "shop"}), json!({"serviceaccount": "x"})]
    {
        assert!(
            run(Platform::Kubernetes, with(kubernetes(), &["kubernetes.io"], Some(value.clone()))).is_err(),
            "{value}"
        );
    }
    let flat = with(kubernetes(), &["kubernetes.io"], None);
    let flat = with(flat, &["kubernetes.io/serviceaccount/namespace"], Some(json!("shop")));
    assert!(run(Platform::Kubernetes, flat).is_err(), "the form of tokens that never expire");
    let long = "a".repeat(253);
    let account = with(kubernetes(), &["kubernetes.io", "serviceaccount", "name"], Some(json!(long)));
    assert!(run(Platform::Kubernetes, account).is_err(), "no lock could name it");
    for (name, value, ok) in [
        ("repo_property_x", json!("y"), true),
        ("repo_property_x", json!(true), false),
        ("repo_property_x", json!(null), false),
        ("repo_property_x", json!("a\nb"), false),
        ("repo_property_", json!(true), true),
        ("repo_property_x y", json!(true), true),
    ] {
        let got = run(Platform::GitHub, with(github(), &[name], Some(value.clone())));
        assert_eq!(got.is_ok(), ok, "{name} {value}");
        assert!(got.is_err() || name == "repo_property_x" || got.unwrap().claim(name).is_none(), "{name}");
    }
    let mut many = github();
    for at in 0..200 {
        many[format!("repo_property_{at}")] = json!("x");
    }
    assert!(run(Platform::GitHub, many).is_err());
}

#[test]
fn labels_are_harmless_and_decide_nothing() {
    for (said, shown) in [
        ("acme/\u{202e}pohs", "acme/pohs"),
        ("acme/shop\u{200b}", "acme/shop"),
        ("\u{200b}", "repository/123456"),
        (format!("acme {}", "a".repeat(400)).as_str(), format!("acme {}", "a".repeat(123)).as_str()),
    ] {
        let run = run(Platform::GitHub, with(github(), &["repository"], Some(json!(said)))).unwrap();
        assert_eq!(run.label, shown);
        assert_eq!(run.url, None, "{said:?}");
        assert_eq!(run.claim("repository"), Some(said), "rules compare what was said, byte for byte");
    }
    let run = run(Platform::GitHub, with(github(), &["actor"], Some(json!("oc\u{202e}to")))).unwrap();
    assert_eq!(run.actor.as_deref(), Some("octo"));
    for commit in ["HEAD", "main", "0123456", "0123456789ABCDEF0123456789ABCDEF01234567"] {
        let run = read(Platform::GitHub, None, &map(with(github(), &["sha"], Some(json!(commit))))).unwrap();
        assert_eq!(run.commit, None, "{commit}");
    }
}

#[test]
fn no_form_of_sub_decides() {
    for (platform, claims) in good() {
        let expect = run(platform, claims.clone()).unwrap();
        for sub in [
            None,
            Some(json!("repo:acme/shop:ref:refs/heads/main")),
            Some(json!("repo:eve/evil:pull_request")),
            Some(json!("")),
            Some(json!(7)),
            Some(json!(null)),
        ] {
            assert_eq!(run(platform, with(claims.clone(), &["sub"], sub)).unwrap(), expect, "{platform}");
        }
    }
}

#[test]
fn hazards() {
    use Hazard::{Fork, PullRequest, SshRerun};
    use Platform::{Buildkite, CircleCi, Forgejo, GitHub, GitLab};
    let circle = |key: &'static str| {
        ["oidc.circleci.com/vcs-ref", "oidc.circleci.com/ssh-rerun"]
            .into_iter()
            .find(|k| k.ends_with(key))
            .unwrap()
    };
    let none = Value::Null;
    #[expect(clippy::type_complexity, reason = "a table of what is said and what it means")]
    let rows: Vec<(Platform, Vec<(&str, Value)>, &[Hazard])> = vec![
        (GitHub, vec![("event_name", json!("pull_request"))], &[PullRequest]),
        (GitHub, vec![("event_name", json!("pull_request_target"))], &[PullRequest]),
        (GitHub, vec![("event_name", json!("pull_request_of_next_year"))], &[PullRequest]),
        (GitHub, vec![("event_name", json!("workflow_run"))], &[PullRequest]),
        (GitHub, vec![("event_name", json!("issue_comment"))], &[PullRequest]),
        (GitHub, vec![("event_name", json!("workflow_dispatch"))], &[]),
        (GitHub, vec![("head_ref", json!("patch-1"))], &[PullRequest]),
        (GitHub, vec![("base_ref", json!("main"))], &[PullRequest]),
        (GitHub, vec![("ref", json!("refs/pull/7/merge"))], &[PullRequest]),
        (Forgejo, vec![("event_name", json!("pull_request"))], &[PullRequest]),
        (Forgejo, vec![("head_ref", json!("patch-1"))], &[PullRequest]),
        (GitLab, vec![("pipeline_source", json!("merge_request_event"))], &[PullRequest]),
        (GitLab, vec![("pipeline_source", json!("external_pull_request_event"))], &[PullRequest]),
        (GitLab, vec![("ref_path", json!("refs/merge-requests/7/head"))], &[PullRequest]),
        (GitLab, vec![("ref", json!("refs/merge-requests/7/merge"))], &[PullRequest]),
        (GitLab, vec![("job_project_id", json!("21"))], &[Fork]),
        (GitLab, vec![("source_project_id", json!("21"))], &[Fork]),
        (GitLab, vec![("job_project_id", none.clone())], &[]),
        (
            GitLab,
            vec![("pipeline_source", json!("merge_request_event")), ("job_project_id", none.clone())],
            &[PullRequest, Fork],
        ),
        (
            GitLab,
            vec![("ref_path", json!("refs/merge-requests/7/head")), ("job_project_id", none.clone())],
            &[PullRequest, Fork],
        ),
        (GitLab, vec![("pipeline_source", json!("parent_pipeline"))], &[]),
        (GitLab, vec![("pipeline_source", json!("parent_pipeline")), ("job_project_id", none)], &[Fork]),
        (Buildkite, vec![("build_branch", json!("eve:main"))], &[Fork]),
        (CircleCi, vec![(circle("ssh-rerun"), json!(true))], &[SshRerun]),
        (CircleCi, vec![(circle("vcs-ref"), json!("refs/heads/pull/7"))], &[Fork]),
        (CircleCi, vec![(circle("vcs-ref"), json!("refs/pull/7/head"))], &[Fork]),
    ];
    for (platform, changes, expect) in rows {
        let mut claims = good().into_iter().find(|(one, _)| *one == platform).unwrap().1;
        for (key, value) in &changes {
            claims = with(claims, &[key], Some(value.clone()).filter(|value| !value.is_null()));
        }
        let hazards = run(platform, claims).unwrap().hazards;
        assert_eq!(hazards, expect.iter().copied().collect(), "{platform} {changes:?}");
    }
}

#[test]
fn where_people_look() {
    for (iss, expect) in [
        (
            "https://token.actions.githubusercontent.com/acme-inc",
            Some("https://github.com/acme/shop/actions/runs/1/attempts/1"),
        ),
        ("https://token.actions.githubusercontent.com.evil.example", None),
        (
            "https://token.actions.acme.ghe.com",
            Some("https://acme.ghe.com/acme/shop/actions/runs/1/attempts/1"),
        ),
        ("https://token.actions.evil.example/.ghe.com", None),
        (
            "https://ghe.acme.example/_services/token",
            Some("https://ghe.acme.example/acme/shop/actions/runs/1/attempts/1"),
        ),
        ("https://u@ghe.acme.example/_services/token", None),
        ("https://ghe.acme.example/x/_services/token", None),
        ("http://ghe.acme.example/_services/token", None),
        ("https://127.0.0.1:8080", None),
    ] {
        let claims = with(github(), &["iss"], Some(json!(iss)));
        let claims = with(claims, &["run_id"], Some(json!("1")));
        let run = run(Platform::GitHub, with(claims, &["run_attempt"], Some(json!("1")))).unwrap();
        assert_eq!(run.url.as_deref(), expect, "{iss}");
    }
    let own = with(gitlab(), &["iss"], Some(json!("https://git.acme.example:8443/gitlab")));
    assert_eq!(
        run(Platform::GitLab, own).unwrap().url.as_deref(),
        Some("https://git.acme.example:8443/gitlab/acme/apps/shop/-/pipelines/574")
    );
    let odd = with(gitlab(), &["project_path"], Some(json!("acme/../evil")));
    assert_eq!(run(Platform::GitLab, odd).unwrap().url, None);
    assert_eq!(run(Platform::GitLab, with(gitlab(), &["iss"], Some(json!(7)))).unwrap().url, None);
}

#[test]
fn generic_issuers() {
    let generic = Generic {
        id_claim: "sub".into(),
        label_claim: Some("name".into()),
        run_claim: Some("run".into()),
        claims: vec!["stage".into(), "cloud.project.id".into(), "prod".into()],
    };
    let token = json!({"iss": "https://i.example", "sub": "wl-7", "name": "nightly\u{202e}", "run": 55, "stage": "a",
        "cloud": {"project": {"id": -3}}, "prod": true, "other": "x"});
    let judge = |claims: Value| read(Platform::Oidc, Some(&generic), &map(claims));
    let run = judge(token.clone()).unwrap();
    assert_eq!((run.subject.as_str(), run.label.as_str()), ("id/wl-7", "nightly"));
    assert_eq!((run.id.as_deref(), run.url, run.hazards.len()), (Some("55"), None, 0));
    let kept: Vec<_> = run.claims.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(kept, [("cloud.project.id", "-3"), ("prod", "true"), ("stage", "a"), ("sub", "wl-7")]);
    for (path, value, ok) in [
        ("sub", None, false),
        ("sub", Some(json!("")), false),
        ("sub", Some(json!(null)), false),
        ("sub", Some(json!(["wl-7"])), false),
        ("sub", Some(json!("wl\u{200b}-7")), false),
        ("sub", Some(json!("w".repeat(201))), false),
        ("sub", Some(json!(7)), true),
        ("sub", Some(json!(7.5)), false),
        ("stage", None, true),
        ("stage", Some(json!(null)), false),
        ("stage", Some(json!({"a": 1})), false),
        ("stage", Some(json!("x".repeat(513))), false),
        ("name", Some(json!([])), false),
        ("cloud", Some(json!("x")), true),
        ("cloud", Some(json!({"project": {"id": []}})), false),
        ("cloud.project.id", Some(json!("9")), false),
        ("other", Some(json!([{}])), true),
    ] {
        assert_eq!(judge(with(token.clone(), &[path], value.clone())).is_ok(), ok, "{path} {value:?}");
    }
    let whole = with(with(token, &["cloud"], None), &["cloud.project.id"], Some(json!("9")));
    assert_eq!(judge(whole).unwrap().claim("cloud.project.id"), Some("9"));
}

#[test]
fn presets_hold_together() {
    for platform in Platform::ISSUERS {
        let preset = preset(platform);
        assert!(!preset.algorithms.is_empty() && !preset.algorithms.iter().any(|alg| alg.starts_with("HS")));
        assert!(!preset.algorithms.contains(&"none"));
        let names: BTreeSet<&str> = preset.claims.iter().map(|claim| claim.name).collect();
        assert_eq!(names.len(), preset.claims.len(), "{platform}");
        assert!(!names.contains("sub"), "{platform}");
        for claim in preset.claims {
            assert!(!claim.identifies || (claim.needed && !claim.glob), "{}", claim.name);
        }
        let event = preset.event.map(|(claim, _, _)| claim);
        let implied =
            preset.implied.iter().flat_map(|implied| implied.with.into_iter().chain([implied.claim]));
        for name in event.into_iter().chain(implied) {
            assert!(preset.claim(name).is_some_and(|claim| claim.rules), "{platform} {name}");
        }
        if let Some((claim, allowed, pull_request)) = preset.event {
            assert!(preset.claim(claim).unwrap().needed);
            assert!(!allowed.iter().any(|event| preset.is_pull_request(event)), "{platform}");
            assert!(pull_request.iter().all(|event| preset.is_pull_request(event)), "{platform}");
        }
    }
    assert!(preset(Platform::Service).algorithms.is_empty());
}
