//! What nobody uses: roles, memberships, grants, and sign-ins of people and workloads. A report for people who tidy up;
//! it takes nothing away. What is found is worked out by a pure function from what the store counted.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Asked, Look, PastGrant, Sight, SightRefused};
use crate::app::App;
use crate::config::SERVICE;
use crate::flow::permission::SignedIn;
use crate::identity::{Identity, Kind};
use crate::policy::ways::{has_member, named_subjects};
use crate::policy::workload::Service;
use crate::policy::{Policy, Role};
use crate::store::{AuditRow, RoleUse, SignIn, Store, StoreError};
use crate::time::Timestamp;

/// Most people that are looked at, most grants shown, and most ends by providers.
const PEOPLE_MAX: u32 = 20_000;
/// Issuers at which one provider may have known one person.
const OWN_MAX: u32 = 20;
const GRANTS_MAX: u32 = 500;
const ENDS_MAX: u32 = 20_000;
/// Most lines of each other list.
const LINES_MAX: usize = 1000;

/// What nobody used.
#[derive(Clone, Debug)]
pub struct Unused {
    /// From when on it was looked; what is older counts as unused.
    pub since: Timestamp,
    /// Whether everybody was looked at; else whoever looks only.
    pub everybody: bool,
    /// There was more than fits.
    pub cut: bool,
    /// Until then uses of roles were not counted, as far as they are in this time: a role may have been used unseen.
    pub uncounted_until: Option<Timestamp>,
    /// Roles that nobody used, in the order of the policy.
    pub roles: Vec<IdleRole>,
    /// People who have a role and did not use it; groups that nobody signed in from.
    pub members: Vec<IdleMember>,
    /// Grants that ended without having been used, newest first.
    pub grants: Vec<PastGrant>,
    /// People who did not sign in, or whose provider ended their last sign-in.
    pub people: Vec<IdlePerson>,
    /// Workloads that did not sign in.
    pub workloads: Vec<IdlePerson>,
}

/// A role that nobody used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdleRole {
    /// Its name.
    pub role: String,
    /// Whether its members have it without asking.
    pub standing: bool,
    /// The last use that was counted; none: never.
    pub last: Option<Timestamp>,
}

/// A member who did not use a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdleMember {
    /// The role.
    pub role: String,
    /// `provider:subject`, or `provider:group`.
    pub member: String,
    /// `person`, `workload`, or `group`: nobody who signed in is of this group.
    pub kind: &'static str,
    /// A label; empty for groups and whoever never signed in.
    pub display: String,
    /// Whether they ever signed in.
    pub known: bool,
    /// The last use that was counted; none: never.
    pub last: Option<Timestamp>,
}

/// Somebody who does not sign in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdlePerson {
    /// `provider:subject`.
    pub who: String,
    /// A label.
    pub display: String,
    /// The last sign-in.
    pub last: Timestamp,
    /// Why the provider ended it, where it did: they are gone there.
    pub gone: Option<String>,
    /// The roles that they would have, by the groups of then.
    pub roles: Vec<String>,
}

/// What was unused since `since`, for whoever signed.
pub async fn unused(app: &App, by: &SignedIn, since: Timestamp) -> Result<Unused, SightRefused> {
    let (policy, asked) = (app.policy(), Asked::default());
    let look = Look::signed(app, &policy, by, &asked, "unused").await?;
    // A report on everybody reads much: one after the other.
    let _turn = if look.everybody() { Some(app.desk.reports.lock().await) } else { None };
    Ok(seen(&look, since).await?)
}

/// The same by a command on the server.
pub async fn unused_by_command(
    store: &Store,
    policy: &Policy,
    since: Timestamp,
    now: Timestamp,
) -> Result<Unused, StoreError> {
    let asked = Asked::default();
    seen(&Look::by_command(store, policy, &asked, "unused", now).await?, since).await
}

