//! Looking over the API. Who sees whom is decided by `flow::look`; here words become names, and what was found its wire
//! shape. The command on the server shows the same shapes.

use std::time::Duration;

use crate::access::{Case, State};
use crate::app::App;
use crate::flow::look::{
    self, AccessNow, Asked, DAYS, History, LiveGrant, OpenSession, PastGrant, RoleWay, SINCE, SightRefused,
    Unused,
};
use crate::flow::permission::SignedIn;
use crate::ids::GrantId;
use crate::names::{ProviderName, TargetName};
use crate::policy::{Policy, StageRule};
use crate::store::{GrantRow, SessionRow, Store, StoreError};
use crate::time::Timestamp;
use crate::web::api::looking::{
    AccessAnswer, AccessGrant, AccessMembers, AccessPerson, AccessQuery, AccessRole, AccessRules,
    AccessSession, AccessStage, HistoryQuery, UnusedAnswer, UnusedMember, UnusedPerson, UnusedQuery,
    UnusedRole,
};
use crate::web::error::Failed;
use crate::web::shape::{Json, Page, Paging, Query};

/// Longest name of a person.
const USER_MAX: usize = 400;
/// The last moment that can be named: the year 2100.
const SINCE_MAX: u64 = 4_102_444_800;
/// Most days that a report looks back.
const DAYS_MAX: u32 = 3650;
/// Most targets of a role that are shown, and most of a command line.
const TARGETS_SHOWN: usize = 100;
const COMMAND_SHOWN: usize = 200;

/// Why a command on the server shows nothing.
#[derive(Debug, thiserror::Error)]
pub enum HereRefused {
    /// What was asked makes no sense. A sentence for whoever wrote it.
    #[error("{0}")]
    Words(String),
    /// The store is out of order.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a command on the server looks at, beside the running one.
#[derive(Clone, Copy, Debug)]
pub struct Here<'a> {
    /// The store.
    pub store: &'a Store,
    /// The policy as its files say it.
    pub policy: &'a Policy,
    /// The time.
    pub now: Timestamp,
}

impl Here<'_> {
    /// `GET /v1/access` for the command on the server.
    pub async fn access(&self, wanted: AccessQuery) -> Result<AccessAnswer, HereRefused> {
        let asked = asked(wanted.user, wanted.target).map_err(HereRefused::Words)?;
        Ok(look::now_by_command(self.store, self.policy, &asked, self.now).await?.into())
    }

    /// `GET /v1/access/history`.
    pub async fn history(
        &self,
        wanted: HistoryQuery,
        paging: &Paging,
    ) -> Result<Page<AccessGrant>, HereRefused> {
        let (asked, part) = part(wanted, paging, self.now).map_err(HereRefused::Words)?;
        let past = look::history_by_command(self.store, self.policy, &asked, &part, self.now).await?;
        Ok(paging.page(past, |one| place(&one.row), AccessGrant::from))
    }

    /// `GET /v1/reports/unused`.
    pub async fn unused(&self, wanted: &UnusedQuery) -> Result<UnusedAnswer, HereRefused> {
        let since = since(wanted, self.now).map_err(HereRefused::Words)?;
        Ok(look::unused_by_command(self.store, self.policy, since, self.now).await?.into())
    }
}

pub(in crate::web) async fn now(
    app: App,
    by: SignedIn,
    Query(wanted): Query<AccessQuery>,
) -> Result<Json<AccessAnswer>, Failed<SightRefused>> {
    let asked = asked(wanted.user, wanted.target).map_err(Failed::bad)?;
    Ok(Json(look::now(&app, &by, &asked).await?.into()))
}

pub(in crate::web) async fn history(
    app: App,
    by: SignedIn,
    (Query(wanted), paging): (Query<HistoryQuery>, Paging),
) -> Result<Json<Page<AccessGrant>>, Failed<SightRefused>> {
    let (asked, part) = part(wanted, &paging, app.clock.now()).map_err(Failed::bad)?;
    let past = look::history(&app, &by, &asked, &part).await?;
    Ok(Json(paging.page(past, |one| place(&one.row), AccessGrant::from)))
}

pub(in crate::web) async fn unused(
    app: App,
    by: SignedIn,
    Query(wanted): Query<UnusedQuery>,
) -> Result<Json<UnusedAnswer>, Failed<SightRefused>> {
    let since = since(&wanted, app.clock.now()).map_err(Failed::bad)?;
    Ok(Json(look::unused(&app, &by, since).await?.into()))
}

fn part(wanted: HistoryQuery, paging: &Paging, now: Timestamp) -> Result<(Asked, History), String> {
    let asked = asked(wanted.user, wanted.target)?;
    if wanted.since.is_some_and(|since| since > SINCE_MAX) {
        return Err(format!("since is a moment in Unix seconds, at most {SINCE_MAX}"));
    }
    let since = wanted.since.map_or_else(|| now.minus(SINCE), Timestamp::from_secs);
    let before = paging.after.as_deref().map(read_place).transpose()?;
    Ok((asked, History { since, before, rows: paging.rows() }))
}

