//! A certificate for whoever is signed in. What it may say is `flow::issue`'s.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::app::App;
use crate::flow::issue::{self as flow, IssueRefused, Wish};
use crate::flow::permission::SignedIn;
use crate::names::LoginName;
use crate::pattern::LOGINS_MAX;
use crate::web::api::{CertificateAnswer, CertificateRequest};
use crate::web::error::Failed;
use crate::web::shape::Json;

/// Longest life that is asked for; what is granted is minutes.
const LIFE_MAX_SECS: u64 = 86_400;

pub(in crate::web) async fn issue(
    app: App,
    by: SignedIn,
    Json(asked): Json<CertificateRequest>,
) -> Result<Json<CertificateAnswer>, Failed<IssueRefused>> {
    let issued = flow::issue(&app, &by, wish(asked).map_err(Failed::bad)?).await?;
    Ok(Json(CertificateAnswer {
        certificate: issued.certificate.to_openssh().map_err(Failed::broken)?,
        serial: issued.serial.to_string(),
        principals: issued.principals,
        valid_before: issued.valid_before.as_secs(),
        ssh: super::settings(&app, &issued.who)?,
    }))
}

/// What is asked for, or what is wrong with it.
pub(super) fn wish(asked: CertificateRequest) -> Result<Wish, String> {
    if asked.principals.as_ref().is_some_and(|names| names.len() > LOGINS_MAX) {
        return Err(format!("at most {LOGINS_MAX} principals"));
    }
    if asked.life.is_some_and(|life| life > LIFE_MAX_SECS) {
        return Err(format!("life is at most {LIFE_MAX_SECS} seconds"));
    }
    let parsed = asked
        .principals
        .map(|names| names.iter().map(|name| name.parse::<LoginName>()).collect::<Result<BTreeSet<_>, _>>());
    let logins = parsed.transpose().map_err(|bad| bad.to_string())?;
    Ok(Wish { logins, life: asked.life.map(Duration::from_secs) })
}
