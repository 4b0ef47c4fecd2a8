//! How a browser is known again: its one cookie, and whether a form comes from our own page.

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;

use crate::app::App;

/// `__Host-` keeps other hosts of the same domain from setting it.
fn cookie_name(app: &App) -> &'static str {
    if app.config.web.public_url.scheme() == "https" { "__Host-caponier" } else { "caponier" }
}

/// The cookie that the browser brought.
pub(super) fn cookie<'a>(app: &App, headers: &'a HeaderMap) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == cookie_name(app)).map(|(_, value)| value)
}

/// The response with the cookie.
pub(super) fn with_cookie(app: &App, value: &str, mut response: Response) -> Response {
    let name = cookie_name(app);
    let secure = if name.starts_with("__Host-") { "; Secure" } else { "" };
    let line = format!("{name}={value}; Path=/; Max-Age=900; HttpOnly; SameSite=Lax{secure}");
    if let Ok(line) = HeaderValue::from_str(&line) {
        response.headers_mut().append(header::SET_COOKIE, line);
    }
    response
}

/// Whether a form was sent by our own page, as far as the browser tells (Fetch Metadata; `Origin` is `null` under our
/// own referrer policy). A second lock: the first are the cookie and the token of the form.
pub(super) fn is_same_site(app: &App, headers: &HeaderMap) -> bool {
    let said = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let ours = app.config.web.public_url.origin().ascii_serialization();
    let site = said("sec-fetch-site").is_none_or(|site| matches!(site, "same-origin" | "none"));
    let origin = said("origin").is_none_or(|origin| origin == "null" || origin == ours);
    site && origin
}
