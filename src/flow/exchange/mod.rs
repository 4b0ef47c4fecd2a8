//! A job's token, or a service account's statement, for a sign-in of a fresh key and its first certificate. `prove` finds out
//! who comes, the policy of the moment says what they may, and one transaction uses the token and the key up and writes sign-in,
//! certificate and audit entries. The token's single use stands in for the request's nonce: the same request again shows a
//! used token.

mod prove;

use std::sync::Arc;

use super::issue::{self, IssueRefused, Issued, Wish};
use super::permission::{is_locked, is_locked_in};
use super::recognise::{SignedBy, is_revoked};
use super::{Caller, refusals};
use crate::app::App;
use crate::audit::{AuditEvent, WorkloadEvent};
use crate::ca::Draft;
use crate::identity::claims::TokenRefused;
use crate::identity::{Identity, Run};
use crate::ids::SignInId;
use crate::names::{RoleName, WorkloadName};
use crate::policy::request::eligible;
use crate::policy::workload::{Judged, Mismatch};
use crate::policy::{Refusal, RefusalCode};
use crate::store::{RunName, RunWindow, SignIn, StoreError, Tx};
use crate::time::Timestamp;

use prove::{Arrived, prove};

/// How long a run that was announced is remembered after the last word of it: GitHub's longest run.
pub(super) const REMEMBERED: std::time::Duration = std::time::Duration::from_secs(35 * 24 * 3600);
/// Most live sign-ins of one run: GitHub's largest matrix has 256 jobs.
const OF_RUN_MAX: u64 = 512;
/// Longest claimed name that is written down, in bytes.
const CLAIMED_MAX: usize = 200;

/// What the caller shows.
#[derive(Clone, Debug)]
pub enum Shown {
    /// A platform's token.
    Token(String),
    /// A service account's statement: account, registered key, time, nonce, signature (see `identity::statement`).
    Service {
        /// The account.
        account: String,
        /// The registered key.
        key: String,
        /// Unix seconds.
        time: u64,
        /// The nonce.
        nonce: String,
        /// The signature.
        signature: String,
    },
}

/// What comes of it.
#[derive(Clone, Debug)]
pub struct Exchanged {
    /// The sign-in.
    pub sign_in: SignIn,
    /// Its first certificate.
    pub issued: Issued,
    /// The rules that the run fits; none for service accounts.
    pub rules: Vec<WorkloadName>,
    /// Roles that must be asked for before they open anything.
    pub by_request: Vec<RoleName>,
}

/// What would come of it.
#[derive(Clone, Debug)]
pub struct Look {
    /// Who.
    pub who: Identity,
    /// The rules that the run fits.
    pub rules: Vec<WorkloadName>,
    /// Rules for the same repository, project or account that it does not fit.
    pub near: Vec<(WorkloadName, Mismatch)>,
    /// The logins of the certificate; empty when there would be none.
    pub principals: Vec<String>,
    /// Roles that must be asked for.
    pub by_request: Vec<RoleName>,
    /// What the refusal would say.
    pub refusal: Option<String>,
}

/// Why there is no sign-in.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeRefused {
    /// What is shown is not believed. Code and reason are the caller's to read.
    #[error("{}", .0.reason)]
    Shown(TokenRefused),
    /// It is believed, and policy says no.
    #[error("{}", .0.text)]
    Policy(Refusal),
    /// Its issuer's keys cannot be had.
    #[error("the issuer's keys cannot be had now ({0}); try again in a minute")]
    Issuer(String),
    /// Too many refused ones from there.
    #[error("too many refused requests came from your address; wait a minute")]
    Limit,
    /// The certificate.
    #[error(transparent)]
    Issue(IssueRefused),
    /// The store is out of order.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<TokenRefused> for ExchangeRefused {
    fn from(refused: TokenRefused) -> Self {
        Self::Shown(refused)
    }
}

impl From<IssueRefused> for ExchangeRefused {
    fn from(refused: IssueRefused) -> Self {
        match refused {
            IssueRefused::Policy(refusal) => Self::Policy(refusal),
            IssueRefused::Store(error) => Self::Store(error),
            other @ (IssueRefused::Caller(_)
            | IssueRefused::Replay
            | IssueRefused::Draft(_)
            | IssueRefused::Signer(_)) => Self::Issue(other),
        }
    }
}

impl ExchangeRefused {
    /// The stable word for it; none for what is our own fault.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Self::Shown(refused) => Some(refused.code),
            Self::Policy(refusal) => Some(refusal.code.as_str()),
            Self::Issuer(_) => Some("issuer-down"),
            Self::Issue(IssueRefused::Draft(_)) => Some("limit"),
            Self::Limit | Self::Issue(_) | Self::Store(_) => None,
        }
    }
}

