//! Tests of the decision: one full matrix as a table to read, the texts of refusals, the attacks, and properties over
//! generated policies.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::identity::Kind;
use crate::inspect::command::Dialect;
use crate::names::ProviderName;
use crate::policy::{ForwardRules, Held, HostKey, Members, Recording, Selector, WhenDiskFull};
use crate::random::Random;

/// A Friday at noon, from an address of the documentation range.
pub(super) fn noon() -> Circumstances {
    Circumstances {
        now: Timestamp::from_secs(1_795_176_000),
        from: "192.0.2.7".parse().unwrap(),
        own: Arc::default(),
        held: Held::default(),
    }
}

fn judged(policy: &Policy, who: &Identity, ask: &Ask) -> Verdict {
    decide(policy, who, ask, &noon())
}

pub(super) fn somebody(provider: &str, subject: &str, groups: &[&str]) -> Identity {
    Identity {
        kind: Kind::Person,
        provider: provider.parse().unwrap(),
        issuer: format!("https://{provider}.example"),
        subject: subject.into(),
        display: subject.into(),
        groups: groups.iter().map(|group| group.parse().unwrap()).collect(),
        run: None,
    }
}

pub(super) fn ask(target: &str, login: &str, act: Act) -> Ask {
    Ask { target: target.parse().unwrap(), login: login.parse().unwrap(), act }
}

pub(super) fn shell() -> Act {
    Act::Shell { pty: true }
}

fn exec() -> Act {
    Act::Exec { command: b"true".to_vec(), pty: false }
}

pub(super) fn subsystem(name: &str) -> Act {
    Act::Subsystem { name: name.into() }
}

pub(super) fn policy(text: &str) -> Policy {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("policy.toml");
    std::fs::write(&path, text).unwrap();
    crate::policy::load(&path).unwrap()
}

const POLICY: &str = r#"
target = [
    { name = "web1", address = "10.0.0.1", labels = { env = "prod", team = "shop" }, host_key = { ca = true } },
    { name = "db1", address = "10.0.0.2", labels = { env = "prod", team = "data" }, host_key = { ca = true } },
    { name = "stage1", address = "10.0.0.3", labels = { env = "stage", team = "shop" }, host_key = { ca = true } },
    { name = "bare1", address = "10.0.0.4", host_key = { ca = true } },
]
[[role]]
name = "ops"
members = { groups = ["corp:ops"] }
targets = { labels = [{ env = "prod" }] }
logins = ["deploy"]
channels = ["shell", "exec", "sftp"]
standing = true
session_max = "8h"
idle_max = "30m"
[[role]]
name = "dba"
members = { subjects = ["corp:ann"] }
targets = { names = ["db1"] }
logins = ["root", "deploy"]
channels = ["shell"]
standing = true
session_max = "1h"
recording = "input"
[[role]]
name = "stage"
members = { groups = ["corp:ops", "corp:dev"] }
targets = { labels = [{ env = "stage", team = "shop" }, { env = "prod", team = "data" }] }
logins = ["deploy"]
channels = ["exec"]
standing = true
[[role]]
name = "ci"
members = { groups = ["forge:ops"] }
targets = { names = ["bare1"] }
logins = ["deploy"]
channels = ["exec", "sftp"]
standing = true
"#;

/// s, e, f: shell, exec, sftp are open; lower case when the person stands in one role that allows it, upper case when
/// what is typed must be recorded; `-` no access; `x` another kind is open.
fn cell(policy: &Policy, who: &Identity, target: &str, login: &str) -> String {
    let acts = [(shell(), 's'), (exec(), 'e'), (subsystem("sftp"), 'f')];
    let one = |(act, letter): (Act, char)| match judged(policy, who, &ask(target, login, act)) {
        Verdict::Allow(allowed) if allowed.terms.recording == Recording::Input => letter.to_ascii_uppercase(),
        Verdict::Allow(_) => letter,
        Verdict::Refuse(refusal) if refusal.code == RefusalCode::NoAccess => '-',
        Verdict::Refuse(refusal) if refusal.code == RefusalCode::ChannelKind => 'x',
        Verdict::Refuse(refusal) => panic!("{refusal:?}"),
    };
    acts.map(one).iter().collect()
}

