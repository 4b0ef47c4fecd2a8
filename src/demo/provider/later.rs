//! What the demo's provider says after the sign-in: refresh tokens, good for one use each; UserInfo; and, for tests, logout
//! tokens and whatever else one wants signed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{PEOPLE, Provider, Shared, Stay, Tamper, answer, changed, claims_of, sign};

/// Tokens that are remembered at once; then the provider forgets all of them.
const TOKENS_MAX: usize = 10_000;

/// Tokens that were given out, and what they stand for.
#[derive(Default)]
pub(super) struct Tokens {
    refresh: Mutex<HashMap<String, Stay>>,
    access: Mutex<HashMap<String, usize>>,
}

impl Tokens {
    fn refresh(&self) -> MutexGuard<'_, HashMap<String, Stay>> {
        self.refresh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a new token.
    fn note<T>(list: &Mutex<HashMap<String, T>>, token: &str, value: T) {
        let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
        if list.len() >= TOKENS_MAX {
            list.clear();
        }
        list.insert(token.to_owned(), value);
    }

    /// Gives out a refresh token.
    pub(super) fn new_refresh(&self, token: &str, stay: Stay) {
        Self::note(&self.refresh, token, stay);
    }

    /// Gives out an access token.
    pub(super) fn new_access(&self, token: &str, person: usize) {
        Self::note(&self.access, token, person);
    }
}

/// The answer to a refresh token: used once, it is gone, and the answer has the next one.
pub(super) fn refresh(at: &Arc<Shared>, token: Option<&str>) -> Response {
    let stay = token.and_then(|token| at.tokens.refresh().remove(token));
    match stay {
        Some(stay) => answer(at, &stay, true),
        None => (StatusCode::BAD_REQUEST, Json(json!({"error": "invalid_grant"}))).into_response(),
    }
}

/// `GET /userinfo`
pub(super) async fn user_info(State(at): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = shown.and_then(|shown| shown.strip_prefix("Bearer ")).unwrap_or_default();
    let person = at.tokens.access.lock().unwrap_or_else(PoisonError::into_inner).get(token).copied();
    let lie = at.lie();
    match person.and_then(claims_of) {
        Some(claims) if lie != Tamper::NoPerson => Json(changed(claims, &lie)).into_response(),
        Some(_) | None => StatusCode::UNAUTHORIZED.into_response(),
    }
}

impl Provider {
    /// Forgets what it gave this person: as if the account were switched off. For tests.
    pub fn disable(&self, person: &str) {
        let gone = PEOPLE.iter().position(|(name, ..)| *name == person);
        self.shared.tokens.refresh().retain(|_, stay| Some(stay.person) != gone);
    }

    /// Refresh tokens that are good now. For tests.
    pub fn refresh_tokens(&self) -> Vec<String> {
        self.shared.tokens.refresh().keys().cloned().collect()
    }

    /// The sessions that it has with this person, by `sid`. For tests.
    pub fn sids(&self, person: &str) -> Vec<String> {
        let tokens = self.shared.tokens.refresh();
        let of = |stay: &&Stay| PEOPLE.get(stay.person).is_some_and(|(name, ..)| *name == person);
        tokens.values().filter(of).map(|stay| stay.sid.clone()).collect()
    }

    /// A token with these claims under this header, signed as `lie` wants it. For tests.
    pub fn signed(&self, header: &Value, claims: &Value, lie: &Tamper) -> Result<String, String> {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(header), part(claims));
        let signature = sign(&self.shared, lie, text.as_bytes())?;
        Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}
