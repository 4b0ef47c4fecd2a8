//! Requests over the API: asking, deciding, ending, listing. What they mean is decided by `flow::ask`, `flow::answer` and
//! `flow::cases`; here words become names, and cases what clients read.

use std::convert::Infallible;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use super::shown;
use crate::access::{Close, Narrowing, Once};
use crate::app::App;
use crate::flow::answer::{self, AnswerRefused, By, Wanted};
use crate::flow::ask::{self, AskRefused};
use crate::flow::cases::{self, Listing, LookRefused, Whose};
use crate::flow::permission::SignedIn;
use crate::ids::CaseId;
use crate::names::LoginName;
use crate::policy::request::{TargetWish, Wish, eligible as eligible_for};
use crate::time::Timestamp;
use crate::web::api::requests::{
    ApproveRequest, AskAnswer, AskRequest, EligibleAnswer, OnceWord, ReasonRequest, RequestAnswer,
    RequestsQuery, ReviewRequest,
};
use crate::web::error::Failed;
use crate::web::shape::{Id, IdempotencyKey, Json, Made, Page, Paging, Query};

/// Longest time that can be asked for in seconds: a year. What a role allows is less.
pub(super) const SECONDS_MAX: u64 = 31_536_000;
/// The last moment that can be named, in seconds: the year 2100.
const START_MAX: u64 = 4_102_444_800;
/// Most targets and most logins of a request.
const NAMES_MAX: usize = 50;

pub(in crate::web) async fn ask(
    app: App,
    by: SignedIn,
    (IdempotencyKey(key), Json(asked)): (IdempotencyKey, Json<AskRequest>),
) -> Result<Made<AskAnswer>, Failed<AskRefused>> {
    let dry_run = asked.dry_run;
    let wish = wish(asked)?;
    if dry_run {
        let plan = ask::dry_run(&app, by.caller(), &wish).await?;
        return Ok(Made::Known(AskAnswer { request: None, plan: Some(shown::plan(&plan)), again: false }));
    }
    let filed = ask::ask(&app, &by, &wish, key.as_deref()).await?;
    let request = cases::shown(&app, by.caller(), filed.case).await.map_err(Failed::broken)?;
    let request = Some(shown::request(request, app.clock.now()));
    let answer = AskAnswer { request, plan: None, again: filed.again };
    Ok(if filed.again { Made::Known(answer) } else { Made::New(answer) })
}

pub(in crate::web) async fn list(
    app: App,
    by: SignedIn,
    (Query(wanted), paging): (Query<RequestsQuery>, Paging),
) -> Result<Json<Page<RequestAnswer>>, Failed<LookRefused>> {
    let whose = match wanted.scope.as_deref() {
        None | Some("own") => Whose::Own,
        Some("all") => Whose::All,
        Some(_) => return Err(Failed::bad("scope is \"own\" or \"all\"")),
    };
    let word =
        wanted.state.as_deref().map(|word| state(word).ok_or_else(|| Failed::bad("there is no such state")));
    let before = read_place(&paging)?;
    let listing = Listing { whose, word: word.transpose()?, before, rows: paging.rows() };
    let cases = cases::list(&app, &by, &listing).await?;
    Ok(Json(page(&app, &paging, cases)))
}

pub(in crate::web) async fn inbox(
    app: App,
    by: SignedIn,
    paging: Paging,
) -> Result<Json<Page<RequestAnswer>>, Failed<Infallible>> {
    let mut cases = cases::inbox(&app, by.caller()).await.map_err(Failed::broken)?;
    if let Some((at, id)) = read_place::<CaseId, _>(&paging)? {
        cases.retain(|shown| (shown.case.filed, &shown.case.id) > (at, &id));
    }
    Ok(Json(page(&app, &paging, cases)))
}

fn page(app: &App, paging: &Paging, cases: Vec<cases::Shown>) -> Page<RequestAnswer> {
    let now = app.clock.now();
    let place = |shown: &cases::Shown| place_of(shown.case.filed, &shown.case.id);
    paging.page(cases, place, |shown| shown::request(shown, now))
}

pub(in crate::web) async fn show(
    app: App,
    by: SignedIn,
    Id(id): Id<CaseId>,
) -> Result<Json<RequestAnswer>, Failed<LookRefused>> {
    let case = cases::show(&app, by.caller(), &id).await?;
    Ok(Json(shown::request(case, app.clock.now())))
}

pub(in crate::web) async fn eligible(
    app: App,
    by: SignedIn,
    paging: Paging,
) -> Result<Json<Page<EligibleAnswer>>, Failed<Infallible>> {
    let policy = app.policy();
    let mut roles = eligible_for(&policy, by.caller().identity());
    roles.sort_by(|a, b| a.role.name.cmp(&b.role.name));
    if let Some(after) = &paging.after {
        roles.retain(|one| one.role.name.as_str() > after.as_str());
    }
    Ok(Json(paging.page(roles, |one| one.role.name.to_string(), |one| shown::eligible(&one))))
}

pub(in crate::web) async fn approve(
    app: App,
    by: SignedIn,
    (Id(id), Json(asked)): (Id<CaseId>, Json<ApproveRequest>),
) -> Result<Json<RequestAnswer>, Failed<AnswerRefused>> {
    let logins = asked.logins.map(|logins| some_of("logins", &logins)).transpose()?;
    let narrow = Narrowing {
        length: seconds(asked.seconds)?,
        logins: logins.map(|logins: Vec<LoginName>| logins.into_iter().collect()),
        commands: asked.commands.map(|lines| lines.into_iter().collect()),
    };
    done(&app, &by, &id, Wanted::Approve { narrow, note: asked.note }).await
}

