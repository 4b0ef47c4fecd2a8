//! Rules as they are written, runs of every kind, and the ways in which somebody else's run could be taken for ours.

use std::collections::BTreeMap;

use super::*;
use crate::config::{Document, Section};
use crate::identity::workload::described;
use crate::policy::decide::is_member;
use crate::policy::somebody::person;
use crate::policy::{Policy, load};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIv2GvXxKPths0HHOfCK7LGH7tYSdIbxrzWMFg6uh27p";
const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsUf39jRWPiVc2fFwS9sQ/HBsnlkmEsoCEJFoRjmObi";

fn known() -> Vec<KnownIssuer> {
    let issuer = |name: &str, platform| KnownIssuer { name: name.parse().unwrap(), platform, generic: None };
    let mut all: Vec<KnownIssuer> = [
        ("hub", Platform::GitHub),
        ("hub2", Platform::GitHub),
        ("lab", Platform::GitLab),
        ("forge", Platform::Forgejo),
        ("kite", Platform::Buildkite),
        ("circle", Platform::CircleCi),
        ("kube", Platform::Kubernetes),
    ]
    .map(|(name, platform)| issuer(name, platform))
    .into();
    let generic = Generic {
        id_claim: "sub".into(),
        label_claim: None,
        run_claim: None,
        claims: vec!["stage".into(), "cloud.region".into()],
    };
    all.push(KnownIssuer { generic: Some(generic), ..issuer("other", Platform::Oidc) });
    all
}

/// The rules of a text, or what is wrong, as `LINE: MESSAGE`.
fn rules(text: &str, issuers: Option<&[KnownIssuer]>) -> Result<Rules, Vec<String>> {
    let doc = Document::new(std::path::Path::new("p.toml"), text);
    let table = doc.parse();
    let rules = table.as_ref().map(|table| {
        let mut tops = vec![Section::top(&doc, table.get_ref())];
        let rules = read_rules(&mut tops, issuers);
        tops.into_iter().for_each(Section::finish);
        rules
    });
    match rules {
        Some(rules) if doc.is_clean() => Ok(rules),
        _ => Err(doc.into_problems().iter().map(|p| format!("{}: {}", p.line, p.message)).collect()),
    }
}

/// The rule of these lines.
fn rule(lines: &str) -> Result<WorkloadRule, Vec<String>> {
    let text = format!("[[workload]]\nname = \"r\"\n{lines}\n");
    let rules = rules(&text, Some(&known()))?;
    Ok(rules.workloads.values().next().unwrap().as_ref().clone())
}

