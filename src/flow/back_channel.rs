//! A provider logs somebody out (OpenID Connect Back-Channel Logout 1.0): the sign-ins that it means end, in one transaction
//! with the token's being used up. Who may say so is shown by the token's signature alone; where it comes from says nothing.

use std::net::IpAddr;

use super::refusals;
use crate::app::App;
use crate::audit::{AuditEvent, ProviderEvent};
use crate::identity::claims::{TokenRefused, label};
use crate::identity::logout::LogoutToken;
use crate::identity::oidc::OidcError;
use crate::store::StoreError;

/// Longest reason that is written down, in bytes.
const REASON_MAX: usize = 400;

/// Why nobody is logged out. The text goes to the provider.
#[derive(Debug, thiserror::Error)]
pub enum LogoutRefused {
    /// The provider is not one of ours.
    #[error("there is no such provider here")]
    NotFound,
    /// The token is not believed.
    #[error("{0}")]
    Token(#[from] TokenRefused),
    /// Its keys cannot be had, so nothing can be believed.
    #[error("the keys of the provider cannot be had now; send it again")]
    Keys,
    /// Too many refused ones from there.
    #[error("too many refused requests came from your address; wait a minute")]
    Limit,
    /// The store is out of order.
    #[error("the logout could not be written down; send it again")]
    Store(#[from] StoreError),
}

/// Ends what the token `token` of the provider called `provider` here means; says how many sign-ins that were. Refusals are
/// in the audit log, up to a rate for each network.
pub async fn log_out(app: &App, provider: &str, token: &str, from: IpAddr) -> Result<usize, LogoutRefused> {
    let found = app.config.providers.iter().find(|one| one.name.as_str() == provider);
    let Some(found) = found else {
        return refuse(app, "unknown", "unknown-provider", LogoutRefused::NotFound, from).await;
    };
    let name = found.name.as_str();
    match app.desk.oidc.logout(found, token, app.clock.now()).await {
        Ok(token) => match end_all(app, found, &token, from).await? {
            Some(ended) => Ok(ended),
            None => {
                let used = TokenRefused { code: "replay", reason: "the token came before".to_owned() };
                refuse(app, name, "replay", used.into(), from).await
            }
        },
        Err(OidcError::Token(refused)) => refuse(app, name, refused.code, refused.into(), from).await,
        Err(why @ (OidcError::Provider(_) | OidcError::Config(_))) => {
            tracing::warn!(provider = name, %why, "a logout token could not be verified");
            refuse(app, name, "no-keys", LogoutRefused::Keys, from).await
        }
    }
}

/// None when the token came before.
async fn end_all(
    app: &App,
    provider: &crate::config::Provider,
    token: &LogoutToken,
    from: IpAddr,
) -> Result<Option<usize>, StoreError> {
    let now = app.clock.now();
    let mut tx = app.store.begin().await?;
    // No key of a signed request can be called so: it has a blank.
    let whose = format!("(logout) {}", provider.name);
    match tx.use_nonce(&whose, token.jti(), token.useless_from()).await {
        Ok(()) => {}
        Err(StoreError::Conflict) => {
            // Else the provider would hear that it came before, and nobody would be logged out if that one is not committed.
            tx.leave().await?;
            return Ok(None);
        }
        Err(other) => return Err(other),
    }
    let ended = tx.end_sign_ins_of_session(&provider.name, token.sub(), token.sid(), now).await?;
    let mut events: Vec<AuditEvent> = ended
        .iter()
        .map(|one| AuditEvent::SignInEnded {
            sign_in: one.id.clone(),
            by: "provider".to_owned(),
            reason: "logged out at the provider".to_owned(),
        })
        .collect();
    events.push(AuditEvent::Provider(ProviderEvent::LoggedOut {
        provider: provider.name.clone(),
        sub: token.sub().map(str::to_owned),
        sid: token.sid().map(str::to_owned),
        ended: ended.iter().map(|one| one.id.clone()).collect(),
        from: from.to_string(),
    }));
    tx.commit_all(now, events).await?;
    ended.iter().for_each(|one| app.desk.tell_ended(&one.id));
    Ok(Some(ended.len()))
}

async fn refuse(
    app: &App,
    provider: &str,
    code: &'static str,
    why: LogoutRefused,
    from: IpAddr,
) -> Result<usize, LogoutRefused> {
    let event = AuditEvent::CredentialRefused {
        what: "logout-token",
        claimed: provider.to_owned(),
        code,
        reason: label(&why.to_string(), REASON_MAX),
        from: from.to_string(),
    };
    // A token that holds is always heard, whoever shares the provider's address.
    if refusals::note(app, from, event).await? { Err(why) } else { Err(LogoutRefused::Limit) }
}
