//! The pages for signing in. They work without JavaScript and on a phone. What they do is `flow::sign_in`'s matter.

use std::net::IpAddr;

use axum::Router;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use url::Url;

use super::address::From;
use super::cookie::{cookie, is_same_site, with_cookie};
use super::html::Html;
use crate::app::App;
use crate::flow::sign_in::{
    Back, BeforeView, Choice, ConfirmView, Decision, Leaving, Opened, Returned, SignInRefused, come_back,
    decide, enter_code, look, look_before, open,
};
use crate::ids::PendingId;

/// Longest value of a form field or of the provider's answer that is looked at, in bytes.
const FIELD_MAX: usize = 4096;

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/", get(landing))
        .route("/sign-in/{id}", get(sign_in).post(sign_in_with))
        .route("/callback/{provider}", get(callback))
        .route("/device", get(device).post(device_code))
        .route("/confirm/{id}", get(confirm).post(confirmed))
        .fallback(async || message(StatusCode::NOT_FOUND, "Not found", "There is no such page here."))
}

/// A page with one sentence.
pub(super) fn message(status: StatusCode, title: &str, text: &str) -> Response {
    Html::default().raw("<p id=\"message\">").text(text).raw("</p>").page(status, title)
}

/// There is too much to do.
pub(super) fn busy() -> Response {
    let text = "This server has too much to do. Try again in a minute.";
    message(StatusCode::SERVICE_UNAVAILABLE, "Busy", text)
}

async fn landing(State(app): State<App>) -> Response {
    let server = app.config.web.public_url.as_str().trim_end_matches('/').to_owned();
    let bastion = app.config.ssh.host_names.first().map_or("bastion", String::as_str);
    let port = match app.config.ssh.public_port {
        22 => String::new(),
        port => format!("-p {port} "),
    };
    Html::default()
        .raw("<p>This is the door of an SSH bastion. Signing in begins on your own machine:</p><p><code>caponier login ")
        .text(&server)
        .raw("</code></p><p>or, without that program, with plain <code>ssh ")
        .text(&port)
        .text(bastion)
        .raw("</code>.</p><p>Do you have a code from there? <a href=\"/device\">Enter it here.</a></p>")
        .page(StatusCode::OK, "SSH bastion")
}

/// `GET /sign-in/{id}`: where `caponier login` sends the browser. It shows who asks; nothing happens yet.
async fn sign_in(
    State(app): State<App>,
    Path(id): Path<String>,
    From(from): From,
    headers: HeaderMap,
) -> Response {
    let Ok(id) = id.parse::<PendingId>() else { return refused(&app, &SignInRefused::NotFound) };
    match look_before(&app, &id, cookie(&app, &headers)).await {
        Ok(view) => with_cookie(&app, &view.cookie, before_form(&view, from)),
        Err(why) => refused(&app, &why),
    }
}

fn before_form(view: &BeforeView, browser: IpAddr) -> Response {
    let mut html = Html::default().raw("<p>A program wants to sign in as you:</p><dl>");
    html = row(html, "The machine calls itself", "client", &view.client);
    html = row(html, "It asked from", "from", &view.from.to_string());
    html = row(html, "Its SSH key", "key", &view.key);
    html = html.raw("</dl><p>Your terminal shows the same key.</p>");
    if view.from != browser {
        html = html
            .raw("<p class=\"bad\" id=\"warning\" role=\"alert\">It asked from another address than the one of this browser, ")
            .text(&browser.to_string())
            .raw(", although it should be a program on this very machine. Go on only if you know why.</p>");
    }
    html = html
        .raw("<form method=\"post\"><input type=\"hidden\" name=\"csrf\" value=\"")
        .text(&view.csrf)
        .raw("\">");
    html = match view.choices.as_slice() {
        [only] => html.raw("<button name=\"provider\" value=\"").text(&only.name).raw("\">Continue</button>"),
        several => buttons(html.raw("<p>Who knows you?</p>"), several),
    };
    html.raw("</form><p class=\"soft\">If you did not run <code>caponier login</code> a moment ago, close this page: somebody else is asking.</p>")
        .page(StatusCode::OK, "Sign in")
}

fn row(html: Html, name: &'static str, id: &'static str, value: &str) -> Html {
    let html = html.raw("<div><dt>").raw(name).raw("</dt><dd id=\"").raw(id);
    html.raw("\">").text(value).raw("</dd></div>")
}

#[derive(Deserialize)]
struct BeforeForm {
    #[serde(default)]
    csrf: String,
    provider: Option<String>,
}

async fn sign_in_with(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
    form: Result<Form<BeforeForm>, FormRejection>,
) -> Response {
    let (Ok(id), Ok(Form(form)), true) = (id.parse::<PendingId>(), form, is_same_site(&app, &headers)) else {
        return refused(&app, &SignInRefused::NotFound);
    };
    match open(&app, &id, form.provider.as_deref(), cookie(&app, &headers), &form.csrf).await {
        Ok(Opened::Choose(_)) => refused(&app, &SignInRefused::BadRequest("choose who knows you".into())),
        Ok(Opened::Leave(leaving)) => off(&app, &leaving),
        Err(why) => refused(&app, &why),
    }
}