fn since(wanted: &UnusedQuery, now: Timestamp) -> Result<Timestamp, String> {
    let days = wanted.days.unwrap_or(DAYS);
    if !(1..=DAYS_MAX).contains(&days) {
        return Err(format!("days is a number from 1 to {DAYS_MAX}"));
    }
    Ok(now.minus(Duration::from_secs(u64::from(days) * 86_400)))
}

fn asked(user: Option<String>, target: Option<String>) -> Result<Asked, String> {
    if let Some(user) = &user {
        let (provider, subject) = user.split_once(':').unwrap_or_default();
        let sane = !subject.is_empty() && !user.chars().any(char::is_control);
        if provider.parse::<ProviderName>().is_err() || !sane || user.chars().count() > USER_MAX {
            return Err("user is PROVIDER:SUBJECT, such as corp:ann".to_owned());
        }
    }
    let target =
        target.map(|name| name.parse::<TargetName>()).transpose().map_err(|error| error.to_string())?;
    Ok(Asked { user, target })
}

/// Where a grant stands in the history, for the cursor of its page.
fn place(row: &GrantRow) -> String {
    format!("{} {}", row.opened.as_millis(), row.grant.id)
}

/// The grant that a cursor stands for.
fn read_place(text: &str) -> Result<(Timestamp, GrantId), String> {
    let parsed = text.split_once(' ').and_then(|(at, id)| Some((at.parse::<u64>().ok()?, id.parse().ok()?)));
    // No row can be later than what a column holds.
    let known = parsed.filter(|(at, _)| i64::try_from(*at).is_ok());
    let (at, id) = known.ok_or_else(|| "\"after\" is no cursor of this list".to_owned())?;
    Ok((Timestamp::from_millis(at), id))
}

impl From<AccessNow> for AccessAnswer {
    fn from(now: AccessNow) -> Self {
        Self {
            at: now.at.as_secs(),
            everybody: now.everybody,
            cut: now.cut,
            grants: now.grants.into_iter().map(AccessGrant::from).collect(),
            sessions: now
                .sessions
                .into_iter()
                .map(|OpenSession { row, roles }| session(&row, roles))
                .collect(),
            roles: now.roles.into_iter().map(AccessRole::from).collect(),
            person: now.person.map(|person| AccessPerson {
                who: person.who,
                display: person.display,
                groups: person.groups,
                signed_in: person.signed_in.map(Timestamp::as_secs),
                locked: person.locked,
            }),
        }
    }
}

impl From<LiveGrant> for AccessGrant {
    fn from(live: LiveGrant) -> Self {
        let sessions = live.sessions.iter().map(|row| session(row, Vec::new())).collect();
        Self { state: live.state.to_owned(), sessions, ..grant(&live.row, live.case.as_ref()) }
    }
}

impl From<PastGrant> for AccessGrant {
    fn from(past: PastGrant) -> Self {
        let sessions = past.sessions.iter().map(|row| session(row, Vec::new())).collect();
        let ended = Some(past.ended.as_secs());
        Self { state: past.end, ended, sessions, ..grant(&past.row, past.case.as_ref()) }
    }
}

impl From<RoleWay> for AccessRole {
    fn from(way: RoleWay) -> Self {
        let role = way.role;
        let RoleWay { owners, members, .. } = way;
        let members = members.iter().map(|layer| AccessMembers {
            groups: texts(&layer.groups),
            subjects: layer.subjects.iter().cloned().collect(),
            workloads: layer.workloads.iter().map(|rule| rule.name.to_string()).collect(),
            services: layer.services.keys().map(ToString::to_string).collect(),
        });
        let request = role.access.rules().map(|rules| AccessRules {
            max: rules.max.as_secs(),
            automatic: !rules.automatic.is_empty(),
            stages: rules.stages.iter().enumerate().map(|(at, rule)| stage(rule, owners.get(at))).collect(),
            break_glass: rules.break_glass.as_ref().map(crate::access::Approvers::listed),
        });
        Self {
            role: role.name.to_string(),
            members: members.collect(),
            target_count: way.targets.len() as u64,
            targets: way.targets.iter().take(TARGETS_SHOWN).map(ToString::to_string).collect(),
            logins: texts(&role.logins),
            channels: role.channels.iter().map(|kind| kind.as_str().to_owned()).collect(),
            request,
            locked: way.locked,
        }
    }
}

