//! Where platforms send their webhooks: GitHub's `workflow_run`, GitLab's pipeline and job events. Only the envelope is read here;
//! what a delivery is worth is `flow::hear`'s matter. Beside the API, because its words are the platforms'.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;

use super::address::From;
use super::error::log_internal;
use crate::app::App;
use crate::flow::hear::{Delivery, HearRefused, Heard, hear};

pub(super) fn router() -> Router<App> {
    Router::new().route("/webhooks/{issuer}", post(receive))
}

async fn receive(
    State(app): State<App>,
    Path(issuer): Path<String>,
    From(from): From,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    // A header that stands twice is nobody's.
    let one = |name: &str| {
        let mut all = headers.get_all(name).iter();
        let first = all.next().and_then(|value| value.to_str().ok());
        if all.next().is_some() { None } else { first }
    };
    let delivery = Delivery {
        issuer: &issuer,
        event: one("x-github-event").or_else(|| one("x-gitlab-event")),
        id: one("x-github-delivery").or_else(|| one("x-gitlab-event-uuid")),
        signature: one("x-hub-signature-256"),
        token: one("x-gitlab-token"),
        body: &body,
        from,
    };
    let (status, text) = match hear(&app, delivery).await {
        Ok(Heard::Ended(ended)) => (StatusCode::OK, format!("ended {ended} sign-ins\n")),
        Ok(Heard::Announced) => (StatusCode::OK, "the run is known\n".to_owned()),
        Ok(Heard::Nothing) => (StatusCode::OK, "nothing to do\n".to_owned()),
        Err(why) => {
            let status = match &why {
                HearRefused::NotFound => StatusCode::NOT_FOUND,
                HearRefused::Signature => StatusCode::UNAUTHORIZED,
                HearRefused::Form(_) => StatusCode::BAD_REQUEST,
                HearRefused::Limit => StatusCode::TOO_MANY_REQUESTS,
                HearRefused::Store(error) => {
                    log_internal(&app, error);
                    StatusCode::INTERNAL_SERVER_ERROR
                }
            };
            (status, format!("{why}\n"))
        }
    };
    (status, [(header::CACHE_CONTROL, "no-store"), (header::CONTENT_TYPE, "text/plain; charset=utf-8")], text)
        .into_response()
}
