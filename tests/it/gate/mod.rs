//! The one gate as one table: people x targets x acts, every kind of act and every setting of a role, under snapshot.
//! And that there is no way around it: every question that russh can put to a server is one that the door answers.
//!
//! `CAPONIER_WRITE_SNAPSHOT=1 contrib/test gate::` writes the table anew; read the difference before you commit it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use caponier::access::{Grant, Lock, LockOn, Once, Party, Scope};
use caponier::identity::{Identity, Kind};
use caponier::ids::{CaseId, GrantId, LockId};
use caponier::policy::{
    self, Act, Ask, ChannelKind, Circumstances, Granted, Held, Policy, Recording, RefusalCode, Verdict,
    decide,
};
use caponier::random::Random;
use caponier::time::Timestamp;

use crate::world::root;

/// Everybody, named like the role.
const PEOPLE: &[&str] = &[
    "nobody",
    "shell",
    "exec",
    "few",
    "few-and-exec",
    "most",
    "held",
    "sftp",
    "copies",
    "copies-by-path",
    "few-and-copies",
    "forwards",
    "everywhere",
    "agent",
    "x11",
    "env",
    "inside",
    "outside",
    "weekdays",
    "weekend",
    "limits",
    "unrecorded",
    "asks",
    "granted",
    "granted-line",
    "granted-once",
    "granted-before",
    "locked",
];

const TARGETS: &[&str] = &["web1", "switch1", "nowhere"];
const LOGINS: &[&str] = &["deploy", "root", "other"];

/// Every act with its name in the table. Commands and paths are chosen so that each setting shows.
fn acts() -> Vec<(&'static str, Act)> {
    let exec = |command: &str| Act::Exec { command: command.into(), pty: false };
    let local = |host: &str, port: u32, resolved: &[&str]| Act::LocalForward {
        host: host.into(),
        port,
        resolved: resolved.iter().map(|address| address.parse().unwrap()).collect(),
    };
    vec![
        ("shell with a terminal", Act::Shell { pty: true }),
        ("shell without", Act::Shell { pty: false }),
        ("exec uptime", exec("uptime")),
        ("exec uptime, terminal", Act::Exec { command: b"uptime".to_vec(), pty: true }),
        ("exec 'systemctl'  restart nginx", exec("'systemctl'  restart nginx")),
        ("exec id", exec("id")),
        ("exec uptime; id", exec("uptime; id")),
        ("exec rm -rf /x", exec("rm -rf /x")),
        ("exec uptime && $(rm -rf /x)", exec("uptime && $(rm -rf /x)")),
        ("exec reboot", exec("reboot")),
        ("exec df | awk '{print $5}'", exec("df | awk '{print $5}'")),
        ("exec echo $HOME", exec("echo $HOME")),
        ("exec show version", exec("show version")),
        ("exec nothing", exec("")),
        ("exec scp -t /srv/x", exec("scp -t /srv/x")),
        ("exec scp -f /srv/x", exec("scp -f /srv/x")),
        ("exec rsync --server --sender", exec("rsync --server --sender -logDtpre.iLsfxCIvu . /srv/x")),
        ("exec scp -f /srv/secret/x", exec("scp -f /srv/secret/x")),
        ("exec scp -S sh -t /srv/x", exec("scp -S sh -t /srv/x")),
        ("exec git-upload-pack '/srv/x.git'", exec("git-upload-pack '/srv/x.git'")),
        ("subsystem sftp", Act::Subsystem { name: "sftp".into() }),
        ("subsystem netconf", Act::Subsystem { name: "netconf".into() }),
        ("env LANG", Act::Env { name: "LANG".into() }),
        ("env DEPLOY_ID", Act::Env { name: "DEPLOY_ID".into() }),
        ("env LD_PRELOAD", Act::Env { name: "LD_PRELOAD".into() }),
        ("forward 10.1.2.3:5432", local("10.1.2.3", 5432, &[])),
        ("forward 10.1.2.3:22", local("10.1.2.3", 22, &[])),
        ("forward localhost:8080", local("localhost", 8080, &["127.0.0.1"])),
        ("forward localhost:22", local("localhost", 22, &["127.0.0.1"])),
        ("forward db:5432 at 10.1.1.1", local("db", 5432, &["10.1.1.1"])),
        ("forward evil:5432 at 169.254.169.254", local("evil", 5432, &["169.254.169.254"])),
        ("forward 169.254.169.254:80", local("169.254.169.254", 80, &[])),
        ("forward 192.0.2.1:22, the bastion", local("192.0.2.1", 22, &[])),
        ("forward 198.51.100.7:443", local("198.51.100.7", 443, &[])),
        ("forward /run/db/socket", Act::LocalSocket { path: "/run/db/socket".into() }),
        ("forward /run/docker.sock", Act::LocalSocket { path: "/run/docker.sock".into() }),
        ("listen localhost:9000", Act::RemoteForward { host: "localhost".into(), port: 9000 }),
        ("listen *:9000", Act::RemoteForward { host: String::new(), port: 9000 }),
        ("listen /run/user/1/s", Act::RemoteSocket { path: "/run/user/1/s".into() }),
        ("listen /etc/s", Act::RemoteSocket { path: "/etc/s".into() }),
        ("agent", Act::Agent),
        ("x11", Act::X11),
        ("tun", Act::Tun),
        ("unknown", Act::Unknown { name: "x@example.com".into() }),
    ]
}

