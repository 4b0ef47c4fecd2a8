//! Rules as they are written, runs of every kind, and the ways in which somebody else's run could be taken for ours.

mod judging;
mod members;
mod reading;

use std::collections::BTreeMap;

use super::*;
use crate::config::{Document, Section};
use crate::identity::workload::described;
use crate::policy::decide::is_member;
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
    of(&format!("{HEAD}{more}"))
}

fn of(text: &str) -> Policy {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.toml");
    std::fs::write(&path, text).unwrap();
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
