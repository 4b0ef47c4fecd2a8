//! One answer for everybody who asks the same at the same time: what every request has to know (what is revoked, which locks
//! hold) is read once for all that came meanwhile. Decides who reads and whose answer is new enough; nothing is kept
//! for those who ask later.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

/// The answer to one question.
pub(super) struct Shared<T> {
    /// How many have asked so far.
    asked: AtomicU64,
    /// Held by the one who reads.
    last: Mutex<Last<T>>,
}

struct Last<T> {
    /// Who asked as the `upto`th or before had asked when this was read.
    upto: u64,
    value: Option<T>,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self { asked: AtomicU64::new(0), last: Mutex::new(Last { upto: 0, value: None }) }
    }
}

impl<T> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

impl<T: Clone> Shared<T> {
    /// What `read` says, or what it said to another who began to read after this call: never anything older.
    pub(super) async fn get<E>(&self, read: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let mine = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut last = self.last.lock().await;
        if let Some(value) = &last.value
            && last.upto >= mine
        {
            return Ok(value.clone());
        }
        let upto = self.asked.load(Ordering::SeqCst);
        let value = read.await?;
        *last = Last { upto, value: Some(value.clone()) };
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Reads a counter that each read raises, and gives way in the middle.
    async fn read(reads: &AtomicU64) -> Result<u64, ()> {
        let value = reads.fetch_add(1, Ordering::SeqCst) + 1;
        tokio::task::yield_now().await;
        Ok(value)
    }

    #[tokio::test]
    async fn who_asks_together_reads_once_and_nobody_gets_an_old_answer() {
        let (shared, reads) = (Arc::new(Shared::default()), Arc::new(AtomicU64::new(0)));
        assert_eq!(shared.get(read(&reads)).await, Ok(1));
        assert_eq!(shared.get(read(&reads)).await, Ok(2), "what was known before is not asked about");
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let (shared, reads) = (Arc::clone(&shared), Arc::clone(&reads));
            tasks.spawn(async move {
                let before = reads.load(Ordering::SeqCst);
                let got = shared.get(read(&reads)).await;
                assert!(
                    got.is_ok_and(|got| got > before),
                    "read before it was asked: {got:?} after {before}"
                );
            });
        }
        tasks.join_all().await;
        let reads = reads.load(Ordering::SeqCst);
        assert!((3..=6).contains(&reads), "{reads} reads for 50 who asked together");
    }

    #[tokio::test]
    async fn an_error_and_one_who_goes_are_nothing_to_the_others() {
        let shared = Shared::<u64>::default();
        let failed = shared.get(async { Err("broken") }).await;
        assert_eq!(failed, Err("broken"));
        let gone = shared.get(std::future::pending::<Result<u64, &str>>());
        assert!(tokio::time::timeout(std::time::Duration::ZERO, gone).await.is_err());
        assert_eq!(shared.get(async { Ok::<_, &str>(7) }).await, Ok(7));
    }
}