fn policy() -> Policy {
    policy::load(&root().join("tests/it/gate/policy.toml")).unwrap()
}

fn somebody(name: &str) -> Identity {
    Identity {
        kind: Kind::Person,
        provider: "corp".parse().unwrap(),
        issuer: "https://login.example.test".into(),
        subject: name.into(),
        display: name.into(),
        groups: BTreeSet::new(),
        run: None,
    }
}

/// A Friday at noon in Berlin; the bastion has the address 192.0.2.1.
fn noon() -> Circumstances {
    Circumstances {
        now: Timestamp::from_secs(1_795_172_400),
        from: "192.0.2.7".parse().unwrap(),
        own: ["192.0.2.1".parse().unwrap()].into(),
        held: held(),
    }
}

/// Grants of those who are called so, for deploy on web1, and a lock on who is called so.
fn held() -> Held {
    let random = Random::seeded(3);
    let noon = Timestamp::from_secs(1_795_172_400);
    let grant = |who: &str, line: Option<&str>, once: Option<Once>, until: u64| Grant {
        id: GrantId::random(&random),
        case: CaseId::random(&random),
        who: Party::of(&somebody(who)),
        scope: Scope {
            role: "asked".parse().unwrap(),
            targets: ["web1".parse().unwrap()].into(),
            logins: ["deploy".parse().unwrap()].into(),
            commands: line.into_iter().map(str::to_owned).collect(),
            length: Duration::from_secs(3600),
            once,
        },
        starts: noon.minus(Duration::from_secs(60)),
        until: Timestamp::from_secs(until),
        break_glass: false,
        used_by: None,
        ended: None,
    };
    let later = 1_795_172_400 + 1800;
    let grants = [
        grant("granted", None, None, later),
        grant("granted-line", Some("id"), None, later),
        grant("granted-once", None, Some(Once::Exec), later),
        grant("granted-before", None, None, 1_795_172_400),
        grant("locked", None, None, later),
    ];
    let lock = Lock {
        id: LockId::random(&random),
        on: LockOn::User("corp:locked".into()),
        reason: "lost laptop".into(),
        by: "admin".into(),
        created: noon,
        until: None,
    };
    Held { granted: Granted::Only(grants.into()), locks: [lock].into(), session: None }
}

