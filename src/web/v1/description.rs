//! The API about itself.

use std::convert::Infallible;

use crate::app::App;
use crate::flow::permission::Anybody;
use crate::web::error::Failed;
use crate::web::openapi;
use crate::web::shape::{IfNoneMatch, JsonText, Tagged};

pub(in crate::web) async fn openapi(
    _: App,
    _: Anybody,
    known: IfNoneMatch,
) -> Result<Tagged<JsonText>, Failed<Infallible>> {
    Ok(Tagged::unless(&known, openapi::text().as_bytes().into()))
}
