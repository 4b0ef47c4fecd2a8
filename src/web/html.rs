//! How pages are written: escaped by construction, one inline stylesheet, no script, strict headers.

use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use sha2::{Digest as _, Sha256};

use crate::plain;

/// HTML in the making. Only literals of this program go in unescaped; everything else goes through [`Html::text`].
#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    /// Markup, as written in this program.
    pub(super) fn raw(mut self, markup: &'static str) -> Self {
        self.0.push_str(markup);
        self
    }

    /// Text or a quoted attribute's value, escaped, without what steers or hides.
    pub(super) fn text(mut self, text: &str) -> Self {
        self.0.push_str(&plain::html(text));
        self
    }

    /// Another piece.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.0.push_str(&other.0);
        self
    }

    /// The finished page with this title.
    pub(super) fn page(self, status: StatusCode, title: &str) -> Response {
        let page = Self::default()
            .raw("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\"><link rel=\"icon\" href=\"data:,\"><title>")
            .text(title)
            .raw(" · Caponier</title><style>")
            .raw(STYLE)
            .raw("</style></head><body><main><p class=\"brand\">Caponier</p><h1>")
            .text(title)
            .raw("</h1>")
            .and(self)
            .raw("</main></body></html>\n");
        let content = [(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))];
        (status, content, page.0).into_response()
    }
}

const STYLE: &str = include_str!("style.css");

/// `form-action 'self'` suffices although forms lead to the provider in the end: browsers apply it to redirects after
/// a form too, so such answers are pages with a `Refresh` header instead, which begin a navigation of their own.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
});

/// The headers of every answer of this door.
pub(super) fn guard(headers: &mut HeaderMap) {
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // What is for everybody may say so itself.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if let Ok(policy) = HeaderValue::from_str(&POLICY) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    let isolated = HeaderValue::from_static("same-origin");
    headers.insert("cross-origin-opener-policy", isolated.clone());
    headers.insert("cross-origin-resource-policy", isolated);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        let html = Html::default().raw("<a title=\"").text("\"><script>alert('&')</script>").raw("\">");
        assert_eq!(html.0, "<a title=\"&quot;&gt;&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;\">");
    }

    #[test]
    fn the_policy_allows_no_script_and_no_frame() {
        let mut headers = HeaderMap::new();
        guard(&mut headers);
        let policy = headers.get(header::CONTENT_SECURITY_POLICY).unwrap().to_str().unwrap();
        assert!(policy.starts_with("default-src 'none';") && policy.contains("frame-ancestors 'none'"));
        assert!(!policy.contains("script") && !policy.contains("unsafe"));
    }
}
