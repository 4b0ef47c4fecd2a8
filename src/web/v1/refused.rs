//! The refusals of the flows as answers of the API: one row for each flow, with every status that it can have. The guard
//! in `endpoint` keeps an answer whose status is missing here from leaving.

use axum::http::StatusCode;

use crate::access::Denied;
use crate::app::App;
use crate::flow::alert::AckRefused;
use crate::flow::answer::AnswerRefused;
use crate::flow::ask::AskRefused;
use crate::flow::cases::LookRefused;
use crate::flow::end_sign_in::EndRefused;
use crate::flow::exchange::ExchangeRefused;
use crate::flow::finish::FinishRefused;
use crate::flow::issue::IssueRefused;
use crate::flow::kill::KillRefused;
use crate::flow::locks::LockRefused;
use crate::flow::look::SightRefused;
use crate::flow::present::Absent;
use crate::flow::revoke::RevokeRefused;
use crate::flow::sign_in::SignInRefused;
use crate::flow::watch::WatchRefused;
use crate::policy::request::PlanRefused;
use crate::web::error::{ApiError, Refused, of_permission, of_request};

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
            Self::Keep(error) => return ApiError::internal(app, error),
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
        (
            StatusCode::FORBIDDEN,
            "`no-access`, `limit`, `sign-in-ended`, `unchecked`: policy says no, and the text why",
        ),
        REPLAY,
    ];

    fn answer(&self, app: &App) -> ApiError {
        match self {
            Self::Policy(refusal) => {
                ApiError::new(StatusCode::FORBIDDEN, refusal.code.as_str(), &refusal.text)
            }
            Self::Caller(why) => of_request(app, why),
            Self::Replay => ApiError::new(StatusCode::CONFLICT, "replay", self),
            Self::Draft(_) => ApiError::bad(self),
            Self::Signer(error) => ApiError::internal(app, error),
            Self::Store(error) => ApiError::internal(app, error),
        }
    }
}

impl Refused for AskRefused {
    const STATUSES: &'static [(StatusCode, &'static str)] = &[
        (
            StatusCode::FORBIDDEN,
            "`no-access`: no role of yours opens this, or it is not there; `rules`: the role's rules want it otherwise \
             (too long, no reason, ...); `locked`",
        ),
        REPLAY,
        (
            StatusCode::CONFLICT,
            "`standing`: you have this without asking; `other-key`: the idempotency key is another's",
        ),
        (
            StatusCode::TOO_MANY_REQUESTS,
            "`limit`: too many requests of yours wait or were filed of late, or you have too many grants",
        ),
    ];

    fn answer(&self, app: &App) -> ApiError {
        let (status, code) = match self {
            Self::Absent(Absent::SignedOut | Absent::Revoked(_)) => {
                (StatusCode::UNAUTHORIZED, "not-signed-in")
            }
            Self::Replay => (StatusCode::CONFLICT, "replay"),
            Self::Plan(PlanRefused::NoAccess(_)) => (StatusCode::FORBIDDEN, "no-access"),
            Self::Plan(PlanRefused::Rules(_)) => (StatusCode::FORBIDDEN, "rules"),
            Self::Plan(PlanRefused::Locked(_)) => (StatusCode::FORBIDDEN, "locked"),
            Self::Plan(PlanRefused::Standing(_)) => (StatusCode::CONFLICT, "standing"),
            Self::TooMany(_) => (StatusCode::TOO_MANY_REQUESTS, "limit"),
            Self::OtherKey => (StatusCode::CONFLICT, "other-key"),
            Self::BadKey => return ApiError::bad(self),
            Self::Absent(Absent::Store(error)) | Self::Store(error) => return ApiError::internal(app, error),
        };
        ApiError::new(status, code, self)
    }
}

