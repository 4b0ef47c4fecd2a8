//! What happens because time has passed: what became void is swept away, and what nobody told of is written down.

use crate::app::App;
use crate::store::StoreError;

/// Sweeps; says how many rows went.
pub async fn sweep(app: &App) -> Result<u64, StoreError> {
    super::refusals::tell_of_more(app, app.clock.now()).await?;
    super::watch::end_idle(app).await?;
    let abandoned = super::sign_in::give_up_abandoned(app).await?;
    let told = super::tell::forget(app).await?;
    Ok(abandoned + told + app.store.sweep(app.clock.now()).await?)
}

/// The last time, before the process ends: what it only remembers is written down.
pub async fn last(app: &App) -> Result<(), StoreError> {
    super::watch::end_all(app).await?;
    super::refusals::tell_of_more(app, app.clock.now().plus(super::refusals::MINUTE)).await
}
