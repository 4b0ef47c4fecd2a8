//! When a sign-in's provider is asked again, and what a missing answer means. Pure.

use std::time::Duration;

use crate::config::Checks;
use crate::store::SignInCheck;
use crate::time::Timestamp;

/// How soon it is tried again when there was no answer.
const AGAIN: Duration = Duration::from_secs(30);
/// Longest and shortest pause between two looks by the clock.
const LOOK_MAX: Duration = Duration::from_secs(15);
const LOOK_MIN: Duration = Duration::from_millis(250);

/// Whether something new may be opened under a sign-in, as far as its provider is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Yes.
    Good,
    /// Its provider has been asked and has not answered for too long.
    Unseen,
}

/// The instants before which the last try must lie for it to be time again: the usual one, and the one after a failure.
pub(super) fn asked_before(settings: &Checks, now: Timestamp) -> (Timestamp, Timestamp) {
    (now.minus(settings.every), now.minus(settings.every.min(AGAIN)))
}

/// Whether it is time to ask.
pub(super) fn is_due(check: &SignInCheck, settings: &Checks, now: Timestamp) -> bool {
    let (before, failed_before) = asked_before(settings, now);
    let limit = if check.failure.is_some() { failed_before } else { before };
    check.sealed.is_some() && check.tried <= limit
}

/// What the last answer is worth now. A sign-in that nothing can be asked about is good for its own life.
pub(super) fn standing(check: &SignInCheck, settings: &Checks, now: Timestamp) -> Standing {
    let unseen = check.sealed.is_some() && now.since(check.checked) >= settings.outage_max;
    if unseen { Standing::Unseen } else { Standing::Good }
}

/// The pause between two looks by the clock: short against the time between two checks of one sign-in.
pub fn wait(settings: &Checks) -> Duration {
    (settings.every / 4).clamp(LOOK_MIN, LOOK_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{KeySource, Outage};
    use crate::identity::claims::Session;
    use crate::secret::Sealed;

    #[test]
    fn when_it_is_time_and_what_silence_means() {
        let settings = Checks {
            every: Duration::from_secs(600),
            outage: Outage::Keep,
            outage_max: Duration::from_secs(3600),
            keys: KeySource::Own("keys".into()),
        };
        let at = |secs: u64| Timestamp::from_secs(1_000_000 + secs);
        let sealed = Some(Sealed { key_id: "k".into(), text: "t".into() });
        let row = |checked, tried, failed: bool| SignInCheck {
            sign_in: "sgn_00000000000000000000000000".parse().unwrap(),
            provider: "corp".parse().unwrap(),
            session: Session { sub: "42".into(), sid: None },
            nonce_sha256: String::new(),
            sealed: sealed.clone(),
            checked: at(checked),
            tried: at(tried),
            failure: failed.then(|| "down".into()),
        };
        let rows = [
            // checked, tried, failed, now: due, standing
            (0, 0, false, 0, false, Standing::Good),
            (0, 0, false, 599, false, Standing::Good),
            (0, 0, false, 600, true, Standing::Good),
            (0, 600, true, 629, false, Standing::Good),
            (0, 600, true, 630, true, Standing::Good),
            (0, 3590, true, 3599, false, Standing::Good),
            (0, 3590, true, 3600, false, Standing::Unseen),
            // A server that was switched off has to ask first.
            (0, 0, false, 9000, true, Standing::Unseen),
            (9000, 9000, false, 9000, false, Standing::Good),
            // A clock that was set back ends nothing.
            (9000, 9000, false, 10, false, Standing::Good),
        ];
        for (checked, tried, failed, now, due, expect) in rows {
            let row = row(checked, tried, failed);
            assert_eq!(is_due(&row, &settings, at(now)), due, "{row:?} at {now}");
            assert_eq!(standing(&row, &settings, at(now)), expect, "{row:?} at {now}");
            let without = SignInCheck { sealed: None, ..row };
            assert!(!is_due(&without, &settings, at(now)));
            assert_eq!(standing(&without, &settings, at(now)), Standing::Good);
        }
        let often = Checks { every: Duration::from_secs(1), ..settings };
        assert!(is_due(&row(0, 5, true), &often, at(6)), "never later than without a failure");
        assert_eq!(wait(&often), LOOK_MIN);
    }
}
