//! Signing in over the API: begin, finish, who am I, and ending it. What these mean is `flow::sign_in`'s and
//! `flow::end_sign_in`'s.

use crate::app::App;
use crate::flow::end_sign_in::{EndRefused, end_other, end_own};
use crate::flow::permission::SignedIn;
use crate::flow::recognise::SignedBy;
use crate::flow::sign_in::{self as flow, Begin, Finish, Finished, SignInRefused};
use crate::ids::SignInId;
use crate::store::SignIn;
use crate::web::api::{BeginAnswer, BeginRequest, FinishRequest, SignInAnswer, SignInMode};
use crate::web::error::Failed;
use crate::web::shape::{Id, Json, NoContent, Soon};
use std::convert::Infallible;

/// Seconds between the polls of a device sign-in.
const POLL_SECS: u64 = 2;
/// Longest text of a request, in characters.
const TEXT_MAX: usize = 256;

pub(in crate::web) async fn begin(
    app: App,
    by: SignedBy,
    Json(asked): Json<BeginRequest>,
) -> Result<Json<BeginAnswer>, Failed<SignInRefused>> {
    bounded("client", &asked.client)?;
    let loopback = match (asked.mode, asked.port, asked.challenge) {
        (SignInMode::Loopback, Some(port), Some(challenge)) => Some((port, challenge)),
        (SignInMode::Device, None, None) => None,
        _ => {
            let message = "mode is \"loopback\" with port and challenge, or \"device\" without";
            return Err(Failed::bad(message));
        }
    };
    let ask = Begin { loopback, client: asked.client, provider: asked.provider };
    let begun = flow::begin(&app, &by, ask).await?;
    Ok(Json(BeginAnswer {
        id: begun.id.to_string(),
        url: begun.url.to_string(),
        user_code: begun.user_code,
        expires_in: begun.expires.since(app.clock.now()).as_secs(),
        interval: POLL_SECS,
    }))
}

pub(in crate::web) async fn finish(
    app: App,
    by: SignedBy,
    Json(asked): Json<FinishRequest>,
) -> Result<Soon<SignInAnswer>, Failed<SignInRefused>> {
    bounded("code", asked.code.as_deref().unwrap_or_default())?;
    bounded("verifier", asked.verifier.as_deref().unwrap_or_default())?;
    let id = asked.id.parse().map_err(|_| SignInRefused::NotFound)?;
    let shown = Finish { id, code: asked.code, verifier: asked.verifier };
    match flow::finish(&app, &by, shown).await? {
        Finished::Waiting => Ok(Soon::Waiting),
        Finished::Done(sign_in) => Ok(Soon::Done(answer(&app, &sign_in)?)),
    }
}

pub(in crate::web) async fn show(
    app: App,
    by: SignedIn,
    (): (),
) -> Result<Json<SignInAnswer>, Failed<Infallible>> {
    Ok(Json(answer(&app, by.sign_in())?))
}

pub(in crate::web) async fn end_mine(
    app: App,
    by: SignedBy,
    (): (),
) -> Result<NoContent, Failed<EndRefused>> {
    end_own(&app, &by).await?;
    Ok(NoContent)
}

pub(in crate::web) async fn end(
    app: App,
    by: SignedIn,
    Id(id): Id<SignInId>,
) -> Result<NoContent, Failed<EndRefused>> {
    end_other(&app, &by, &id).await?;
    Ok(NoContent)
}

/// A text of the request that is looked at.
fn bounded<E>(name: &str, text: &str) -> Result<(), Failed<E>> {
    if text.chars().count() > TEXT_MAX {
        return Err(Failed::bad(format!("{name} has more than {TEXT_MAX} characters")));
    }
    Ok(())
}

pub(super) fn answer<E>(app: &App, sign_in: &SignIn) -> Result<SignInAnswer, Failed<E>> {
    Ok(SignInAnswer {
        sign_in: sign_in.id.to_string(),
        who: sign_in.who.reference(),
        display: sign_in.who.display.clone(),
        groups: sign_in.who.groups.iter().map(ToString::to_string).collect(),
        expires: sign_in.expires.as_secs(),
        ssh: super::settings(app, &sign_in.who)?,
    })
}
