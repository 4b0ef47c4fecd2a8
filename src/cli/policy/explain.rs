//! `caponier policy explain`: finds out who is meant, and shows what the policy means for them.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::asker::{self, Asker};
use super::test::outcome as outcome_json;
use super::{Read, Source};
use crate::cli::config::count;
use crate::cli::table::{printable, table};
use crate::config::{Config, show_duration};
use crate::identity::Identity;
use crate::names::{LoginName, RoleName, SubjectName, TargetName};
use crate::platform::Platform;
use crate::policy::explain::{self, Columns, Explanation, Meaning, RoleLine, Subject};
use crate::policy::hours::Opening;
use crate::policy::somebody::{group_of, person};
use crate::policy::{
    ChannelKind, Circumstances, Held, Outcome, Policy, Recording, Target, Terms, certificate_max, workload,
};
use crate::store::Store;
use crate::time::{Clock, Timestamp};

/// Whom and what to explain.
#[derive(Debug, clap::Args)]
pub struct Explain {
    #[command(flatten)]
    pub(super) source: Source,
    /// The person, PROVIDER:SUBJECT as in the policy; or a job, ISSUER:repository/123456; or service:account/NAME
    user: SubjectName,
    /// The target
    target: TargetName,
    /// A command line; without one, everything else that they could ask for
    command: Option<String>,
    /// The account on the target [default: each that is open to them]
    #[arg(long)]
    login: Option<LoginName>,
    /// A group of theirs; may be repeated [default: those of their newest sign-in that lasts, from the store]
    #[arg(long, value_name = "GROUP")]
    group: Vec<String>,
    /// What the job's token says: NAME=VALUE; may be repeated [default: what that of its newest sign-in said]
    #[arg(long, value_name = "CLAIM", value_parser = asker::claim)]
    claim: Vec<(String, String)>,
    /// The client's address
    #[arg(long, value_name = "ADDRESS", default_value = "192.0.2.1")]
    from: IpAddr,
    /// The moment, as in RFC 3339 [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// As if everything that they can ask for were granted
    #[arg(long)]
    granted: bool,
}

