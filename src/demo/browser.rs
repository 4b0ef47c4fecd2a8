//! A browser without a screen, for the demo and the tests: follows one sign-in through our pages and the demo's
//! provider. It keeps cookies for each origin, follows redirects and `Refresh`, and goes nowhere but loopback.

use std::collections::HashMap;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use url::Url;

/// Steps of one navigation.
const STEPS_MAX: usize = 12;

/// Why the browser does not get on.
#[derive(Debug, thiserror::Error)]
pub enum BrowserError {
    /// The network.
    #[error("{0}")]
    Http(#[from] reqwest::Error),
    /// An address that is none, or not on this machine.
    #[error("the way leads to {0:?}, which is not on this machine")]
    Elsewhere(String),
    /// A page that does not lead on.
    #[error("{url} answered {status}: {text}")]
    Page {
        /// Which page.
        url: String,
        /// Its status.
        status: StatusCode,
        /// Its text.
        text: String,
    },
    /// Too many steps.
    #[error("the way has no end")]
    Endless,
}

/// Where a navigation ended.
#[derive(Clone, Debug)]
pub struct Page {
    /// The address.
    pub url: Url,
    /// The status.
    pub status: StatusCode,
    /// The answer's headers.
    pub headers: reqwest::header::HeaderMap,
    /// The answer's text.
    pub text: String,
}

/// The browser: one jar of cookies.
#[derive(Debug)]
pub struct Browser {
    http: reqwest::Client,
    /// Who is answered for at the demo's provider (`login_hint`).
    person: String,
    /// Cookie lines by origin and name.
    jar: HashMap<(String, String), String>,
}

impl Browser {
    /// A fresh browser of `person` (`engineer`, `reviewer`, `auditor`).
    pub fn of(person: &str) -> Result<Self, BrowserError> {
        if rustls::crypto::ring::default_provider().install_default().is_err() {
            tracing::trace!("a TLS provider is installed already");
        }
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(Duration::from_secs(30))
            .build()?;
        Ok(Self { http, person: person.to_owned(), jar: HashMap::new() })
    }

    /// Forgets all cookies.
    pub fn forget(&mut self) {
        self.jar.clear();
    }

    /// Goes to `url` and on to where that leads.
    pub async fn go(&mut self, url: &Url) -> Result<Page, BrowserError> {
        self.navigate(Method::GET, url.clone(), None, None).await
    }

    /// Goes to `url` until a redirect or refresh leads to an address that begins with `until`; that address is not
    /// visited.
    pub async fn go_until(&mut self, url: &Url, until: &str) -> Result<Page, BrowserError> {
        self.navigate(Method::GET, url.clone(), None, Some(until)).await
    }

    /// Opens the page of a loopback sign-in and goes on by its first button, as far as [`Browser::go_until`] would.
    /// A page without a form is the answer itself.
    pub async fn sign_in(&mut self, url: &Url, until: Option<&str>) -> Result<Page, BrowserError> {
        let page = self.go(url).await?;
        let (Some(csrf), Some(provider)) = (page.field("csrf"), page.field("provider")) else {
            return Ok(page);
        };
        let form = filled(&[("csrf", &csrf), ("provider", &provider)]);
        self.navigate(Method::POST, page.url, Some(form), until).await
    }

    /// Sends a form to `url` and goes on to where that leads.
    pub async fn send(&mut self, url: &Url, form: &[(&str, &str)]) -> Result<Page, BrowserError> {
        self.navigate(Method::POST, url.clone(), Some(filled(form)), None).await
    }

    async fn navigate(
        &mut self,
        mut method: Method,
        mut url: Url,
        mut body: Option<String>,
        until: Option<&str>,
    ) -> Result<Page, BrowserError> {
        for _ in 0..STEPS_MAX {
            let page = self.request(method, url, body.take()).await?;
            let Some(mut next) = page.leads_to() else { return Ok(page) };
            if until.is_some_and(|until| next.as_str().starts_with(until)) {
                return Ok(Page { url: next, ..page });
            }
            // The demo's provider asks who we are: the answer goes along.
            if next.path() == "/authorize" {
                next.query_pairs_mut().append_pair("login_hint", &self.person);
            }
            (method, url) = (Method::GET, next);
        }
        Err(BrowserError::Endless)
    }

    async fn request(
        &mut self,
        method: Method,
        url: Url,
        body: Option<String>,
    ) -> Result<Page, BrowserError> {
        let loopback = url.scheme() == "http" && matches!(url.host_str(), Some("127.0.0.1" | "localhost"));
        if !loopback {
            return Err(BrowserError::Elsewhere(url.to_string()));
        }
        let origin = url.origin().ascii_serialization();
        let cookies: Vec<String> = self
            .jar
            .iter()
            .filter(|((of, _), _)| *of == origin)
            .map(|((_, name), value)| format!("{name}={value}"))
            .collect();
        let mut request = self.http.request(method, url.clone());
        if !cookies.is_empty() {
            request = request.header(reqwest::header::COOKIE, cookies.join("; "));
        }
        if let Some(body) = body {
            request =
                request.header(reqwest::header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(body);
        }
        let answer = request.send().await?;
        for line in answer.headers().get_all(reqwest::header::SET_COOKIE) {
            let pair = line.to_str().ok().and_then(|line| line.split(';').next()?.split_once('='));
            if let Some((name, value)) = pair {
                self.jar.insert((origin.clone(), name.trim().to_owned()), value.to_owned());
            }
        }
        let (status, headers) = (answer.status(), answer.headers().clone());
        Ok(Page { url, status, headers, text: answer.text().await? })
    }
}

fn filled(form: &[(&str, &str)]) -> String {
    let mut body = url::form_urlencoded::Serializer::new(String::new());
    body.extend_pairs(form).finish()
}

impl Page {
    /// The address of a redirect or refresh.
    fn leads_to(&self) -> Option<Url> {
        let header = |name: &str| self.headers.get(name).and_then(|value| value.to_str().ok());
        let next = match header("refresh") {
            Some(refresh) => refresh.split_once("url=").map(|(_, url)| url),
            None if self.status.is_redirection() => header("location"),
            None => None,
        };
        self.url.join(next?).ok()
    }

    /// The value of the form field `name` in the page.
    pub fn field(&self, name: &str) -> Option<String> {
        let (_, rest) = self.text.split_once(&format!("name=\"{name}\" value=\""))?;
        rest.split_once('"').map(|(value, _)| value.to_owned())
    }
}

/// Follows `url`, the address that a loopback sign-in begins at, as `person` through the demo's provider, and delivers
/// the result to the client's port. Returns the last page.
pub async fn sign_in_without_browser(url: &str, person: &str) -> Result<Page, BrowserError> {
    let url = Url::parse(url).map_err(|_| BrowserError::Elsewhere(url.to_owned()))?;
    let page = Browser::of(person)?.sign_in(&url, None).await?;
    if page.status.is_success() {
        return Ok(page);
    }
    let text = page.text.chars().take(2000).collect();
    Err(BrowserError::Page { url: page.url.to_string(), status: page.status, text })
}
