//! Rules for asking, as the policy file writes them, and plans made by them.

use std::time::Duration;

use super::*;
use crate::access::{Lock, LockOn, Scope};
use crate::ids::LockId;
use crate::names::LoginName;
use crate::policy::somebody::person;
use crate::policy::{Policy, load};
use crate::random::Random;

const TARGETS: &str = r#"
[[target]]
name = "web1"
address = "h"
host_key = { ca = true }
labels = { env = "prod", owner = "corp:shop" }
[[target]]
name = "web2"
address = "h"
host_key = { ca = true }
labels = { env = "prod", owner = "corp:data" }
[[target]]
name = "dev1"
address = "h"
host_key = { ca = true }
labels = { env = "dev" }
"#;

fn role(name: &str, more: &str) -> String {
    format!(
        "[[role]]\nname = \"{name}\"\nmembers = {{ groups = [\"corp:dev\"] }}\ntargets = {{ names = [\"web1\", \"web2\", \"dev1\"] }}\n\
         logins = [\"deploy\", \"root\"]\nchannels = [\"shell\", \"exec\"]\n{more}\n"
    )
}

fn read(text: &str) -> Result<Policy, String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("policy.toml");
    std::fs::write(&file, text).unwrap();
    load(&file).map_err(|problems| {
        problems.iter().map(|problem| format!("{}\n", problem.message)).collect::<String>()
    })
}

fn policy(roles: &str) -> Policy {
    read(&format!("{TARGETS}{roles}")).unwrap()
}

fn dora() -> Identity {
    person("corp".parse().unwrap(), "dora".into(), ["corp:dev".parse().unwrap()].into())
}

fn wish(target: &str) -> Wish {
    Wish {
        targets: vec![TargetWish::Name(target.parse().unwrap())],
        logins: ["deploy".parse().unwrap()].into(),
        reason: "OPS-1 rotate".into(),
        ..Wish::default()
    }
}

fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

fn made(policy: &Policy, wish: &Wish) -> Result<Plan, PlanRefused> {
    plan(policy, &dora(), wish, &[], |_| None, now())
}

const STAGE: &str = "[role.request]\nmax = \"2h\"\n[[role.request.stage]]\ngroups = [\"corp:leads\"]\n";

#[test]
fn what_does_not_load() {
    let stage = |more: &str| format!("[role.request]\n[[role.request.stage]]\n{more}");
    let rows = [
        (String::new(), "nobody could get this role"),
        ("standing = false".into(), "nobody could get this role"),
        (format!("standing = true\n{STAGE}"), "keep one"),
        ("[role.request]".into(), "nobody could ever approve"),
        ("[role.request]\nautomatic = []\nstage = []".into(), "nobody could ever approve"),
        ("[role.request]\nautomatic = [{}]".into(), "always"),
        ("[role.request]\nautomatic = [{ always = true, max = \"1h\" }]".into(), "stands alone"),
        ("[role.request]\nautomatic = [{ roles = [\"nope\"] }]".into(), "there is no role \"nope\""),
        ("[role.request]\nautomatic = [{ labels = [{}] }]".into(), "would match every target"),
        (stage("name = \"x\""), "nobody can approve here"),
        (stage("subjects = [\"corp:a\"]\napprovals = 2"), "only 1 may"),
        (stage("groups = [\"corp:a\"]\napprovals = 0"), "must be from 1 to 20"),
        (stage("groups = [\"corp:a\"]\nescalate_after = \"1h\""), "goes with \"escalate_to\""),
        (stage("groups = [\"corp:a\"]\nescalate_to = { groups = [\"corp:b\"] }"), "goes with"),
        (stage("groups = [\"corp:a\"]\nfoo = 1"), "unknown key \"foo\""),
        (format!("{STAGE}[role.request.reason]\npattern = \"(\""), "not a regular expression"),
        ("[role.request]\nbreak_glass = {}".into(), "nobody would hear of it"),
        (
            format!("{STAGE}[role.request.ticket]\nrequired = true\n")
                .replace("max =", "connect = true\nmax ="),
            "cannot name a ticket",
        ),
    ];
    for (more, wanted) in rows {
        let problems = read(&format!("{TARGETS}{}", role("ops", &more))).unwrap_err();
        assert!(problems.contains(wanted), "{more}: {problems}");
    }
}

