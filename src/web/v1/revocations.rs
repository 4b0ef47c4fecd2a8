//! Revoking over the API, what was revoked, and the list that targets fetch. What these mean is `flow::revoke`'s. The list
//! is for everybody: it says nothing about anybody but serials, key ids and keys, and is made once for each version.

use std::convert::Infallible;

use crate::app::App;
use crate::flow::permission::{Anybody, Auditor, SignedIn};
use crate::flow::revoke::{self as flow, Order, RevokeRefused, What};
use crate::web::api::revocations::{Revocation, RevocationAnswer, RevocationRequest};
use crate::web::error::Failed;
use crate::web::shape::{IfNoneMatch, Json, Octets, Page, Paging, Tagged};

/// Longest value, in characters: an RSA key of 4096 bits has less than a quarter of it.
const VALUE_MAX: usize = 4096;

pub(in crate::web) async fn revoke(
    app: App,
    by: SignedIn,
    Json(asked): Json<RevocationRequest>,
) -> Result<Json<RevocationAnswer>, Failed<RevokeRefused>> {
    if asked.value.is_empty() || asked.value.chars().count() > VALUE_MAX {
        return Err(Failed::bad(format!("a value has 1 to {VALUE_MAX} characters")));
    }
    // What is no name of the kind is nothing that there could be.
    let what = What::parse(asked.kind.as_str(), &asked.value)
        .map_err(|why| RevokeRefused::NotFound(why.to_string()))?;
    let order = Order::new(what, &asked.reason).map_err(Failed::bad)?;
    let done = flow::revoke(&app, &by, &order).await?;
    Ok(Json(RevocationAnswer {
        revoked: done.revoked.iter().map(Revocation::from).collect(),
        sign_ins: done.sign_ins.iter().map(ToString::to_string).collect(),
        version: done.version.to_string(),
    }))
}

pub(in crate::web) async fn list(
    app: App,
    _: Auditor,
    paging: Paging,
) -> Result<Json<Page<Revocation>>, Failed<Infallible>> {
    let after = paging.after.as_deref().map(str::parse).transpose().map_err(Failed::bad)?;
    let rows = app.store.revocations(after.as_ref(), paging.rows()).await.map_err(Failed::broken)?;
    Ok(Json(paging.page(rows, |row| row.id.to_string(), |row| Revocation::from(&row))))
}

pub(in crate::web) async fn krl(
    app: App,
    _: Anybody,
    known: IfNoneMatch,
) -> Result<Tagged<Octets>, Failed<Infallible>> {
    let list = flow::published(&app).await.map_err(Failed::broken)?;
    Ok(Tagged::unless(&known, list))
}