/// `yes` with what the verdict carries beyond that, or the code.
fn cell(verdict: Verdict, act: &Act) -> (String, Option<RefusalCode>) {
    let sent = if let Act::Exec { command, .. } = act { command.as_slice() } else { &[] };
    let allowed = match verdict {
        Verdict::Refuse(refusal) => return (refusal.code.as_str().to_owned(), Some(refusal.code)),
        Verdict::Allow(allowed) => allowed,
    };
    let mut text = "yes".to_owned();
    if matches!(act, Act::Env { .. }) && allowed.env.contains(&None) {
        text.push_str(", if the configuration passes it");
    }
    if let Some(pass) = &allowed.command {
        if let Some((rule, assurance)) = &pass.rule {
            write!(text, ", {rule} ({})", assurance.as_str()).unwrap();
        }
        if let Some(transfer) = &pass.transfer {
            write!(text, ", {transfer}").unwrap();
        }
        if pass.send != sent {
            write!(text, ", sends `{}`", String::from_utf8_lossy(&pass.send)).unwrap();
        }
    }
    if *act == (Act::Subsystem { name: "sftp".into() })
        && !allowed.files.iter().all(policy::FileRules::is_unrestricted)
    {
        text.push_str(", each operation by path rules");
    }
    if !allowed.hosts.is_empty() {
        write!(text, ", to {}", allowed.hosts.join(" ")).unwrap();
    }
    if let Some(until) = allowed.until {
        write!(text, ", until {until}").unwrap();
    }
    let terms = &allowed.terms;
    for (name, limit) in
        [("certificate", terms.certificate_max), ("session", terms.session_max), ("idle", terms.idle_max)]
    {
        if let Some(limit) = limit {
            write!(text, ", {name} {}s", limit.as_secs()).unwrap();
        }
    }
    if terms.recording != Recording::Output {
        write!(text, ", recording {}", terms.recording.as_str()).unwrap();
    }
    (text, None)
}

/// The table: for each person the acts with the same answer on one line, and the places where all answers are the same
/// under one head.
fn table(policy: &Policy) -> (String, BTreeSet<RefusalCode>) {
    let mut text = String::new();
    let mut codes = BTreeSet::new();
    for person in PEOPLE {
        writeln!(text, "# {person}").unwrap();
        let mut blocks: Vec<(String, Vec<String>)> = Vec::new();
        for (target, login) in
            TARGETS.iter().flat_map(|target| LOGINS.iter().map(move |login| (target, login)))
        {
            let mut answers: Vec<(String, Vec<&str>)> = Vec::new();
            for (name, act) in acts() {
                let ask = Ask { target: target.parse().unwrap(), login: login.parse().unwrap(), act };
                let (answer, code) = cell(decide(policy, &somebody(person), &ask, &noon()), &ask.act);
                codes.extend(code);
                match answers.iter_mut().find(|(known, _)| *known == answer) {
                    Some((_, names)) => names.push(name),
                    None => answers.push((answer, vec![name])),
                }
            }
            let mut block = String::new();
            for (answer, names) in answers {
                let names =
                    if names.len() == acts().len() { "everything".to_owned() } else { names.join(" | ") };
                writeln!(block, "    {answer}: {names}").unwrap();
            }
            let place = format!("{login}@{target}");
            match blocks.iter_mut().find(|(known, _)| *known == block) {
                Some((_, places)) => places.push(place),
                None => blocks.push((block, vec![place])),
            }
        }
        for (block, places) in blocks {
            writeln!(text, "{}\n{block}", places.join(" ")).unwrap();
        }
    }
    (text, codes)
}

