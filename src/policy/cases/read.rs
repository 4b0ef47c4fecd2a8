//! Reads a file of `[[case]]` tables. A case that could only be right by accident does not load: one about a target or a
//! provider that the policy does not know, unless it says so by its code.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use super::{Answer, Case, Question};
use crate::config::{self, At, Document, Problem, Section, hint};
use crate::identity::Identity;
use crate::names::{LoginName, ProviderName, ServiceName, TargetName};
use crate::policy::Held;
use crate::policy::files::{CanonicalPath, FileOp};
use crate::policy::somebody::{group_of, person, providers};
use crate::policy::{Act, Ask, Circumstances, Policy, RefusalCode, workload};
use crate::time::Timestamp;

/// The moment of a case that names none, so that no result depends on when it is asked: a Wednesday at noon, UTC.
pub(in crate::policy) const AT_DEFAULT: &str = "2026-01-07T12:00:00Z";
/// The client of a case that names none: an address of no network (RFC 5737).
const FROM_DEFAULT: &str = "192.0.2.1";

/// What `act` can be, and the keys that go with it.
const ACTS: [(&str, &[&str]); 10] = [
    ("shell", &["pty"]),
    ("exec", &["command", "pty", "sends"]),
    ("sftp", &["operation", "path", "home"]),
    ("subsystem", &["subsystem"]),
    ("env", &["variable"]),
    ("forward", &["to", "resolved"]),
    ("listen", &["on"]),
    ("agent", &[]),
    ("x11", &[]),
    ("tun", &[]),
];

/// Reads the file. `env_default` are the variables that pass where a role leaves them to the configuration. Every
/// problem is reported.
pub fn read(path: &Path, policy: &Policy, env_default: &[String]) -> Result<Vec<Case>, Vec<Problem>> {
    let text = config::read_text(path).map_err(|problem| vec![problem])?;
    let doc = Document::new(path, &text);
    let cases = doc.parse().map(|table| {
        let mut top = Section::top(&doc, table.get_ref());
        let own = own(&mut top);
        let sections = top.children("case");
        if sections.is_empty() && !top.is_wrong("case") {
            top.problem(top.place, "there is no [[case]] here, so nothing would be tested");
        }
        let number = sections.len();
        let given = Given { policy, own, env_default };
        let cases: Vec<Case> = sections.into_iter().filter_map(|section| case(section, &given)).collect();
        top.finish();
        (cases.len() == number).then_some(cases)
    });
    match cases.flatten() {
        Some(cases) if doc.is_clean() => Ok(cases),
        Some(_) | None => Err(doc.into_problems()),
    }
}

/// What all cases share.
struct Given<'g> {
    policy: &'g Policy,
    /// The bastion's own addresses.
    own: Arc<[IpAddr]>,
    env_default: &'g [String],
}

/// `bastion = ["203.0.113.5"]`: to these nothing is forwarded by accident.
fn own(top: &mut Section<'_>) -> Arc<[IpAddr]> {
    addresses(top, "bastion").into()
}

fn addresses(section: &mut Section<'_>, key: &'static str) -> Vec<IpAddr> {
    let texts = section.texts(key).map(|at| at.value).unwrap_or_default();
    texts.into_iter().filter_map(|text| address(section, &text)).collect()
}

fn address(section: &Section<'_>, text: &At<&str>) -> Option<IpAddr> {
    let address = text.value.parse().ok();
    if address.is_none() {
        section.problem(text.place, format!("{:?} is not an IP address", text.value));
    }
    address
}

fn case(mut section: Section<'_>, given: &Given<'_>) -> Option<Case> {
    section.require("target", "the name of a target");
    section.require("login", "the account there");
    section.require("act", "what is asked for, such as \"shell\" or \"exec\"");
    section.require("expect", "\"allow\", \"refuse\", \"review\" or \"request\"");
    let line = section.spot().line;
    let name = section.text("name").map(|text| text.value.to_owned());
    let code = word(&mut section, "code", RefusalCode::ALL, RefusalCode::as_str);
    // Whoever expects this very code may well ask about what is not there.
    let stranger = code == Some(RefusalCode::NoAccess);
    let who = asker(&mut section, given.policy, stranger);
    let target = target(&mut section, given.policy, stranger);
    let login = section.parsed::<LoginName>("login").map(|at| at.value);
    let from = section.text("from").and_then(|text| address(&section, &text));
    let at = section.parsed::<Timestamp>("at").map(|at| at.value);
    let granted = section.flag("granted").is_some_and(|at| at.value);
    let (act, file) = act(&mut section);
    let expect = word(&mut section, "expect", Answer::ALL, Answer::as_str);
    let rule = section.text("rule").map(|text| text.value.to_owned());
    let sends = section.text("sends").map(|text| text.value.to_owned());
    if let (Some(Answer::Allow), Some(place)) = (expect, section.place_of("code")) {
        section.problem(place, "\"code\" is of a refusal, and this case expects \"allow\"");
    }
    section.finish();
    let (ask, who) = (Ask { target: target?, login: login?, act: act? }, who?);
    let name =
        name.unwrap_or_else(|| format!("{} {} {}@{}", who.reference(), ask.act, ask.login, ask.target));
    let at = Circumstances {
        now: at.or_else(|| AT_DEFAULT.parse().ok())?,
        from: from.or_else(|| FROM_DEFAULT.parse().ok())?,
        own: Arc::clone(&given.own),
        held: Held::of(granted),
    };
    let question = Question { who, ask, file, at, env_default: given.env_default.to_vec() };
    Some(Case { name, line, question, expect: expect?, code, rule, sends })
}

