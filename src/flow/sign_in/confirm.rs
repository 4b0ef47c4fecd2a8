//! What the person is shown and asked: before leaving for the provider (loopback), and, in device and ssh mode, the
//! yes or no afterwards. Each answer needs a form that we made for that very browser.

use std::net::IpAddr;

use super::browser::{Choice, advance, choices, cookie_or_new, fail, loopback};
use super::{Event, Mode, Pending, SignInRefused, State, hash, same, user_code};
use crate::app::App;
use crate::identity::Identity;
use crate::ids::PendingId;
use crate::time::Timestamp;

/// What the person sees before a loopback sign-in goes to the provider.
#[derive(Clone, Debug)]
pub struct BeforeView {
    /// What the client machine calls itself.
    pub client: String,
    /// Where the client asked from.
    pub from: IpAddr,
    /// Fingerprint of the client's key.
    pub key: String,
    /// The providers to go to; one, when the client named it or there is only one.
    pub choices: Vec<Choice>,
    /// The cookie that the form needs.
    pub cookie: String,
    /// The form's token against cross-site requests.
    pub csrf: String,
}

/// What the person compares before confirming.
#[derive(Clone, Debug)]
pub struct ConfirmView {
    /// Who was signed in.
    pub who: Identity,
    /// The code that stands at the client.
    pub code: String,
    /// What the client machine calls itself; none in ssh mode.
    pub client: Option<String>,
    /// Where the client asked from.
    pub from: IpAddr,
    /// Fingerprint of the client's key; none in ssh mode.
    pub key: Option<String>,
    /// The form's token against cross-site requests.
    pub csrf: String,
}

/// The person's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Sign that client in.
    Confirm,
    /// Do not.
    Deny,
}

/// What a loopback sign-in is about to do. Nothing happens before the person has seen it and gone on: somebody else may
/// have sent the address.
pub async fn look_before(
    app: &App,
    id: &PendingId,
    cookie: Option<&str>,
) -> Result<BeforeView, SignInRefused> {
    let pending = loopback(app, id, app.clock.now()).await?;
    let (State::Begun | State::AtProvider(_), Some(key)) = (&pending.state, pending.key) else {
        return Err(SignInRefused::NotFound);
    };
    let asked = pending.provider.as_ref().map(ToString::to_string);
    let choices = choices(app).into_iter().filter(|one| asked.as_ref().is_none_or(|name| *name == one.name));
    let cookie = cookie_or_new(app, cookie);
    let csrf = csrf(&cookie, id);
    Ok(BeforeView {
        client: pending.client,
        from: pending.from,
        key,
        choices: choices.collect(),
        cookie,
        csrf,
    })
}

/// What the person is to confirm, for the browser that was at the provider and for no other.
pub async fn look(app: &App, id: &PendingId, cookie: Option<&str>) -> Result<ConfirmView, SignInRefused> {
    let (pending, cookie) = identified_here(app, id, cookie, app.clock.now()).await?;
    let csrf = csrf(cookie, id);
    let State::Identified { stay, who, .. } = pending.state else { return Err(SignInRefused::NotFound) };
    let sealed = stay.sealed_code.as_deref();
    let code = sealed.and_then(|sealed| user_code::unseal(sealed, cookie, &stay.state_hash));
    Ok(ConfirmView {
        who,
        code: code.ok_or(SignInRefused::NotFound)?,
        client: pending.key.is_some().then_some(pending.client),
        from: pending.from,
        key: pending.key,
        csrf,
    })
}

async fn identified_here<'a>(
    app: &App,
    id: &PendingId,
    cookie: Option<&'a str>,
    now: Timestamp,
) -> Result<(Pending, &'a str), SignInRefused> {
    let row = app.store.pending(id, now).await?.ok_or(SignInRefused::NotFound)?;
    let pending = Pending::from_row(row)?;
    let ours = |cookie: &&str| matches!(&pending.state, State::Identified { stay, .. } if same(&hash(cookie), &stay.cookie_hash));
    match cookie.filter(ours) {
        Some(cookie) if !matches!(pending.mode, Mode::Loopback { .. }) => Ok((pending, cookie)),
        _ => Err(SignInRefused::NotFound),
    }
}

/// Known to the page and to nobody else: derived from the cookie, which other sites cannot read.
fn csrf(cookie: &str, id: &PendingId) -> String {
    hash(&format!("caponier csrf\n{cookie}\n{id}"))
}

/// Whether the form was made by us for this browser.
pub(super) fn check_form(csrf_shown: &str, cookie: &str, id: &PendingId) -> Result<(), SignInRefused> {
    if same(csrf_shown, &csrf(cookie, id)) {
        return Ok(());
    }
    Err(SignInRefused::BadRequest("this form was not made by this site; begin again".into()))
}

/// Takes the person's answer.
pub async fn decide(
    app: &App,
    id: &PendingId,
    cookie: Option<&str>,
    csrf_shown: &str,
    decision: Decision,
    from: IpAddr,
) -> Result<(), SignInRefused> {
    let now = app.clock.now();
    let (mut pending, cookie) = identified_here(app, id, cookie, now).await?;
    check_form(csrf_shown, cookie, id)?;
    match decision {
        Decision::Confirm => advance(app, &mut pending, Event::Confirm, now).await,
        Decision::Deny => {
            let stay = pending.stay().cloned().ok_or(SignInRefused::NotFound)?;
            let text = "the sign-in was denied in the browser".to_owned();
            fail(app, pending, &stay, "denied in the browser", text, from, now).await.map(|_| ())
        }
    }
}