impl Refused for AnswerRefused {
    const STATUSES: &'static [(StatusCode, &'static str)] = &[
        (
            StatusCode::FORBIDDEN,
            "`own-request`: nobody decides their own; `no-access`: others must; `widens`: an approver only takes away; \
             `locked`",
        ),
        (StatusCode::NOT_FOUND, "`not-found`: no such request that you may see"),
        REPLAY,
        (
            StatusCode::CONFLICT,
            "`state`: the request is not in a state for this (any more); `twice`: you have approved it already; \
             `outdated`: the policy has changed, it must be asked for again",
        ),
    ];

    fn answer(&self, app: &App) -> ApiError {
        let (status, code) = match self {
            Self::Absent(Absent::SignedOut | Absent::Revoked(_)) => {
                (StatusCode::UNAUTHORIZED, "not-signed-in")
            }
            Self::Replay => (StatusCode::CONFLICT, "replay"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found"),
            Self::Denied(Denied::Over(_) | Denied::Not(..)) => (StatusCode::CONFLICT, "state"),
            Self::Denied(Denied::Twice) => (StatusCode::CONFLICT, "twice"),
            Self::Denied(Denied::Own) => (StatusCode::FORBIDDEN, "own-request"),
            Self::Denied(Denied::NotYours) => (StatusCode::FORBIDDEN, "no-access"),
            Self::Denied(Denied::Widens(_)) => (StatusCode::FORBIDDEN, "widens"),
            Self::Outdated => (StatusCode::CONFLICT, "outdated"),
            Self::Locked => (StatusCode::FORBIDDEN, "locked"),
            Self::Denied(Denied::Reason) | Self::Words(_) => return ApiError::bad(self),
            Self::Absent(Absent::Store(error)) | Self::Store(error) => return ApiError::internal(app, error),
        };
        ApiError::new(status, code, self)
    }
}

impl Refused for LookRefused {
    const STATUSES: &'static [(StatusCode, &'static str)] = &[
        (StatusCode::FORBIDDEN, "`no-access`: only auditors may see the requests of everybody"),
        (StatusCode::NOT_FOUND, "`not-found`: no such request that you may see"),
    ];

    fn answer(&self, app: &App) -> ApiError {
        match self {
            Self::NotFound => ApiError::new(StatusCode::NOT_FOUND, "not-found", self),
            Self::Permission(why) => of_permission(app, why),
            Self::Store(error) => ApiError::internal(app, error),
        }
    }
}

impl Refused for LockRefused {
    const STATUSES: &'static [(StatusCode, &'static str)] = &[
        (
            StatusCode::NOT_FOUND,
            "`not-found`: there is no such lock, target or role, and nobody could be called so",
        ),
        REPLAY,
    ];

    fn answer(&self, app: &App) -> ApiError {
        match self {
            Self::Replay => ApiError::new(StatusCode::CONFLICT, "replay", self),
            Self::NotFound | Self::Unknown(_) => ApiError::new(StatusCode::NOT_FOUND, "not-found", self),
            Self::Words(_) => ApiError::bad(self),
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

impl Refused for SightRefused {
    const STATUSES: &'static [(StatusCode, &'static str)] =
        &[(StatusCode::FORBIDDEN, "`no-access`: you are no auditor, and asked about somebody else")];

    fn answer(&self, app: &App) -> ApiError {
        match self {
            Self::Permission(why) => of_permission(app, why),
            Self::Store(error) => ApiError::internal(app, error),
        }
    }
}

impl Refused for RevokeRefused {
    const STATUSES: &'static [(StatusCode, &'static str)] = &[
        (StatusCode::NOT_FOUND, "`not-found`: nothing of this name that you may revoke"),
        (StatusCode::CONFLICT, "`active-key`: it is the key of an authority that signs now"),
        REPLAY,
    ];

    fn answer(&self, app: &App) -> ApiError {
        match self {
            Self::NotFound(_) => ApiError::new(StatusCode::NOT_FOUND, "not-found", self),
            Self::Active(..) => ApiError::new(StatusCode::CONFLICT, "active-key", self),
            Self::Replay => ApiError::new(StatusCode::CONFLICT, "replay", self),
            Self::Store(error) => ApiError::internal(app, error),
        }
    }
}