pub(super) async fn run(
    args: Explain,
    read: &Read,
    clock: &Clock,
    open: impl AsyncFnOnce(&Config) -> anyhow::Result<Store>,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let policy = &read.policy;
    let Some(target) = policy.targets.get(&args.target) else {
        let known: Vec<&str> = policy.targets.keys().map(TargetName::as_str).collect();
        bail!("there is no target {}{}", args.target, crate::config::hint(args.target.as_str(), &known));
    };
    let now = clock.now();
    let Asker { who, source } = asker(&args, read, now, open).await?;
    let logins = match &args.login {
        Some(login) => BTreeSet::from([login.clone()]),
        None => explain::logins(policy, &who, target),
    };
    if logins.is_empty() {
        bail!("no role opens {} to anybody, with any login", args.target);
    }
    let at = Circumstances {
        now: args.at.unwrap_or(now),
        from: args.from,
        own: Arc::default(),
        held: Held::of(args.granted),
    };
    let mut answers = Vec::new();
    for login in logins {
        let subject = Subject {
            policy,
            who: who.clone(),
            target,
            limits: limits(read.config.as_ref(), &who, &login, read),
            login,
            at: at.clone(),
            env_default: read.env_default(),
        };
        let explanation = subject.explain(args.command.as_deref().map(str::as_bytes));
        answers.push((subject.login, explanation));
    }
    if args.source.json {
        let answers: Vec<Value> = answers.iter().map(|(login, answer)| answer_json(login, answer)).collect();
        let groups: Vec<String> = who.groups.iter().map(ToString::to_string).collect();
        let judged = who.run.as_deref().map(|run| workload::judge(policy, &who.provider, run));
        let answer = json!({
            "user": who.reference(),
            "groups": groups,
            "workload": judged.map(|judged| asker::json(&judged)),
            "target": target.name.as_str(),
            "from": at.from,
            "at": at.now.to_string(),
            "logins": answers,
        });
        writeln!(out, "{answer:#}")?;
    } else {
        out.write_all(head(policy, &who, source, target, &at).as_bytes())?;
        for (login, answer) in &answers {
            out.write_all(shown(target, login, answer).as_bytes())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Who is meant, and where what is known of them comes from.
async fn asker(
    args: &Explain,
    read: &Read,
    now: Timestamp,
    open: impl AsyncFnOnce(&Config) -> anyhow::Result<Store>,
) -> anyhow::Result<Asker> {
    let (policy, user) = (&read.policy, &args.user);
    if let Some(asker) = asker::given(policy, user, &args.claim)? {
        return Ok(asker);
    }
    let somebody = |groups| person(user.provider().clone(), user.subject().to_owned(), groups);
    if !args.group.is_empty() {
        let of = |text: &String| group_of(user.provider(), text);
        let groups = args.group.iter().map(of).collect::<Result<_, _>>()?;
        return Ok(Asker { who: somebody(groups), source: "as given" });
    }
    let described = asker::bare(policy, user);
    let unknown = match described {
        Some(_) => "give --claim; with --policy no store is asked",
        None => "give --group; with --policy no store is asked",
    };
    let Some(config) = &read.config else {
        let who = described.unwrap_or_else(|| somebody(BTreeSet::new()));
        return Ok(Asker { who, source: unknown });
    };
    let context = "what is known of them is in the store; give --group or --claim to do without it";
    let store = open(config).await.context(context)?;
    let sign_ins = store.sign_ins(now).await.context(context)?;
    let reference = user.to_string();
    let found = sign_ins.into_iter().map(|sign_in| sign_in.who).find(|who| who.reference() == reference);
    Ok(match (found, described) {
        (Some(who), None) if who.run.is_none() => {
            Asker { who: somebody(who.groups), source: "of the newest sign-in" }
        }
        (Some(who), _) => Asker { who, source: "of the newest sign-in" },
        (None, Some(who)) => Asker { who, source: "not signed in now; give --claim" },
        (None, None) => Asker { who: somebody(BTreeSet::new()), source: "not signed in now; give --group" },
    })
}

/// What the configuration says beyond the policy, as `flow` narrows terms.
fn limits(config: Option<&Config>, who: &Identity, login: &LoginName, read: &Read) -> Terms {
    let by_roles = certificate_max(&read.policy, who, std::slice::from_ref(login));
    let roles = Terms { certificate_max: by_roles, ..Terms::default() };
    let Some(config) = config else { return roles };
    roles.narrow(&Terms {
        certificate_max: Some(config.certificates.life),
        session_max: Some(config.sessions.max),
        idle_max: Some(config.sessions.idle),
        recording: if config.recording.input { Recording::Input } else { Recording::Nothing },
        ..Terms::default()
    })
}

fn head(policy: &Policy, who: &Identity, source: &str, target: &Target, at: &Circumstances) -> String {
    let first = format!("{} at {}, from {}, {}", who.reference(), target.name, at.from, at.now);
    if let Some(run) = who.run.as_deref().filter(|run| run.platform != Platform::Service) {
        let judged = workload::judge(policy, &who.provider, run);
        let lines = [first].into_iter().chain(asker::lines(&judged, source));
        return lines.map(|line| printable(&line) + "\n").collect();
    }
    let groups: Vec<String> = who.groups.iter().map(ToString::to_string).collect();
    let groups = if groups.is_empty() { "none".to_owned() } else { groups.join(", ") };
    [first, format!("groups: {groups} ({source})")].map(|line| printable(&line) + "\n").concat()
}

fn shown(target: &Target, login: &LoginName, answer: &Explanation) -> String {
    let head = ["ROLE", "HOLDS", "MEMBER", "TARGET", "LOGIN", "SOURCE", "HOURS", "CHANNELS"];
    let mut text = format!("\n== {login}@{}\n\n", target.name);
    let near = |line: &&RoleLine| line.member || line.target;
    text.push_str(&table(head, answer.roles.iter().filter(near).map(role)));
    let others = answer.roles.iter().filter(|line| !near(line)).count();
    if others > 0 {
        text.push_str(&format!("({} neither for them nor for this target)\n", count(others, "more role")));
    }
    for (ask, meaning) in &answer.asks {
        text.push('\n');
        text.push_str(&meant(ask, meaning));
    }
    let Columns { enforced, detected, uncontrolled } = &answer.columns;
    for (head, sentences) in
        [("ENFORCED", enforced), ("DETECTED", detected), ("NOT CONTROLLED", uncontrolled)]
    {
        text.push_str(&format!("\n{head}\n"));
        let lines = sentences.iter().map(|sentence| format!("  - {}\n", printable(sentence)));
        text.extend(lines);
        if sentences.is_empty() {
            text.push_str("  - nothing\n");
        }
    }
    text
}

fn role(line: &RoleLine) -> [String; 8] {
    let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let channels: Vec<&str> = line.channels.iter().copied().map(ChannelKind::as_str).collect();
    [
        line.name.to_string(),
        yes(line.holds()),
        yes(line.member),
        yes(line.target),
        yes(line.login),
        yes(line.source),
        hours(line.hours),
        channels.join(" "),
    ]
}

fn hours(opening: Opening) -> String {
    match opening {
        Opening::Closed => "no".to_owned(),
        Opening::Open => "yes".to_owned(),
        Opening::Until(end) => format!("until {end}"),
    }
}

fn meant(ask: &str, meaning: &Meaning) -> String {
    let outcome = match meaning {
        Meaning::Depends(text) => return format!("{}: {text}\n", printable(ask)),
        Meaning::Verdict(outcome) => outcome,
    };
    let code = outcome.code.map(|code| format!(" [{}]", code.as_str()));
    let rule = outcome.rule.as_ref().filter(|_| outcome.roles.is_empty() || outcome.assurance.is_some());
    let rule = rule.map(|rule| format!(", by rule \"{rule}\""));
    let assurance = outcome.assurance.map(|assurance| format!(" ({})", assurance.as_str()));
    let parts = [code, rule, assurance].map(Option::unwrap_or_default).concat();
    let mut text = printable(&format!("{ask}: {}{parts}", outcome.answer.as_str())) + "\n";
    for (name, value) in details(outcome) {
        text.push_str(&format!("    {name:<8}{}\n", printable(&value)));
    }
    text
}

/// What there is to say of an outcome beyond yes or no.
fn details(outcome: &Outcome) -> Vec<(&'static str, String)> {
    let mut details = Vec::new();
    let mut add = |name, value: Option<String>| details.extend(value.map(|value| (name, value)));
    add("says", outcome.text.clone());
    add("reason", outcome.reason.clone());
    add("sends", outcome.sends.as_deref().map(|sends| String::from_utf8_lossy(sends).into_owned()));
    if outcome.roles.is_empty() {
        return details;
    }
    let roles: Vec<&str> = outcome.roles.iter().map(RoleName::as_str).collect();
    add("roles", Some(roles.join(", ")));
    add("terms", Some(terms(&outcome.terms)));
    add("until", outcome.until.map(|end| format!("{end}, then it is judged again")));
    details
}

fn terms(terms: &Terms) -> String {
    let limits =
        [("certificate", terms.certificate_max), ("session", terms.session_max), ("silence", terms.idle_max)];
    let given =
        limits.iter().filter_map(|(name, limit)| Some(format!("{name} {}", show_duration((*limit)?))));
    let mut all: Vec<String> = given.collect();
    all.push(format!("recording {}", terms.recording.as_str()));
    if limits.iter().any(|(_, limit)| limit.is_none()) {
        all.push("the rest as the configuration says".to_owned());
    }
    all.join(", ")
}

fn answer_json(login: &LoginName, answer: &Explanation) -> Value {
    let roles: Vec<Value> = answer
        .roles
        .iter()
        .map(|line| {
            json!({
                "name": line.name.as_str(),
                "holds": line.holds(),
                "member": line.member,
                "target": line.target,
                "login": line.login,
                "source": line.source,
                "hours": hours(line.hours),
                "channels": line.channels.iter().copied().map(ChannelKind::as_str).collect::<Vec<_>>(),
            })
        })
        .collect();
    let asks: Vec<Value> = answer
        .asks
        .iter()
        .map(|(ask, meaning)| match meaning {
            Meaning::Verdict(outcome) => json!({ "ask": ask, "verdict": outcome_json(outcome) }),
            Meaning::Depends(text) => json!({ "ask": ask, "depends": text }),
        })
        .collect();
    let Columns { enforced, detected, uncontrolled } = &answer.columns;
    json!({
        "login": login.as_str(),
        "roles": roles,
        "asks": asks,
        "enforced": enforced,
        "detected": detected,
        "not_controlled": uncontrolled,
    })
}
