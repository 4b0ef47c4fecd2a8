//! How long to wait before a delivery is tried again: twice as long each time, never in step with others, and no longer
//! than a quarter of an hour unless the receiver asks for more. Pure.

use std::time::Duration;

/// After the first attempt.
const FIRST: Duration = Duration::from_secs(1);
/// However many there were.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// Longest wait that a receiver may ask for.
const ASKED_MAX: Duration = Duration::from_secs(60 * 60);

/// The pause after `attempts` attempts: between half and the whole of what has grown, as `dice` falls, and at least what
/// the receiver asked for.
pub fn pause(attempts: u64, asked: Option<Duration>, dice: u64) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1).min(20)).unwrap_or(20);
    let grown = FIRST.saturating_mul(2u32.saturating_pow(doublings)).min(LONGEST);
    let half = u64::try_from(grown.as_millis() / 2).unwrap_or(u64::MAX);
    let own = Duration::from_millis(half + dice % (half + 1));
    own.max(asked.unwrap_or_default().min(ASKED_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_differ() {
        for (attempts, from, to) in
            [(0, 500, 1000), (1, 500, 1000), (2, 1000, 2000), (5, 8000, 16_000), (11, 450_000, 900_000)]
        {
            for dice in [0, 1, 499, 500, 12_345_678_901, u64::MAX] {
                let got = pause(attempts, None, dice).as_millis();
                assert!((from..=to).contains(&got), "{attempts} {dice}: {got}");
            }
            assert_eq!(pause(attempts, None, 0).as_millis(), from);
        }
        assert!(pause(u64::MAX, None, u64::MAX) <= LONGEST);
        assert_ne!(pause(5, None, 1), pause(5, None, 2000));
    }

    #[test]
    fn a_receiver_may_ask_for_more_but_not_for_ever() {
        let secs = Duration::from_secs;
        assert_eq!(pause(1, Some(secs(30)), 0), secs(30));
        assert_eq!(pause(11, Some(secs(1)), 0), secs(450));
        assert_eq!(pause(1, Some(secs(u64::MAX)), 0), ASKED_MAX);
    }
}
