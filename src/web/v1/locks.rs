//! Locks over the API. What they mean is `flow::locks`'s.

use std::convert::Infallible;
use std::time::Duration;

use super::requests::{SECONDS_MAX, place_of, read_place};
use crate::access::LockOn;
use crate::app::App;
use crate::flow::locks::{self as flow, LockRefused, LockWish};
use crate::flow::permission::{Admin, Auditor};
use crate::ids::LockId;
use crate::web::api::locks::{LockAnswer, LockKind, LockRequest};
use crate::web::error::Failed;
use crate::web::shape::{Created, Id, Json, NoContent, Page, Paging};

/// Longest name: that of a target.
const NAME_MAX: usize = 253;

pub(in crate::web) async fn list(
    app: App,
    _: Auditor,
    paging: Paging,
) -> Result<Json<Page<LockAnswer>>, Failed<Infallible>> {
    let mut locks = flow::held(&app).await.map_err(Failed::broken)?;
    if let Some((at, id)) = read_place::<LockId, _>(&paging)? {
        locks.retain(|lock| (lock.created, &lock.id) > (at, &id));
    }
    Ok(Json(paging.page(locks, |lock| place_of(lock.created, &lock.id), |lock| LockAnswer::from(&lock))))
}

pub(in crate::web) async fn lock(
    app: App,
    by: Admin,
    Json(asked): Json<LockRequest>,
) -> Result<Created<LockAnswer>, Failed<LockRefused>> {
    let LockRequest { on, name, reason, seconds } = asked;
    if name.is_empty() || name.chars().count() > NAME_MAX {
        return Err(Failed::bad(format!("a name has 1 to {NAME_MAX} characters")));
    }
    if seconds.is_some_and(|seconds| seconds == 0 || seconds > SECONDS_MAX) {
        return Err(Failed::bad(format!("seconds is a number from 1 to {SECONDS_MAX}")));
    }
    // A name that is none is nobody's and nothing's.
    let unknown = |why: crate::names::BadName| LockRefused::Unknown(why.to_string());
    let on = match on {
        LockKind::User => LockOn::User(name),
        LockKind::Target => LockOn::Target(name.parse().map_err(unknown)?),
        LockKind::Role => LockOn::Role(name.parse().map_err(unknown)?),
    };
    let wish = LockWish { on, reason, length: seconds.map(Duration::from_secs) };
    let lock = flow::lock(&app, &by, wish).await?;
    let warning = flow::warning(&app.store, &lock.on).await.map_err(LockRefused::from)?;
    Ok(Created(LockAnswer { warning, ..LockAnswer::from(&lock) }))
}

pub(in crate::web) async fn unlock(
    app: App,
    by: Admin,
    Id(id): Id<LockId>,
) -> Result<NoContent, Failed<LockRefused>> {
    flow::unlock(&app, &by, &id).await?;
    Ok(NoContent)
}
