//! How granted access came to its end, in words for whoever had it; and an end that holds when somebody sets the clock back.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use super::authorize::Permit;
use crate::access::{Close, Grant, State};
use crate::app::App;
use crate::plain;
use crate::policy::{Granted, Held, Refusal, RefusalCode};
use crate::store::StoreError;
use crate::time::Timestamp;

/// How long the store may take to say how access ended.
const PATIENCE: Duration = Duration::from_millis(300);
/// Characters of what people said that are shown.
const NOTE_MAX: usize = 200;

/// The end of what a permit hangs on, by a clock that nobody sets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Over {
    ends: Timestamp,
    at: Instant,
}

impl Over {
    pub(super) fn of(app: &App, permit: &Permit) -> Option<Self> {
        let ends = permit.ends()?;
        Some(Self { ends, at: Instant::now() + ends.since(app.clock.now()) })
    }

    /// For the permit that came in its place: the same end stays where it was.
    pub(super) fn renewed(this: Option<Self>, app: &App, permit: &Permit) -> Option<Self> {
        match this {
            Some(over) if permit.ends() == Some(over.ends) => Some(over),
            Some(_) | None => Self::of(app, permit),
        }
    }

    /// Ready then.
    pub(super) async fn reached(this: Option<Self>) {
        match this {
            Some(over) => sleep_until(over.at).await,
            None => std::future::pending().await,
        }
    }

    /// Takes out what is over by that clock, whatever the other one says.
    pub(super) fn without_past(this: Option<Self>, held: Held) -> Held {
        let Some(over) = this.filter(|over| over.at <= Instant::now()) else { return held };
        match &held.granted {
            Granted::Only(grants) => {
                let left: Vec<Grant> =
                    grants.iter().filter(|grant| grant.until > over.ends).cloned().collect();
                Held { granted: Granted::Only(left.into()), ..held }
            }
            Granted::Assumed => held,
        }
    }
}

/// The refusal of what `permit` allowed until now, with how its grants ended where that is the reason.
pub(super) async fn explained(app: &App, permit: &Permit, refusal: Refusal) -> Refusal {
    if refusal.code != RefusalCode::ByRequest {
        return refusal;
    }
    let Some(grant) = permit.grants().iter().max_by_key(|grant| grant.until) else { return refusal };
    let how = match timeout(PATIENCE, how(app, grant)).await {
        Ok(Ok(Some(how))) => how,
        Ok(Ok(None)) => return refusal,
        Ok(Err(_)) | Err(_) if grant.until <= app.clock.now() => over(grant),
        Ok(Err(_)) | Err(_) => return refusal,
    };
    Refusal { text: format!("{how}; {}", refusal.text), ..refusal }
}

fn over(grant: &Grant) -> String {
    format!("what you were granted ({}) is over since {}", grant.case, grant.until)
}

async fn how(app: &App, grant: &Grant) -> Result<Option<String>, StoreError> {
    let Some(case) = app.store.case(&grant.case).await? else { return Ok(None) };
    let State::Closed { close, by, note, .. } = &case.state else {
        return Ok((grant.until <= app.clock.now()).then(|| over(grant)));
    };
    let by =
        by.as_ref().map(|by| format!(" by {}", plain::line(&by.reference, NOTE_MAX))).unwrap_or_default();
    let note = if note.is_empty() { String::new() } else { format!(": {}", plain::line(note, NOTE_MAX)) };
    let id = &grant.case;
    Ok(match close {
        Close::Lapsed => Some(over(grant)),
        Close::Released => Some(format!("what you were granted ({id}) was given back")),
        Close::Revoked => Some(format!("what you were granted ({id}) was taken away{by}{note}")),
        Close::Used => Some(format!("what you were granted ({id}) was for one use")),
        Close::Finished => Some(format!("what you were granted ({id}) has ended{note}")),
        Close::Denied | Close::Expired | Close::Cancelled | Close::Outdated => None,
    })
}
