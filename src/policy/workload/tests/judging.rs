//! What fits a rule, and what only looks like it.

use super::*;

const GOOD: [(&str, &str); 8] = [
    (
        "issuer = \"hub\"\nrepository_id = 12\nref = \"refs/heads/main\"",
        "repository_id=12 ref=refs/heads/main event_name=push ref_type=branch",
    ),
    ("issuer = \"forge\"\nrepository_id = \"12\"", "repository_id=12 event_name=schedule"),
    (
        "issuer = \"lab\"\nproject_id = [\"12\", 13]\nref = \"main\"",
        "project_id=13 ref=main ref_type=branch ref_protected=true pipeline_source=push",
    ),
    (
        "issuer = \"kite\"\npipeline_id = \"0184990a-4782-42b5-afc1-16715b10b8ff\"\nbuild_branch = \"main\"",
        "pipeline_id=0184990a-4782-42b5-afc1-16715b10b8ff build_branch=main",
    ),
    (
        "issuer = \"circle\"\nproject_id = \"b6d1b5b4-17b3-4a1c-92c5-5f2b3a4d0e22\"",
        "project_id=b6d1b5b4-17b3-4a1c-92c5-5f2b3a4d0e22",
    ),
    (
        "issuer = \"kube\"\nnamespace = \"shop\"\nservice_account = \"deployer\"",
        "namespace=shop service_account=deployer",
    ),
    ("issuer = \"other\"\nsub = \"wl-7\"\nstage = \"a\"", "sub=wl-7 stage=a"),
    (
        "issuer = \"hub\"\nrepository_id = 12\nevent_name = \"pull_request\"",
        "repository_id=12 event_name=pull_request head_ref=patch",
    ),
];

fn run_of(rule: &WorkloadRule, given: &str) -> Run {
    described(rule.platform, rule.id.first().map(String::as_str), claims(given))
}

#[test]
fn rules_and_runs_that_fit() {
    for (lines, given) in GOOD {
        let rule = rule(lines).unwrap();
        let run = run_of(&rule, given);
        assert_eq!(rule.judge(&rule.issuer, &run), Ok(()), "{lines}");
        // Each claim that the rule wants is one without which nothing passes.
        for name in rule.wants.keys() {
            let mut less = run.clone();
            less.claims.remove(name);
            let why = rule.judge(&rule.issuer, &less).unwrap_err();
            assert_eq!((why.claim.as_str(), why.found), (name.as_str(), None), "{lines}");
            less.claims.insert(name.clone(), "something-else".to_owned());
            assert!(rule.judge(&rule.issuer, &less).is_err(), "{lines} {name}");
        }
        assert!(!rule.id.is_empty() && rule.id.iter().all(|id| rule.wants.contains_key(id)), "{lines}");
        let example = rule.example();
        assert_eq!(rule.judge(&example.provider, example.run.as_deref().unwrap()), Ok(()), "{lines}");
    }
}

