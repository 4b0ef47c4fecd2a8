//! Where providers send their logout tokens (OpenID Connect Back-Channel Logout 1.0 sections 2.5 and 2.8): a form with one
//! field in, 200 or 400 out. What a token is worth is `flow::back_channel`'s matter.

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;

use super::address::From;
use super::error::log_internal;
use crate::app::App;
use crate::flow::back_channel::{LogoutRefused, log_out};

pub(super) fn router() -> Router<App> {
    Router::new().route("/back-channel-logout/{provider}", post(logout))
}

/// Other fields are ignored, as the standard wants it; a field that stands twice is refused.
#[derive(Deserialize)]
struct LogoutForm {
    logout_token: String,
}

async fn logout(
    State(app): State<App>,
    Path(provider): Path<String>,
    From(from): From,
    form: Result<Form<LogoutForm>, FormRejection>,
) -> Response {
    let Ok(Form(form)) = form else {
        return refused("send a form with one field logout_token");
    };
    match log_out(&app, &provider, &form.logout_token, from).await {
        Ok(_) => (StatusCode::OK, [(header::CACHE_CONTROL, "no-store")]).into_response(),
        Err(why) => {
            if let LogoutRefused::Store(error) = &why {
                log_internal(&app, error);
            }
            refused(&why.to_string())
        }
    }
}

/// The standard knows no other status for a logout that did not happen.
fn refused(why: &str) -> Response {
    let body = serde_json::json!({ "error": "invalid_request", "error_description": why });
    (StatusCode::BAD_REQUEST, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}