impl From<Unused> for UnusedAnswer {
    fn from(unused: Unused) -> Self {
        let secs = |at: Option<Timestamp>| at.map(Timestamp::as_secs);
        let person = |one: look::IdlePerson| UnusedPerson {
            who: one.who,
            display: one.display,
            last: one.last.as_secs(),
            gone: one.gone,
            roles: one.roles,
        };
        let role = |one: look::IdleRole| UnusedRole {
            role: one.role,
            standing: one.standing,
            last: one.last.map(Timestamp::as_secs),
        };
        let member = |one: look::IdleMember| UnusedMember {
            role: one.role,
            member: one.member,
            kind: one.kind.to_owned(),
            display: one.display,
            known: one.known,
            last: one.last.map(Timestamp::as_secs),
        };
        Self {
            since: unused.since.as_secs(),
            everybody: unused.everybody,
            cut: unused.cut,
            uncounted_until: secs(unused.uncounted_until),
            roles: unused.roles.into_iter().map(role).collect(),
            members: unused.members.into_iter().map(member).collect(),
            grants: unused.grants.into_iter().map(AccessGrant::from).collect(),
            people: unused.people.into_iter().map(person).collect(),
            workloads: unused.workloads.into_iter().map(person).collect(),
        }
    }
}

/// What a grant is, whether it lives or not.
fn grant(row: &GrantRow, case: Option<&Case>) -> AccessGrant {
    let GrantRow { grant, .. } = row;
    let (ended_by, note) = match case.map(|case| &case.state) {
        Some(State::Closed { by, note, .. }) => (by.as_ref().map(ToString::to_string), note.clone()),
        Some(State::Waiting { .. } | State::Granted { .. }) | None => (None, String::new()),
    };
    let approvals = case.map(|case| case.approvals.as_slice()).unwrap_or_default();
    AccessGrant {
        id: grant.id.to_string(),
        request: grant.case.to_string(),
        who: grant.who.reference.clone(),
        display: grant.who.display.clone(),
        role: grant.scope.role.to_string(),
        targets: texts(&grant.scope.targets),
        logins: texts(&grant.scope.logins),
        commands: grant.scope.commands.iter().cloned().collect(),
        once: grant.scope.once.map(|once| once.as_str().to_owned()),
        state: String::new(),
        opened: row.opened.as_secs(),
        starts: grant.starts.as_secs(),
        until: grant.until.as_secs(),
        ended: grant.ended.map(Timestamp::as_secs),
        ended_by,
        note,
        reason: case.map(|case| case.reason.clone()).unwrap_or_default(),
        ticket: case.and_then(|case| case.ticket.clone()),
        break_glass: grant.break_glass,
        approved_by: approvals.iter().map(|approval| approval.by.to_string()).collect(),
        uses: row.uses,
        sessions: Vec::new(),
    }
}

fn session(row: &SessionRow, roles: Vec<String>) -> AccessSession {
    AccessSession {
        id: row.id.to_string(),
        who: row.who.clone(),
        display: row.display.clone(),
        target: row.target.clone(),
        login: row.login.clone(),
        kind: row.kind.clone(),
        command: row.command.chars().take(COMMAND_SHOWN).collect(),
        from: row.from.clone(),
        opened: row.opened.as_secs(),
        closed: row.closed.map(Timestamp::as_secs),
        close_reason: row.close_reason.clone(),
        roles,
    }
}

fn stage(rule: &StageRule, owners: Option<&Vec<String>>) -> AccessStage {
    AccessStage {
        name: rule.name.clone(),
        needed: rule.needed as u64,
        approvers: rule.approvers.listed(),
        owner_label: rule.owner_label.clone(),
        owners: owners.cloned().unwrap_or_default(),
        escalate_to: rule.escalate.as_ref().map(|(_, to)| to.listed()).unwrap_or_default(),
    }
}

fn texts<T: ToString>(all: impl IntoIterator<Item = T>) -> Vec<String> {
    all.into_iter().map(|one| one.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_request() {
        let check = |user: Option<&str>, target: Option<&str>| {
            asked(user.map(str::to_owned), target.map(str::to_owned)).is_ok()
        };
        assert!(check(None, None) && check(Some("corp:ann"), Some("web1")));
        assert!(check(Some("corp:a b:c\u{fc}"), None), "subjects are the provider's words");
        for bad in ["", "ann", ":ann", "corp:", "corp:a\0b", "c orp:ann", "corp:a\u{9b}"] {
            assert!(!check(Some(bad), None), "{bad:?}");
        }
        assert!(!check(Some(&format!("corp:{}", "x".repeat(400))), None));
        for bad in ["", "WEB1", "web 1", "web1%", "a..b"] {
            assert!(!check(None, Some(bad)), "{bad:?}");
        }
    }

    #[test]
    fn cursors() {
        let id = "grt_00000000000000000000000000";
        let (at, grant) = read_place(&format!("1900000000123 {id}")).unwrap();
        assert_eq!((at.as_millis(), grant.to_string().as_str()), (1_900_000_000_123, id));
        for bad in ["", "1", "x grt_00000000000000000000000000", "1 req_00000000000000000000000000", "-1 x"] {
            assert!(read_place(bad).is_err(), "{bad:?}");
        }
        assert!(read_place(&format!("{} {id}", u64::MAX)).is_err());
    }
}