/// One of some words.
fn word<T: Copy, const N: usize>(
    section: &mut Section<'_>,
    key: &'static str,
    all: [T; N],
    show: impl Fn(T) -> &'static str,
) -> Option<T> {
    let text = section.text(key)?;
    let found = all.into_iter().find(|one| show(*one) == text.value);
    if found.is_none() {
        let known = all.map(&show);
        section.problem(text.place, format!("unknown {key} {:?}{}", text.value, hint(text.value, &known)));
    }
    found
}

/// A person, a run of a job, or a service account: one of them.
fn asker(section: &mut Section<'_>, policy: &Policy, stranger: bool) -> Option<Identity> {
    let keys = ["who", "workload", "service"];
    if section.only_one(&keys) == 0 {
        section.require("who", "{ provider = \"corp\", subject = \"dora\", groups = [\"dev\"] }");
    }
    let [person, job, account] = keys.map(|key| section.place_of(key).is_some());
    let person = person.then(|| who(section.child("who"), policy, stranger));
    let job = job.then(|| job_of(section.child("workload"), policy, stranger));
    let account = account.then(|| account_of(section, policy));
    person.or(job).or(account).flatten()
}

/// `workload = { issuer = "github", claims = { repository_id = "1" } }`
fn job_of(mut table: Section<'_>, policy: &Policy, stranger: bool) -> Option<Identity> {
    table.require("issuer", "the [[issuer]] that vouches for the run");
    table.require("claims", "what its token says, such as { repository_id = \"123456\" }");
    let issuer = table.parsed::<ProviderName>("issuer");
    let given = table.child("claims");
    let mut claims = BTreeMap::new();
    for (name, values) in given.others() {
        let Some(issuer) = &issuer else { continue };
        if let Err(message) = workload::check_claim(policy, &issuer.value, name.value) {
            given.problem(name.place, message);
        }
        match values.as_slice() {
            [value] => drop(claims.insert(name.value.to_owned(), value.value.clone())),
            _ => given.problem(name.place, format!("{:?} must be one value: a run has one", name.value)),
        }
    }
    given.finish_open();
    let who = issuer.as_ref().and_then(|issuer| workload::described_run(policy, &issuer.value, claims));
    if let (Some(issuer), None, false) = (&issuer, &who, stranger) {
        let known: BTreeSet<&str> = policy.workloads.values().map(|rule| rule.issuer.as_str()).collect();
        let known: Vec<&str> = known.into_iter().collect();
        let hint = hint(issuer.value.as_str(), &known);
        let message = format!("no [[workload]] is about runs of \"{}\"{hint}", issuer.value);
        table.problem(issuer.place, message);
    }
    table.finish();
    // Whoever tests that a stranger has no access asks as somebody whom no rule is about.
    who.or_else(|| issuer.filter(|_| stranger).map(|at| person(at.value, String::new(), BTreeSet::new())))
}

fn account_of(section: &mut Section<'_>, policy: &Policy) -> Option<Identity> {
    let name = section.parsed::<ServiceName>("service")?;
    let service = policy.services.get(&name.value);
    if service.is_none() {
        let known: Vec<&str> = policy.services.keys().map(ServiceName::as_str).collect();
        let hint = hint(name.value.as_str(), &known);
        section.problem(name.place, format!("there is no [[service]] \"{}\"{hint}", name.value));
    }
    service.and_then(|service| service.example())
}

fn who(mut table: Section<'_>, policy: &Policy, stranger: bool) -> Option<Identity> {
    table.require("provider", "the provider that vouches for them");
    let provider = table.parsed::<ProviderName>("provider");
    let subject = table.text("subject").map_or_else(String::new, |text| text.value.to_owned());
    let groups = table.texts("groups").map(|at| at.value).unwrap_or_default();
    let provider = provider.filter(|provider| {
        let known = providers(policy);
        let good = stranger || known.contains(&provider.value);
        if !good {
            let known: Vec<&str> = known.iter().map(ProviderName::as_str).collect();
            let hint = hint(provider.value.as_str(), &known);
            let message = format!("no role has members of a provider \"{}\"{hint}", provider.value);
            table.problem(provider.place, message);
        }
        good
    });
    let mut named = BTreeSet::new();
    for group in groups {
        let Some(provider) = &provider else { continue };
        match group_of(&provider.value, group.value) {
            Ok(group) => {
                named.insert(group);
            }
            Err(error) => table.problem(group.place, error.to_string()),
        }
    }
    table.finish();
    Some(person(provider?.value, subject, named))
}

