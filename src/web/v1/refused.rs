//! The refusals of the flows as answers of the API: one row for each flow, with every status that it can have. The guard
//! in `endpoint` keeps an answer whose status is missing here from leaving.

use axum::http::StatusCode;

use crate::app::App;
use crate::flow::alert::AckRefused;
use crate::flow::end_sign_in::EndRefused;
use crate::flow::issue::IssueRefused;
use crate::flow::sign_in::SignInRefused;
use crate::web::error::{ApiError, Refused, of_request};

/// For those who change something: the nonce.
const REPLAY: (StatusCode, &str) = (StatusCode::CONFLICT, "`replay`: the same signed request came before");

impl Refused for SignInRefused {
    const STATUSES: &'static [(StatusCode, &'static str)] = &[
        (StatusCode::FORBIDDEN, "`denied`: the sign-in was denied"),
        (StatusCode::NOT_FOUND, "`expired`: unknown, finished, or out of time"),
        REPLAY,
        (StatusCode::TOO_MANY_REQUESTS, "`limit`: too many sign-ins are under way"),
    ];

    fn answer(&self, app: &App) -> ApiError {
        let (status, code) = match self {
            Self::Limit(_) => (StatusCode::TOO_MANY_REQUESTS, "limit"),
            Self::BadRequest(_) | Self::OtherBrowser => (StatusCode::BAD_REQUEST, "bad-request"),
            Self::NotFound => (StatusCode::NOT_FOUND, "expired"),
            Self::Denied(_) => (StatusCode::FORBIDDEN, "denied"),
            Self::Replay => (StatusCode::CONFLICT, "replay"),
            Self::Provider(error) => return ApiError::internal(app, error),
            Self::Store(error) => return ApiError::internal(app, error),
        };
        ApiError::new(status, code, self)
    }
}

impl Refused for EndRefused {
    const STATUSES: &'static [(StatusCode, &'static str)] =
        &[(StatusCode::NOT_FOUND, "`not-found`: no such sign-in that you may end"), REPLAY];

    fn answer(&self, app: &App) -> ApiError {
        match self {
            Self::Caller(why) => of_request(app, why),
            Self::NotFound => ApiError::new(StatusCode::NOT_FOUND, "not-found", self),
            Self::Replay => ApiError::new(StatusCode::CONFLICT, "replay", self),
            Self::Store(error) => ApiError::internal(app, error),
        }
    }
}

impl Refused for IssueRefused {
    const STATUSES: &'static [(StatusCode, &'static str)] = &[
        (StatusCode::FORBIDDEN, "`no-access`, `limit`, `sign-in-ended`: policy says no, and the text why"),
        REPLAY,
    ];

    fn answer(&self, app: &App) -> ApiError {
        match self {
            Self::Policy(refusal) => {
                ApiError::new(StatusCode::FORBIDDEN, refusal.code.as_str(), &refusal.text)
            }
            Self::Replay => ApiError::new(StatusCode::CONFLICT, "replay", self),
            Self::Draft(_) => ApiError::bad(self),
            Self::Signer(error) => ApiError::internal(app, error),
            Self::Store(error) => ApiError::internal(app, error),
        }
    }
}

impl Refused for AckRefused {
    const STATUSES: &'static [(StatusCode, &'static str)] = &[
        (StatusCode::NOT_FOUND, "`not-found`: no such alert"),
        (
            StatusCode::CONFLICT,
            "`replay`: the same signed request came before; `already`: somebody acknowledged it",
        ),
    ];

    fn answer(&self, app: &App) -> ApiError {
        match self {
            Self::NotFound => ApiError::new(StatusCode::NOT_FOUND, "not-found", self),
            Self::Already { .. } => ApiError::new(StatusCode::CONFLICT, "already", self),
            Self::Replay => ApiError::new(StatusCode::CONFLICT, "replay", self),
            Self::Note => ApiError::bad(self),
            Self::Store(error) => ApiError::internal(app, error),
        }
    }
}
