//! Warnings before access ends by itself: which are due when, also after the end has moved because something else was
//! granted or taken away. How a session tells its client is the relay's.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::limits::WARNINGS;
use super::relay::Limits;
use crate::config::show_duration;
use crate::time::Timestamp;

/// When access ends by itself: by the clock of this process, and as people are told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) at: Instant,
    pub(super) ends: Timestamp,
}

/// Says what is due, for as long as it is polled; never ready while somebody sets limits.
pub(super) async fn before_the_end<F>(mut limits: watch::Receiver<Limits>, say: impl Fn(String) -> F)
where
    F: Future<Output = ()>,
{
    let mut told: Option<Ends> = None;
    let mut left: Vec<Duration> = Vec::new();
    loop {
        let ends = limits.borrow_and_update().ends;
        let same = told.map(|told| told.ends) == ends.map(|ends| ends.ends);
        if let Some(now_ends) = ends.filter(|_| !same) {
            let remaining = now_ends.at.saturating_duration_since(Instant::now());
            let warned = told.is_some() && left.len() < WARNINGS.len();
            let sooner = told.is_some_and(|told| now_ends.ends < told.ends);
            left = due(remaining);
            if sooner && left.len() < WARNINGS.len() {
                say(text(remaining, now_ends.ends)).await;
            } else if warned && !sooner {
                say(format!("more was granted: your access lasts until {}", now_ends.ends)).await;
            }
        }
        if !same {
            told = ends;
        }
        // The instant of the first sight stays: looked at again, it moves by what the look took.
        let next = told.zip(left.first().copied());
        tokio::select! {
            changed = limits.changed() => if changed.is_err() {
                std::future::pending().await
            },
            () = until(next) => if let Some((ends, before)) = next {
                left.retain(|warning| *warning < before);
                say(text(before, ends.ends)).await;
            },
        }
    }
}

/// The warnings that are still to come, the first of them first.
fn due(remaining: Duration) -> Vec<Duration> {
    WARNINGS.into_iter().filter(|before| *before < remaining).collect()
}

async fn until(next: Option<(Ends, Duration)>) {
    match next {
        Some((ends, before)) => sleep_until(ends.at.checked_sub(before).unwrap_or_else(Instant::now)).await,
        None => std::future::pending().await,
    }
}

fn text(remaining: Duration, ends: Timestamp) -> String {
    let secs = remaining.as_millis().div_ceil(1000);
    let shown = show_duration(Duration::from_secs(u64::try_from(secs).unwrap_or(u64::MAX)));
    format!("your access ends in {shown}, at {ends}; this session ends with it unless more is granted")
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::gateway::relay::Ending;

    fn limits(ends: Option<Ends>) -> Limits {
        let far = Instant::now() + Duration::from_secs(86_400);
        Limits { deadline: far, at_deadline: Ending::SessionMax, idle: Duration::from_secs(86_400), ends }
    }

    fn in_secs(secs: u64) -> Ends {
        Ends { at: Instant::now() + Duration::from_secs(secs), ends: Timestamp::from_secs(1_000_000 + secs) }
    }

    #[tokio::test]
    async fn each_end_is_told_of_and_a_moved_one_again() {
        let (set, hear) = watch::channel(limits(None));
        let said = RefCell::new(Vec::<String>::new());
        let warnings = before_the_end(hear, |text| {
            said.borrow_mut().push(text);
            std::future::ready(())
        });
        tokio::pin!(warnings);
        let mut run = async |ms: u64| {
            let pause = tokio::time::sleep(Duration::from_millis(ms));
            tokio::select! { () = &mut warnings => {}, () = pause => {} }
        };
        run(20).await;
        // Standing access: nothing to say. Then a grant whose five minutes are near, and the minute too.
        assert!(said.borrow().is_empty());
        let near = |before: u64| {
            let at = Instant::now() + Duration::from_millis(before * 1000 + 150);
            Ends { at, ends: Timestamp::from_secs(before) }
        };
        set.send_replace(limits(Some(near(300))));
        run(100).await;
        assert!(said.borrow().is_empty());
        run(150).await;
        assert_eq!(said.borrow().len(), 1);
        assert!(said.borrow()[0].contains("ends in 5m, at"), "{said:?}");
        // The same end seen again says nothing more.
        set.send_replace(limits(Some(near(300))));
        run(250).await;
        assert_eq!(said.borrow().len(), 1);
        // Another grant moves it away: told again when that is near.
        set.send_replace(limits(Some(Ends { ends: Timestamp::from_secs(9000), ..near(300) })));
        run(250).await;
        assert_eq!(said.borrow().len(), 3);
        assert!(said.borrow()[1].contains("lasts until 1970-01-01T02:30:00Z"), "{said:?}");
        // It moves nearer because that one was taken away: told at once.
        set.send_replace(limits(Some(Ends { ends: Timestamp::from_secs(80), ..in_secs(40) })));
        run(20).await;
        assert_eq!(said.borrow().len(), 4);
        assert!(said.borrow()[3].contains("ends in 40s"), "{said:?}");
    }

    #[test]
    fn what_is_past_is_not_told() {
        let secs = Duration::from_secs;
        assert_eq!(due(secs(3600)), [secs(300), secs(60)]);
        assert_eq!(due(secs(299)), [secs(60)]);
        assert_eq!(due(secs(60)), [Duration::ZERO; 0]);
    }
}