impl Refused for KillRefused {
    const STATUSES: &'static [(StatusCode, &'static str)] = &[
        (StatusCode::NOT_FOUND, "`not-found`: no such session"),
        (
            StatusCode::CONFLICT,
            "`replay`: the same signed request came before; `state`: the session is closed already",
        ),
    ];

    fn answer(&self, app: &App) -> ApiError {
        match self {
            Self::NotFound(_) => ApiError::new(StatusCode::NOT_FOUND, "not-found", self),
            Self::Over(..) => ApiError::new(StatusCode::CONFLICT, "state", self),
            Self::Replay => ApiError::new(StatusCode::CONFLICT, "replay", self),
            Self::Words(_) => ApiError::bad(self),
            Self::Store(error) => ApiError::internal(app, error),
        }
    }
}

impl Refused for WatchRefused {
    const STATUSES: &'static [(StatusCode, &'static str)] = &[
        (StatusCode::NOT_FOUND, "`not-found`: no such session, or no such watch of yours"),
        (
            StatusCode::CONFLICT,
            "`replay`: the same signed request came before; `state`: the session is closed; `elsewhere`: another bastion \
             holds it; `no-screen`: it has none that is being recorded",
        ),
        (StatusCode::TOO_MANY_REQUESTS, "`limit`: too many sessions are being watched"),
    ];

    fn answer(&self, app: &App) -> ApiError {
        let (status, code) = match self {
            Self::NotFound(_) | Self::NoWatch => (StatusCode::NOT_FOUND, "not-found"),
            Self::Over(_) => (StatusCode::CONFLICT, "state"),
            Self::Elsewhere(..) => (StatusCode::CONFLICT, "elsewhere"),
            Self::NoScreen(_) => (StatusCode::CONFLICT, "no-screen"),
            Self::Replay => (StatusCode::CONFLICT, "replay"),
            Self::Limit | Self::OwnLimit => (StatusCode::TOO_MANY_REQUESTS, "limit"),
            Self::Place(_) => return ApiError::bad(self),
            Self::Files(error) => return ApiError::internal(app, error),
            Self::Store(error) => return ApiError::internal(app, error),
        };
        ApiError::new(status, code, self)
    }
}

impl Refused for ExchangeRefused {
    const STATUSES: &'static [(StatusCode, &'static str)] = &[
        (
            StatusCode::FORBIDDEN,
            "What was shown is not believed: `shape`, `algorithm`, `signature`, `issuer`, `audience`, `other-key`, `expired`, \
             `age`, `jti`, `claim`, `clock`, `service`, `source`, `weak-key`; or it gets nothing: `event`, `fork`, `rerun`, `no-rule`, \
             `run-over`, `revoked`, `locked`, `no-access`, `limit`",
        ),
        (StatusCode::CONFLICT, "`used`: the token came before; `key-used`: the key has, or had, a sign-in"),
        (StatusCode::TOO_MANY_REQUESTS, "`limit`: too many refused requests came from this network"),
        (StatusCode::SERVICE_UNAVAILABLE, "`issuer-down`: the issuer's keys cannot be had"),
    ];

    fn answer(&self, app: &App) -> ApiError {
        let code = self.code().unwrap_or("limit");
        match self {
            Self::Shown(refused) if matches!(refused.code, "used" | "key-used") => {
                ApiError::new(StatusCode::CONFLICT, code, self)
            }
            Self::Shown(_) | Self::Policy(_) => ApiError::new(StatusCode::FORBIDDEN, code, self),
            Self::Issuer(_) => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code, self),
            Self::Limit => ApiError::new(StatusCode::TOO_MANY_REQUESTS, code, self),
            Self::Issue(IssueRefused::Draft(_)) => ApiError::bad(self),
            Self::Issue(error) => ApiError::internal(app, error),
            Self::Store(error) => ApiError::internal(app, error),
        }
    }
}

impl Refused for FinishRefused {
    const STATUSES: &'static [(StatusCode, &'static str)] =
        &[(StatusCode::NOT_FOUND, "`not-found`: a person called, who has no run"), REPLAY];

    fn answer(&self, app: &App) -> ApiError {
        match self {
            Self::NoRun => ApiError::new(StatusCode::NOT_FOUND, "not-found", self),
            Self::Replay => ApiError::new(StatusCode::CONFLICT, "replay", self),
            Self::Store(error) => ApiError::internal(app, error),
        }
    }
}
