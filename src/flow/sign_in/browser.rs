//! The browser's way: leaving for a provider and coming back. What the person is shown and asked on the way is in
//! `confirm`. A browser is known by its cookie; how pages look is the web door's matter.

use std::net::IpAddr;

use url::Url;

use super::begin::configured;
use super::confirm::check_form;
use super::{
    Event, HANDOFF_LIFE, Handoff, LEAVES_MAX, Mode, Pending, SignInRefused, Stay, hash, same, user_code,
};
use crate::app::App;
use crate::audit::AuditEvent;
use crate::config;
use crate::flow::recheck::{self, Arrived};
use crate::flow::refusals;
use crate::identity::Identity;
use crate::identity::claims::label;
use crate::identity::oidc::{OidcError, Trip};
use crate::ids::PendingId;
use crate::time::Timestamp;

/// Longest reason or text of a failure, in bytes.
const REASON_BYTES_MAX: usize = 400;

/// A provider to choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Its name, the value of the button.
    pub name: String,
    /// Its title.
    pub title: String,
}

/// A browser that is to go to a provider.
#[derive(Clone, Debug)]
pub struct Leaving {
    /// Where to.
    pub to: Url,
    /// The cookie it must bring back.
    pub cookie: String,
}

/// What a page that opens a sign-in shows.
#[derive(Clone, Debug)]
pub enum Opened {
    /// Which provider? The same page again, with the answer.
    Choose(Vec<Choice>),
    /// Off to the provider.
    Leave(Leaving),
}

/// The provider's redirect (OpenID Connect Core 3.1.2.5, RFC 9207).
#[derive(Clone, Debug, Default)]
pub struct Returned {
    /// The provider whose address it came to.
    pub provider: String,
    /// `state`
    pub state: String,
    /// `code`
    pub code: Option<String>,
    /// `error`
    pub error: Option<String>,
    /// `iss`
    pub issuer: Option<String>,
}

/// Where the browser goes after the provider.
#[derive(Clone, Debug)]
pub enum Back {
    /// To the client's port on this machine.
    ToClient(Url),
    /// To the page that asks for confirmation.
    Confirm(PendingId),
    /// Nowhere: it failed, and the waiting client hears the same text.
    Failed(String),
}

/// The configured providers.
pub fn choices(app: &App) -> Vec<Choice> {
    let choice = |p: &config::Provider| Choice { name: p.name.to_string(), title: p.title.clone() };
    app.config.providers.iter().map(choice).collect()
}

/// Goes on with a loopback sign-in, by the form that [`super::look_before`] made. Device and ssh sign-ins have no
/// address: their code must be typed.
pub async fn open(
    app: &App,
    id: &PendingId,
    provider: Option<&str>,
    cookie: Option<&str>,
    csrf_shown: &str,
) -> Result<Opened, SignInRefused> {
    let now = app.clock.now();
    let pending = loopback(app, id, now).await?;
    let cookie = cookie.filter(|cookie| is_token(cookie)).ok_or(SignInRefused::OtherBrowser)?;
    check_form(csrf_shown, cookie, id)?;
    leave(app, pending, provider, Some(cookie), None, now).await
}

/// The loopback sign-in that has this address.
pub(super) async fn loopback(app: &App, id: &PendingId, now: Timestamp) -> Result<Pending, SignInRefused> {
    let row = app.store.pending(id, now).await?.ok_or(SignInRefused::NotFound)?;
    let pending = Pending::from_row(row)?;
    if matches!(pending.mode, Mode::Loopback { .. }) { Ok(pending) } else { Err(SignInRefused::NotFound) }
}

/// Opens a device or ssh sign-in by the code that somebody typed at `from`.
pub async fn enter_code(
    app: &App,
    typed: &str,
    provider: Option<&str>,
    cookie: Option<&str>,
    from: IpAddr,
) -> Result<Opened, SignInRefused> {
    let now = app.clock.now();
    let unknown = || {
        SignInRefused::BadRequest("That code is unknown or has expired. Look again, or begin again.".into())
    };
    // What cannot be a code is no guess, and costs nobody a try.
    let code = user_code::read(typed).ok_or_else(unknown)?;
    if !app.desk.may_guess(from, now) {
        return Err(SignInRefused::Limit("too many codes were tried; wait some minutes"));
    }
    let row = app.store.pending_by_user_code(&hash(&code), now).await?.ok_or_else(unknown)?;
    app.desk.guessed(from);
    leave(app, Pending::from_row(row)?, provider, cookie, Some(&code), now).await
}

