//! What somebody else told of itself and we keep for a while: asked anew when it is old, used on for a while when no answer
//! comes, never asked too often. Callers that wait for the same answer share one request.

use std::sync::Arc;
use std::time::Duration;

use crate::names::ProviderName;
use crate::time::Timestamp;

/// How long an answer is used without asking again.
pub(super) const FRESH: Duration = Duration::from_secs(5 * 60);
/// How much longer it is used while none comes.
const STALE: Duration = Duration::from_secs(60 * 60);
/// How often an answer that does not suffice may make us ask again, and an outage be probed.
pub(super) const ASK_AGAIN: Duration = Duration::from_secs(10);
/// How long somebody who never answered is left alone.
const RETRY: Duration = Duration::from_secs(2);
/// How long people wait for an answer: all of it, two requests. Everybody who needs it waits for the same one, so somebody
/// who hangs must not hold up a page for longer.
pub(super) const PATIENCE: Duration = Duration::from_secs(6);
/// The same while there is something to go on with.
pub(super) const PATIENCE_WITH_STALE: Duration = Duration::from_secs(2);

/// An answer, and when it came.
#[derive(Debug)]
pub(super) struct Told<T> {
    pub(super) value: T,
    fetched: Timestamp,
}

impl<T> Told<T> {
    /// An answer that came at `fetched`.
    pub(super) fn at(value: T, fetched: Timestamp) -> Self {
        Self { value, fetched }
    }
}

/// The memory of one who is asked.
#[derive(Debug)]
pub(super) struct Remembered<T>(tokio::sync::Mutex<Memory<T>>);

#[derive(Debug)]
struct Memory<T> {
    told: Option<Arc<Told<T>>>,
    tried: Option<Timestamp>,
    failure: Option<String>,
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self(tokio::sync::Mutex::new(Memory { told: None, tried: None, failure: None }))
    }
}

impl<T> Remembered<T> {
    /// What `name` told last; `ask` when that is too old, or when `insufficient` is all there is. Failures are texts for the log.
    pub(super) async fn get<F: Future<Output = Result<T, String>>>(
        &self,
        name: &ProviderName,
        now: Timestamp,
        insufficient: Option<&Arc<Told<T>>>,
        ask: impl FnOnce() -> F + Send,
    ) -> Result<Arc<Told<T>>, String> {
        let mut memory = self.0.lock().await;
        let wanted = |told: &Arc<Told<T>>| insufficient.is_none_or(|old| !Arc::ptr_eq(old, told));
        if let Some(told) = &memory.told
            && wanted(told)
            && now.since(told.fetched) < FRESH
        {
            return Ok(Arc::clone(told));
        }
        let pause = if memory.told.is_some() { ASK_AGAIN } else { RETRY };
        if memory.tried.is_none_or(|tried| now.since(tried) >= pause) {
            memory.tried = Some(now);
            let usable = memory.told.as_ref().is_some_and(|told| now.since(told.fetched) < FRESH + STALE);
            let patience = if usable { PATIENCE_WITH_STALE } else { PATIENCE };
            let answer = tokio::time::timeout(patience, ask()).await;
            match answer.unwrap_or_else(|_| Err(format!("no answer within {} s", patience.as_secs()))) {
                Ok(value) => {
                    let told = Arc::new(Told::at(value, now));
                    memory.told = Some(Arc::clone(&told));
                    memory.failure = None;
                    return Ok(told);
                }
                Err(failure) => {
                    tracing::warn!(provider = %name, %failure, "an identity provider does not answer");
                    memory.failure = Some(failure);
                }
            }
        }
        match &memory.told {
            Some(told) if now.since(told.fetched) < FRESH + STALE => Ok(Arc::clone(told)),
            _ => Err(memory.failure.clone().unwrap_or_else(|| "it was asked a moment ago".to_owned())),
        }
    }

    /// As if this had been told.
    #[cfg(test)]
    pub(super) async fn put(&self, told: Told<T>) {
        self.0.lock().await.told = Some(Arc::new(told));
    }
}