#[test]
fn the_whole_matrix() {
    let policy = policy(POLICY);
    let people = [
        ("ops", somebody("corp", "olga", &["corp:ops"])),
        ("ann-ops", somebody("corp", "ann", &["corp:ops"])),
        ("ann", somebody("corp", "ann", &[])),
        ("dev", somebody("corp", "dora", &["corp:dev"])),
        ("forge-ops", somebody("forge", "job", &["forge:ops"])),
        ("forge-ann", somebody("forge", "ann", &[])),
        ("stranger", somebody("corp", "zed", &["corp:other"])),
    ];
    let targets = ["web1", "db1", "stage1", "bare1", "nowhere"];
    let mut table = String::new();
    for login in ["deploy", "root", "app"] {
        table.push_str(&format!("{login:<10}"));
        targets.iter().for_each(|target| table.push_str(&format!(" {target:<8}")));
        table.push('\n');
        for (name, who) in &people {
            table.push_str(&format!("{name:<10}"));
            targets.iter().for_each(|target| {
                table.push_str(&format!(" {:<8}", cell(&policy, who, target, login)));
            });
            table.push('\n');
        }
    }
    let expect = "
deploy     web1     db1      stage1   bare1    nowhere
ops        sef      sef      xex      ---      ---
ann-ops    sef      Sef      xex      ---      ---
ann        ---      Sxx      ---      ---      ---
dev        ---      xex      xex      ---      ---
forge-ops  ---      ---      ---      xef      ---
forge-ann  ---      ---      ---      ---      ---
stranger   ---      ---      ---      ---      ---
root       web1     db1      stage1   bare1    nowhere
ops        ---      ---      ---      ---      ---
ann-ops    ---      Sxx      ---      ---      ---
ann        ---      Sxx      ---      ---      ---
dev        ---      ---      ---      ---      ---
forge-ops  ---      ---      ---      ---      ---
forge-ann  ---      ---      ---      ---      ---
stranger   ---      ---      ---      ---      ---
app        web1     db1      stage1   bare1    nowhere
ops        ---      ---      ---      ---      ---
ann-ops    ---      ---      ---      ---      ---
ann        ---      ---      ---      ---      ---
dev        ---      ---      ---      ---      ---
forge-ops  ---      ---      ---      ---      ---
forge-ann  ---      ---      ---      ---      ---
stranger   ---      ---      ---      ---      ---
";
    let table: Vec<&str> = table.lines().map(str::trim_end).collect();
    let expect: Vec<&str> = expect.trim().lines().collect();
    assert_eq!(table, expect, "\n{}", table.join("\n"));
}

#[test]
fn terms_narrow_over_every_role_that_allows_the_same_ask() {
    let policy = policy(POLICY);
    let ann = somebody("corp", "ann", &["corp:ops"]);
    let mins = |m: u64| Some(Duration::from_secs(60 * m));
    for (act, session_max, idle_max, recording) in [
        // Both roles open a shell: the shorter session of the second, the idle limit of the first, and its recording.
        (shell(), mins(60), mins(30), Recording::Input),
        // Only the first role opens exec: the second one's terms are for shells.
        (exec(), mins(480), mins(30), Recording::Output),
    ] {
        let Verdict::Allow(allowed) = judged(&policy, &ann, &ask("db1", "deploy", act.clone())) else {
            panic!("{act:?}");
        };
        let Allowance { terms, roles, target, .. } = *allowed;
        assert_eq!(
            terms,
            Terms {
                certificate_max: None,
                session_max,
                idle_max,
                recording,
                when_disk_full: WhenDiskFull::Close
            },
            "{act:?}"
        );
        assert_eq!(roles[0].as_str(), "ops");
        assert_eq!(target, policy.targets[&target.name], "the verdict carries the judged target");
    }
}