async fn seen(look: &Look<'_>, since: Timestamp) -> Result<Unused, StoreError> {
    let store = look.store;
    let (known, gone, uses) = match &look.sight {
        Sight::Everybody => (
            store.newest_sign_ins(None, PEOPLE_MAX).await?,
            gone(&store.audit_of_providers(ENDS_MAX).await?),
            store.role_uses(None).await?,
        ),
        // Who asks is signed in, so no provider says that they are gone.
        Sight::Only(me) => {
            let mut known = store.newest_sign_ins(Some((me.provider.as_str(), &me.subject)), OWN_MAX).await?;
            known.retain(|one| one.who.issuer == me.issuer);
            (known, BTreeMap::new(), store.role_uses(Some((&me.issuer, &me.subject))).await?)
        }
    };
    let mut grants = store.grants_unused(&look.whose(), (since, look.now), GRANTS_MAX + 1).await?;
    let mut report = judged(look.policy, &uses, &known, &gone, since);
    match &look.sight {
        Sight::Everybody => report.cut = known.len() >= PEOPLE_MAX as usize,
        Sight::Only(me) => only(&mut report, look.policy, me),
    }
    report.cut |= grants.len() > GRANTS_MAX as usize;
    report.cut |= [report.members.len(), report.people.len(), report.workloads.len()]
        .iter()
        .any(|lines| *lines > LINES_MAX);
    report.members.truncate(LINES_MAX);
    report.people.truncate(LINES_MAX);
    report.workloads.truncate(LINES_MAX);
    grants.truncate(GRANTS_MAX as usize);
    for row in grants {
        let case = store.case(&row.grant.case).await?;
        report.grants.push(PastGrant::of(row, case, Vec::new()));
    }
    report.everybody = look.everybody();
    let own = match &look.sight {
        Sight::Everybody => None,
        Sight::Only(me) => Some(me.reference()),
    };
    report.uncounted_until = store.last_uncounted(since, own.as_deref()).await?;
    Ok(report)
}

/// What of it is about one person: roles that they have and did not use themselves.
fn only(report: &mut Unused, policy: &Policy, me: &Identity) {
    let own = |who: &str| who == me.reference();
    report.people.retain(|one| own(&one.who));
    report.workloads.retain(|one| own(&one.who));
    report.members.retain(|one| one.kind != "group" && own(&one.member));
    let mine: BTreeMap<&str, Option<Timestamp>> =
        report.members.iter().map(|one| (one.role.as_str(), one.last)).collect();
    let idle = |role: &&Role| mine.contains_key(role.name.as_str());
    report.roles = policy
        .roles
        .iter()
        .filter(idle)
        .map(|role| IdleRole {
            role: role.name.to_string(),
            standing: role.access.rules().is_none(),
            last: mine.get(role.name.as_str()).copied().flatten(),
        })
        .collect();
}

/// The report but for grants.
fn judged(
    policy: &Policy,
    uses: &[RoleUse],
    known: &[SignIn],
    gone: &BTreeMap<String, String>,
    since: Timestamp,
) -> Unused {
    let mut report = Unused {
        since,
        everybody: false,
        cut: false,
        uncounted_until: None,
        roles: Vec::new(),
        members: Vec::new(),
        grants: Vec::new(),
        people: Vec::new(),
        workloads: Vec::new(),
    };
    for role in &policy.roles {
        let name = role.name.as_str();
        let of_role: Vec<&RoleUse> = uses.iter().filter(|one| one.role == name).collect();
        let last = of_role.iter().map(|one| one.last).max();
        if last.is_none_or(|last| last < since) {
            let standing = role.access.rules().is_none();
            report.roles.push(IdleRole { role: name.to_owned(), standing, last });
        }
        members(&mut report.members, role, &of_role, known, since);
    }
    for sign_in in known {
        let reason = gone.get(sign_in.id.as_str());
        if reason.is_none() && sign_in.created >= since {
            continue;
        }
        let of = |role: &&Role| has_member(role, &sign_in.who);
        let idle = IdlePerson {
            who: sign_in.who.reference(),
            display: sign_in.who.display.clone(),
            last: sign_in.created,
            gone: reason.cloned(),
            roles: policy.roles.iter().filter(of).map(|role| role.name.to_string()).collect(),
        };
        match sign_in.who.kind {
            Kind::Person => report.people.push(idle),
            Kind::Workload => report.workloads.push(idle),
        }
    }
    report
}

