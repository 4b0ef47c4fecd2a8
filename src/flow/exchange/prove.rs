//! Who comes with a token or a statement: shape, issuer, signature, claims, key, and what the policy makes of the run. Nothing is
//! used up here.

use std::sync::Arc;
use std::time::Duration;

use russh::keys::ssh_key::HashAlg;

use super::{ExchangeRefused, Shown};
use crate::app::App;
use crate::config::{Issuer, SERVICE};
use crate::flow::recognise::SignedBy;
use crate::identity::claims::{TokenRefused, label};
use crate::identity::oidc::OidcError;
use crate::identity::run::Run;
use crate::identity::statement::{ServiceRefused, Statement, verify_service};
use crate::identity::{Identity, Kind, proof, token, workload};
use crate::platform::Platform;
use crate::policy::workload::{Judged, judge};
use crate::store::{RunName, RunWindow};
use crate::time::Timestamp;

/// Longest display label, in bytes.
const DISPLAY_MAX: usize = 128;

/// Somebody who is believed.
pub(super) struct Arrived {
    pub(super) who: Identity,
    /// `token` or `service`, for the sign-in.
    pub(super) method: &'static str,
    /// What is used up, at its issuer, and until when that matters.
    pub(super) token: String,
    pub(super) useless_from: Timestamp,
    pub(super) run_max: Duration,
    /// The rules.
    pub(super) judged: Judged,
    /// The run, where the platform tells of its end.
    pub(super) watched: Option<Watched>,
    /// Why it comes to nothing all the same.
    pub(super) refused: Option<TokenRefused>,
}

/// A run that webhooks speak of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watched {
    /// When the token was issued.
    issued: Timestamp,
    /// A run that was over can run again under its name.
    runs_again: bool,
}

impl Watched {
    /// Why the run gets nothing, as far as its platform has said that it is over. Where runs come back under their old name,
    /// a token that was issued after that shows that this one did.
    pub(super) fn over(self, window: RunWindow) -> Option<TokenRefused> {
        let closed = window.closed.filter(|closed| !self.runs_again || self.issued <= *closed)?;
        let why = format!("the platform said at {closed} that this run is over");
        Some(TokenRefused::new("run-over", why))
    }
}

/// Finds out. `claimed` becomes what it says of itself, for the audit log, before it is believed.
pub(super) async fn prove(
    app: &App,
    signed: &SignedBy,
    shown: &Shown,
    claimed: &mut String,
) -> Result<Arrived, ExchangeRefused> {
    match shown {
        Shown::Token(token) => of_token(app, signed, token, claimed).await,
        Shown::Service { account, key, time, nonce, signature } => {
            claimed.push_str(account);
            let statement = Statement { account, key, time: *time, nonce, signature };
            of_service(app, signed, statement)
        }
    }
}

async fn of_token(
    app: &App,
    signed: &SignedBy,
    text: &str,
    claimed: &mut String,
) -> Result<Arrived, ExchangeRefused> {
    let opened = token::open(text)?;
    claimed.push_str(opened.issuer());
    let known = |issuer: &&Issuer| issuer.issuer == opened.issuer();
    let issuer = app.config.issuers.iter().find(known).ok_or_else(|| {
        TokenRefused::new("issuer", "the token's issuer is not one that this bastion knows ([[issuer]])")
    })?;
    let hash = signed.key().fingerprint(HashAlg::Sha256);
    let now = app.clock.now();
    let verified = match app.desk.issuers.verify(issuer, opened, &token::hex(hash.as_bytes()), now).await {
        Ok(verified) => verified,
        Err(OidcError::Token(refused)) => return Err(refused.into()),
        Err(OidcError::Provider(why) | OidcError::Config(why)) => return Err(ExchangeRefused::Issuer(why)),
    };
    let mut run = workload::read(issuer.platform, issuer.generic.as_ref(), verified.claims())?;
    claimed.push(' ');
    claimed.push_str(&run.subject);
    let watched = issuer
        .webhook_secret
        .as_ref()
        .and_then(|_| run.name())
        .map(|_| Watched { issued: verified.issued(), runs_again: issuer.platform != Platform::GitHub });
    if let (Some(watched), Some((id, attempt))) = (watched, run.name()) {
        let name = RunName { issuer: &issuer.name, subject: &run.subject, run: id, attempt };
        let window = app.store.run_window(&name).await?;
        if let Some(refused) = watched.over(window) {
            return Err(refused.into());
        }
        run.announced = window.opened.is_some();
    }
    let judged = judge(&app.policy(), &issuer.name, &run);
    let refused = judged.matching.is_empty().then(|| refusal(&run, &judged));
    Ok(Arrived {
        who: identity(&issuer.name, &issuer.issuer, run),
        method: "token",
        token: verified.id().to_owned(),
        useless_from: verified.useless_from(),
        run_max: issuer.run_max,
        judged,
        watched,
        refused,
    })
}