fn refusal(policy: &Policy, who: &Identity, ask: &Ask) -> Refusal {
    match judged(policy, who, ask) {
        Verdict::Refuse(refusal) => refusal,
        allow @ Verdict::Allow(_) => panic!("{allow:?}"),
    }
}

#[test]
fn refusals_say_what_to_do_and_not_what_there_is() {
    let policy = policy(POLICY);
    let dev = somebody("corp", "dora", &["corp:dev"]);
    let nobody = somebody("corp", "zed", &[]);
    for (who, ask, code, text, reason) in [
        (
            &dev,
            ask("web1", "root", shell()),
            "no-access",
            "no access to web1 as root: ask an administrator for a role, or try: ssh BASTION targets",
            "no role of corp:dora opens web1",
        ),
        (
            &dev,
            ask("nowhere", "root", shell()),
            "no-access",
            "no access to nowhere as root: ask an administrator for a role, or try: ssh BASTION targets",
            "there is no target nowhere",
        ),
        (
            &dev,
            ask("stage1", "root", shell()),
            "no-access",
            "no access to stage1 as root: ask an administrator for a role, or try: ssh BASTION targets",
            "no role of corp:dora opens stage1 as root",
        ),
        (
            &nobody,
            ask("web1", "deploy", shell()),
            "no-access",
            "no access to web1 as deploy: ask an administrator for a role, or try: ssh BASTION targets",
            "corp:zed is in no role",
        ),
        (
            &dev,
            ask("stage1", "deploy", shell()),
            "channel-kind",
            "stage1 as deploy is open to you for exec, not for shell: ask an administrator for a role that has shell",
            "role stage opens stage1 as deploy for exec, not for shell",
        ),
        (
            &dev,
            ask("stage1", "deploy", subsystem("netconf\n\u{1b}[2J")),
            "unknown-request",
            "this server knows the subsystem sftp only: use sftp, a command or a shell",
            "unknown subsystem \"netconf\\n\\u{1b}[2J\" for stage1 as deploy",
        ),
        // Without access an unknown subsystem is no way to find out what there is.
        (
            &nobody,
            ask("web1", "deploy", subsystem("netconf")),
            "no-access",
            "no access to web1 as deploy: ask an administrator for a role, or try: ssh BASTION targets",
            "corp:zed is in no role",
        ),
    ] {
        let got = refusal(&policy, who, &ask);
        assert_eq!((got.code.as_str(), got.text.as_str(), got.reason.as_str()), (code, text, reason));
    }
}

#[test]
fn attacks() {
    let policy = policy(POLICY);
    let web1 = ask("web1", "deploy", shell());
    // A provider cannot speak for another one's groups, even when the identity claims so.
    let forger = somebody("forge", "eve", &["corp:ops"]);
    // A subject that looks like somebody else's reference, and one that looks like a group.
    let liar = somebody("forge", "corp:ann", &[]);
    let group_like = somebody("corp", "ops", &[]);
    for who in [&forger, &liar, &group_like] {
        assert_eq!(refusal(&policy, who, &web1).code, RefusalCode::NoAccess, "{who:?}");
        assert!(targets_for(&policy, who).is_empty() && logins_for(&policy, who).is_empty());
    }
    // `SFTP`, `sftp ` and an empty name are not sftp.
    let ops = somebody("corp", "olga", &["corp:ops"]);
    for name in ["SFTP", "sftp ", "", "sftp\0"] {
        assert_eq!(
            refusal(&policy, &ops, &ask("web1", "deploy", subsystem(name))).code,
            RefusalCode::Unknown
        );
    }
    // A selector without labels, which no file can say, opens nothing.
    let mut wide = policy.clone();
    for role in &mut wide.roles {
        role.targets = vec![Selector { labels: vec![BTreeMap::new()], ..Selector::default() }];
    }
    assert_eq!(refusal(&wide, &ops, &web1).code, RefusalCode::NoAccess);
    wide.roles.iter_mut().for_each(|role| role.targets.clear());
    assert_eq!(refusal(&wide, &ops, &web1).code, RefusalCode::NoAccess);
    let mut wide = policy.clone();
    wide.roles.iter_mut().for_each(|role| role.members.clear());
    assert_eq!(refusal(&wide, &ops, &web1).code, RefusalCode::NoAccess);
    // No role, no access; and an identity without groups is in no group.
    assert_eq!(refusal(&Policy::default(), &ops, &web1).code, RefusalCode::NoAccess);
    assert_eq!(refusal(&policy, &somebody("corp", "olga", &[]), &web1).code, RefusalCode::NoAccess);
}