async fn leave(
    app: &App,
    mut pending: Pending,
    provider: Option<&str>,
    cookie: Option<&str>,
    code: Option<&str>,
    now: Timestamp,
) -> Result<Opened, SignInRefused> {
    let asked = match provider {
        Some(name) => Some(configured(app, name)?),
        None => pending.provider.clone(),
    };
    let provider = match (asked, app.config.providers.as_slice()) {
        (Some(name), all) => all.iter().find(|p| p.name == name).ok_or(SignInRefused::NotFound)?,
        (None, [only]) => only,
        (None, _) => return Ok(Opened::Choose(choices(app))),
    };
    if pending.leaves >= LEAVES_MAX {
        return Err(SignInRefused::Limit("this sign-in went to the provider too often; begin again"));
    }
    let cookie = cookie_or_new(app, cookie);
    let state = app.random.token();
    let state_hash = hash(&state);
    let to =
        app.desk.oidc.leave(provider, &back_to(app, provider)?, &Trip::new(&cookie, &state), now).await?;
    let stay = Stay {
        provider: provider.name.clone(),
        cookie_hash: hash(&cookie),
        sealed_code: code.map(|code| user_code::seal(code, &cookie, &state_hash)),
        state_hash,
    };
    pending.leaves += 1;
    let before = pending.take(Event::Leave(stay), now).map_err(|_| SignInRefused::NotFound)?;
    if !app.store.step_pending(before, &pending.to_row()?).await? {
        return Err(SignInRefused::NotFound);
    }
    Ok(Opened::Leave(Leaving { to, cookie }))
}

/// One cookie serves several sign-ins of a browser. A value that we would not make is not taken up.
pub(super) fn cookie_or_new(app: &App, cookie: Option<&str>) -> String {
    cookie.filter(|cookie| is_token(cookie)).map_or_else(|| app.random.token(), str::to_owned)
}

/// The redirect address that is registered at this provider.
fn back_to(app: &App, provider: &config::Provider) -> Result<Url, SignInRefused> {
    let uri = app.config.redirect_uri(&provider.name);
    Url::parse(&uri).map_err(|e| SignInRefused::BadRequest(e.to_string()))
}