#[test]
fn a_role_that_extends_another_only_narrows() {
    let base = |more: &str| role("base", more);
    let leaf = |more: &str| format!("[[role]]\nname = \"leaf\"\nextends = \"base\"\n{more}\n");
    for (text, wanted) in [
        (base(STAGE) + &leaf("standing = true"), Some("is by request: a role can only narrow")),
        (base(STAGE) + &leaf(STAGE), Some("says how to ask for it")),
        (base(STAGE) + &leaf(""), None),
        (base("standing = true") + &leaf(STAGE), None),
        (base("template = true") + &leaf(""), Some("nobody could get this role")),
        (base("template = true") + &leaf("standing = true"), None),
    ] {
        match (read(&format!("{TARGETS}{text}")), wanted) {
            (Ok(policy), None) => {
                let leaf = policy.roles.iter().find(|role| role.name.as_str() == "leaf").unwrap();
                let by_request = text.contains("stage");
                assert_eq!(leaf.access.rules().is_some(), by_request, "{text}");
            }
            (Err(problems), Some(wanted)) => assert!(problems.contains(wanted), "{problems}"),
            (other, _) => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn what_a_plan_asks_for() {
    let policy = policy(&role("ops", STAGE));
    let plan = made(&policy, &wish("web1")).unwrap();
    assert_eq!(plan.scope.length, Duration::from_secs(1800), "half an hour where nobody says");
    assert_eq!(plan.stages.len(), 1);
    assert_eq!(plan.automatic, None);
    let all = Wish { targets: vec![TargetWish::Label("env".into(), "prod".into())], ..wish("web1") };
    let names: Vec<String> =
        made(&policy, &all).unwrap().scope.targets.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["web1", "web2"]);
    let any_login = Wish { logins: Default::default(), ..wish("web1") };
    assert_eq!(made(&policy, &any_login).unwrap().scope.logins.len(), 2);
}

#[test]
fn what_is_refused_says_why() {
    let policy = policy(&role(
        "ops",
        &format!("{STAGE}[role.request.reason]\nmin = 10\npattern = \"OPS-[0-9]+ .*\"\n"),
    ));
    let with = |change: &dyn Fn(&mut Wish)| {
        let mut wish = wish("web1");
        change(&mut wish);
        made(&policy, &wish).map(|_| ()).unwrap_err().to_string()
    };
    let secs = Duration::from_secs;
    type Change<'a> = &'a dyn Fn(&mut Wish);
    let rows: [(Change<'_>, &str); 12] = [
        (&|wish| wish.length = Some(secs(7201)), "at most 2h"),
        (&|wish| wish.length = Some(secs(0)), "ask for some time"),
        (&|wish| wish.reason = "  ".into(), "a reason is needed"),
        (&|wish| wish.reason = "OPS-1 a".into(), "at least 10 characters"),
        (&|wish| wish.reason = "please, I need OPS-1 now".into(), "must match"),
        (&|wish| wish.reason = "OPS-1 two\nlines of it".into(), "one line"),
        (&|wish| wish.commands = ["a\nb".to_owned()].into(), "one line"),
        (&|wish| wish.start = Some(now().minus(secs(7200))), "over already"),
        (&|wish| wish.start = Some(now().plus(secs(3_000_000))), "ahead"),
        (&|wish| wish.break_glass = true, "no role by which you could ask"),
        (&|wish| wish.logins = ["nobody".parse().unwrap()].into(), "no role by which"),
        (&|wish| wish.role = Some("other".parse().unwrap()), "no role by which"),
    ];
    for (change, wanted) in rows {
        let text = with(change);
        assert!(text.contains(wanted), "{text} / {wanted}");
    }
    // What is not there and what is not open look alike.
    let text = |target: &str| made(&policy, &wish(target)).unwrap_err().to_string().replace(target, "X");
    let stranger = person("corp".parse().unwrap(), "eve".into(), Default::default());
    let hers = plan(&policy, &stranger, &wish("web1"), &[], |_| None, now()).unwrap_err();
    assert_eq!(text("nope"), hers.to_string().replace("web1", "X"));
}

#[test]
fn conditions_that_approve_by_themselves() {
    let automatic = |conditions: &str| {
        policy(&role(
            "ops",
            &format!(
                "[role.request]\nautomatic = [{conditions}]\n[[role.request.stage]]\ngroups = [\"corp:leads\"]\n"
            ),
        ))
    };
    let approved = |policy: &Policy, target: &str, before: Option<Timestamp>, length: u64| {
        let wish = Wish { length: Some(Duration::from_secs(length)), ..wish(target) };
        let plan = plan(policy, &dora(), &wish, &[], |_: &Scope| before, now()).unwrap();
        assert_eq!(plan.automatic.is_some(), plan.stages.is_empty());
        plan.automatic
    };
    let dev = automatic("{ labels = [{ env = \"dev\" }] }");
    assert_eq!(approved(&dev, "dev1", None, 60), Some(1));
    assert_eq!(approved(&dev, "web1", None, 60), None);
    let short = automatic("{ labels = [{ env = \"dev\" }], max = \"5m\" }");
    assert_eq!(approved(&short, "dev1", None, 300), Some(1));
    assert_eq!(approved(&short, "dev1", None, 301), None);
    let before = automatic("{ approved_within = \"1h\" }");
    let ago = |secs| Some(now().minus(Duration::from_secs(secs)));
    assert_eq!(approved(&before, "web1", ago(3600), 60), Some(1));
    assert_eq!(approved(&before, "web1", ago(3601), 60), None);
    assert_eq!(approved(&before, "web1", None, 60), None);
    // Monday noon in UTC.
    let hours = |from: &str, to: &str| {
        automatic(&format!("{{ time_zone = \"UTC\", hours = [{{ from = \"{from}\", to = \"{to}\" }}] }}"))
    };
    assert_eq!(approved(&hours("08:00", "18:00"), "web1", None, 60), Some(1));
    assert_eq!(approved(&hours("13:00", "18:00"), "web1", None, 60), None);
    let oncall = policy(&format!(
        "{}{}",
        role(
            "ops",
            "[role.request]\nautomatic = [{ roles = [\"oncall\"] }]\n[[role.request.stage]]\ngroups = [\"corp:leads\"]\n"
        ),
        "[[role]]\nname = \"oncall\"\nmembers = { subjects = [\"corp:dora\"] }\ntargets = { names = [\"dev1\"] }\n\
         logins = [\"x\"]\nchannels = [\"exec\"]\nstanding = true\n"
    ));
    assert_eq!(approved(&oncall, "web1", None, 60), Some(1));
    let other = person("corp".parse().unwrap(), "max".into(), ["corp:dev".parse().unwrap()].into());
    let his = plan(&oncall, &other, &wish("web1"), &[], |_| None, now()).unwrap();
    assert_eq!(his.automatic, None);
}

#[test]
fn owners_are_asked_where_all_targets_have_them() {
    let policy = policy(&role("ops", "[role.request]\n[[role.request.stage]]\nowner_label = \"owner\"\n"));
    let plan = made(&policy, &wish("web1")).unwrap();
    let listed = plan.stages.first().unwrap().approvers.listed();
    assert_eq!(listed, ["corp:shop"]);
    let text = made(&policy, &wish("dev1")).unwrap_err().to_string();
    assert!(text.contains("name none in common"), "{text}");
    let both = Wish { targets: vec![TargetWish::Label("env".into(), "prod".into())], ..wish("web1") };
    assert!(made(&policy, &both).unwrap_err().to_string().contains("one target at a time"));
}

#[test]
fn locks_close_before_anything_is_filed() {
    let policy = policy(&role("ops", STAGE));
    let lock = |on: LockOn, until: Option<Timestamp>| Lock {
        id: LockId::random(&Random::seeded(1)),
        on,
        reason: "r".into(),
        by: "admin".into(),
        created: now(),
        until,
    };
    let later = Some(now().plus(Duration::from_secs(1)));
    for (lock, refused) in [
        (lock(LockOn::User("corp:dora".into()), None), true),
        (lock(LockOn::User("corp:dora".into()), later), true),
        (lock(LockOn::User("corp:dora".into()), Some(now())), false),
        (lock(LockOn::User("corp:max".into()), None), false),
        (lock(LockOn::Target("web1".parse().unwrap()), None), true),
        (lock(LockOn::Target("web2".parse().unwrap()), None), false),
        (lock(LockOn::Role("ops".parse().unwrap()), None), true),
        (lock(LockOn::Role("other".parse().unwrap()), None), false),
    ] {
        let done = plan(&policy, &dora(), &wish("web1"), std::slice::from_ref(&lock), |_| None, now());
        assert_eq!(matches!(done, Err(PlanRefused::Locked(_))), refused, "{lock:?}: {done:?}");
    }
}

#[test]
fn a_case_outlives_other_changes_of_the_policy_only() {
    let old = policy(&role("ops", STAGE));
    let plan = made(&old, &wish("web1")).unwrap();
    let case = crate::access::Case {
        id: crate::ids::CaseId::random(&Random::seeded(1)),
        who: crate::access::Party::of(&dora()),
        asked: plan.scope.clone(),
        scope: plan.scope.clone(),
        start: None,
        reason: "r".into(),
        ticket: None,
        break_glass: false,
        filed: now(),
        expires: now(),
        stages: plan.stages.clone(),
        approvals: Vec::new(),
        state: crate::access::State::Waiting { stage: 0, since: now(), reminded: false, escalated: false },
        review: crate::access::Review::NotNeeded,
        reviewers: Approvers::default(),
    };
    assert!(still_asked(&old, &case));
    let login: LoginName = "deploy".parse().unwrap();
    assert!(case.scope.logins.contains(&login));
    for (text, holds) in [
        (role("ops", STAGE) + &role("more", "standing = true"), true),
        (role("ops", &STAGE.replace("corp:leads", "corp:bosses")), false),
        (role("ops", &STAGE.replace("2h", "10m")), false),
        (role("ops", STAGE).replace("[\"deploy\", \"root\"]", "[\"root\"]"), false),
        (role("ops", STAGE).replace("\"web1\", ", ""), false),
        (role("ops", "standing = true"), false),
        (role("other", STAGE), false),
    ] {
        assert_eq!(still_asked(&policy(&text), &case), holds, "{text}");
    }
}