/// The kinds that need no rules.
const KINDS: [ChannelKind; 3] = [ChannelKind::Shell, ChannelKind::Exec, ChannelKind::Sftp];

/// Draws small random policies and people from few names, so that roles overlap often.
struct Draw(Random);

impl Draw {
    fn below(&self, n: u64) -> u64 {
        self.0.u64() % n
    }

    fn some(&self, from: &[&str]) -> Vec<String> {
        from.iter().filter(|_| self.below(2) == 0).map(|s| (*s).to_owned()).collect()
    }

    fn terms(&self) -> Terms {
        let time = || (self.below(3) > 0).then(|| Duration::from_secs(self.below(5)));
        let recording = Recording::ALL[self.below(3) as usize];
        Terms {
            certificate_max: time(),
            session_max: time(),
            idle_max: time(),
            recording,
            ..Terms::default()
        }
    }

    fn labels(&self) -> BTreeMap<String, String> {
        self.some(&["env", "team"]).into_iter().map(|key| (key, format!("v{}", self.below(2)))).collect()
    }

    fn policy(&self) -> Policy {
        let targets = self.some(&["a", "b", "c", "d"]).into_iter().map(|name| {
            let name: TargetName = name.parse().unwrap();
            let host_key = HostKey::Ca { principal: name.to_string() };
            (
                name.clone(),
                Target {
                    name,
                    host: "h".into(),
                    port: 22,
                    labels: self.labels(),
                    host_key,
                    dialect: Dialect::Posix,
                },
            )
        });
        let targets = targets.collect();
        let roles = (0..self.below(5)).map(|number| Role {
            name: format!("r{number}").parse().unwrap(),
            extends: Vec::new(),
            members: vec![Members {
                groups: self.some(&["p:g1", "p:g2", "q:g1"]).iter().map(|g| g.parse().unwrap()).collect(),
                subjects: self.some(&["p:s1", "q:s1"]).into_iter().collect(),
                ..Members::default()
            }],
            targets: vec![Selector {
                names: self.some(&["a", "b", "x"]).iter().map(|t| t.parse().unwrap()).collect(),
                patterns: Vec::new(),
                labels: (0..self.below(3)).map(|_| self.labels()).collect(),
            }],
            commands: Vec::new(),
            files: FileRules::default(),
            env: None,
            sources: Vec::new(),
            hours: Vec::new(),
            logins: self.some(&["l1", "l2"]).iter().map(|l| l.parse().unwrap()).collect(),
            channels: KINDS.into_iter().filter(|_| self.below(2) == 0).collect(),
            forwards: ForwardRules::default(),
            terms: self.terms(),
            access: crate::policy::Access::Standing,
        });
        Policy { targets, roles: roles.collect(), ..Policy::default() }
    }