/// Exchanges what is shown for a sign-in of the key that signed the request.
pub async fn exchange(
    app: &App,
    signed: &SignedBy,
    shown: &Shown,
    wish: &Wish,
) -> Result<Exchanged, ExchangeRefused> {
    let mut claimed = String::new();
    match try_exchange(app, signed, shown, wish, &mut claimed).await {
        Ok(done) => Ok(done),
        Err(refused) => Err(note_refusal(app, signed, shown, &claimed, refused).await?),
    }
}

/// What the exchange would come to. Uses nothing up; what is not believed is refused and written down as there, and so is
/// what was told.
pub async fn look(app: &App, signed: &SignedBy, shown: &Shown, wish: &Wish) -> Result<Look, ExchangeRefused> {
    let mut claimed = String::new();
    let arrived = match prove(app, signed, shown, &mut claimed).await {
        Ok(arrived) => arrived,
        Err(refused) => return Err(note_refusal(app, signed, shown, &claimed, refused).await?),
    };
    let sign_in = sign_in(app, signed, &arrived);
    let caller = Caller::new(&sign_in, None, None, signed.from());
    let drafted = match may(app, signed, &arrived, &caller).await {
        Ok(()) => {
            issue::draft_for(app, signed, &caller, wish, app.clock.now()).map_err(ExchangeRefused::from)
        }
        Err(refused) => Err(refused),
    };
    let (principals, refusal) = match drafted {
        Ok(draft) => (draft.principals().to_vec(), None),
        Err(ExchangeRefused::Store(error)) => return Err(error.into()),
        Err(refused) => (Vec::new(), Some(refused.to_string())),
    };
    let looked = WorkloadEvent::Checked {
        who: caller.identity().clone(),
        rules: arrived.judged.matching.clone(),
        refusal: refusal.clone(),
        from: signed.from().to_string(),
    };
    if !refusals::note(app, signed.from(), AuditEvent::Workload(looked)).await? {
        return Err(ExchangeRefused::Limit);
    }
    let by_request = by_request(app, caller.identity());
    let Judged { matching, near } = arrived.judged;
    Ok(Look { who: sign_in.who, rules: matching, near, principals, by_request, refusal })
}

async fn try_exchange(
    app: &App,
    signed: &SignedBy,
    shown: &Shown,
    wish: &Wish,
    claimed: &mut String,
) -> Result<Exchanged, ExchangeRefused> {
    let arrived = prove(app, signed, shown, claimed).await?;
    let sign_in = sign_in(app, signed, &arrived);
    let caller = Caller::new(&sign_in, None, None, signed.from());
    may(app, signed, &arrived, &caller).await?;
    // Read before the transaction: who holds one and waits for another connection waits for others who do the same.
    if app.store.sign_in_by_key(signed.fingerprint(), app.clock.now()).await?.is_some() {
        return Err(key_used().into());
    }
    let mut tx = app.store.begin().await?;
    let now = app.clock.now();
    let sign_in = SignIn { created: now, expires: now.plus(arrived.run_max), ..sign_in };
    let caller = caller.as_in(&sign_in);
    let draft = issue::draft_for(app, signed, &caller, wish, now)?;
    // Once more, now that whoever locks comes before this or after it.
    let against = if is_locked_in(&mut tx, &caller, now).await? {
        Some(locked(&caller))
    } else {
        use_up(&mut tx, signed, &arrived, &sign_in, now).await?.map(ExchangeRefused::from)
    };
    if let Some(refused) = against {
        tx.leave().await?;
        return Err(refused);
    }
    record(tx, signed, &arrived, &sign_in, &draft, now).await?;
    let certificate =
        app.signer.sign(&draft, &app.random, app.clock.now()).await.map_err(IssueRefused::from)?;
    let by_request = by_request(app, &sign_in.who);
    let issued = Issued {
        certificate,
        serial: draft.serial(),
        principals: draft.principals().to_vec(),
        valid_before: draft.valid_before(),
        who: sign_in.who.clone(),
    };
    Ok(Exchanged { sign_in, issued, rules: arrived.judged.matching, by_request })
}

/// What speaks against somebody who is believed, besides their certificate.
async fn may(
    app: &App,
    signed: &SignedBy,
    arrived: &Arrived,
    caller: &Caller,
) -> Result<(), ExchangeRefused> {
    if let Some(refused) = &arrived.refused {
        return Err(ExchangeRefused::Shown(refused.clone()));
    }
    if is_revoked(app, signed).await? {
        return Err(TokenRefused::new("revoked", "this key was revoked; make a new one").into());
    }
    if is_locked(app, caller).await? {
        return Err(locked(caller));
    }
    Ok(())
}

fn locked(caller: &Caller) -> ExchangeRefused {
    ExchangeRefused::Policy(Refusal {
        code: RefusalCode::Locked,
        rule: None,
        text: format!("{} is locked; ask an administrator", caller.identity().reference()),
        reason: "there is a lock on the workload".to_owned(),
    })
}