/// Members of one role who did not use it.
fn members(idle: &mut Vec<IdleMember>, role: &Role, uses: &[&RoleUse], known: &[SignIn], since: Timestamp) {
    let name = role.name.as_str();
    let by_identity: BTreeMap<(&str, &str), Timestamp> =
        uses.iter().map(|one| ((one.issuer.as_str(), one.subject.as_str()), one.last)).collect();
    let mut met = BTreeSet::new();
    for SignIn { who, .. } in known {
        met.insert(who.reference());
        let last = by_identity.get(&(who.issuer.as_str(), who.subject.as_str())).copied();
        if has_member(role, who) && last.is_none_or(|last| last < since) {
            let kind = match who.kind {
                Kind::Person => "person",
                Kind::Workload => "workload",
            };
            let (member, display) = (who.reference(), who.display.clone());
            idle.push(IdleMember { role: name.to_owned(), member, kind, display, known: true, last });
        }
    }
    let never = |member: String, kind| IdleMember {
        role: name.to_owned(),
        member,
        kind,
        display: String::new(),
        known: false,
        last: None,
    };
    let strangers = named_subjects(role).into_iter().filter(|subject| !met.contains(*subject));
    idle.extend(strangers.map(|subject| never(subject.to_owned(), "person")));
    let services: BTreeSet<_> = role.members.iter().flat_map(|layer| layer.services.keys()).collect();
    let accounts = services.into_iter().map(|name| format!("{SERVICE}:{}", Service::subject(name)));
    idle.extend(accounts.filter(|who| !met.contains(who)).map(|who| never(who, "workload")));
    let groups: BTreeSet<_> = role.members.iter().flat_map(|layer| &layer.groups).collect();
    let empty = groups.into_iter().filter(|group| !known.iter().any(|one| one.who.groups.contains(*group)));
    idle.extend(empty.map(|group| never(group.to_string(), "group")));
}

