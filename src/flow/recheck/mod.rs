//! Asks a sign-in's provider again: is the person still there, and in which groups? At the renewal of a certificate
//! ([`before_renewal`]), and by the clock for everybody ([`all_due`]). A no ends the sign-in; other groups are written
//! into it, and what is open is judged again. No answer is not a no: what it means for how long is a setting (`due`).
//!
//! A refresh token may be good for one use. So whoever asks holds the row's lease, and of two servers that want to ask,
//! one does. Should a server die between the provider's answer and the row, a token that works once is lost with it, and
//! the next check ends the sign-in.

mod due;
mod keep;

use std::time::Duration;

use futures_util::StreamExt as _;

use super::change::Change;
use super::desk::lock;
use crate::app::App;
use crate::audit::{AuditEvent, ProviderEvent};
use crate::config::{Outage, Provider};
use crate::identity::Identity;
use crate::identity::claims::label;
use crate::identity::oidc::{Kept, Refreshed, Verdict};
use crate::ids::SignInId;
use crate::names::ProviderName;
use crate::policy::{Refusal, RefusalCode};
use crate::secret::{OpenError, Sealed};
use crate::store::{CheckNote, SignIn, SignInCheck, StoreError, Tx};
use crate::time::Timestamp;

use due::Standing;
pub use due::wait;
pub use keep::{Arrived, KeepError, prepare};
pub(super) use keep::{keep, settle};

/// How long the right to ask lasts: longer than asking can take, also for a server whose clock is a minute ahead.
const LEASE: Duration = Duration::from_secs(120);
/// Sign-ins that one look by the clock asks for, and how many at once.
const AT_ONCE: usize = 4;
const LOOK_MAX: u32 = 1000;
/// Longest reason that is written down, in bytes.
const REASON_MAX: usize = 400;
/// Who ended a sign-in, for the audit log.
const BY_PROVIDER: &str = "provider";
const BY_OUTAGE: &str = "outage";

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// Nothing was asked: there is nothing to ask with, or somebody else is asking.
    Untouched,
    /// The person is there, as before.
    Same,
    /// The person is there, in other groups.
    Changed,
    /// The sign-in has ended.
    Ended,
    /// The provider gave no answer.
    Silent,
}

/// Before a certificate is renewed: asks when the last check is old. `Err` when the provider's word is missing for too
/// long; the refusal is not in the audit log yet. True when the provider was asked: whether the sign-in is live, and as whom,
/// is to be read after that.
pub async fn before_renewal(app: &App, id: &SignInId) -> Result<Result<bool, Refusal>, StoreError> {
    let Some(check) = app.store.check_of(id).await? else { return Ok(Ok(false)) };
    let settings = &app.config.checks;
    let is_due = due::is_due(&check, settings, app.clock.now());
    let check = if is_due {
        recheck_untried(app, id, check.tried).await?;
        match app.store.check_of(id).await? {
            Some(check) => check,
            None => return Ok(Ok(true)),
        }
    } else {
        check
    };
    Ok(match due::standing(&check, settings, app.clock.now()) {
        Standing::Good => Ok(is_due),
        Standing::Unseen => Err(unseen(&check)),
    })
}

/// As [`before_renewal`], for something new under a sign-in that has no certificates: they are what would run out.
pub(super) async fn may_go_on(app: &App, id: &SignInId) -> Result<Result<(), Refusal>, StoreError> {
    let check = app.store.check_of(id).await?;
    let unseen_one =
        check.filter(|check| due::standing(check, &app.config.checks, app.clock.now()) == Standing::Unseen);
    Ok(unseen_one.map_or(Ok(()), |check| Err(unseen(&check))))
}

fn unseen(check: &SignInCheck) -> Refusal {
    Refusal {
        code: RefusalCode::Unchecked,
        rule: None,
        text: format!(
            "your identity provider {} has not confirmed since {} that you are still there; nothing new is opened until \
             it does",
            check.provider, check.checked
        ),
        reason: format!(
            "no check succeeded since {}: {}",
            check.checked,
            check.failure.as_deref().unwrap_or("none was tried")
        ),
    }
}

