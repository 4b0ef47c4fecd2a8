//! `[[service]]`: an account for a machine that has no platform to vouch for it. Its keys sign for certificates and nothing else.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use russh::keys::ssh_key::{HashAlg, PublicKey};

use super::{Members, Policy};
use crate::ca;
use crate::config::{At, RUN, SERVICE, Section};
use crate::identity::{Identity, Run};
use crate::names::ServiceName;
use crate::net::Cidr;
use crate::platform::Platform;

/// The claim of a service account's run that names the registered key which signed for it: `SHA256:...`. A run of a key that
/// the policy of the moment does not have is nobody's.
pub const KEY_CLAIM: &str = "key";

/// First part of a service account's subject.
const NOUN: &str = "account";

/// A service account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// Its keys, without comments. Never empty; no key belongs to two accounts.
    pub keys: Vec<PublicKey>,
    /// From where it may ask for certificates. Never empty, never everywhere.
    pub sources: Vec<Cidr>,
    /// How long one sign-in lasts at most.
    pub run_max: Duration,
}

impl Service {
    /// The subject of this account's identity.
    pub fn subject(name: &ServiceName) -> String {
        format!("{NOUN}/{name}")
    }

    /// The run that a statement of `key` begins; none when the key is not registered here.
    pub fn run(&self, key: &PublicKey) -> Option<Run> {
        let registered = self.keys.iter().find(|known| known.key_data() == key.key_data())?;
        Some(Run {
            platform: Platform::Service,
            subject: Self::subject(&self.name),
            label: self.name.to_string(),
            id: None,
            attempt: None,
            commit: None,
            url: None,
            actor: None,
            claims: BTreeMap::from([(KEY_CLAIM.to_owned(), fingerprint(registered))]),
            hazards: std::collections::BTreeSet::new(),
            announced: false,
            sign_in: None,
        })
    }

    /// Whether it may be used from there.
    pub fn is_source(&self, from: IpAddr) -> bool {
        self.sources.iter().any(|range| range.contains(from))
    }

    /// Somebody who is this account, for questions to a policy.
    pub fn example(&self) -> Option<Identity> {
        let provider = SERVICE.parse().ok()?;
        self.keys.first().and_then(|key| self.run(key)).map(|run| super::workload(provider, run))
    }
}

fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// The service account that somebody is, as the policy has it now; none for everybody else, and for an account that is not
/// there any more.
pub fn service_of<'p>(policy: &'p Policy, who: &Identity) -> Option<&'p Service> {
    let run = who.run.as_ref().filter(|run| run.platform == Platform::Service)?;
    let name: ServiceName = run.subject.strip_prefix(NOUN)?.strip_prefix('/')?.parse().ok()?;
    policy.services.get(&name).map(AsRef::as_ref)
}

/// Whether the account is among the members, and its key still one of its keys.
pub(super) fn is_among(members: &Members, who: &Identity, run: &Run) -> bool {
    let name = run.subject.strip_prefix(NOUN).and_then(|rest| rest.strip_prefix('/'));
    let service = name.and_then(|name| members.services.get(&name.parse::<ServiceName>().ok()?));
    let is_key = |service: &Service| {
        let key = run.claim(KEY_CLAIM);
        service.keys.iter().any(|known| key == Some(fingerprint(known).as_str()))
    };
    who.provider.as_str() == SERVICE && service.is_some_and(|service| is_key(service))
}

/// Reads the table. `taken` are the keys of accounts before this one.
pub(super) fn read(
    mut section: Section<'_>,
    taken: &mut Vec<(PublicKey, ServiceName)>,
) -> Option<At<Service>> {
    section.require("name", "a name of your choice; roles name it under members");
    section.require("keys", "its public keys, such as [\"ssh-ed25519 AAAA... backup@nas\"]");
    section.require("sources", "the networks from which it calls, such as [\"10.0.0.0/8\"]");
    let name = section.parsed::<ServiceName>("name");
    let keys = keys(&mut section, name.as_ref().map(|name| &name.value), taken);
    let sources = sources(&mut section);
    let run_max = section.duration("run_max", &RUN).map_or(RUN.default, |at| at.value);
    section.finish();
    let At { value: name, place } = name?;
    Some(At { value: Service { name, keys, sources, run_max }, place })
}

fn keys(
    section: &mut Section<'_>,
    name: Option<&ServiceName>,
    taken: &mut Vec<(PublicKey, ServiceName)>,
) -> Vec<PublicKey> {
    let Some(texts) = section.texts("keys") else { return Vec::new() };
    if section.is_empty_array("keys") {
        section.problem(texts.place, "\"keys\" is empty, so nobody could be this account");
    }
    let mut keys: Vec<PublicKey> = Vec::new();
    for text in texts.value {
        let key = match key(text.value) {
            Ok(key) => key,
            Err(message) => {
                section.problem(text.place, message);
                continue;
            }
        };
        if keys.contains(&key) {
            section.problem(text.place, "this key is listed twice");
        } else if let Some((_, other)) = taken.iter().find(|(known, _)| *known == key) {
            let message = format!("this is a key of \"{other}\" already: every account has its own");
            section.problem(text.place, message);
        } else {
            keys.push(key);
        }
    }
    if let Some(name) = name {
        taken.extend(keys.iter().map(|key| (key.clone(), name.clone())));
    }
    keys
}

/// The key without its comment.
fn key(text: &str) -> Result<PublicKey, String> {
    if text.chars().any(char::is_control) {
        return Err("a key is one line".to_owned());
    }
    let key = PublicKey::from_openssh(text)
        .map_err(|error| format!("not a public key ({error}): paste the line of its .pub file"))?;
    ca::check_key(&key)?;
    Ok(PublicKey::new(key.key_data().clone(), ""))
}

fn sources(section: &mut Section<'_>) -> Vec<Cidr> {
    let Some(texts) = section.texts("sources") else { return Vec::new() };
    if section.is_empty_array("sources") {
        section.problem(texts.place, "\"sources\" is empty, so the account could call from nowhere");
    }
    let mut ranges = Vec::new();
    for text in texts.value {
        match Cidr::parse(text.value) {
            Some(range) if range.is_all() => {
                let message =
                    format!("{range} is everywhere: name the networks from which this account calls");
                section.problem(text.place, message);
            }
            Some(range) => ranges.push(range),
            None => section.problem(
                text.place,
                format!(
                    "{:?} is not a network: write ADDRESS or ADDRESS/BITS, the rest of the bits zero",
                    text.value
                ),
            ),
        }
    }
    ranges
}