/// The provider buttons; `code` is carried along in device mode.
fn choose(choices: &[Choice], code: Option<&str>) -> Response {
    let mut html = Html::default().raw("<p>Who knows you?</p><form method=\"post\">");
    if let Some(code) = code {
        html = html.raw("<input type=\"hidden\" name=\"code\" value=\"").text(code).raw("\">");
    }
    buttons(html, choices).raw("</form>").page(StatusCode::OK, "Sign in")
}

fn buttons(html: Html, choices: &[Choice]) -> Html {
    choices.iter().fold(html, |html, choice| {
        let html = html.raw("<button name=\"provider\" value=\"").text(&choice.name).raw("\">");
        html.text(&choice.title).raw("</button>")
    })
}

/// Off to the provider, by a navigation of its own (see `html::guard` on `form-action`).
fn off(app: &App, leaving: &Leaving) -> Response {
    let page = Html::default()
        .raw("<p>You are on your way to your identity provider.</p><p><a class=\"button\" id=\"continue\" href=\"")
        .text(leaving.to.as_str())
        .raw("\">Continue</a></p>")
        .page(StatusCode::OK, "Sign in");
    with_cookie(app, &leaving.cookie, refreshing(&leaving.to, page))
}

fn refreshing(to: &Url, mut page: Response) -> Response {
    if let Ok(value) = HeaderValue::from_str(&format!("0; url={to}")) {
        page.headers_mut().insert(header::REFRESH, value);
    }
    page
}

#[derive(Deserialize)]
struct CallbackQuery {
    #[serde(default)]
    state: String,
    code: Option<String>,
    error: Option<String>,
    iss: Option<String>,
}

/// `GET /callback/{provider}`: back from the provider.
async fn callback(
    State(app): State<App>,
    Path(provider): Path<String>,
    From(from): From,
    headers: HeaderMap,
    query: Result<Query<CallbackQuery>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let Ok(Query(query)) = query else { return refused(&app, &SignInRefused::NotFound) };
    let fields = [Some(&query.state), query.code.as_ref(), query.error.as_ref(), query.iss.as_ref()];
    if fields.into_iter().flatten().any(|field| field.len() > FIELD_MAX) {
        return refused(&app, &SignInRefused::NotFound);
    }
    let CallbackQuery { state, code, error, iss: issuer } = query;
    let returned = Returned { provider, state, code, error, issuer };
    match come_back(&app, returned, cookie(&app, &headers), from).await {
        Ok(Back::ToClient(url)) => to_client(&url),
        Ok(Back::Confirm(id)) => {
            (StatusCode::SEE_OTHER, [(header::LOCATION, format!("/confirm/{id}"))]).into_response()
        }
        Ok(Back::Failed(text)) => message(StatusCode::BAD_REQUEST, "Not signed in", &sentence(&text)),
        Err(why) => refused(&app, &why),
    }
}

/// To the client's port. Providers' own `form-action` reaches through redirects too, hence again a page.
fn to_client(url: &Url) -> Response {
    let page = Html::default()
        .raw(
            "<p>You are on your way back to your terminal.</p><p><a class=\"button\" id=\"continue\" href=\"",
        )
        .text(url.as_str())
        .raw("\">Continue</a></p>")
        .page(StatusCode::OK, "Almost there");
    refreshing(url, page)
}

/// `GET /device`: where the code is typed. It is never filled in by an address: who typed it has looked at it.
async fn device() -> Response {
    device_form(StatusCode::OK, None)
}

fn device_form(status: StatusCode, wrong: Option<&str>) -> Response {
    let mut html = Html::default();
    if let Some(wrong) = wrong {
        html = html.raw("<p class=\"bad\" id=\"message\" role=\"alert\">").text(wrong).raw("</p>");
    }
    html.raw("<form method=\"post\" action=\"/device\"><label for=\"code\">Code from your terminal</label><input id=\"code\" name=\"code\" required maxlength=\"16\" autocomplete=\"off\" autocapitalize=\"characters\" spellcheck=\"false\" placeholder=\"XXXX-XXXX\"><button>Continue</button></form><p class=\"soft\">Only enter a code that you asked for yourself, a moment ago. Nobody else may send you one.</p>")
        .page(status, "Enter the code")
}

#[derive(Deserialize)]
struct DeviceForm {
    code: String,
    provider: Option<String>,
}

async fn device_code(
    State(app): State<App>,
    From(from): From,
    headers: HeaderMap,
    form: Result<Form<DeviceForm>, FormRejection>,
) -> Response {
    let Ok(Form(form)) = form else { return refused(&app, &SignInRefused::NotFound) };
    if !is_same_site(&app, &headers) {
        return device_form(StatusCode::BAD_REQUEST, Some("Please type the code on this page."));
    }
    let provider = form.provider.as_deref();
    match enter_code(&app, &form.code, provider, cookie(&app, &headers), from).await {
        Ok(Opened::Choose(choices)) => choose(&choices, Some(&form.code)),
        Ok(Opened::Leave(leaving)) => off(&app, &leaving),
        Err(why @ SignInRefused::BadRequest(_)) => {
            device_form(StatusCode::BAD_REQUEST, Some(&why.to_string()))
        }
        Err(why) => refused(&app, &why),
    }
}