    fn person(&self) -> Identity {
        let provider: ProviderName = ["p", "q"][self.below(2) as usize].parse().unwrap();
        let groups = self.some(&["g1", "g2"]).into_iter().map(|group| format!("{provider}:{group}"));
        let groups: Vec<String> = groups.collect();
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        somebody(provider.as_str(), ["s1", "s2"][self.below(2) as usize], &groups)
    }
}

#[test]
fn lists_say_exactly_what_decide_allows() {
    let draw = Draw(Random::seeded(11));
    let (mut allowed, mut refused) = (0, 0);
    for _ in 0..500 {
        let (policy, who) = (draw.policy(), draw.person());
        let listed: BTreeMap<TargetName, BTreeSet<LoginName>> =
            targets_for(&policy, &who).into_iter().collect();
        let mut decided: BTreeMap<TargetName, BTreeSet<LoginName>> = BTreeMap::new();
        for target in ["a", "b", "c", "d", "x"] {
            for login in ["l1", "l2", "l3"] {
                let opens = [shell(), exec(), subsystem("sftp")]
                    .into_iter()
                    .any(|act| matches!(judged(&policy, &who, &ask(target, login, act)), Verdict::Allow(_)));
                if opens {
                    allowed += 1;
                    decided.entry(target.parse().unwrap()).or_default().insert(login.parse().unwrap());
                } else {
                    refused += 1;
                }
            }
        }
        assert_eq!(listed, decided, "{policy:?} {who:?}");
        let logins: BTreeSet<LoginName> = decided.into_values().flatten().collect();
        assert_eq!(logins_for(&policy, &who), logins);
    }
    assert!(allowed > 200 && refused > 200, "the policies drawn prove little: {allowed} {refused}");
}

#[test]
fn another_role_opens_more_but_never_widens_terms() {
    let draw = Draw(Random::seeded(12));
    let mut compared = 0;
    for _ in 0..800 {
        let (policy, who) = (draw.policy(), draw.person());
        let mut fewer = policy.clone();
        if fewer.roles.pop().is_none() {
            continue;
        }
        for (target, login, act) in
            [("a", "l1", shell()), ("b", "l2", exec()), ("c", "l1", subsystem("sftp"))]
        {
            let ask = ask(target, login, act);
            let Verdict::Allow(before) = judged(&fewer, &who, &ask) else { continue };
            let Verdict::Allow(after) = judged(&policy, &who, &ask) else {
                panic!("a further role took access away");
            };
            assert_eq!(before.terms.narrow(&after.terms), after.terms);
            assert_eq!(before.roles[0], after.roles[0]);
            compared += 1;
        }
    }
    assert!(compared > 50, "{compared}");
}

#[test]
fn narrowing_is_a_meet() {
    let draw = Draw(Random::seeded(13));
    let le = |a: Option<Duration>, b: Option<Duration>| b.is_none_or(|b| a.is_some_and(|a| a <= b));
    for _ in 0..2000 {
        let (a, b, c) = (draw.terms(), draw.terms(), draw.terms());
        let ab = a.narrow(&b);
        assert_eq!(ab, b.narrow(&a));
        assert_eq!(ab.narrow(&c), a.narrow(&b.narrow(&c)));
        assert_eq!(a.narrow(&a), a);
        assert_eq!(a.narrow(&Terms::default()), a);
        for one in [&a, &b] {
            assert!(le(ab.session_max, one.session_max) && le(ab.idle_max, one.idle_max), "{a:?} {b:?}");
            assert!(ab.recording >= one.recording);
        }
    }
}

