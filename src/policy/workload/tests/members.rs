//! Who is a member, and that this is asked of the policy of the moment.

use super::*;
use crate::policy::decide::decide;
use crate::policy::somebody::person;
use crate::policy::{Act, Ask, Circumstances, Held, RefusalCode, Verdict, logins_for};
use crate::time::Timestamp;

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

/// The run is kept with the sign-in, and what it may do is asked of the policy of the moment.
#[test]
fn the_same_run_is_nobody_once_its_rule_says_otherwise() {
    let text = |rule: &str| {
        format!(
            r#"
[[target]]
name = "web1"
address = "10.0.0.1"
host_key = {{ ca = true }}
[[workload]]
name = "deploy"
issuer = "github"
repository_id = 12
{rule}
[[role]]
name = "ship"
members = {{ workloads = ["deploy"] }}
targets = {{ names = ["web1"] }}
logins = ["ship"]
channels = ["exec"]
standing = true
"#
        )
    };
    let claims = claims("repository_id=12 event_name=push ref=refs/heads/main");
    let first = of(&text(""));
    let who = described_run(&first, &"github".parse().unwrap(), claims).unwrap();
    let act = Act::Exec { command: b"true".to_vec(), pty: false };
    let ask = Ask { target: "web1".parse().unwrap(), login: "ship".parse().unwrap(), act };
    let at = Circumstances {
        now: Timestamp::from_secs(1_795_176_000),
        from: "192.0.2.7".parse().unwrap(),
        own: Arc::default(),
        held: Held::default(),
    };
    let judged = |policy: &Policy, who: &Identity| decide(policy, who, &ask, &at);
    for (rule, ok) in [
        ("", true),
        ("ref = \"refs/heads/main\"", true),
        ("ref = \"refs/heads/release\"", false),
        ("environment = \"production\"", false),
        ("event_name = \"release\"", false),
    ] {
        let now = of(&text(rule));
        let verdict = judged(&now, &who);
        assert_eq!(matches!(verdict, Verdict::Allow(_)), ok, "{rule}");
        assert_eq!(!logins_for(&now, &who).is_empty(), ok, "{rule}");
        let Verdict::Refuse(refusal) = verdict else { continue };
        assert_eq!(refusal.code, RefusalCode::NoAccess);
        assert!(refusal.reason.contains("rule deploy: "), "{}", refusal.reason);
        assert!(!refusal.text.contains("rule deploy"), "what a rule wants is for the audit");
    }
    let gone = of(&text("").replace("repository_id = 12", "repository_id = 13"));
    assert!(matches!(judged(&gone, &who), Verdict::Refuse(_)));
    let person = Identity { kind: Kind::Person, ..who };
    assert!(matches!(judged(&first, &person), Verdict::Refuse(_)));
}

/// The networks of the moment, for everything that an account does: not those of the day on which it signed in.
#[test]
fn a_service_account_is_nobody_from_elsewhere() {
    let text = |sources: &str| {
        format!(
            r#"
[[target]]
name = "web1"
address = "10.0.0.1"
host_key = {{ ca = true }}
[[service]]
name = "backup"
keys = ["{KEY}"]
sources = ["{sources}"]
[[role]]
name = "copy"
members = {{ services = ["backup"] }}
targets = {{ names = ["web1"] }}
logins = ["copy"]
channels = ["shell", "exec", "sftp"]
forwards = {{ local = ["localhost:8080"] }}
standing = true
"#
        )
    };
    let who = of(&text("192.0.2.0/24")).services.values().next().unwrap().example().unwrap();
    let at = Circumstances {
        now: Timestamp::from_secs(1_795_176_000),
        from: "192.0.2.7".parse().unwrap(),
        own: Arc::default(),
        held: Held::default(),
    };
    let acts = [
        Act::Shell { pty: true },
        Act::Exec { command: b"true".to_vec(), pty: false },
        Act::Subsystem { name: "sftp".into() },
    ];
    for act in acts {
        let ask = Ask { target: "web1".parse().unwrap(), login: "copy".parse().unwrap(), act };
        assert!(matches!(decide(&of(&text("192.0.2.0/24")), &who, &ask, &at), Verdict::Allow(_)), "{ask:?}");
        let Verdict::Refuse(refusal) = decide(&of(&text("198.51.100.0/24")), &who, &ask, &at) else {
            panic!("{ask:?} from another network")
        };
        assert_eq!(refusal.code, RefusalCode::Source, "{}", refusal.reason);
    }
}
