//! Reads one `[[role]]` as it stands; `extends` joins it with what it extends, `conditions` reads when and how long it
//! holds. A rule that would match everybody, everything or nothing does not load: it is a mistake, and
//! one that is seen only when it is too late.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::target::{self, Targets};
use super::workload::Rules;
use super::{
    ChannelKind, CommandSet, FileRules, ForwardRules, Hours, Members, Recording, RequestRules, Selector,
    WhenDiskFull, conditions, files, forwards, request,
};
use crate::config::{At, Section, hint};
use crate::names::{GroupName, LoginName, ProviderName, RoleName, TargetName};
use crate::net::Cidr;

/// One `[[role]]` as written, before it is joined with what it extends. `None` is "not given".
#[derive(Debug)]
pub(super) struct Draft<'d> {
    /// The table, still open: what joining finds wrong is noted in it.
    pub(super) section: Section<'d>,
    pub(super) name: At<RoleName>,
    /// It is only there to be extended.
    pub(super) template: bool,
    pub(super) extends: Option<At<RoleName>>,
    pub(super) members: Option<Members>,
    pub(super) targets: Option<Selector>,
    pub(super) logins: Option<At<Vec<At<LoginName>>>>,
    pub(super) channels: Option<At<Vec<At<ChannelKind>>>>,
    pub(super) commands: Option<At<Arc<CommandSet>>>,
    pub(super) files: Option<FileRules>,
    pub(super) env: Option<At<Vec<String>>>,
    pub(super) sources: Option<Vec<Cidr>>,
    pub(super) hours: Option<Hours>,
    pub(super) forwards: Option<At<ForwardRules>>,
    /// `standing = true`.
    pub(super) standing: Option<At<bool>>,
    pub(super) request: Option<At<RequestRules>>,
    pub(super) limits: Limits,
}

/// The command sets of the files.
#[derive(Debug, Default)]
pub(super) struct Sets {
    /// Those that are right.
    pub(super) read: BTreeMap<String, Arc<CommandSet>>,
    /// Every name given, also of those that are wrong.
    pub(super) named: BTreeSet<String>,
}

/// The terms as written.
#[derive(Debug, Default)]
pub(super) struct Limits {
    pub(super) certificate_max: Option<At<Duration>>,
    pub(super) session_max: Option<At<Duration>>,
    pub(super) idle_max: Option<At<Duration>>,
    pub(super) recording: Option<At<Recording>>,
    pub(super) when_disk_full: Option<At<WhenDiskFull>>,
}

/// What a role must say, itself or through what it extends, and how.
pub(super) const NEEDED: [(&str, &str); 4] = [
    ("members", "{ groups = [\"PROVIDER:GROUP\"] }, or likewise subjects, workloads or services"),
    ("targets", "{ names = [\"web1\"] } or { labels = [{ env = \"prod\" }] }"),
    ("logins", "the accounts it opens, such as [\"deploy\"]"),
    ("channels", "what it opens, such as [\"shell\", \"exec\", \"sftp\"]"),
];

/// Reads the table. `providers`, when known, are those that members may come from. `None` when it has no name; that
/// and everything else wrong has been noted.
pub(super) fn read<'d>(
    mut section: Section<'d>,
    targets: &Targets,
    sets: &Sets,
    rules: &Rules,
    providers: Option<&[ProviderName]>,
) -> Option<Draft<'d>> {
    section.require("name", "a name of your choice");
    let name = section.parsed::<RoleName>("name");
    let template = section.flag("template").is_some_and(|at| at.value);
    let extends = section.parsed::<RoleName>("extends");
    if !template && section.place_of("extends").is_none() {
        for (key, what) in NEEDED {
            section.require(key, what);
        }
    }
    let members = section.place_of("members").map(|_| members(&mut section, rules, providers));
    let selector = section.place_of("targets").map(|_| selector(&mut section, targets));
    let logins = section.names::<LoginName>("logins");
    not_empty(&section, "logins", logins.as_ref());
    let channels = channels(&mut section);
    let commands = commands(&mut section, sets);
    let files = section.place_of("files").map(|place| {
        if section.is_empty_array("files") {
            section.problem(
                place,
                "\"files\" is empty, so no file could be touched: leave it out, or give rules",
            );
        }
        files::read(section.children("files"))
    });
    let env = conditions::env(&mut section);
    let sources = conditions::sources(&mut section);
    let hours = conditions::hours(&mut section);
    let limits = conditions::limits(&mut section);
    let forwards = section
        .place_of("forwards")
        .map(|place| At { value: forwards::read(section.child("forwards")), place });
    let standing = section.flag("standing").filter(|at| at.value);
    let request = section
        .place_of("request")
        .map(|place| At { value: request::read(section.child("request"), providers), place });
    if let (Some(standing), Some(_)) = (&standing, &request) {
        section.problem(
            standing.place,
            "\"standing\" is access without asking, and [role.request] says how to ask: keep one",
        );
    }
    let Some(name) = name else {
        section.finish();
        return None;
    };
    Some(Draft {
        section,
        name,
        template,
        extends,
        members,
        targets: selector,
        logins,
        channels,
        commands,
        files,
        env,
        sources,
        hours,
        forwards,
        standing,
        request,
        limits,
    })
}