/// Whoever has rules in one role and none in another is still stopped by what the first one denies: also where it cannot
/// be told whether a line means it.
#[test]
fn a_role_without_rules_does_not_help_what_another_denies() {
    let text = |rules: &str, more: &str| {
        policy(&format!(
            r#"
[[target]]
name = "web1"
address = "10.0.0.1"
host_key = {{ ca = true }}
[[commands]]
name = "care"
allow = [{{ argv = ["uptime"] }}]
{rules}
{more}
[[role]]
name = "ruled"
members = {{ groups = ["corp:ops"] }}
targets = {{ names = ["web1"] }}
logins = ["deploy"]
channels = ["exec"]
standing = true
commands = "care"
[[role]]
name = "free"
members = {{ groups = ["corp:dev"] }}
targets = {{ names = ["web1"] }}
logins = ["deploy"]
channels = ["exec"]
standing = true
"#
        ))
    };
    let deny = r#"deny = [{ argv = ["rm", "**"] }]"#;
    let review = r#"review = [{ argv = ["rm", "**"] }]"#;
    let both = somebody("corp", "ann", &["corp:ops", "corp:dev"]);
    let free = somebody("corp", "bob", &["corp:dev"]);
    for (rules, line, passes) in [
        (deny, "rm x", false),
        (deny, "ls x", true),
        (deny, "ls $HOME", true),
        (deny, "ls; rm $HOME", false),
        // Not understood is denied.
        (deny, "$x y", false),
        (deny, "ls `$x`", false),
        (deny, "eval \"$x\"", false),
        (deny, "ls $(((((((((((((", false),
        (deny, "sh -c 'eval \"$x\"'", false),
        (deny, "sh -c '$x y'", false),
        (deny, "sh -c 'ls y'", true),
        (deny, "sudo ls", true),
        (deny, "sudo rm x", false),
        (review, "$x y", false),
        (review, "ls $HOME", true),
        // Without a rule that stops something there is nothing to ask for.
        ("", "$x y", true),
        ("", "rm x", true),
    ] {
        let policy = text(rules, "");
        let ask = ask("web1", "deploy", Act::Exec { command: line.as_bytes().to_vec(), pty: false });
        let verdict = judged(&policy, &both, &ask);
        assert_eq!(matches!(verdict, Verdict::Allow(_)), passes, "{rules} {line}: {verdict:?}");
        assert!(matches!(judged(&policy, &free, &ask), Verdict::Allow(_)), "{line}");
    }
    // What somebody has pinned is understood.
    let pinned = text(deny, "pinned = [\"$x y\"]");
    let line = ask("web1", "deploy", Act::Exec { command: b"$x y".to_vec(), pty: false });
    assert!(matches!(judged(&pinned, &both, &line), Verdict::Allow(_)));
}

/// While somebody's own lines keep the parser busy, that is what they are told, and nobody else notices.
#[test]
fn a_busy_parser_is_no_verdict_on_a_line() {
    let policy = policy(
        r#"
[[target]]
name = "web1"
address = "10.0.0.1"
host_key = { ca = true }
[[commands]]
name = "care"
default = "allow"
opaque = "allow"
deny = [{ argv = ["rm", "**"] }]
[[role]]
name = "ruled"
members = { groups = ["corp:ops"] }
targets = { names = ["web1"] }
logins = ["deploy"]
channels = ["exec"]
standing = true
commands = "care"
[[role]]
name = "more"
members = { groups = ["corp:ops"] }
targets = { names = ["web1"] }
logins = ["deploy"]
channels = ["exec", "shell"]
[role.request]
[[role.request.stage]]
groups = ["corp:leads"]
"#,
    );
    let line = ask("web1", "deploy", Act::Exec { command: b"ls $HOME".to_vec(), pty: false });
    let (slow, other) = (somebody("corp", "mallory", &["corp:ops"]), somebody("corp", "ann", &["corp:ops"]));
    let turn = crate::inspect::command::classify::hold_turn(&slow.reference());
    let told = refusal(&policy, &slow, &line);
    assert_eq!((told.code, told.exit_status()), (RefusalCode::Limit, 255), "{told:?}");
    assert!(told.text.contains("try again in a moment"), "{told:?}");
    assert!(matches!(judged(&policy, &other, &line), Verdict::Allow(_)));
    drop(turn);
    assert!(matches!(judged(&policy, &slow, &line), Verdict::Allow(_)));
}