fn target(section: &mut Section<'_>, policy: &Policy, stranger: bool) -> Option<TargetName> {
    let target = section.parsed::<TargetName>("target")?;
    if !stranger && !policy.targets.contains_key(&target.value) {
        let known: Vec<&str> = policy.targets.keys().map(TargetName::as_str).collect();
        let hint = hint(target.value.as_str(), &known);
        let message = format!(
            "there is no target \"{}\"{hint} (if that is what is tested, add code = \"no-access\")",
            target.value
        );
        section.problem(target.place, message);
    }
    Some(target.value)
}

type FileAsk = (FileOp, CanonicalPath, Option<CanonicalPath>);

fn act(section: &mut Section<'_>) -> (Option<Act>, Option<FileAsk>) {
    let words = ACTS.map(|(word, _)| word);
    let act = word(section, "act", words, |word| word);
    for (of, keys) in ACTS {
        for key in keys {
            let takes = ACTS.iter().any(|(word, keys)| Some(*word) == act && keys.contains(key));
            if let Some(place) = section.place_of(key)
                && act.is_some()
                && !takes
            {
                section.problem(place, format!("{key:?} goes with act = {of:?}"));
            }
        }
    }
    let command = section.text("command").map(|text| text.value.as_bytes().to_vec());
    let pty = section.flag("pty").map(|at| at.value);
    let file = file(section);
    let subsystem = section.text("subsystem").map(|text| text.value.to_owned());
    let variable = section.text("variable").map(|text| text.value.to_owned());
    let resolved = addresses(section, "resolved");
    let to = end(section, "to");
    let on = end(section, "on");
    let require = |key: &str, what: &str| section.require(key, what);
    let act = match act {
        Some("shell") => Some(Act::Shell { pty: pty.unwrap_or(true) }),
        Some("exec") => {
            require("command", "the command line");
            command.map(|command| Act::Exec { command, pty: pty.unwrap_or_default() })
        }
        Some("sftp") => Some(Act::Subsystem { name: "sftp".to_owned() }),
        Some("subsystem") => {
            require("subsystem", "its name");
            subsystem.map(|name| Act::Subsystem { name })
        }
        Some("env") => {
            require("variable", "its name");
            variable.map(|name| Act::Env { name })
        }
        Some("forward") => {
            require("to", "HOST:PORT or the path of a socket");
            to.map(|to| match to {
                End::Socket(path) => Act::LocalSocket { path },
                End::Port(host, port) => Act::LocalForward { host, port, resolved },
            })
        }
        Some("listen") => {
            require("on", "HOST:PORT or the path of a socket");
            on.map(|on| match on {
                End::Socket(path) => Act::RemoteSocket { path },
                End::Port(host, port) => Act::RemoteForward { host, port },
            })
        }
        Some("agent") => Some(Act::Agent),
        Some("x11") => Some(Act::X11),
        Some("tun") => Some(Act::Tun),
        Some(_) | None => None,
    };
    (act, file)
}

/// `operation` and `path`, with `home` where it is known.
fn file(section: &mut Section<'_>) -> Option<FileAsk> {
    let op = word(section, "operation", FileOp::ALL, FileOp::as_str);
    let mut path = |key| {
        let text = section.text(key)?;
        let path = CanonicalPath::parse(text.value.as_bytes());
        if path.is_none() {
            let message =
                format!("{:?} is not a path as a target resolves it: absolute, without . and ..", text.value);
            section.problem(text.place, message);
        }
        path
    };
    let (path, home) = (path("path"), path("home"));
    if section.place_of("operation").is_some() || section.place_of("path").is_some() {
        let known = FileOp::ALL.map(FileOp::as_str).join(", ");
        section.require("operation", &format!("one of {known}"));
        section.require("path", "the path on the target");
    }
    Some((op?, path?, home))
}

/// One end of a forward.
enum End {
    Socket(String),
    Port(String, u32),
}

fn end(section: &mut Section<'_>, key: &'static str) -> Option<End> {
    let text = section.text(key)?;
    if text.value.starts_with('/') {
        return Some(End::Socket(text.value.to_owned()));
    }
    let end = text.value.rsplit_once(':').and_then(|(host, port)| {
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Some(End::Port(host.to_owned(), port.parse().ok()?))
    });
    if end.is_none() {
        section.problem(text.place, format!("{:?} is neither HOST:PORT nor an absolute path", text.value));
    }
    end
}