/// Why no rule fits. Only of rules for this very repository more is told: anybody can come with a token of their own.
fn refusal(run: &Run, judged: &Judged) -> TokenRefused {
    // A rule that fits but for the platform's word is the one that is meant.
    let meant = judged.near.iter().find(|(_, mismatch)| mismatch.code == "announced");
    match meant.or_else(|| judged.near.first()) {
        Some((rule, mismatch)) => {
            TokenRefused::new(mismatch.code, format!("rule {rule} does not fit: {mismatch}"))
        }
        None => TokenRefused::new(
            "no-rule",
            format!("no [[workload]] of the policy is for {} of {}", run.subject, run.platform),
        ),
    }
}

fn of_service(app: &App, signed: &SignedBy, statement: Statement<'_>) -> Result<Arrived, ExchangeRefused> {
    let now = app.clock.now();
    let authority = proof::authority(&app.config.web.public_url);
    let proven = verify_service(statement, &authority, signed.fingerprint(), now).map_err(|refused| {
        let code = match refused {
            ServiceRefused::Form(_) => "shape",
            ServiceRefused::Key(_) => "weak-key",
            ServiceRefused::Clock(_) => "clock",
            ServiceRefused::Signature => "signature",
        };
        TokenRefused::new(code, refused.to_string())
    })?;
    // Whether it is the name or the key that is unknown is told to the audit log's readers only by the name.
    let unknown = || TokenRefused::new("service", "no service account of this name has this key");
    let policy = app.policy();
    let service = policy.services.get(proven.account()).ok_or_else(unknown)?;
    let run = service.run(proven.key()).ok_or_else(unknown)?;
    if proven.fingerprint() == signed.fingerprint() {
        let why = "the registered key only asks for certificates: sign the request with a new key";
        return Err(TokenRefused::new("key-used", why).into());
    }
    if !service.is_source(signed.from()) {
        let why = format!("{} is not among the account's sources", signed.from());
        return Err(TokenRefused::new("source", why).into());
    }
    let provider = SERVICE.parse().map_err(|_| unknown())?;
    Ok(Arrived {
        who: identity(&provider, app.config.web.public_url.as_str(), run),
        method: "service",
        token: format!("{} {}", proven.fingerprint(), proven.nonce()),
        useless_from: proven.nonce_expires(),
        run_max: service.run_max,
        judged: Judged::default(),
        watched: None,
        refused: None,
    })
}

fn identity(provider: &crate::names::ProviderName, issuer: &str, run: Run) -> Identity {
    let of = run.id.as_ref().map(|id| format!(" run {id}")).unwrap_or_default();
    let by = run.actor.as_ref().map(|actor| format!(" by {actor}")).unwrap_or_default();
    Identity {
        kind: Kind::Workload,
        provider: provider.clone(),
        issuer: issuer.to_owned(),
        subject: run.subject.clone(),
        display: label(&format!("{}{of}{by}", run.label), DISPLAY_MAX),
        groups: Default::default(),
        run: Some(Arc::new(run)),
    }
}
