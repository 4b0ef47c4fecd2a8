//! Live sessions over the API: ending them. What that means is `flow::kill`'s.

use crate::app::App;
use crate::flow::kill::{self, KillRefused};
use crate::flow::permission::Killer;
use crate::ids::SessionId;
use crate::web::api::sessions::{KillRequest, KilledSession};
use crate::web::error::Failed;
use crate::web::shape::{Id, Json};

pub(in crate::web) async fn kill(
    app: App,
    by: Killer,
    (Id(id), Json(asked)): (Id<SessionId>, Json<KillRequest>),
) -> Result<Json<KilledSession>, Failed<KillRefused>> {
    let row = kill::kill(&app, &by, &id, &asked.reason).await?;
    Ok(Json(KilledSession::from(&row)))
}
