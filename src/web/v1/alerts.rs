//! Alerts over the API: reading them, and saying that one has looked. Both by auditors, and so by admins.

use std::convert::Infallible;

use super::requests::{place_of, read_place};
use crate::app::App;
use crate::flow::alert::{self, AckRefused};
use crate::flow::permission::Auditor;
use crate::ids::AlertId;
use crate::store::{AlertFilter, AlertPlace, AlertRow};
use crate::time::Timestamp;
use crate::web::api::alerts::{AckRequest, AlertAnswer, AlertQuery};
use crate::web::error::Failed;
use crate::web::shape::{Id, Json, Page, Paging, Query};

pub(in crate::web) async fn list(
    app: App,
    _: Auditor,
    (Query(asked), paging): (Query<AlertQuery>, Paging),
) -> Result<Json<Page<AlertAnswer>>, Failed<Infallible>> {
    let after = read_place(&paging)?.map(|(raised, id)| AlertPlace { raised, id });
    let filter = AlertFilter { open: asked.open, limit: paging.rows(), after };
    let rows = app.store.alerts(&filter).await.map_err(Failed::broken)?;
    Ok(Json(paging.page(rows, |row: &AlertRow| place_of(row.raised, &row.id), answer)))
}

pub(in crate::web) async fn acknowledge(
    app: App,
    by: Auditor,
    (Id(id), Json(asked)): (Id<AlertId>, Json<AckRequest>),
) -> Result<Json<AlertAnswer>, Failed<AckRefused>> {
    Ok(Json(answer(alert::acknowledge_signed(&app, &by, &id, &asked.note).await?)))
}

fn answer(row: AlertRow) -> AlertAnswer {
    AlertAnswer {
        id: row.id.to_string(),
        rule: row.rule.word().to_owned(),
        subject: row.subject,
        title: row.title,
        events: row.events,
        first_seq: row.first_seq,
        last_seq: row.last_seq,
        happened: row.happened.as_secs(),
        last_happened: row.last_happened.as_secs(),
        raised: row.raised.as_secs(),
        acknowledged: row.acknowledged.map(Timestamp::as_secs),
        acknowledged_by: row.acknowledged_by,
        note: row.note,
    }
}