/// The sign-ins that a provider ended because it knows the person no more, with its reason. Being logged out is not being
/// gone. Newest entries first; what is not understood says nothing.
fn gone(entries: &[AuditRow]) -> BTreeMap<String, String> {
    let (mut ended, mut logged_out) = (BTreeMap::new(), BTreeSet::new());
    for entry in entries {
        let Ok(fields) = serde_json::from_str::<Value>(&entry.json) else { continue };
        let text = |name: &str| fields.get(name).and_then(Value::as_str);
        if entry.kind == "provider_logged_out" {
            let ids = fields.get("ended").and_then(Value::as_array).into_iter().flatten();
            logged_out.extend(ids.filter_map(Value::as_str).map(str::to_owned));
        } else if text("by") == Some("provider")
            && let Some(id) = text("sign_in")
        {
            ended.insert(id.to_owned(), text("reason").unwrap_or_default().to_owned());
        }
    }
    ended.retain(|id, _| !logged_out.contains(id));
    ended
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::somebody::person;
    use crate::random::Random;

    const DAY: u64 = 86_400;

    fn policy() -> Policy {
        let text = r#"
[[target]]
name = "web1"
address = "192.0.2.1:22"
host_key = { ca = true }
[[role]]
name = "used"
members = { groups = ["corp:dev"] }
targets = { names = ["web1"] }
logins = ["app"]
channels = ["shell"]
standing = true
[[role]]
name = "idle"
members = { groups = ["corp:gone"], subjects = ["corp:ann", "corp:stranger"] }
targets = { names = ["web1"] }
logins = ["root"]
channels = ["shell"]
standing = true
"#;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("policy.toml");
        std::fs::write(&file, text).unwrap();
        crate::policy::load(&file).unwrap()
    }

    fn day(day: u64) -> Timestamp {
        Timestamp::from_secs(1_900_000_000 + day * DAY)
    }

    fn sign_in(seed: u64, kind: Kind, subject: &str, group: &str, at: u64) -> SignIn {
        let who = person("corp".parse().unwrap(), subject.into(), [group.parse().unwrap()].into());
        SignIn {
            id: crate::ids::SignInId::random(&Random::seeded(seed)),
            who: Identity { kind, issuer: "https://id".into(), display: subject.to_uppercase(), ..who },
            key_fingerprint: None,
            method: "loopback".into(),
            from: "192.0.2.9".into(),
            client: "laptop".into(),
            created: day(at),
            expires: day(at).plus(std::time::Duration::from_secs(3600)),
            ended: None,
        }
    }

    #[test]
    fn what_nobody_used() {
        let known = [
            sign_in(1, Kind::Person, "ann", "corp:dev", 95),
            sign_in(2, Kind::Person, "bob", "corp:dev", 95),
            sign_in(3, Kind::Person, "old", "corp:dev", 2),
            sign_in(4, Kind::Person, "left", "corp:dev", 96),
            sign_in(5, Kind::Workload, "build", "corp:ci", 1),
        ];
        let used = |role: &str, subject: &str, at| RoleUse {
            role: role.into(),
            issuer: "https://id".into(),
            subject: subject.into(),
            who: format!("corp:{subject}"),
            first: day(0),
            last: day(at),
            uses: 3,
        };
        let uses = [used("used", "ann", 95), used("used", "old", 2), used("idle", "ann", 9)];
        let gone = [(known[3].id.to_string(), "the account is gone".to_owned())].into();
        let report = judged(&policy(), &uses, &known, &gone, day(10));
        let idle = IdleRole { role: "idle".into(), standing: true, last: Some(day(9)) };
        assert_eq!(report.roles, [idle]);
        let members: Vec<String> = report
            .members
            .iter()
            .map(|one| format!("{} {} {} {} {:?}", one.role, one.kind, one.member, one.known, one.last))
            .collect();
        let expect = [
            "used person corp:bob true None".to_owned(),
            format!("used person corp:old true {:?}", Some(day(2))),
            "used person corp:left true None".to_owned(),
            format!("idle person corp:ann true {:?}", Some(day(9))),
            "idle person corp:stranger false None".to_owned(),
            "idle group corp:gone false None".to_owned(),
        ];
        assert_eq!(members, expect);
        let people: Vec<_> =
            report.people.iter().map(|one| (one.who.as_str(), one.gone.as_deref())).collect();
        assert_eq!(people, [("corp:old", None), ("corp:left", Some("the account is gone"))]);
        assert_eq!(report.people[0].roles, ["used"]);
        let workloads: Vec<_> = report.workloads.iter().map(|one| one.who.as_str()).collect();
        assert_eq!(workloads, ["corp:build"]);

        // Who is no auditor reads about themselves.
        let mut own = report.clone();
        only(&mut own, &policy(), &known[0].who);
        assert_eq!(own.roles.iter().map(|one| one.role.as_str()).collect::<Vec<_>>(), ["idle"]);
        assert!(own.members.iter().all(|one| one.member == "corp:ann"));
        assert!(own.people.is_empty() && own.workloads.is_empty());
        let mut own = report;
        only(&mut own, &policy(), &known[1].who);
        let bob = IdleRole { role: "used".into(), standing: true, last: None };
        assert_eq!(own.roles, [bob], "others use it; that is not theirs to know");
    }

    /// One that never came is listed by its roles, one that came once as idle too.
    #[test]
    fn service_accounts_that_nobody_uses() {
        let text = r#"
[[target]]
name = "web1"
address = "192.0.2.1:22"
host_key = { ca = true }
[[service]]
name = "backup"
keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIv2GvXxKPths0HHOfCK7LGH7tYSdIbxrzWMFg6uh27p"]
sources = ["10.0.0.0/8"]
[[role]]
name = "copy"
members = { services = ["backup"] }
targets = { names = ["web1"] }
logins = ["copy"]
channels = ["exec"]
standing = true
"#;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("policy.toml");
        std::fs::write(&file, text).unwrap();
        let policy = crate::policy::load(&file).unwrap();
        let members = |known: &[SignIn]| -> Vec<String> {
            let report = judged(&policy, &[], known, &BTreeMap::new(), day(10));
            let of = |one: &IdleMember| format!("{} {} {} {}", one.role, one.kind, one.member, one.known);
            report.members.iter().map(of).chain(report.workloads.iter().map(|one| one.who.clone())).collect()
        };
        assert_eq!(members(&[]), ["copy workload service:account/backup false"]);
        let who = policy.services.values().next().unwrap().example().unwrap();
        let once = SignIn { who, ..sign_in(1, Kind::Workload, "x", "corp:x", 2) };
        let expect = ["copy workload service:account/backup true", "service:account/backup"];
        assert_eq!(members(&[once]), expect);
    }

    #[test]
    fn who_is_gone_at_the_provider() {
        let entry = |kind: &str, json: Value| AuditRow {
            seq: 1,
            at: day(0),
            kind: kind.into(),
            json: json.to_string(),
            hash: None,
        };
        let entries = [
            entry(
                "sign_in_ended",
                serde_json::json!({ "sign_in": "a", "by": "provider", "reason": "no account" }),
            ),
            entry(
                "sign_in_ended",
                serde_json::json!({ "sign_in": "b", "by": "provider", "reason": "logged out" }),
            ),
            entry("provider_logged_out", serde_json::json!({ "ended": ["b"] })),
            entry(
                "sign_in_ended",
                serde_json::json!({ "sign_in": "c", "by": "corp:x", "reason": "\"by\":\"provider\"" }),
            ),
            entry("sign_in_ended", Value::from(7)),
        ];
        assert_eq!(gone(&entries), [("a".to_owned(), "no account".to_owned())].into());
    }
}