/// `GET /confirm/{id}`: what is about to be signed in, to compare.
async fn confirm(
    State(app): State<App>,
    Path(id): Path<String>,
    From(from): From,
    headers: HeaderMap,
) -> Response {
    let Ok(id) = id.parse::<PendingId>() else { return refused(&app, &SignInRefused::NotFound) };
    match look(&app, &id, cookie(&app, &headers)).await {
        Ok(view) => confirm_form(&view, from),
        Err(why) => refused(&app, &why),
    }
}

fn confirm_form(view: &ConfirmView, browser: IpAddr) -> Response {
    let mut html = Html::default()
        .raw("<p>Does your terminal show exactly this code?</p><p class=\"code\" id=\"code\">")
        .text(&view.code)
        .raw("</p><dl>");
    html = row(html, "You are", "who", &format!("{} ({})", view.who.display, view.who.reference()));
    html = row(html, "Asked from", "from", &view.from.to_string());
    html = match (&view.client, &view.key) {
        (Some(client), Some(key)) => {
            let html = row(html, "By the machine that calls itself", "client", client);
            row(html, "With the SSH key", "key", key)
        }
        _ => row(html, "By", "client", "an SSH connection, and for that connection only"),
    };
    html = html.raw("</dl>");
    if view.from != browser {
        html = html
            .raw("<p class=\"bad\" id=\"warning\" role=\"alert\">This was asked from another address than the one of this browser, ")
            .text(&browser.to_string())
            .raw(". That is usual for a server that you are logged in to; otherwise somebody else may be asking.</p>");
    }
    html.raw("<form method=\"post\"><input type=\"hidden\" name=\"csrf\" value=\"")
        .text(&view.csrf)
        .raw("\"><button name=\"decision\" value=\"confirm\">Yes, sign it in</button><button class=\"second\" name=\"decision\" value=\"deny\">No, this is not mine</button></form><p class=\"soft\">If somebody sent you the code or this page: choose No.</p>")
        .page(StatusCode::OK, "Is this you?")
}

#[derive(Deserialize)]
struct ConfirmForm {
    #[serde(default)]
    csrf: String,
    decision: String,
}

async fn confirmed(
    State(app): State<App>,
    Path(id): Path<String>,
    From(from): From,
    headers: HeaderMap,
    form: Result<Form<ConfirmForm>, FormRejection>,
) -> Response {
    let (Ok(id), Ok(Form(form)), true) = (id.parse::<PendingId>(), form, is_same_site(&app, &headers)) else {
        return refused(&app, &SignInRefused::NotFound);
    };
    let decision = match form.decision.as_str() {
        "confirm" => Decision::Confirm,
        "deny" => Decision::Deny,
        _ => return refused(&app, &SignInRefused::BadRequest("choose yes or no".into())),
    };
    match decide(&app, &id, cookie(&app, &headers), &form.csrf, decision, from).await {
        Ok(()) if decision == Decision::Confirm => message(
            StatusCode::OK,
            "Signed in",
            "Go back to your terminal; if it waits for Enter, press it. You can close this page.",
        ),
        Ok(()) => message(
            StatusCode::OK,
            "Denied",
            "Nothing was signed in. If you did not ask for this, tell the administrators.",
        ),
        Err(why) => refused(&app, &why),
    }
}

/// A refusal as a page. What is broken on our side shows a number only.
fn refused(app: &App, why: &SignInRefused) -> Response {
    let status = match why {
        SignInRefused::Limit(_) => StatusCode::TOO_MANY_REQUESTS,
        SignInRefused::BadRequest(_) | SignInRefused::OtherBrowser => StatusCode::BAD_REQUEST,
        SignInRefused::NotFound => StatusCode::NOT_FOUND,
        SignInRefused::Denied(_) => StatusCode::FORBIDDEN,
        SignInRefused::Replay => StatusCode::CONFLICT,
        SignInRefused::Provider(error) => {
            let reference = super::error::log_internal(app, error);
            let text = format!(
                "The identity provider does not answer as it should. Try again in a minute, or tell the administrators the number {reference}."
            );
            return message(StatusCode::BAD_GATEWAY, "Not signed in", &text);
        }
        SignInRefused::Store(_) | SignInRefused::Keep(_) => {
            let reference = super::error::log_internal(app, why);
            let text = format!("Something is broken here. Tell the administrators the number {reference}.");
            return message(StatusCode::INTERNAL_SERVER_ERROR, "Not signed in", &text);
        }
    };
    message(status, "Not signed in", &sentence(&why.to_string()))
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    let dot = if text.ends_with('.') { "" } else { "." };
    format!("{first}{}{dot}", chars.as_str())
}
