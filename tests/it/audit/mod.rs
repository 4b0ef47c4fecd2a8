//! The audit log as evidence: its chain, what shows it, and its copies elsewhere.

mod attacks;
mod checkpoints;
mod cli;
mod sinks;

use caponier::audit::AuditEvent;
use caponier::flow::log::verify::{Known, Sound, Unproven, verify};
use caponier::store::Store;
use caponier::time::Timestamp;

/// An entry that says `n`.
pub(crate) fn event(n: usize) -> AuditEvent {
    AuditEvent::SignInFailed {
        provider: None,
        reason: format!("it said {n}\n\u{e9}\"\u{0}"),
        from: String::new(),
    }
}

/// Writes so many entries, one after the other.
pub(crate) async fn write(store: &Store, count: usize) {
    for n in 0..count {
        store.note(Timestamp::from_secs(1000 + n as u64), event(n)).await.unwrap();
    }
}

/// Verifies the whole log, beside what else is known.
pub(crate) async fn judge(store: &Store, known: &mut [Known<'_>]) -> Result<Sound, Unproven> {
    verify(store, known, &mut |_| Ok(())).await
}

/// The entry that is named as wrong; fails when the log is whole.
pub(crate) async fn first_wrong(store: &Store, known: &mut [Known<'_>]) -> (u64, String) {
    match judge(store, known).await {
        Err(Unproven::Broken(broken)) => (broken.seq(), broken.to_string()),
        other => panic!("{other:?}"),
    }
}