/// `commands = "NAME"`: a set of the files.
fn commands(section: &mut Section<'_>, sets: &Sets) -> Option<At<Arc<CommandSet>>> {
    section.text("commands").and_then(|text| {
        let set = sets.read.get(text.value).cloned();
        if set.is_none() && !sets.named.contains(text.value) {
            let known: Vec<&str> = sets.read.keys().map(String::as_str).collect();
            let message =
                format!("there are no [[commands]] called {:?}{}", text.value, hint(text.value, &known));
            section.problem(text.place, message);
        }
        Some(At { value: set?, place: text.place })
    })
}

/// A list that was given with nothing in it. (When everything in it was wrong, that has been said already.)
fn not_empty<T>(section: &Section<'_>, key: &str, list: Option<&At<Vec<At<T>>>>) {
    if let Some(list) = list
        && list.value.is_empty()
        && section.is_empty_array(key)
    {
        section.problem(list.place, format!("{key:?} is empty, so the role could never be used"));
    }
}

fn members(section: &mut Section<'_>, rules: &Rules, providers: Option<&[ProviderName]>) -> Members {
    let given = section.holds("members", "table");
    let mut table = section.child("members");
    let (groups, subjects) = people(&mut table, providers);
    let workloads = known(&mut table, "workloads", "workload", &rules.workloads, &rules.named_workloads);
    let services = known(&mut table, "services", "service", &rules.services, &rules.named_services);
    let empty = |key: &&str| table.place_of(key).is_none() || table.is_empty_array(key);
    if given && ["groups", "subjects", "workloads", "services"].iter().all(empty) {
        let message = "the role is for nobody: name \"groups\" or \"subjects\" of people, \"workloads\" or \"services\"";
        table.problem(table.place, message);
    }
    table.finish();
    Members {
        groups,
        subjects,
        workloads: workloads.into_iter().map(|(_, rule)| rule).collect(),
        services: services.into_iter().collect(),
    }
}

/// A list of names of other tables, `[[what]]`; those that are there and right.
fn known<N, T>(
    table: &mut Section<'_>,
    key: &'static str,
    what: &str,
    read: &BTreeMap<N, Arc<T>>,
    named: &BTreeSet<String>,
) -> Vec<(N, Arc<T>)>
where
    N: FromStr<Err: Display> + Ord + Display + Clone,
{
    let names = table.names::<N>(key).map(|at| at.value).unwrap_or_default();
    for name in names.iter().filter(|name| !named.contains(&name.value.to_string())) {
        let known: Vec<&str> = named.iter().map(String::as_str).collect();
        let hint = hint(&name.value.to_string(), &known);
        table.problem(name.place, format!("there is no [[{what}]] \"{}\"{hint}", name.value));
    }
    names
        .into_iter()
        .filter_map(|name| Some((name.value.clone(), Arc::clone(read.get(&name.value)?))))
        .collect()
}

/// `groups` and `subjects` of a table: people, by what their provider says of them.
pub(super) fn people(
    table: &mut Section<'_>,
    providers: Option<&[ProviderName]>,
) -> (BTreeSet<GroupName>, BTreeSet<String>) {
    let groups = table.names::<GroupName>("groups").map(|at| at.value).unwrap_or_default();
    let subjects = subjects(table);
    let named =
        groups.iter().map(|group| (group.place, group.value.provider().as_str(), group.value.to_string()));
    let named = named.chain(subjects.iter().map(|subject| {
        let provider = subject.value.split_once(':').map_or("", |(provider, _)| provider);
        (subject.place, provider, subject.value.clone())
    }));
    for (place, provider, member) in named {
        if member.contains('*') {
            table.problem(place, format!("{member:?}: members know no wildcard; name each group or subject"));
        }
        if let Some(providers) = providers
            && !providers.iter().any(|known| known.as_str() == provider)
        {
            let known: Vec<&str> = providers.iter().map(ProviderName::as_str).collect();
            table.problem(place, format!("there is no provider {provider:?}{}", hint(provider, &known)));
        }
    }
    (groups.into_iter().map(|at| at.value).collect(), subjects.into_iter().map(|at| at.value).collect())
}

