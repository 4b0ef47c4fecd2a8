//! A queue between the task that empties a russh channel and the pump that writes. Counted in bytes and capped.
//!
//! russh refills a receive window when data *arrives*, and its connection loop waits for the per-channel queue.
//! Whoever empties a channel must therefore never wait for the other side (two waiting pumps dead-lock), so the
//! reader always puts into a backlog, and flow control acts on the backlog's size (`pressure`).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::limits::{BACKLOG_CAP, BACKLOG_ITEMS_CAP};

/// The other end takes nothing and the cap is reached: the channel must end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Overflow;

struct Queue<T> {
    items: VecDeque<(T, usize)>,
    closed: bool,
}

/// The queue. `bytes` counts what is queued or being written.
pub(super) struct Backlog<T> {
    queue: Mutex<Queue<T>>,
    bytes: AtomicUsize,
    ready: Notify,
}

impl<T> Backlog<T> {
    pub(super) fn new() -> Self {
        Self {
            queue: Mutex::new(Queue { items: VecDeque::new(), closed: false }),
            bytes: AtomicUsize::new(0),
            ready: Notify::new(),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends an item that weighs `bytes`. Returns the bytes now held.
    pub(super) fn push(&self, item: T, bytes: usize) -> Result<usize, Overflow> {
        let mut queue = self.queue();
        let held = self.bytes.load(Ordering::Relaxed).saturating_add(bytes);
        if held > BACKLOG_CAP || queue.items.len() >= BACKLOG_ITEMS_CAP {
            return Err(Overflow);
        }
        if !queue.closed {
            queue.items.push_back((item, bytes));
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        drop(queue);
        self.ready.notify_one();
        Ok(held)
    }

    /// Puts `item` in the place of the last one that waits, if that is of the same kind; gives it back otherwise.
    pub(super) fn replace_last(&self, item: T, same: impl FnOnce(&T) -> bool) -> Option<T> {
        let mut queue = self.queue();
        match queue.items.back_mut() {
            Some((last, _)) if same(last) => {
                *last = item;
                None
            }
            _ => Some(item),
        }
    }

    /// Makes the last one that waits weigh `more` bytes more, if `grow` says that it has grown.
    pub(super) fn grow_last(&self, more: usize, grow: impl FnOnce(&mut T) -> bool) -> bool {
        let mut queue = self.queue();
        let fits = self.bytes.load(Ordering::Relaxed) + more <= BACKLOG_CAP;
        let Some((last, weight)) = queue.items.back_mut().filter(|_| fits) else { return false };
        let grown = grow(last);
        if grown {
            *weight += more;
            self.bytes.fetch_add(more, Ordering::Relaxed);
        }
        grown
    }

    /// Nothing more will be pushed; `pop` answers `None` once the queue is empty.
    pub(super) fn close(&self) {
        self.queue().closed = true;
        self.ready.notify_one();
    }

    /// The next item with its weight, in order. One consumer only.
    pub(super) async fn pop(&self) -> Option<(T, usize)> {
        loop {
            {
                let mut queue = self.queue();
                if let Some(item) = queue.items.pop_front() {
                    return Some(item);
                }
                if queue.closed {
                    return None;
                }
            }
            self.ready.notified().await;
        }
    }

    /// An item of this weight has been written. Returns the bytes still held.
    pub(super) fn written(&self, bytes: usize) -> usize {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed).saturating_sub(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keeps_order_counts_bytes_and_refuses_above_the_cap() {
        let backlog = Backlog::new();
        assert_eq!(backlog.push('a', 10), Ok(10));
        assert_eq!(backlog.push('b', BACKLOG_CAP - 10), Ok(BACKLOG_CAP));
        assert_eq!(backlog.push('c', 1), Err(Overflow));
        assert_eq!(backlog.pop().await, Some(('a', 10)));
        assert_eq!(backlog.push('c', 1), Err(Overflow), "popped is not written");
        assert_eq!(backlog.written(10), BACKLOG_CAP - 10);
        assert_eq!(backlog.push('c', 1), Ok(BACKLOG_CAP - 9));
        assert_eq!(backlog.replace_last('x', |last| *last == 'b'), Some('x'));
        assert_eq!(backlog.replace_last('d', |last| *last == 'c'), None);
        backlog.close();
        assert_eq!(backlog.pop().await.map(|i| i.0), Some('b'));
        assert_eq!(backlog.pop().await.map(|i| i.0), Some('d'));
        assert_eq!(backlog.pop().await, None);
    }
}
