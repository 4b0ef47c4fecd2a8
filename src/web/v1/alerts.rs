//! Alerts over the API: reading them, and saying that one has looked. Both by auditors, and so by admins.

use std::convert::Infallible;

use crate::app::App;
use crate::flow::alert::{self, AckRefused};
use crate::flow::permission::Auditor;
use crate::ids::AlertId;
use crate::store::{AlertFilter, AlertPlace, AlertRow};
use crate::time::Timestamp;
use crate::web::api::{AckRequest, AlertAnswer, AlertQuery};
use crate::web::error::Failed;
use crate::web::shape::{Id, Json, Page, Paging, Query};

pub(in crate::web) async fn list(
    app: App,
    _: Auditor,
    (Query(asked), paging): (Query<AlertQuery>, Paging),
) -> Result<Json<Page<AlertAnswer>>, Failed<Infallible>> {
    let after = match paging.after.as_deref().map(place_of) {
        None => None,
        Some(Some(place)) => Some(place),
        Some(None) => return Err(Failed::bad("\"after\" is no cursor of this list")),
    };
    let filter = AlertFilter { open: asked.open.unwrap_or(false), limit: paging.rows(), after };
    let rows = app.store.alerts(&filter).await.map_err(Failed::broken)?;
    let place = |row: &AlertRow| format!("{} {}", row.raised.as_millis(), row.id);
    Ok(Json(paging.page(rows, place, answer)))
}

pub(in crate::web) async fn acknowledge(
    app: App,
    by: Auditor,
    (Id(id), Json(asked)): (Id<AlertId>, Json<AckRequest>),
) -> Result<Json<AlertAnswer>, Failed<AckRefused>> {
    Ok(Json(answer(alert::acknowledge_signed(&app, &by, &id, &asked.note).await?)))
}

/// Where a page ended, as [`list`] wrote it.
fn place_of(cursor: &str) -> Option<AlertPlace> {
    let (raised, id) = cursor.split_once(' ')?;
    Some(AlertPlace { raised: Timestamp::from_millis(raised.parse().ok()?), id: id.parse().ok()? })
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