/// `PROVIDER:SUBJECT`, the form of `Identity::reference`.
fn subjects(table: &mut Section<'_>) -> Vec<At<String>> {
    let mut subjects: Vec<At<String>> = Vec::new();
    for text in table.texts("subjects").map(|at| at.value).unwrap_or_default() {
        let (provider, subject) = text.value.split_once(':').unwrap_or_default();
        let provider_ok = provider.parse::<ProviderName>().is_ok();
        if !provider_ok || subject.is_empty() || subject.len() > 256 || subject.chars().any(char::is_control)
        {
            table.problem(text.place, format!("{:?} is not a subject: write PROVIDER:SUBJECT", text.value));
        } else if subjects.iter().any(|other| other.value == text.value) {
            table.problem(text.place, format!("{:?} is listed twice", text.value));
        } else {
            subjects.push(At { value: text.value.to_owned(), place: text.place });
        }
    }
    subjects
}

fn selector(section: &mut Section<'_>, targets: &Targets) -> Selector {
    let given = section.holds("targets", "table");
    let mut table = section.child("targets");
    let names = table.names::<TargetName>("names").map(|at| at.value).unwrap_or_default();
    for name in &names {
        if !targets.named.contains(name.value.as_str()) {
            let known: Vec<&str> = targets.read.keys().map(TargetName::as_str).collect();
            let hint = hint(name.value.as_str(), &known);
            table.problem(name.place, format!("there is no target \"{}\"{hint}", name.value));
        }
    }
    let patterns = patterns(&mut table, targets);
    let mut maps = Vec::new();
    for map in table.children("labels") {
        let place = map.place;
        let labels = target::labels(map);
        if labels.is_empty() {
            table.problem(
                place,
                "a selector without labels would match every target: name at least one label",
            );
        } else if !targets.incomplete
            && let Some(message) = matches_nothing(&labels, targets)
        {
            table.problem(place, message);
        }
        maps.push(labels);
    }
    let empty = |key| table.place_of(key).is_none() || table.is_empty_array(key);
    if given && empty("names") && empty("labels") && empty("patterns") {
        table.problem(table.place, "the role opens no target: give \"names\", \"patterns\" or \"labels\"");
    }
    table.finish();
    Selector { names: names.into_iter().map(|at| at.value).collect(), patterns, labels: maps }
}

/// Patterns of target names. One that could be anything, or is nothing, is a mistake.
fn patterns(table: &mut Section<'_>, targets: &Targets) -> Vec<String> {
    let mut patterns = Vec::new();
    for text in table.texts("patterns").map(|at| at.value).unwrap_or_default() {
        let pattern = text.value;
        let letters = pattern.bytes().filter(u8::is_ascii_alphanumeric).count();
        let legal = pattern
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-' | b'*'));
        if !legal || pattern.contains("**") {
            let message =
                format!("{pattern:?} is not a pattern: a target's name with * for characters without a dot");
            table.problem(text.place, message);
        } else if letters == 0 {
            table.problem(text.place, format!("{pattern:?} would match every target: say more of the name"));
        } else if !targets.incomplete
            && !targets.read.keys().any(|name| super::matches(pattern, name.as_str(), '.'))
        {
            table.problem(text.place, format!("no target is called {pattern:?}"));
        }
        patterns.push(pattern.to_owned());
    }
    patterns
}

/// Why no target has these labels; `None` when one has.
fn matches_nothing(labels: &BTreeMap<String, String>, targets: &Targets) -> Option<String> {
    let all = || targets.read.values().map(|target| &target.labels);
    if all().any(|of| super::decide::has_labels(of, labels)) {
        return None;
    }
    for (key, value) in labels {
        let keys: BTreeSet<&str> = all().flat_map(|of| of.keys()).map(String::as_str).collect();
        if !keys.contains(key.as_str()) {
            let keys: Vec<&str> = keys.into_iter().collect();
            return Some(format!("no target has a label {key:?}{}", hint(key, &keys)));
        }
        let values: BTreeSet<&str> = all().filter_map(|of| of.get(key)).map(String::as_str).collect();
        if !values.contains(value.as_str()) {
            let values: Vec<&str> = values.into_iter().collect();
            return Some(format!("no target has the label {key} = {value:?}{}", hint(value, &values)));
        }
    }
    Some("no target has all of these labels".into())
}

fn channels(section: &mut Section<'_>) -> Option<At<Vec<At<ChannelKind>>>> {
    let texts = section.texts("channels")?;
    not_empty(section, "channels", Some(&texts));
    let mut channels: Vec<At<ChannelKind>> = Vec::new();
    for text in &texts.value {
        match ChannelKind::ALL.into_iter().find(|kind| kind.as_str() == text.value) {
            Some(kind) if channels.iter().any(|known| known.value == kind) => {
                section.problem(text.place, format!("{:?} is listed twice", text.value));
            }
            Some(kind) => channels.push(At { value: kind, place: text.place }),
            None => {
                let known = ChannelKind::ALL.map(ChannelKind::as_str);
                let message = format!("unknown channel kind {:?}{}", text.value, hint(text.value, &known));
                section.problem(text.place, message);
            }
        }
    }
    Some(At { value: channels, place: texts.place })
}