/// The sign-in to be.
fn sign_in(app: &App, signed: &SignedBy, arrived: &Arrived) -> SignIn {
    let id = SignInId::random(&app.random);
    let now = app.clock.now();
    let mut who = arrived.who.clone();
    // What it asks for is then of this one run.
    if let Some(run) = &mut who.run {
        Arc::make_mut(run).sign_in = Some(id.to_string());
    }
    SignIn {
        id,
        client: who.run.as_ref().and_then(|run| run.url.clone()).unwrap_or_default(),
        who,
        key_fingerprint: Some(signed.fingerprint().to_owned()),
        method: arrived.method.to_owned(),
        from: signed.from().to_string(),
        created: now,
        expires: now.plus(arrived.run_max),
        ended: None,
    }
}

fn key_used() -> TokenRefused {
    TokenRefused::new("key-used", "this key has a sign-in already: make a new key for every run")
}

/// Uses up token and key, and looks once more at what the platform said of the run, now that nobody else can; or says what
/// speaks against it.
async fn use_up(
    tx: &mut Tx,
    signed: &SignedBy,
    arrived: &Arrived,
    sign_in: &SignIn,
    now: Timestamp,
) -> Result<Option<TokenRefused>, StoreError> {
    let issuer = &sign_in.who.provider;
    match tx.use_token(issuer, &arrived.token, arrived.useless_from).await {
        Ok(()) => {}
        Err(StoreError::Conflict) => {
            return Ok(Some(TokenRefused::new("used", "this token was used before; ask for a new one")));
        }
        Err(error) => return Err(error),
    }
    // One key, one run. No nonce of a request looks so: it is no base64url.
    match tx.use_nonce(signed.fingerprint(), "(exchange)", sign_in.expires).await {
        Ok(()) => {}
        Err(StoreError::Conflict) => return Ok(Some(key_used())),
        Err(error) => return Err(error),
    }
    let Some((run, attempt)) = sign_in.who.run.as_deref().and_then(Run::name) else { return Ok(None) };
    let name = RunName { issuer, subject: &sign_in.who.subject, run, attempt };
    if let Some(watched) = arrived.watched {
        let window = tx.run_window(&name, RunWindow::default(), now.plus(REMEMBERED)).await?;
        if let Some(refused) = watched.over(window) {
            return Ok(Some(refused));
        }
    }
    if tx.count_of_run(&name, now).await? >= OF_RUN_MAX {
        let why = format!("this run has {OF_RUN_MAX} sign-ins already; end some with: caponier ci done");
        return Ok(Some(TokenRefused::new("limit", why)));
    }
    Ok(None)
}

/// Rows and audit entries, before the certificate exists.
async fn record(
    mut tx: Tx,
    signed: &SignedBy,
    arrived: &Arrived,
    sign_in: &SignIn,
    draft: &Draft,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.insert_sign_in(sign_in).await?;
    let issued = issue::insert(&mut tx, signed, &sign_in.id, draft).await?;
    let signed_in = AuditEvent::Workload(WorkloadEvent::SignedIn {
        sign_in: sign_in.id.clone(),
        who: sign_in.who.clone(),
        key: signed.fingerprint().to_owned(),
        rules: arrived.judged.matching.clone(),
        expires: sign_in.expires.as_secs(),
        from: signed.from().to_string(),
    });
    tx.commit_all(now, vec![signed_in, issued]).await
}

fn by_request(app: &App, who: &Identity) -> Vec<RoleName> {
    let policy = app.policy();
    let roles = eligible(&policy, who).into_iter().map(|eligible| eligible.role);
    roles.filter(|role| role.access.rules().is_some()).map(|role| role.name.clone()).collect()
}

/// Writes down that somebody was refused, up to a rate for each network; the refusal.
async fn note_refusal(
    app: &App,
    signed: &SignedBy,
    shown: &Shown,
    claimed: &str,
    refused: ExchangeRefused,
) -> Result<ExchangeRefused, StoreError> {
    let Some(code) = refused.code() else { return Ok(refused) };
    let reason = match &refused {
        ExchangeRefused::Policy(refusal) => refusal.reason.clone(),
        ExchangeRefused::Shown(_)
        | ExchangeRefused::Issuer(_)
        | ExchangeRefused::Limit
        | ExchangeRefused::Issue(_)
        | ExchangeRefused::Store(_) => refused.to_string(),
    };
    let event = AuditEvent::CredentialRefused {
        what: match shown {
            Shown::Token(_) => "workload-token",
            Shown::Service { .. } => "service-statement",
        },
        claimed: crate::identity::claims::label(claimed, CLAIMED_MAX),
        code,
        reason,
        from: signed.from().to_string(),
    };
    // A right token is always heard, whoever shares its address.
    Ok(if refusals::note(app, signed.from(), event).await? { refused } else { ExchangeRefused::Limit })
}