pub(in crate::web) async fn deny(
    app: App,
    by: SignedIn,
    (Id(id), Json(asked)): (Id<CaseId>, Json<ReasonRequest>),
) -> Result<Json<RequestAnswer>, Failed<AnswerRefused>> {
    done(&app, &by, &id, Wanted::Deny { reason: asked.reason }).await
}

pub(in crate::web) async fn cancel(
    app: App,
    by: SignedIn,
    Id(id): Id<CaseId>,
) -> Result<Json<RequestAnswer>, Failed<AnswerRefused>> {
    done(&app, &by, &id, Wanted::Cancel).await
}

pub(in crate::web) async fn release(
    app: App,
    by: SignedIn,
    Id(id): Id<CaseId>,
) -> Result<Json<RequestAnswer>, Failed<AnswerRefused>> {
    done(&app, &by, &id, Wanted::Release).await
}

pub(in crate::web) async fn revoke(
    app: App,
    by: SignedIn,
    (Id(id), Json(asked)): (Id<CaseId>, Json<ReasonRequest>),
) -> Result<Json<RequestAnswer>, Failed<AnswerRefused>> {
    done(&app, &by, &id, Wanted::Revoke { reason: asked.reason }).await
}

pub(in crate::web) async fn review(
    app: App,
    by: SignedIn,
    (Id(id), Json(asked)): (Id<CaseId>, Json<ReviewRequest>),
) -> Result<Json<RequestAnswer>, Failed<AnswerRefused>> {
    done(&app, &by, &id, Wanted::Review { note: asked.note }).await
}

async fn done(
    app: &App,
    by: &SignedIn,
    id: &CaseId,
    wanted: Wanted,
) -> Result<Json<RequestAnswer>, Failed<AnswerRefused>> {
    let case = answer::answer(app, By::Signed(by), id, wanted).await?;
    let shown = cases::shown(app, by.caller(), case).await.map_err(Failed::broken)?;
    Ok(Json(shown::request(shown, app.clock.now())))
}

fn wish(asked: AskRequest) -> Result<Wish, Failed<AskRefused>> {
    if asked.targets.is_empty() {
        return Err(Failed::bad("name at least one target"));
    }
    if asked.start.is_some_and(|start| start > START_MAX) {
        return Err(Failed::bad("start is Unix seconds, before the year 2100"));
    }
    let role = asked.role.map(|role| role.parse()).transpose().map_err(Failed::bad)?;
    Ok(Wish {
        targets: some_of::<Targets, _>("targets", &asked.targets)?.into_iter().map(|one| one.0).collect(),
        logins: some_of("logins", &asked.logins)?.into_iter().collect(),
        role,
        commands: asked.commands.into_iter().collect(),
        length: seconds(asked.seconds)?,
        start: asked.start.map(Timestamp::from_secs),
        once: asked.once.map(|once| match once {
            OnceWord::Session => Once::Session,
            OnceWord::Exec => Once::Exec,
        }),
        reason: asked.reason,
        ticket: asked.ticket,
        break_glass: asked.break_glass,
    })
}

/// `web1`, or `env=prod`.
struct Targets(TargetWish);

impl FromStr for Targets {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            None => text.parse().map(|name| Self(TargetWish::Name(name))).map_err(|bad| format!("{bad}")),
            Some((key, value))
                if !key.is_empty() && !value.is_empty() && !text.chars().any(char::is_control) =>
            {
                Ok(Self(TargetWish::Label(key.to_owned(), value.to_owned())))
            }
            Some(_) => Err("a label is KEY=VALUE on one line".to_owned()),
        }
    }
}

fn some_of<T: FromStr<Err: Display>, E>(what: &str, texts: &[String]) -> Result<Vec<T>, Failed<E>> {
    if texts.len() > NAMES_MAX {
        return Err(Failed::bad(format!("at most {NAMES_MAX} {what}")));
    }
    texts.iter().map(|text| text.parse()).collect::<Result<_, _>>().map_err(Failed::bad)
}

fn seconds<E>(seconds: Option<u64>) -> Result<Option<Duration>, Failed<E>> {
    match seconds {
        Some(0) => Err(Failed::bad("seconds is a number from 1 on")),
        Some(many) if many > SECONDS_MAX => Err(Failed::bad(format!("seconds is at most {SECONDS_MAX}"))),
        seconds => Ok(seconds.map(Duration::from_secs)),
    }
}

/// The word of a state, if it is one.
fn state(word: &str) -> Option<&'static str> {
    let known = ["waiting", "granted"].into_iter().chain(Close::ALL.map(Close::as_str));
    known.into_iter().find(|known| *known == word)
}

/// Where a row stands in a list that goes by time and id.
pub(super) fn place_of(at: Timestamp, id: &impl Display) -> String {
    format!("{} {id}", at.as_millis())
}

/// Where the page before ended.
pub(super) fn read_place<I: FromStr, E>(paging: &Paging) -> Result<Option<(Timestamp, I)>, Failed<E>> {
    let Some(place) = &paging.after else { return Ok(None) };
    let read = place.split_once(' ').and_then(|(at, id)| {
        let at: u64 = at.parse().ok().filter(|at| *at / 1000 <= START_MAX)?;
        Some((Timestamp::from_millis(at), id.parse().ok()?))
    });
    // A cursor of another list, or none of ours.
    read.map(Some)
        .ok_or_else(|| Failed::bad("\"after\" is no cursor of this list; take \"next\" of the page before"))
}