/// Says at start how each provider will be asked, as far as that can be known; a provider that is down says so later.
pub async fn describe(app: &App) {
    for provider in &app.config.providers {
        let name = &provider.name;
        match app.desk.oidc.offers_refresh(provider, app.clock.now()).await {
            Ok(true) => {
                tracing::info!(provider = %name, every_secs = app.config.checks.every.as_secs(), "people who signed in there are checked again");
            }
            Ok(false) => tracing::warn!(
                provider = %name,
                refresh_token = provider.refresh_token.as_str(),
                "this provider is not asked for refresh tokens: unless it gives them by itself, a sign-in lasts its hours whatever happens there, but for a logout that it sends"
            ),
            Err(error) => {
                tracing::warn!(provider = %name, %error, "it cannot be seen yet whether this provider offers refresh tokens")
            }
        }
    }
}

/// Asks for everybody for whom it is time; says for how many it asked.
pub async fn all_due(app: &App) -> Result<usize, StoreError> {
    let now = app.clock.now();
    let (before, failed_before) = due::asked_before(&app.config.checks, now);
    let due = app.store.checks_due(before, failed_before, LOOK_MAX, now).await?;
    let asked = futures_util::stream::iter(due)
        .map(|check| async move { recheck_untried(app, &check.sign_in, check.tried).await })
        .buffer_unordered(AT_ONCE);
    let all: Vec<Result<Checked, StoreError>> = asked.collect().await;
    let mut count = 0;
    for one in all {
        count += usize::from(one? != Checked::Untouched);
    }
    Ok(count)
}

/// Asks for one sign-in, now.
pub async fn recheck(app: &App, id: &SignInId) -> Result<Checked, StoreError> {
    recheck_untried(app, id, app.clock.now()).await
}

/// Asks for one sign-in, unless somebody has asked since `seen`.
async fn recheck_untried(app: &App, id: &SignInId, seen: Timestamp) -> Result<Checked, StoreError> {
    let now = app.clock.now();
    let lease = app.random.token();
    let Some(check) = app.store.lease_check(id, &lease, now.plus(LEASE), seen, now).await? else {
        return Ok(Checked::Untouched);
    };
    let sign_in = app.store.sign_in(id).await?.filter(|sign_in| sign_in.is_live(now));
    let (Some(sign_in), Some(sealed)) = (sign_in, &check.sealed) else { return Ok(Checked::Untouched) };
    let Refreshed { verdict, refresh } = ask(app, &sign_in, &check, sealed, now).await;
    let kept = match &refresh {
        // Too long to be kept, if anything: without one there are no more checks.
        Some(newer) => keep::seal(app, id, newer),
        None => Some(keep::renewed(app, id, sealed).unwrap_or_else(|| sealed.clone())),
    };
    let done = Done { app, sign_in, check, lease, kept };
    done.conclude(verdict).await
}

async fn ask(app: &App, sign_in: &SignIn, check: &SignInCheck, sealed: &Sealed, now: Timestamp) -> Refreshed {
    let no_answer = |verdict| Refreshed { verdict, refresh: None };
    let Some(provider) = configured(app, &check.provider) else {
        return no_answer(Verdict::Silent(format!("the provider {} is not configured here", check.provider)));
    };
    let refresh = match keep::open(app, &sign_in.id, sealed) {
        Ok(refresh) => refresh,
        Err(KeepError::Open(OpenError::Altered)) => {
            return no_answer(Verdict::Gone("its refresh token in the database was altered".to_owned()));
        }
        Err(error) => {
            tracing::error!(sign_in = %sign_in.id, %error, "a refresh token cannot be read");
            return no_answer(Verdict::Silent(format!("the refresh token cannot be read: {error}")));
        }
    };
    let kept = Kept {
        who: &sign_in.who,
        session: &check.session,
        nonce_sha256: &check.nonce_sha256,
        refresh: &refresh,
    };
    let refreshed = app.desk.oidc.refresh(provider, kept, now).await;
    let answers = !matches!(refreshed.verdict, Verdict::Silent(_));
    note_voice(app, &check.provider, &refreshed.verdict, answers).await;
    refreshed
}

fn configured<'a>(app: &'a App, name: &ProviderName) -> Option<&'a Provider> {
    app.config.providers.iter().find(|provider| provider.name == *name)
}

