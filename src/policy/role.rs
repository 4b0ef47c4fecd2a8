//! Reads one `[[role]]`. A rule that would match everybody, everything or nothing does not load: it is a mistake, and
//! one that is seen only when it is too late.

use std::collections::{BTreeMap, BTreeSet};

use super::target::{self, Targets};
use super::{ChannelKind, Members, Role, Terms};
use crate::config::{At, SESSION_IDLE, SESSION_MAX, Section, hint};
use crate::names::{GroupName, LoginName, ProviderName, RoleName, TargetName};

/// Reads the table. `providers`, when known, are those that members may come from.
pub(super) fn read(
    section: &mut Section<'_>,
    targets: &Targets,
    providers: Option<&[ProviderName]>,
) -> Option<Role> {
    section.require("name", "a name of your choice");
    section.require("members", "{ groups = [\"PROVIDER:GROUP\"] } or { subjects = [\"PROVIDER:SUBJECT\"] }");
    section.require("targets", "{ names = [\"web1\"] } or { labels = [{ env = \"prod\" }] }");
    section.require("logins", "the accounts it opens, such as [\"deploy\"]");
    section.require("channels", "what it opens, of [\"shell\", \"exec\", \"sftp\"]");
    let name = section.parsed::<RoleName>("name").map(|at| at.value);
    let members = members(section, providers);
    let (target_names, target_labels) = selectors(section, targets);
    let logins = section.names::<LoginName>("logins");
    not_empty(section, "logins", logins.as_ref());
    let logins = logins.map(|at| at.value.into_iter().map(|login| login.value).collect());
    let channels = channels(section);
    let terms = terms(section);
    Some(Role {
        name: name?,
        members,
        target_names,
        target_labels,
        logins: logins.unwrap_or_default(),
        channels,
        terms,
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

fn members(section: &mut Section<'_>, providers: Option<&[ProviderName]>) -> Members {
    let given = section.holds("members", "table");
    let mut table = section.child("members");
    let groups = table.names::<GroupName>("groups").map(|at| at.value).unwrap_or_default();
    let subjects = subjects(&mut table);
    let empty = |key| table.place_of(key).is_none() || table.is_empty_array(key);
    if given && empty("groups") && empty("subjects") {
        table.problem(table.place, "the role is for nobody: name \"groups\" or \"subjects\"");
    }
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
    table.finish();
    Members {
        groups: groups.into_iter().map(|at| at.value).collect(),
        subjects: subjects.into_iter().map(|at| at.value).collect(),
    }
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

type Selectors = (BTreeSet<TargetName>, Vec<BTreeMap<String, String>>);

fn selectors(section: &mut Section<'_>, targets: &Targets) -> Selectors {
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
    if given && empty("names") && empty("labels") {
        table.problem(table.place, "the role opens no target: give \"names\" or \"labels\"");
    }
    table.finish();
    (names.into_iter().map(|at| at.value).collect(), maps)
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

fn channels(section: &mut Section<'_>) -> BTreeSet<ChannelKind> {
    let Some(texts) = section.texts("channels") else { return BTreeSet::new() };
    not_empty(section, "channels", Some(&texts));
    let mut channels = BTreeSet::new();
    for text in &texts.value {
        match ChannelKind::ALL.into_iter().find(|kind| kind.as_str() == text.value) {
            Some(kind) => {
                if !channels.insert(kind) {
                    section.problem(text.place, format!("{:?} is listed twice", text.value));
                }
            }
            None => {
                let known = ChannelKind::ALL.map(ChannelKind::as_str);
                let message = format!("unknown channel kind {:?}{}", text.value, hint(text.value, &known));
                section.problem(text.place, message);
            }
        }
    }
    channels
}

fn terms(section: &mut Section<'_>) -> Terms {
    let session_max = section.duration("session_max", &SESSION_MAX);
    let idle_max = section.duration("idle_max", &SESSION_IDLE);
    if let (Some(session), Some(idle)) = (&session_max, &idle_max)
        && idle.value > session.value
    {
        section
            .problem(idle.place, "\"idle_max\" is longer than \"session_max\" and would never end a session");
    }
    let record_input = section.flag("record_input");
    Terms {
        session_max: session_max.map(|at| at.value),
        idle_max: idle_max.map(|at| at.value),
        record_input: record_input.is_some_and(|at| at.value),
    }
}
