//! The beginning, from the command line: a signed request opens a pending sign-in for the signing key.

use std::net::IpAddr;

use url::Url;

use super::{
    CLIENT_BYTES_MAX, Mode, PENDING_LIFE, PENDING_MAX, PENDING_OF_AREA_MAX, PENDING_OF_WIDE_AREA_MAX,
    Pending, SignInRefused, State, hash, user_code,
};
use crate::app::App;
use crate::flow::recognise::{SignedBy, is_revoked};
use crate::flow::revoke::KEY_REVOKED;
use crate::identity::claims::label;
use crate::ids::PendingId;
use crate::names::ProviderName;
use crate::place::{area, wide_area};
use crate::store::StoreError;
use crate::time::Timestamp;

/// How often a taken user code is drawn again.
const DRAWS_MAX: u32 = 4;

/// What a client asks for.
#[derive(Clone, Debug)]
pub struct Begin {
    /// Loopback with its port and challenge; none for the device flow.
    pub loopback: Option<(u16, String)>,
    /// What the client machine calls itself.
    pub client: String,
    /// The provider to go to at once.
    pub provider: Option<String>,
}

/// A sign-in that has begun.
#[derive(Clone, Debug)]
pub struct Begun {
    /// Its id.
    pub id: PendingId,
    /// Where the browser goes.
    pub url: Url,
    /// Device and ssh mode: what to type there.
    pub user_code: Option<String>,
    /// When it is void.
    pub expires: Timestamp,
}

/// Begins. The nonce of the request is not burned: repeating a `begin` makes another pending sign-in for the same
/// key, which is nothing that whoever repeats it could use.
pub async fn begin(app: &App, signed: &SignedBy, ask: Begin) -> Result<Begun, SignInRefused> {
    if is_revoked(app, signed).await? {
        return Err(SignInRefused::Denied(KEY_REVOKED.into()));
    }
    let mode = match ask.loopback {
        None => Mode::Device,
        Some((port, challenge)) => {
            let base64url = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
            if port == 0 || challenge.len() != 43 || !challenge.bytes().all(base64url) {
                return Err(SignInRefused::BadRequest(
                    "loopback needs a port and a challenge of 43 base64url characters".into(),
                ));
            }
            Mode::Loopback { port, challenge }
        }
    };
    let provider = ask.provider.as_deref().map(|name| configured(app, name)).transpose()?;
    let client = match label(&ask.client, CLIENT_BYTES_MAX) {
        empty if empty.is_empty() => "an unnamed machine".to_owned(),
        client => client,
    };
    insert(app, mode, Some(signed.fingerprint().to_owned()), client, provider, signed.from()).await
}

/// The name of a provider that the configuration has.
pub(super) fn configured(app: &App, name: &str) -> Result<ProviderName, SignInRefused> {
    let known = app.config.providers.iter().find(|provider| provider.name.as_str() == name);
    known.map(|provider| provider.name.clone()).ok_or_else(|| {
        let names: Vec<_> = app.config.providers.iter().map(|p| p.name.as_str()).collect();
        SignInRefused::BadRequest(format!("there is no such provider here; there is: {}", names.join(", ")))
    })
}

/// A page of this server.
pub(super) fn page(app: &App, path: &str) -> Result<Url, SignInRefused> {
    app.config.web.public_url.join(path).map_err(|e| SignInRefused::BadRequest(e.to_string()))
}

/// Writes a new pending sign-in, within the caps. Begins are not audited, anybody can cause them; their ends are.
pub(super) async fn insert(
    app: &App,
    mode: Mode,
    key: Option<String>,
    client: String,
    provider: Option<ProviderName>,
    from: IpAddr,
) -> Result<Begun, SignInRefused> {
    let now = app.clock.now();
    if !app.desk.may_begin(from, now) {
        return Err(SignInRefused::Limit("too many sign-ins were begun from your address; wait a minute"));
    }
    let under_way = app.store.pending_counts(area(from), wide_area(from), now).await?;
    if under_way.area >= PENDING_OF_AREA_MAX || under_way.wide_area >= PENDING_OF_WIDE_AREA_MAX {
        return Err(SignInRefused::Limit(
            "too many sign-ins from your network are under way; finish one, or wait some minutes",
        ));
    }
    if under_way.all >= PENDING_MAX {
        return Err(SignInRefused::Limit("too many sign-ins are under way; wait some minutes"));
    }
    let (created, expires) = (now, now.plus(PENDING_LIFE));
    let mut tries = 0;
    loop {
        let id = PendingId::random(&app.random);
        let (url, code) = match mode {
            Mode::Loopback { .. } => (page(app, &format!("/sign-in/{id}"))?, None),
            Mode::Device | Mode::Ssh => (page(app, "/device")?, Some(user_code::draw(&app.random))),
        };
        let pending = Pending {
            id: id.clone(),
            mode: mode.clone(),
            state: State::Begun,
            key: key.clone(),
            client: client.clone(),
            from,
            provider: provider.clone(),
            user_code_hash: code.as_deref().map(hash),
            leaves: 0,
            arrived: None,
            created,
            expires,
        };
        match app.store.insert_pending(&pending.to_row()?).await {
            // Somebody else has this user code at the moment.
            Err(StoreError::Conflict) if tries < DRAWS_MAX => tries += 1,
            written => {
                written?;
                return Ok(Begun { id, url, user_code: code, expires });
            }
        }
    }
}