/// Writes down when a provider falls silent, and when it answers again. That this cannot be written ends nothing: what the
/// answer means is written on its own.
async fn note_voice(app: &App, provider: &ProviderName, verdict: &Verdict, answers: bool) {
    let is_news = if answers {
        lock(&app.desk.silent).remove(provider)
    } else {
        lock(&app.desk.silent).insert(provider.clone())
    };
    if !is_news {
        return;
    }
    let event = match verdict {
        Verdict::Silent(why) => {
            tracing::warn!(%provider, %why, "an identity provider does not say whether people are still there");
            ProviderEvent::Silent { provider: provider.clone(), reason: label(why, REASON_MAX) }
        }
        Verdict::Here(_) | Verdict::Gone(_) => ProviderEvent::Answers { provider: provider.clone() },
    };
    if let Err(error) = app.store.note(app.clock.now(), AuditEvent::Provider(event)).await {
        tracing::error!(%error, "that a provider fell silent, or answers again, is missing in the audit log");
    }
}

/// A question that was asked.
struct Done<'a> {
    app: &'a App,
    sign_in: SignIn,
    check: SignInCheck,
    lease: String,
    /// The refresh token from now on.
    kept: Option<Sealed>,
}

impl Done<'_> {
    async fn conclude(self, verdict: Verdict) -> Result<Checked, StoreError> {
        let now = self.app.clock.now();
        match verdict {
            Verdict::Here(who) if who.groups == self.sign_in.who.groups => {
                let noted =
                    self.app.store.note_check(&self.sign_in.id, &self.lease, &self.note(now, None)).await?;
                Ok(if noted { Checked::Same } else { Checked::Untouched })
            }
            Verdict::Here(who) => self.change(who, now).await,
            Verdict::Gone(why) => self.end(BY_PROVIDER, &why, now).await,
            Verdict::Silent(why) => self.silent(&why, now).await,
        }
    }

    fn note(&self, now: Timestamp, failure: Option<String>) -> CheckNote {
        let checked = if failure.is_none() { now } else { self.check.checked };
        CheckNote { sealed: self.kept.clone(), checked, tried: now, failure }
    }

    /// A transaction in which the answer is noted; none when the lease is another's, whose answer counts then.
    async fn noted(&self, note: &CheckNote) -> Result<Option<Tx>, StoreError> {
        let mut tx = self.app.store.begin().await?;
        let ours = tx.note_check(&self.sign_in.id, &self.lease, note).await?;
        if !ours {
            tracing::warn!(sign_in = %self.sign_in.id, "an answer of its provider came too late to count");
        }
        Ok(ours.then_some(tx))
    }

    async fn change(self, who: Identity, now: Timestamp) -> Result<Checked, StoreError> {
        let Some(mut tx) = self.noted(&self.note(now, None)).await? else { return Ok(Checked::Untouched) };
        if !tx.set_groups(&self.sign_in.id, &who.groups, now).await? {
            return Ok(Checked::Untouched);
        }
        let before = self.sign_in.who.groups;
        // The label stays as it was at sign-in.
        let who = Identity { groups: who.groups, ..self.sign_in.who };
        let event = ProviderEvent::GroupsChanged { sign_in: self.sign_in.id, who: who.clone(), before };
        tx.commit(now, AuditEvent::Provider(event)).await?;
        self.app.desk.tell(Change::Identity { issuer: who.issuer, subject: who.subject });
        Ok(Checked::Changed)
    }

    async fn end(self, by: &str, why: &str, now: Timestamp) -> Result<Checked, StoreError> {
        let Some(mut tx) = self.noted(&self.note(now, None)).await? else { return Ok(Checked::Untouched) };
        if !tx.end_sign_in(&self.sign_in.id, now).await? {
            return Ok(Checked::Untouched);
        }
        let (sign_in, reason) = (self.sign_in.id.clone(), label(why, REASON_MAX));
        tx.commit(now, AuditEvent::SignInEnded { sign_in, by: by.to_owned(), reason }).await?;
        self.app.desk.tell_ended(&self.sign_in.id);
        Ok(Checked::Ended)
    }

    async fn silent(self, why: &str, now: Timestamp) -> Result<Checked, StoreError> {
        let settings = &self.app.config.checks;
        let too_long = now.since(self.check.checked) >= settings.outage_max;
        if settings.outage == Outage::End && too_long {
            let why = format!("its provider gave no answer since {}: {why}", self.check.checked);
            return self.end(BY_OUTAGE, &why, now).await;
        }
        let note = self.note(now, Some(label(why, REASON_MAX)));
        let noted = self.app.store.note_check(&self.sign_in.id, &self.lease, &note).await?;
        Ok(if noted { Checked::Silent } else { Checked::Untouched })
    }
}
