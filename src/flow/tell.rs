//! Which people hear of what happens to a case. The notices go into the outbox in the transaction of the act; delivering them is
//! `alerts`'.

use crate::access::{Case, Effect};
use crate::store::{StoreError, Tx};
use crate::time::Timestamp;

/// Puts the notices about `effects` into the outbox. `filed`: the case is new.
pub(super) async fn about(
    _tx: &mut Tx,
    _case: &Case,
    _filed: bool,
    _effects: &[Effect],
    _now: Timestamp,
) -> Result<(), StoreError> {
    Ok(())
}