#[test]
fn people_times_targets_times_acts() {
    let path = root().join("tests/it/gate/table.txt");
    let (got, codes) = table(&policy());
    if std::env::var_os("CAPONIER_WRITE_SNAPSHOT").is_some() {
        std::fs::write(&path, &got).unwrap();
    }
    let held = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = got.lines().zip(held.lines()).find(|(got, held)| got != held);
    assert!(got == held, "the table has changed, first here (now, before): {differs:#?}");

    // The rows are all there are: every kind of act, of channel and of refusal.
    let kinds: BTreeSet<&str> = acts().iter().map(|(_, act)| kind(act)).collect();
    assert_eq!(kinds.len(), KINDS, "{kinds:?}");
    for channel in ChannelKind::ALL {
        let opens = |role: &policy::Role| role.channels.contains(&channel);
        assert!(policy().roles.iter().any(opens), "no role opens {channel:?}");
    }
    // Signing in, certificates and limits are not the policy's; paths are judged while files are being moved.
    let elsewhere = [
        RefusalCode::Principal,
        RefusalCode::SignInEnded,
        RefusalCode::Limit,
        RefusalCode::File,
        RefusalCode::Unchecked,
        RefusalCode::Revoked,
        RefusalCode::Killed,
    ];
    let missing: Vec<&RefusalCode> =
        RefusalCode::ALL.iter().filter(|code| !codes.contains(code) && !elsewhere.contains(code)).collect();
    assert!(missing.is_empty(), "codes that the table does not show: {missing:?}");
}

/// How many kinds of act there are.
const KINDS: usize = 12;

/// One word a kind. A new kind of act does not compile here until it has a word, and then needs a row above.
fn kind(act: &Act) -> &'static str {
    match act {
        Act::Shell { .. } => "shell",
        Act::Exec { .. } => "exec",
        Act::Subsystem { .. } => "subsystem",
        Act::Env { .. } => "env",
        Act::LocalForward { .. } => "local forward",
        Act::LocalSocket { .. } => "local socket",
        Act::RemoteForward { .. } => "remote forward",
        Act::RemoteSocket { .. } => "remote socket",
        Act::Agent => "agent",
        Act::X11 => "x11",
        Act::Tun => "tun",
        Act::Unknown { .. } => "unknown",
    }
}

/// What russh tells a server that asks for nothing: logging in (which has tests of its own), bytes and their flow, and
/// ends. Everything else that it can deliver must be a method of the door.
const NO_QUESTIONS: &[&str] = &[
    "auth_password",
    "auth_publickey_offered",
    "authentication_banner",
    "channel_eof",
    "channel_open_confirmation",
    "data",
    "extended_data",
    "lookup_dh_gex_group",
    "signal",
    "window_adjusted",
    "window_change_request",
];

/// Names of the methods in the `trait Handler` of russh's server, or in an implementation of it.
fn methods(text: &str, head: &str) -> BTreeSet<String> {
    let body = text.split(head).nth(1).unwrap_or_else(|| panic!("no {head}"));
    let body = body.split("\n}").next().unwrap();
    let names = body.lines().filter_map(|line| {
        let line = line.strip_prefix("    ")?;
        let line = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")?;
        Some(line.split(['(', '<']).next()?.to_owned())
    });
    names.collect()
}

#[test]
fn the_door_answers_every_question_that_russh_can_ask() {
    let russh = crate::tidy::package_folder("russh");
    let offered = methods(
        &std::fs::read_to_string(Path::new(&russh).join("src/server/mod.rs")).unwrap(),
        "pub trait Handler: Sized {",
    );
    let answered = methods(
        &std::fs::read_to_string(root().join("src/gateway/door.rs")).unwrap(),
        "impl Handler for Door {",
    );
    assert!(
        offered.len() > 30 && answered.len() > 15,
        "the sources were not understood: {offered:?} {answered:?}"
    );
    let open: Vec<&String> = offered
        .iter()
        .filter(|name| !answered.contains(*name) && !NO_QUESTIONS.contains(&name.as_str()))
        .collect();
    assert!(open.is_empty(), "russh asks, and the door leaves it to russh's defaults: {open:?}");
    let gone: Vec<&&str> = NO_QUESTIONS.iter().filter(|name| !offered.contains(**name)).collect();
    assert!(gone.is_empty(), "russh does not have these any more: {gone:?}");
}
