//! One answer for everybody who asks the same at the same time: what every request has to know (what is revoked, which locks
//! hold) is read once for all that came meanwhile. Decides who reads, whose answer is new enough and how long anybody waits
//! for it; nothing is kept for those who ask later.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;

use super::{StoreError, WAIT_MAX};

/// The answer to one question.
pub(super) struct Shared<T> {
    /// Longest wait of anybody, however many are before them.
    wait_max: Duration,
    /// How many have asked so far.
    asked: AtomicU64,
    /// Held by the one who reads.
    last: Mutex<Last<T>>,
}

struct Last<T> {
    /// Who asked as the `upto`th or before had asked when this was read.
    upto: u64,
    answer: Option<Result<T, Arc<StoreError>>>,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self::waiting(WAIT_MAX)
    }
}

impl<T> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

impl<T> Shared<T> {
    /// Nobody waits for longer than `wait_max`.
    pub(super) fn waiting(wait_max: Duration) -> Self {
        Self { wait_max, asked: AtomicU64::new(0), last: Mutex::new(Last { upto: 0, answer: None }) }
    }
}

impl<T: Clone> Shared<T> {
    /// What `read` says, or what it said to another who began to read after this call: never anything older. That it failed
    /// is an answer too, for a database that is out of order is not there for the next one either.
    ///
    /// `Busy` when there is no answer in time. This is nothing to the others, who may have come much later: the next one reads.
    pub(super) async fn get(
        &self,
        read: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        tokio::time::timeout(self.wait_max, self.answer(read)).await.unwrap_or(Err(StoreError::Busy))
    }

    async fn answer(&self, read: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let mine = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut last = self.last.lock().await;
        let answer = match &last.answer {
            Some(answer) if last.upto >= mine => answer.clone(),
            Some(_) | None => {
                let upto = self.asked.load(Ordering::SeqCst);
                let answer = read.await.map_err(Arc::new);
                *last = Last { upto, answer: Some(answer.clone()) };
                answer
            }
        };
        answer.map_err(StoreError::Shared)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    /// Reads a counter that each read raises, and gives way in the middle.
    async fn read(reads: &AtomicU64) -> Result<u64, StoreError> {
        let value = reads.fetch_add(1, Ordering::SeqCst) + 1;
        tokio::task::yield_now().await;
        Ok(value)
    }

    #[tokio::test]
    async fn who_asks_together_reads_once_and_nobody_gets_an_old_answer() {
        let (shared, reads) = (Arc::new(Shared::default()), Arc::new(AtomicU64::new(0)));
        assert_eq!(shared.get(read(&reads)).await.unwrap(), 1);
        assert_eq!(shared.get(read(&reads)).await.unwrap(), 2, "who asks later has it read again");
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let (shared, reads) = (Arc::clone(&shared), Arc::clone(&reads));
            tasks.spawn(async move {
                let before = reads.load(Ordering::SeqCst);
                let got = shared.get(read(&reads)).await;
                assert!(
                    got.as_ref().is_ok_and(|got| *got > before),
                    "read before it was asked: {got:?} after {before}"
                );
            });
        }
        tasks.join_all().await;
        let reads = reads.load(Ordering::SeqCst);
        assert!((3..=6).contains(&reads), "{reads} reads for 50 who asked together");
    }

    #[tokio::test]
    async fn a_failure_is_told_to_all_who_asked_before_the_read_began_and_to_nobody_else() {
        let (shared, reads) = (Shared::<u64>::default(), AtomicU64::new(0));
        let fails = async || {
            reads.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            Err(StoreError::Conflict)
        };
        let answers = join_all((0..50).map(|_| shared.get(fails()))).await;
        for answer in answers {
            let Err(StoreError::Shared(why)) = answer else { panic!("{answer:?}") };
            assert_eq!(why.to_string(), StoreError::Conflict.to_string());
        }
        let reads = reads.load(Ordering::SeqCst);
        assert!((1..=3).contains(&reads), "{reads} reads for 50 who asked together");
        assert_eq!(shared.get(async { Ok(7) }).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn one_who_goes_is_nothing_to_the_others() {
        let shared = Shared::<u64>::default();
        let gone = shared.get(std::future::pending());
        assert!(tokio::time::timeout(Duration::ZERO, gone).await.is_err());
        assert_eq!(shared.get(async { Ok(7) }).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn one_whose_time_is_over_is_nothing_to_the_others() {
        let shared = Shared::<u64>::waiting(Duration::from_millis(50));
        let never = shared.get(std::future::pending());
        let later = async {
            tokio::task::yield_now().await;
            // Stands behind the one who reads; its own time is enough.
            for _ in 0..100 {
                match shared.get(async { Ok(7) }).await {
                    Err(StoreError::Busy) => {}
                    answer => return answer,
                }
            }
            Err(StoreError::Busy)
        };
        let (never, later) = tokio::join!(never, later);
        assert!(matches!(never, Err(StoreError::Busy)), "{never:?}");
        assert_eq!(later.unwrap(), 7);
    }
}