fn claims(given: &str) -> BTreeMap<String, String> {
    let pairs = given.split_whitespace().map(|pair| pair.split_once('=').unwrap());
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

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

#[test]
fn attacks() {
    const HUB: &str = "issuer = \"hub\"\nrepository_id = 12\n";
    const LAB: &str = "issuer = \"lab\"\nproject_id = 12\n";
    const KITE: &str = "issuer = \"kite\"\npipeline_id = \"0184990a-4782-42b5-afc1-16715b10b8ff\"\n";
    const CIRCLE: &str = "issuer = \"circle\"\nproject_id = \"b6d1b5b4-17b3-4a1c-92c5-5f2b3a4d0e22\"\n";
    let rows: Vec<(String, &str, Option<(&str, &str)>)> = vec![
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

#[test]
fn what_does_not_load() {
    for (lines, expect) in [
        (
            "issuer = \"hub\"",
            "1: the rule does not say \"repository_id\", the immutable id of what runs: names can",
        ),
        ("issuer = \"hub\"\nref = \"refs/heads/main\"", "`gh api repos/OWNER/NAME --jq .id` tells it"),
        (
            "issuer = \"hub\"\njob_workflow_ref = \"acme/ci/.github/workflows/x.yml@refs/tags/v1\"",
            "\"job_workflow_ref\" names a workflow that any repository can call",
        ),
        ("issuer = \"lab\"\nproject_path = \"acme/shop\"", "1: the rule does not say \"project_id\""),
        ("issuer = \"kube\"\nnamespace = \"shop\"", "1: the rule does not say \"service_account\""),
        (
            "issuer = \"other\"\nstage = \"a\"",
            "does not say \"sub\", the immutable id of what runs: names can be taken over by others, the id cannot; it is the issuer's \"id_claim\"",
        ),
        (
            "issuer = \"hub\"\nrepository_id = 12\nsub = \"repo:acme/shop:*\"",
            "5: no rule speaks of \"sub\": whoever may write a workflow can shape it, and its form changes without notice; say \"repository_id\"",
        ),
        (
            "issuer = \"kube\"\nsub = \"x\"\nnamespace = \"a\"\nservice_account = \"b\"",
            "say \"namespace\" and \"service_account\"",
        ),
        ("issuer = \"other\"\nsub = \"wl-*\"", "4: \"sub\" takes no wildcards"),
        ("issuer = \"hub\"\nrepository_id = 12\naud = \"x\"", "\"aud\" is judged for every token"),
        (
            "issuer = \"hub\"\nrepository_id = 12\nenviroment = \"x\"",
            "5: tokens of github have no claim \"enviroment\" for rules; did you mean \"environment\"?",
        ),
        ("issuer = \"hub\"\nrepository_id = 12\nproject_id = 12", "have no claim \"project_id\""),
        ("issuer = \"hub\"\nrepository_id = 12\nactor = \"octocat\"", "\"actor\" tells people what a run is"),
        (
            "issuer = \"other\"\nsub = \"a\"\nrole = \"x\"",
            "tokens of oidc have no claim \"role\" for rules; there is: stage, cloud.region, sub",
        ),
        ("issuer = \"hup\"\nrepository_id = 12", "3: there is no [[issuer]] \"hup\"; did you mean \"hub\"?"),
        ("repository_id = 12", "1: \"issuer\" is missing in [[workload]] number 1"),
        ("issuer = \"hub\"\nrepository_id = \"012\"", "4: \"012\" is not a number without leading zeros"),
        ("issuer = \"hub\"\nrepository_id = \"12*\"", "4: \"repository_id\" takes no wildcards"),
        ("issuer = \"hub\"\nrepository_id = -12", "\"-12\" is not a number"),
        (
            "issuer = \"hub\"\nrepository_id = 1.5",
            "4: \"repository_id\" must be text, a whole number, true or false, or an array of these; this is a number with a fraction",
        ),
        ("issuer = \"hub\"\nrepository_id = { id = 1 }", "must be text"),
        ("issuer = \"hub\"\nrepository_id = [12, [13]]", "must be text"),
        ("issuer = \"hub\"\nrepository_id = []", "4: \"repository_id\" is empty, so no run could ever fit"),
        ("issuer = \"hub\"\nrepository_id = [12, \"12\"]", "4: \"12\" is listed twice"),
        ("issuer = \"hub\"\nrepository_id = \"acme/shop\"", "\"acme/shop\" is not a number"),
        (
            "issuer = \"hub\"\nrepository_id = 12\nref = \"main\"",
            "5: \"main\" is not a whole name, such as refs/heads/main",
        ),
        (
            "issuer = \"hub\"\nrepository_id = 12\nref = \"refs/*/main\"",
            "5: \"refs/*/main\": a pattern begins with refs/heads/",
        ),
        ("issuer = \"hub\"\nrepository_id = 12\nref = \"*\"", "a pattern begins with refs/heads/"),
        (
            "issuer = \"hub\"\nrepository_id = 12\nref = \"refs/heads/**\"",
            "\"refs/heads/**\" is not a pattern",
        ),
        ("issuer = \"lab\"\nproject_id = 12\nref = \"*\"", "\"*\" would fit every name without a slash"),
        (
            "issuer = \"hub\"\nrepository_id = 12\nenvironment = \"prod*\"",
            "\"environment\" takes no wildcards",
        ),
        ("issuer = \"hub\"\nrepository_id = 12\nrepo_property_tier = \"*\"", "takes no wildcards"),
        ("issuer = \"lab\"\nproject_id = 12\nref_protected = \"yes\"", "\"yes\" is not true or false"),
        ("issuer = \"lab\"\nproject_id = 12\nannounced = \"yes\"", "\"announced\" must be true or false"),
        (
            "issuer = \"circle\"\nproject_id = \"B6D1B5B4-17B3-4A1C-92C5-5F2B3A4D0E22\"",
            "is not a UUID in lower case",
        ),
        ("issuer = \"hub\"\nrepository_id = 12\nenvironment = \"\"", "\"\" is not text"),
    ] {
        let problems = rule(lines).map(|rule| format!("{rule:?}")).expect_err(lines);
        assert!(problems.iter().any(|problem| problem.contains(expect)), "{lines}\n{problems:#?}");
    }
    let twice = "[[workload]]\nname = \"a\"\nissuer = \"hub\"\nrepository_id = 1\n".repeat(2);
    assert_eq!(rules(&twice, Some(&known())).unwrap_err(), ["6: there is a [[workload]] \"a\" already"]);
}

#[test]
fn a_rule_by_itself_is_of_the_platform_that_has_its_claims() {
    for (lines, expect) in [
        ("issuer = \"github\"\nrepository_id = 1", Ok(Platform::GitHub)),
        ("issuer = \"forgejo\"\nrepository_id = 1", Ok(Platform::Forgejo)),
        ("issuer = \"ci\"\nrepository_id = 1\nref = \"refs/heads/main\"", Ok(Platform::GitHub)),
        ("issuer = \"ci\"\nproject_id = 1", Ok(Platform::GitLab)),
        ("issuer = \"ci\"\nproject_id = \"b6d1b5b4-17b3-4a1c-92c5-5f2b3a4d0e22\"", Ok(Platform::CircleCi)),
        ("issuer = \"ci\"\npipeline_id = \"b6d1b5b4-17b3-4a1c-92c5-5f2b3a4d0e22\"", Ok(Platform::Buildkite)),
        ("issuer = \"ci\"\nnamespace = \"a\"\nservice_account = \"b\"", Ok(Platform::Kubernetes)),
        ("issuer = \"ci\"\ntenant = \"7\"\nzone = \"b\"", Ok(Platform::Oidc)),
        ("issuer = \"ci\"\nref = \"refs/heads/main\"", Err("does not say \"repository_id\"")),
        ("issuer = \"ci\"\nrepositry_id = 1", Err("did you mean \"repository_id\"?")),
        ("issuer = \"ci\"\nrepository_id = 1\nsub = \"x\"", Err("no rule speaks of \"sub\"")),
        ("issuer = \"ci\"\ntenant = \"7\"\nsub = \"x\"", Err("no rule speaks of \"sub\"")),
        ("issuer = \"ci\"", Err("does not say \"repository_id\"")),
    ] {
        let got = rules(&format!("[[workload]]\nname = \"r\"\n{lines}\n"), None);
        match (got, expect) {
            (Ok(rules), Ok(platform)) => {
                assert_eq!(rules.workloads.values().next().unwrap().platform, platform, "{lines}");
            }
            (Err(problems), Err(part)) => assert!(problems.concat().contains(part), "{lines} {problems:?}"),
            (got, _) => panic!("{lines}: {got:?}"),
        }
    }
}

#[test]
fn service_accounts() {
    let text = |lines: &str| format!("[[service]]\nname = \"backup\"\n{lines}\n");
    let good = format!("keys = [\"{KEY} backup@nas\"]\nsources = [\"10.0.0.0/8\"]");
    let read = rules(&text(&good), None).unwrap();
    let service = read.services.values().next().unwrap();
    assert_eq!((service.keys.len(), service.run_max.as_secs()), (1, 3600));
    assert_eq!(service.keys[0].comment().to_string(), "");
    for (lines, expect) in [
        ("keys = []\nsources = [\"10.0.0.0/8\"]".to_owned(), "3: \"keys\" is empty"),
        ("sources = [\"10.0.0.0/8\"]".to_owned(), "1: \"keys\" is missing"),
        (format!("keys = [\"{KEY}\"]"), "1: \"sources\" is missing"),
        (format!("keys = [\"{KEY}\"]\nsources = []"), "4: \"sources\" is empty"),
        (format!("keys = [\"{KEY}\"]\nsources = [\"0.0.0.0/0\"]"), "4: 0.0.0.0/0 is everywhere"),
        (format!("keys = [\"{KEY}\"]\nsources = [\"10.0.0.0/8\", \"::/0\"]"), "::/0 is everywhere"),
        (format!("keys = [\"{KEY}\"]\nsources = [\"10.0.0.1/8\"]"), "is not a network"),
        (format!("keys = [\"{KEY}\", \"{KEY} again\"]\nsources = [\"10.0.0.0/8\"]"), "this key is listed twice"),
        (format!("keys = [\"{KEY}\"]\nsources = [\"10.0.0.0/8\"]\nrun_max = \"30s\""), "\"run_max\" must be from 1m to"),
        (format!("keys = [\"{KEY}\"]\nsources = [\"10.0.0.0/8\"]\nrun_max = \"25h\""), "\"run_max\" must be from 1m to"),
        ("keys = [\"ssh-ed25519 AAAA\"]\nsources = [\"10.0.0.0/8\"]".to_owned(), "not a public key"),
        (
            "keys = [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"]\nsources = [\"10.0.0.0/8\"]".to_owned(),
            "3: ",
        ),
        (format!("keys = [\"{KEY}\"]\nsources = [\"10.0.0.0/8\"]\nsource = []"), "unknown key \"source\""),
    ] {
        let problems = rules(&text(&lines), None).map(|read| format!("{read:?}")).expect_err(&lines);
        assert!(problems.iter().any(|problem| problem.contains(expect)), "{lines}\n{problems:#?}");
    }
    let two = format!("{}[[service]]\nname = \"other\"\n{good}\n", text(&good));
    assert!(rules(&two, None).unwrap_err().concat().contains("this is a key of \"backup\" already"));
    let key = PublicKeyOf(KEY).key();
    assert!(service.run(&PublicKeyOf(OTHER).key()).is_none());
    let run = service.run(&key).unwrap();
    assert_eq!((run.subject.as_str(), run.platform), ("account/backup", Platform::Service));
    assert!(run.claim(KEY_CLAIM).unwrap().starts_with("SHA256:"));
}

struct PublicKeyOf(&'static str);

impl PublicKeyOf {
    fn key(&self) -> russh::keys::ssh_key::PublicKey {
        russh::keys::ssh_key::PublicKey::from_openssh(self.0).unwrap()
    }
}

const HEAD: &str = r#"
[[target]]
name = "web1"
address = "10.0.0.1"
host_key = { ca = true }
[[workload]]
name = "deploy"
issuer = "hub"
repository_id = 12
ref = "refs/heads/main"
[[workload]]
name = "stage"
issuer = "hub"
repository_id = 12
[[workload]]
name = "elsewhere"
issuer = "hub2"
repository_id = 12
[[workload]]
name = "secret"
issuer = "hub"
repository_id = 99
"#;

fn policy(more: &str) -> Policy {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.toml");
    std::fs::write(&path, format!("{HEAD}{more}")).unwrap();
    load(&path).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn role(name: &str, members: &str) -> String {
    format!(
        "[[role]]\nname = \"{name}\"\nmembers = {{ {members} }}\ntargets = {{ names = [\"web1\"] }}\nlogins = [\"app\"]\n\
         channels = [\"exec\"]\nstanding = true\n"
    )
}

/// The roles of somebody, by name.
fn roles_of(policy: &Policy, who: &Identity) -> Vec<String> {
    policy.roles.iter().filter(|role| is_member(role, who)).map(|role| role.name.to_string()).collect()
}

fn job(issuer: &str, given: &str) -> Identity {
    workload(issuer.parse().unwrap(), described(Platform::GitHub, None, claims(given)))
}

#[test]
fn judged_by_every_rule() {
    let policy = policy("");
    let who = job("hub", "repository_id=12 ref=refs/heads/dev event_name=push");
    let judged = judge(&policy, &who.provider, who.run.as_deref().unwrap());
    let names: Vec<&str> = judged.matching.iter().map(WorkloadName::as_str).collect();
    assert_eq!(names, ["stage"]);
    let near: Vec<String> = judged.near.iter().map(|(rule, why)| format!("{rule}: {why}")).collect();
    assert_eq!(
        near,
        ["deploy: ref must be refs/heads/main, and is refs/heads/dev"],
        "and nothing of other repositories"
    );
    let who = job("hub", "repository_id=7 event_name=push");
    assert_eq!(judge(&policy, &who.provider, who.run.as_deref().unwrap()), Judged::default());
}

#[test]
fn members_are_who_fits_and_nobody_else() {
    let text = [
        role("jobs", "workloads = [\"deploy\"]"),
        role("everywhere", "workloads = [\"elsewhere\"]"),
        role("mixed", "groups = [\"corp:ops\"], subjects = [\"hub:repository/12\"], workloads = [\"stage\"]"),
        role(
            "people",
            "subjects = [\"hub:repository/12\", \"service:account/backup\"], groups = [\"hub:main\"]",
        ),
        role("machines", "services = [\"backup\"]"),
        format!("[[service]]\nname = \"backup\"\nkeys = [\"{KEY}\"]\nsources = [\"10.0.0.0/8\"]\n"),
        format!("[[service]]\nname = \"other\"\nkeys = [\"{OTHER}\"]\nsources = [\"10.0.0.0/8\"]\n"),
    ];
    let policy = policy(&text.concat());
    let main = "repository_id=12 ref=refs/heads/main event_name=push";
    let ours = job("hub", main);
    assert_eq!(roles_of(&policy, &ours), ["jobs", "mixed"]);
    assert_eq!(
        roles_of(&policy, &job("hub2", main)),
        ["everywhere"],
        "another issuer's repository of the same number"
    );
    assert!(roles_of(&policy, &job("hub3", main)).is_empty());
    let named = |provider: &str, subject: &str, groups: &[&str]| {
        let groups = groups.iter().map(|group| group.parse().unwrap()).collect();
        person(provider.parse().unwrap(), subject.into(), groups)
    };
    // A person who is called like a job is a person, and a job that is called like a person is a job.
    let double = named("hub", "repository/12", &["hub:main"]);
    assert_eq!(roles_of(&policy, &double), ["mixed", "people"]);
    let disguised = Identity { run: ours.run.clone(), ..double.clone() };
    assert!(roles_of(&policy, &disguised).is_empty(), "a person has no run");
    let bare = Identity { kind: Kind::Workload, ..double };
    assert!(roles_of(&policy, &bare).is_empty(), "a job without a run");
    let other = Identity { subject: "repository/99".into(), ..ours.clone() };
    assert!(roles_of(&policy, &other).is_empty(), "a run of something else");
    let backup = policy.services.values().next().unwrap().example().unwrap();
    assert_eq!(roles_of(&policy, &backup), ["machines"]);
    let elsewhere = Identity { provider: "hub".parse().unwrap(), ..backup.clone() };
    assert!(roles_of(&policy, &elsewhere).is_empty(), "only the bastion itself vouches for accounts");
    let second = policy.services.values().nth(1).unwrap().example().unwrap();
    assert!(roles_of(&policy, &second).is_empty());
    let mut stolen = second.run.as_deref().unwrap().clone();
    stolen.subject = "account/backup".into();
    let stolen = workload(second.provider.clone(), stolen);
    assert!(roles_of(&policy, &stolen).is_empty(), "the key of another account");
    assert!(roles_of(&policy, &named("service", "account/backup", &[])).iter().all(|role| role == "people"));
    // Layers: what a role extends must fit too.
    let layers = [
        role("base", "workloads = [\"stage\"]"),
        "[[role]]\nname = \"narrow\"\nextends = \"base\"\nmembers = { workloads = [\"deploy\"] }\n"
            .to_owned(),
        "[[role]]\nname = \"never\"\nextends = \"base\"\nmembers = { groups = [\"corp:ops\"] }\n".to_owned(),
    ];
    let policy = self::policy(&layers.concat());
    assert_eq!(roles_of(&policy, &ours), ["base", "narrow"]);
    assert_eq!(roles_of(&policy, &job("hub", "repository_id=12 ref=refs/heads/x event_name=push")), ["base"]);
    assert!(roles_of(&policy, &named("corp", "ann", &["corp:ops"])).is_empty());
}

#[test]
fn names_of_members_must_be_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.toml");
    for (members, expect) in [
        ("workloads = [\"deploi\"]", "there is no [[workload]] \"deploi\"; did you mean \"deploy\"?"),
        ("services = [\"backup\"]", "there is no [[service]] \"backup\""),
        ("workloads = []", "the role is for nobody"),
        ("workloads = [\"deploy\", \"deploy\"]", "\"deploy\" is listed twice"),
        ("workload = [\"deploy\"]", "unknown key \"workload\" in \"members\"; did you mean \"workloads\"?"),
    ] {
        std::fs::write(&path, format!("{HEAD}{}", role("r", members))).unwrap();
        let problems: Vec<String> = load(&path).unwrap_err().into_iter().map(|p| p.message).collect();
        assert!(problems.iter().any(|problem| problem.contains(expect)), "{members} {problems:?}");
    }
}

#[test]
fn questions_name_claims_that_there_are() {
    let policy = policy("");
    let issuer: ProviderName = "hub".parse().unwrap();
    for (name, ok) in
        [("repository_id", true), ("head_ref", true), ("repo_property_x", true), ("head_reff", false)]
    {
        assert_eq!(check_claim(&policy, &issuer, name).is_ok(), ok, "{name}");
    }
    assert_eq!(claims_of(&policy, &issuer, "repository/7"), Some(claims("repository_id=7")));
    for wrong in ["repository", "project/7", "repository/7/8", "", "id/7"] {
        assert_eq!(claims_of(&policy, &issuer, wrong), None, "{wrong}");
    }
    assert!(described_run(&policy, &"nobody".parse().unwrap(), BTreeMap::new()).is_none());
}