/// The lines of a rule, the claims of a run, and the claim that does not fit with the code of it; none when all fit.
type Row = (String, &'static str, Option<(&'static str, &'static str)>);

#[test]
fn attacks() {
    const HUB: &str = "issuer = \"hub\"\nrepository_id = 12\n";
    const LAB: &str = "issuer = \"lab\"\nproject_id = 12\n";
    const KITE: &str = "issuer = \"kite\"\npipeline_id = \"0184990a-4782-42b5-afc1-16715b10b8ff\"\n";
    const CIRCLE: &str = "issuer = \"circle\"\nproject_id = \"b6d1b5b4-17b3-4a1c-92c5-5f2b3a4d0e22\"\n";
    let rows: Vec<Row> = vec![
        // Ids are whole.
        (HUB.into(), "repository_id=123 event_name=push", Some(("repository_id", "no-rule"))),
        (HUB.into(), "repository_id=1 event_name=push", Some(("repository_id", "no-rule"))),
        (HUB.into(), "repository_id=012 event_name=push", Some(("repository_id", "no-rule"))),
        (HUB.into(), "event_name=push", Some(("repository_id", "no-rule"))),
        // Events: those of every day, others only by name, and pull requests only by their very name.
        (HUB.into(), "repository_id=12 event_name=release", None),
        (HUB.into(), "repository_id=12", Some(("event_name", "event"))),
        (HUB.into(), "repository_id=12 event_name=repository_dispatch", Some(("event_name", "event"))),
        (HUB.into(), "repository_id=12 event_name=pull_request", Some(("event_name", "event"))),
        (HUB.into(), "repository_id=12 event_name=pull_request_target", Some(("event_name", "event"))),
        (HUB.into(), "repository_id=12 event_name=workflow_run", Some(("event_name", "event"))),
        (HUB.into(), "repository_id=12 event_name=push head_ref=patch", Some(("event_name", "event"))),
        (HUB.into(), "repository_id=12 event_name=push base_ref=main", Some(("event_name", "event"))),
        (
            format!("{HUB}event_name = \"push\""),
            "repository_id=12 event_name=push head_ref=x",
            Some(("event_name", "event")),
        ),
        (format!("{HUB}event_name = \"workflow_run\""), "repository_id=12 event_name=workflow_run", None),
        (
            format!("{HUB}event_name = \"pull_request\""),
            "repository_id=12 event_name=pull_request_target",
            Some(("event_name", "event")),
        ),
        (
            format!("{HUB}event_name = \"issue_comment\""),
            "repository_id=12 event_name=push",
            Some(("event_name", "event")),
        ),
        // A tag is no branch; a branch is no part of another's name; a pattern stays between its slashes.
        (
            format!("{HUB}ref = \"refs/heads/main\""),
            "repository_id=12 event_name=push ref=refs/tags/main",
            Some(("ref", "no-rule")),
        ),
        (
            format!("{HUB}ref = \"refs/heads/main\""),
            "repository_id=12 event_name=push ref=refs/heads/main2",
            Some(("ref", "no-rule")),
        ),
        (
            format!("{HUB}ref = \"refs/heads/main\""),
            "repository_id=12 event_name=push ref=main",
            Some(("ref", "no-rule")),
        ),
        (
            format!("{HUB}ref = \"refs/heads/rel-*\""),
            "repository_id=12 event_name=push ref=refs/heads/rel-1",
            None,
        ),
        (
            format!("{HUB}ref = \"refs/heads/rel-*\""),
            "repository_id=12 event_name=push ref=refs/heads/rel-1/evil",
            Some(("ref", "no-rule")),
        ),
        (
            format!("{HUB}ref = \"refs/heads/*\""),
            "repository_id=12 event_name=push ref=refs/heads/eve/main",
            Some(("ref", "no-rule")),
        ),
        (
            format!("{HUB}ref = \"refs/heads/*\""),
            "repository_id=12 event_name=push ref=refs/tags/v1",
            Some(("ref", "no-rule")),
        ),
        (
            format!("{LAB}ref = \"main\""),
            "project_id=12 pipeline_source=push ref_protected=true ref=main ref_type=tag",
            Some(("ref_type", "no-rule")),
        ),
        (
            format!("{LAB}ref = \"main\""),
            "project_id=12 pipeline_source=push ref_protected=true ref=main",
            Some(("ref_type", "no-rule")),
        ),
        (
            format!("{LAB}ref = \"v*\"\nref_type = \"tag\""),
            "project_id=12 pipeline_source=push ref_protected=true ref=v1 ref_type=tag",
            None,
        ),
        (
            format!("{KITE}build_branch = \"main\""),
            "pipeline_id=0184990a-4782-42b5-afc1-16715b10b8ff build_branch=main build_tag=v1",
            Some(("build_tag", "no-rule")),
        ),
        (
            format!("{KITE}build_branch = \"*n\""),
            "pipeline_id=0184990a-4782-42b5-afc1-16715b10b8ff build_branch=eve:main",
            Some(("the code", "fork")),
        ),
        // What is not said is not so.
        (
            format!("{HUB}environment = \"production\""),
            "repository_id=12 event_name=push",
            Some(("environment", "no-rule")),
        ),
        (LAB.into(), "project_id=12 pipeline_source=push", Some(("ref_protected", "no-rule"))),
        // Booleans are what the platform calls them, and nothing near.
        (
            LAB.into(),
            "project_id=12 pipeline_source=push ref_protected=false",
            Some(("ref_protected", "no-rule")),
        ),
        (
            LAB.into(),
            "project_id=12 pipeline_source=push ref_protected=True",
            Some(("ref_protected", "no-rule")),
        ),
        (
            LAB.into(),
            "project_id=12 pipeline_source=push ref_protected=1",
            Some(("ref_protected", "no-rule")),
        ),
        (
            format!("{LAB}ref_protected = true"),
            "project_id=12 pipeline_source=push ref_protected=false",
            Some(("ref_protected", "no-rule")),
        ),
        (
            format!("{LAB}ref_protected = false"),
            "project_id=12 pipeline_source=push ref_protected=false",
            None,
        ),
        (
            format!("{LAB}ref_protected = [true, \"false\"]"),
            "project_id=12 pipeline_source=push ref_protected=false",
            None,
        ),
        // Forks, also where the rule lets merge requests pass.
        (
            LAB.into(),
            "project_id=12 pipeline_source=merge_request_event ref_protected=true job_project_id=12",
            Some(("pipeline_source", "event")),
        ),
        (
            format!("{LAB}pipeline_source = \"merge_request_event\""),
            "project_id=12 pipeline_source=merge_request_event ref_protected=true job_project_id=12",
            None,
        ),
        (
            format!("{LAB}pipeline_source = \"merge_request_event\""),
            "project_id=12 pipeline_source=merge_request_event ref_protected=true job_project_id=99",
            Some(("the code", "fork")),
        ),
        (
            format!("{LAB}pipeline_source = \"merge_request_event\""),
            "project_id=12 pipeline_source=merge_request_event ref_protected=true",
            Some(("the code", "fork")),
        ),
        (
            LAB.into(),
            "project_id=12 pipeline_source=push ref_protected=true job_project_id=99",
            Some(("the code", "fork")),
        ),
        (
            format!("{LAB}pipeline_source = \"push\""),
            "project_id=12 pipeline_source=push ref_protected=true ref_path=refs/merge-requests/7/head job_project_id=12",
            Some(("pipeline_source", "event")),
        ),
        (
            CIRCLE.into(),
            "project_id=b6d1b5b4-17b3-4a1c-92c5-5f2b3a4d0e22 ssh_rerun=true",
            Some(("ssh_rerun", "rerun")),
        ),
        (
            CIRCLE.into(),
            "project_id=b6d1b5b4-17b3-4a1c-92c5-5f2b3a4d0e22 vcs_ref=refs/heads/pull/7",
            Some(("the code", "fork")),
        ),
    ];
    for (lines, given, expect) in rows {
        let rule = rule(&lines).unwrap();
        let got = rule.judge(&rule.issuer, &run_of(&rule, given)).err();
        let got = got.as_ref().map(|why| (why.claim.as_str(), why.code));
        assert_eq!(got, expect, "{lines}\n{given}");
    }
}

#[test]
fn a_list_has_the_one_that_is_wanted() {
    let one = "a74579f1-2e7d-451e-b009-5c082ad2729e";
    let project = "b6d1b5b4-17b3-4a1c-92c5-5f2b3a4d0e22";
    let rule =
        rule(&format!("issuer = \"circle\"\nproject_id = \"{project}\"\ncontext_ids = \"{one}\"")).unwrap();
    for (said, ok) in [
        (one.to_owned(), true),
        (format!("{project} {one}"), true),
        (project.to_owned(), false),
        (one[1..].to_owned(), false),
        (String::new(), false),
    ] {
        let said =
            BTreeMap::from([("project_id".to_owned(), project.to_owned()), ("context_ids".to_owned(), said)]);
        let run = described(Platform::CircleCi, None, said);
        assert_eq!(rule.judge(&rule.issuer, &run).is_ok(), ok, "{run:?}");
    }
}
