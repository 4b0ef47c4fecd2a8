//! Rules and accounts that do not load, and what is made of those that do.

use super::*;

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
