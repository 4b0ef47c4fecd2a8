//! The end of a run: the job itself says so, or its platform does. In one transaction its sign-in ends and its certificates are
//! revoked; sessions are cut by whoever holds them (`Desk::ended`), and what was asked for or granted is closed ([`settle`]),
//! also when a run just ran out of time.

use std::time::Duration;

use super::answer::{self, AnswerRefused};
use super::permission::SignedIn;
use super::recognise::begin_once;
use crate::access::Event;
use crate::app::App;
use crate::audit::{AuditEvent, RevocationEvent, RevokedItem, WorkloadEvent};
use crate::identity::Kind;
use crate::ids::{RevocationId, SignInId};
use crate::store::{RevocationRow, SignIn, StoreError, Tx};

/// How long after its end a certificate still counts as there: clocks differ.
const SLACK: Duration = Duration::from_secs(300);
/// Cases that one look at ended runs closes.
const SETTLED_MAX: u32 = 200;

/// Why a run is not ended.
#[derive(Debug, thiserror::Error)]
pub enum FinishRefused {
    /// A person called.
    #[error("this ends the run of a job; to sign out, run: caponier logout")]
    NoRun,
    /// The same signed request came before.
    #[error("this request was sent before; send a new one")]
    Replay,
    /// The store is out of order.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The job says that it is done with the bastion: its own sign-in ends, no other of the same run.
pub async fn done(app: &App, by: &SignedIn) -> Result<(), FinishRefused> {
    let sign_in = by.sign_in();
    let (Kind::Workload, Some(run)) = (sign_in.who.kind, &sign_in.who.run) else {
        return Err(FinishRefused::NoRun);
    };
    let tx = begin_once(app, by.signed()).await?.ok_or(FinishRefused::Replay)?;
    let over = Over {
        issuer: sign_in.who.provider.to_string(),
        subject: run.subject.clone(),
        run: run.id.clone().unwrap_or_default(),
        attempt: run.attempt.clone().unwrap_or_default(),
        by: "job",
        note: String::new(),
    };
    end(app, tx, std::slice::from_ref(sign_in), over).await?;
    Ok(settle(app).await.map(drop)?)
}

/// What is over, and who said so.
pub(super) struct Over {
    pub(super) issuer: String,
    pub(super) subject: String,
    pub(super) run: String,
    pub(super) attempt: String,
    pub(super) by: &'static str,
    pub(super) note: String,
}

/// Ends these sign-ins, revokes their certificates and commits; says how many ended. What else was written in `tx` holds in
/// any case.
pub(super) async fn end(app: &App, mut tx: Tx, sign_ins: &[SignIn], over: Over) -> Result<usize, StoreError> {
    let now = app.clock.now();
    // Before anything else of a revocation, so that no two wait for each other.
    let version = if sign_ins.is_empty() { 0 } else { tx.next_revocation_version(now).await? };
    let (mut ended, mut revoked) = (Vec::new(), Vec::new());
    for sign_in in sign_ins {
        if !tx.end_sign_in(&sign_in.id, now).await? {
            continue;
        }
        for certificate in tx.certificates_of_sign_in(&sign_in.id, now).await? {
            let row = RevocationRow {
                id: RevocationId::random(&app.random),
                kind: "serial".to_owned(),
                authority: certificate.authority,
                value: certificate.serial.to_string(),
                public_key: None,
                reason: REASON.to_owned(),
                by: over.by.to_owned(),
                created: now,
                until: Some(certificate.valid_before.plus(SLACK)),
            };
            if tx.insert_revocation(&row).await? {
                revoked.push(row);
            }
        }
        ended.push(sign_in);
    }
    let ids: Vec<SignInId> = ended.iter().map(|one| one.id.clone()).collect();
    let mut events = events(&over, &ended, &revoked, version);
    let Over { issuer, subject, run, attempt, by, note } = over;
    let sign_ins = ids.clone();
    events.push(AuditEvent::Workload(WorkloadEvent::Over {
        issuer,
        subject,
        run,
        attempt,
        by,
        note,
        sign_ins,
    }));
    tx.commit_all(now, events).await?;
    ids.iter().for_each(|id| app.desk.tell_ended(id));
    Ok(ids.len())
}

const REASON: &str = "the run is over";

fn events(over: &Over, ended: &[&SignIn], revoked: &[RevocationRow], version: u64) -> Vec<AuditEvent> {
    let mut events: Vec<AuditEvent> = ended
        .iter()
        .map(|one| AuditEvent::SignInEnded {
            sign_in: one.id.clone(),
            by: over.by.to_owned(),
            reason: REASON.to_owned(),
        })
        .collect();
    if !revoked.is_empty() {
        let item = |row: &RevocationRow| RevokedItem {
            id: row.id.clone(),
            kind: row.kind.clone(),
            authority: row.authority.clone(),
            value: row.value.clone(),
        };
        events.push(AuditEvent::Revocation(RevocationEvent::Revoked {
            what: "run",
            value: format!("{}:{}", over.issuer, over.subject),
            by: over.by.to_owned(),
            reason: REASON.to_owned(),
            revoked: revoked.iter().map(item).collect(),
            sign_ins: ended.iter().map(|one| one.id.clone()).collect(),
            version,
        }));
    }
    events
}

/// Closes what runs that are over asked for or were granted, however they ended; says how much that was.
pub async fn settle(app: &App) -> Result<usize, StoreError> {
    let mut settled = 0;
    for id in app.store.cases_of_runs_over(app.clock.now(), SETTLED_MAX).await? {
        let mut tx = app.store.begin().await?;
        let now = app.clock.now();
        let Some(case) = tx.take_case(&id).await? else { continue };
        let event = Event::Finish { reason: REASON.to_owned() };
        match answer::apply(app, tx, case, event, Vec::new(), "", now).await {
            Ok(_) => settled += 1,
            // It had ended otherwise meanwhile.
            Err(AnswerRefused::Denied(_)) => {}
            Err(AnswerRefused::Store(error @ StoreError::BadRow { .. })) => {
                // One that cannot be read must not keep the others from ending.
                tracing::error!(%error, case = %id, "a request of a run that is over could not be closed");
            }
            Err(AnswerRefused::Store(error)) => return Err(error),
            Err(other) => {
                tracing::error!(error = %other, case = %id, "a request of a run that is over could not be closed");
            }
        }
    }
    Ok(settled)
}
