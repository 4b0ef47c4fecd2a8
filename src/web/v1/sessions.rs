//! Live sessions over the API: ending and watching them. What these mean is `flow::kill`'s and `flow::watch`'s. A watch is
//! asked for again and again, not one long answer: so it lives with the limits of this door, and who watches is judged anew
//! every few seconds.

use crate::app::App;
use crate::flow::kill::{self, KillRefused};
use crate::flow::permission::{Killer, Watcher};
use crate::flow::watch::{self, WatchRefused, Watched};
use crate::ids::SessionId;
use crate::web::api::sessions::{KillRequest, KilledSession, WatchAnswer, WatchQuery};
use crate::web::error::Failed;
use crate::web::shape::{Id, Json, Query};

pub(in crate::web) async fn kill(
    app: App,
    by: Killer,
    (Id(id), Json(asked)): (Id<SessionId>, Json<KillRequest>),
) -> Result<Json<KilledSession>, Failed<KillRefused>> {
    let row = kill::kill(&app, &by, &id, &asked.reason).await?;
    Ok(Json(KilledSession::from(&row)))
}

pub(in crate::web) async fn watch(
    app: App,
    by: Watcher,
    Id(id): Id<SessionId>,
) -> Result<Json<WatchAnswer>, Failed<WatchRefused>> {
    Ok(Json(answer(watch::begin(&app, &by, &id).await?)))
}

pub(in crate::web) async fn watch_more(
    app: App,
    by: Watcher,
    (Id(id), Query(asked)): (Id<SessionId>, Query<WatchQuery>),
) -> Result<Json<WatchAnswer>, Failed<WatchRefused>> {
    // Without them it is no watch that there could be.
    let (Some(watch), Some(place)) = (asked.watch, asked.place) else {
        return Err(WatchRefused::NoWatch.into());
    };
    Ok(Json(answer(watch::more(&app, &by, &id, (&watch, &place)).await?)))
}

fn answer(watched: Watched) -> WatchAnswer {
    let Watched { watch, cast, place, is_over } = watched;
    WatchAnswer { watch, cast, place, over: is_over }
}