fn is_token(text: &str) -> bool {
    text.len() == 43 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// Takes the browser back from the provider.
pub async fn come_back(
    app: &App,
    returned: Returned,
    cookie: Option<&str>,
    from: IpAddr,
) -> Result<Back, SignInRefused> {
    let now = app.clock.now();
    if !is_token(&returned.state) {
        return Err(SignInRefused::NotFound);
    }
    let found = app.store.pending_by_oauth_state(&hash(&returned.state), now).await?;
    let mut pending = Pending::from_row(found.ok_or(SignInRefused::NotFound)?)?;
    let stay = pending.stay().cloned().ok_or(SignInRefused::NotFound)?;
    let Some(cookie) = cookie.filter(|cookie| same(&hash(cookie), &stay.cookie_hash)) else {
        let reason = "the provider's answer came from another browser than the one sent there";
        note_failure(app, Some(&stay), reason, from).await?;
        return Err(SignInRefused::OtherBrowser);
    };
    // From here on the state is used up, whatever the provider says.
    advance(app, &mut pending, Event::Return, now).await?;
    match verify(app, &pending.id, &stay, &returned, cookie, now).await {
        Ok((who, arrived)) => {
            pending.arrived = Some(arrived);
            identified(app, pending, who, now).await
        }
        Err((reason, text)) => fail(app, pending, &stay, &reason, text, from, now).await,
    }
}

pub(super) async fn advance(
    app: &App,
    pending: &mut Pending,
    event: Event,
    now: Timestamp,
) -> Result<(), SignInRefused> {
    let before = pending.take(event, now).map_err(|_| SignInRefused::NotFound)?;
    if app.store.step_pending(before, &pending.to_row()?).await? {
        Ok(())
    } else {
        Err(SignInRefused::NotFound)
    }
}

/// Who the provider says it is, and what is kept of what it gave; or the reason for the audit and the text for the person.
async fn verify(
    app: &App,
    id: &PendingId,
    stay: &Stay,
    returned: &Returned,
    cookie: &str,
    now: Timestamp,
) -> Result<(Identity, Arrived), (String, String)> {
    let failed = |reason: &str, text: &str| (reason.to_owned(), text.to_owned());
    let provider = app.config.providers.iter().find(|p| p.name == stay.provider).ok_or_else(|| {
        failed("the provider is no longer configured", "this provider is no longer used here; begin again")
    })?;
    if returned.provider != stay.provider.as_str() {
        return Err(failed(
            "the answer came to the address of another provider",
            "the answer came from another identity provider; begin again",
        ));
    }
    if returned.issuer.as_ref().is_some_and(|issuer| *issuer != provider.issuer) {
        return Err(failed(
            "the answer names another issuer (iss)",
            "the answer came from another identity provider; begin again",
        ));
    }
    let code = match (&returned.error, &returned.code) {
        (None, Some(code)) => code,
        (Some(error), _) => {
            let error = label(error, 64);
            let text = if error == "access_denied" {
                "the identity provider refused the sign-in, or it was cancelled there".to_owned()
            } else {
                format!("the identity provider answered {error:?}; try again, or ask its administrators")
            };
            return Err((format!("the provider answered {error:?}"), text));
        }
        (None, None) => {
            return Err(failed("no code", "the identity provider's answer is incomplete; begin again"));
        }
    };
    let back = back_to(app, provider).map_err(|e| failed(&e.to_string(), "begin again"))?;
    let trip = Trip::new(cookie, &returned.state);
    match app.desk.oidc.exchange(provider, &back, code, &trip, now).await {
        Ok(arrival) => {
            let arrived = recheck::keep(app, id, &arrival).map_err(|error| {
                tracing::error!(%error, "nobody can sign in");
                failed(&error.to_string(), "this server is out of order; tell its administrators")
            })?;
            Ok((arrival.token.identity().clone(), arrived))
        }
        Err(why) => Err((why.to_string(), text_for(&why))),
    }
}

/// What the person learns: what to do, and nothing of the network behind us.
fn text_for(why: &OidcError) -> String {
    match why {
        OidcError::Token(refused) => {
            format!(
                "the identity provider's answer was refused: {refused}; begin again, or ask the administrators"
            )
        }
        OidcError::Provider(_) | OidcError::Config(_) => {
            "the identity provider did not answer as it should; try again, or ask the administrators"
                .to_owned()
        }
    }
}

async fn identified(
    app: &App,
    mut pending: Pending,
    who: Identity,
    now: Timestamp,
) -> Result<Back, SignInRefused> {
    let Mode::Loopback { port, .. } = pending.mode else {
        advance(app, &mut pending, Event::Identify { who, handoff: None }, now).await?;
        return Ok(Back::Confirm(pending.id));
    };
    let code = app.random.token();
    let handoff = Some(Handoff { hash: hash(&code), until: now.plus(HANDOFF_LIFE) });
    advance(app, &mut pending, Event::Identify { who, handoff }, now).await?;
    Ok(Back::ToClient(to_client(port, &pending.id, "code", &code)?))
}

/// The client chose only the port: the rest of the address is ours, so it cannot lead anywhere else. By the id the client
/// tells our redirect from whatever else a browser may send to its port.
fn to_client(port: u16, id: &PendingId, name: &str, value: &str) -> Result<Url, SignInRefused> {
    let base = format!("http://127.0.0.1:{port}/");
    Url::parse_with_params(&base, [(name, value), ("id", id.as_str())])
        .map_err(|e| SignInRefused::BadRequest(e.to_string()))
}

pub(super) async fn fail(
    app: &App,
    mut pending: Pending,
    stay: &Stay,
    reason: &str,
    text: String,
    from: IpAddr,
    now: Timestamp,
) -> Result<Back, SignInRefused> {
    // A provider's words may be in both texts: one goes into an address, the other into the audit log.
    let text = label(&text, REASON_BYTES_MAX);
    let before = pending.take(Event::Deny(text.clone()), now).map_err(|_| SignInRefused::NotFound)?;
    let mut tx = app.store.begin().await?;
    if !tx.step_pending(before, &pending.to_row()?).await? {
        tx.leave().await?;
        return Err(SignInRefused::NotFound);
    }
    tx.commit(now, failure(Some(stay), reason, from)).await?;
    match pending.mode {
        Mode::Loopback { port, .. } => Ok(Back::ToClient(to_client(port, &pending.id, "error", &text)?)),
        Mode::Device | Mode::Ssh => Ok(Back::Failed(text)),
    }
}

fn failure(stay: Option<&Stay>, reason: &str, from: IpAddr) -> AuditEvent {
    AuditEvent::SignInFailed {
        provider: stay.map(|stay| stay.provider.to_string()),
        reason: label(reason, REASON_BYTES_MAX),
        from: from.to_string(),
    }
}

pub(super) async fn note_failure(
    app: &App,
    stay: Option<&Stay>,
    reason: &str,
    from: IpAddr,
) -> Result<(), SignInRefused> {
    refusals::note(app, from, failure(stay, reason, from)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_others_have_an_end() {
        let words = format!("said\n{}", "x".repeat(100_000));
        let AuditEvent::SignInFailed { reason, .. } = failure(None, &words, IpAddr::from([192, 0, 2, 1]))
        else {
            panic!("another event");
        };
        assert!(reason.starts_with("said xxx") && reason.len() <= REASON_BYTES_MAX, "{}", reason.len());
    }
}
