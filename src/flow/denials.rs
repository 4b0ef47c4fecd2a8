//! How much of what people whom we know are refused is written down, so that nobody fills the audit log with it. Decides per sign-in: so many
//! at once, then one each second, and how many more there were stands in the next one. Decides how much of an act is
//! shown, and writes the entry: every flow that refuses somebody something does so here.

use std::collections::HashMap;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::Caller;
use super::desk::lock;
use super::recognise::SignedBy;
use crate::app::App;
use crate::audit::AuditEvent;
use crate::ids::SignInId;
use crate::policy::RefusalCode;
use crate::store::StoreError;
use crate::time::Timestamp;

/// Denials of one sign-in that are written down at once.
const BURST: u32 = 60;
/// Then one each.
const REFILL: Duration = Duration::from_secs(1);
/// Sign-ins remembered at once.
const SIGN_INS_MAX: usize = 10_000;
/// Bytes of an act that are shown.
const ACT_MAX: usize = 1024;

#[derive(Clone, Copy)]
struct Bucket {
    /// When it is full again.
    full_at: Timestamp,
    /// Denials since the last that was written down.
    more: u64,
}

/// Who was refused how often.
#[derive(Default)]
pub(super) struct Denials(HashMap<SignInId, Bucket>);

impl Denials {
    /// Whether one more refusal is written down; if so, how many were not since the last one.
    pub(super) fn take(&mut self, sign_in: &SignInId, now: Timestamp) -> Option<u64> {
        if self.0.len() >= SIGN_INS_MAX && !self.0.contains_key(sign_in) {
            self.0.retain(|_, bucket| bucket.full_at > now);
            if self.0.len() >= SIGN_INS_MAX {
                return None;
            }
        }
        let bucket = self.0.entry(sign_in.clone()).or_insert(Bucket { full_at: now, more: 0 });
        let full_at = bucket.full_at.max(now).plus(REFILL);
        if full_at.since(now) > REFILL * BURST {
            bucket.more = bucket.more.saturating_add(1);
            return None;
        }
        let more = bucket.more;
        *bucket = Bucket { full_at, more: 0 };
        Some(more)
    }
}

/// What somebody was refused. Texts from outside may be as long as they like.
pub(super) struct Refused<'a> {
    /// The target, or several; empty where there is none.
    pub(super) target: &'a str,
    /// The login, in the same way.
    pub(super) login: &'a str,
    /// What they tried.
    pub(super) act: &'a str,
    /// The word for why.
    pub(super) code: RefusalCode,
    /// Why, for whoever reads the audit log.
    pub(super) why: &'a str,
}

impl<'a> Refused<'a> {
    /// Something that is about no target: a case, a sign-in, a certificate, an order.
    pub(super) fn act(act: &'a str, code: RefusalCode, why: &'a str) -> Self {
        Self { target: "", login: "", act, code, why }
    }

    /// The entry, if one more is written down for this sign-in.
    fn entry(&self, app: &App, caller: &Caller, now: Timestamp) -> Option<AuditEvent> {
        let more = lock(&app.desk.denials).take(caller.sign_in(), now)?;
        let reason = cut(self.why);
        Some(AuditEvent::AccessRefused {
            who: caller.identity().clone(),
            sign_in: caller.sign_in().clone(),
            target: cut(self.target),
            login: cut(self.login),
            act: cut(self.act),
            code: self.code,
            reason: if more > 0 { format!("{reason} ({more} more were refused before)") } else { reason },
            from: caller.from().to_string(),
        })
    }
}

/// Writes down what somebody was refused.
pub(super) async fn note(
    app: &App,
    caller: &Caller,
    refused: &Refused<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    match refused.entry(app, caller, now) {
        Some(event) => app.store.note(now, event).await,
        None => Ok(()),
    }
}

/// The same, and the request that asked for it is used up: its bytes do not succeed later either, when something has changed.
/// `signed` is none for whoever asked without a signed request.
pub(super) async fn note_once(
    app: &App,
    caller: &Caller,
    signed: Option<&SignedBy>,
    refused: &Refused<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(signed) = signed else { return note(app, caller, refused, now).await };
    let (key, nonce, expires) = signed.once();
    app.store.use_up((key, nonce, expires), refused.entry(app, caller, now), now).await
}

/// An act as it is written down when it is refused: not longer than about a kibibyte, and then with its length and digest.
pub(super) fn cut(act: &str) -> String {
    if act.len() <= ACT_MAX {
        return act.to_owned();
    }
    let kept = act.get(..act.floor_char_boundary(ACT_MAX)).unwrap_or_default();
    let digest = Sha256::digest(act.as_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{kept}... ({} bytes, sha256 {hex})", act.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn a_flood_of_refusals_is_a_few_entries_that_say_how_many_there_were() {
        let (one, other) = (SignInId::random(&Random::System), SignInId::random(&Random::System));
        let now = Timestamp::from_secs(1000);
        let mut denials = Denials::default();
        let written = (0..10_000).filter(|_| denials.take(&one, now).is_some()).count();
        assert_eq!(written, 60);
        assert_eq!(denials.take(&other, now), Some(0), "others have their own");
        let later = now.plus(REFILL);
        assert_eq!(denials.take(&one, later), Some(10_000 - 60));
        assert_eq!(denials.take(&one, later), None);
        assert_eq!(denials.take(&one, later.plus(REFILL)), Some(1));
    }

    #[test]
    fn long_acts_are_cut_and_named_by_their_digest() {
        assert_eq!(cut("exec: id"), "exec: id");
        let long = "\u{20ac}".repeat(50_000);
        let shown = cut(&long);
        assert!(shown.len() < 1200, "{}", shown.len());
        assert!(shown.contains("... (150000 bytes, sha256 ") && shown.starts_with("\u{20ac}"), "{shown}");
        assert_ne!(shown, cut(&format!("{long}x")));
    }
}
