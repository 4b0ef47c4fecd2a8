//! What a recording says of its session before it begins: `session.json`, and the header of the cast. Decides whether a session is recorded
//! at all, and what of it.

use serde_json::{Value, json};

use super::authorize::{Permit, describe};
use super::session::Terminal;
use crate::app::App;
use crate::ids::SessionId;
use crate::policy::{Act, Recording, WhenDiskFull};
use crate::recording::Start;
use crate::recording::recorder::Look;
use crate::store::StoreError;
use crate::time::Timestamp;

/// What is known when a session begins.
pub(super) struct Begun<'a> {
    pub(super) id: &'a SessionId,
    pub(super) at: Timestamp,
    pub(super) terminal: Option<&'a Terminal>,
    pub(super) beside: &'a [Permit],
    pub(super) target_serial: u64,
}

/// What to record; none when the policy says that nothing is.
pub(super) async fn start(
    app: &App,
    permit: &Permit,
    begun: &Begun<'_>,
) -> Result<Option<Start>, StoreError> {
    if permit.terms().recording == Recording::Nothing {
        return Ok(None);
    }
    Ok(Some(Start {
        session: begun.id.clone(),
        at: begun.at,
        document: document(app, permit, begun).await?,
        screen: look(permit, begun.terminal),
        lossy: permit.terms().when_disk_full == WhenDiskFull::Continue,
    }))
}

/// Shells and commands have a screen; sftp and forwards do not.
fn look(permit: &Permit, terminal: Option<&Terminal>) -> Option<Look> {
    let command = match &permit.ask().act {
        Act::Shell { .. } => None,
        Act::Exec { command, .. } => Some(String::from_utf8_lossy(command).into_owned()),
        Act::Subsystem { .. }
        | Act::Env { .. }
        | Act::LocalForward { .. }
        | Act::LocalSocket { .. }
        | Act::RemoteForward { .. }
        | Act::RemoteSocket { .. }
        | Act::Agent
        | Act::X11
        | Act::Tun
        | Act::Unknown { .. } => return None,
    };
    let who = permit.caller().identity();
    Some(Look {
        pty: terminal.map(|t| (t.columns, t.rows)),
        term: terminal.map(|t| t.term.clone()).unwrap_or_default(),
        command,
        title: format!(
            "{}@{} by {} ({}){}",
            permit.ask().login,
            permit.ask().target,
            who.reference(),
            who.display,
            who.run.as_ref().map(|run| format!(", {}", run.line())).unwrap_or_default()
        ),
        input: permit.terms().recording == Recording::Input,
    })
}

/// `session.json`. Names are a promise to whoever reads it: adding is fine, renaming is not.
async fn document(app: &App, permit: &Permit, begun: &Begun<'_>) -> Result<Value, StoreError> {
    let caller = permit.caller();
    let who = caller.identity();
    let beside = begun.beside.iter().map(|permit| format!(", with {}", describe(&permit.ask().act)));
    let act: String = std::iter::once(describe(&permit.ask().act)).chain(beside).collect();
    let terminal = begun
        .terminal
        .map(|terminal| json!({ "term": terminal.term, "columns": terminal.columns, "rows": terminal.rows }));
    let run = who.run.as_ref().map(|run| {
        json!({
            "platform": run.platform.as_str(), "subject": run.subject, "label": run.label, "id": run.id,
            "attempt": run.attempt, "commit": run.commit, "url": run.url,
        })
    });
    Ok(json!({
        "version": 1,
        "session": begun.id.as_str(),
        "node": &*app.node,
        "began": begun.at.to_string(),
        "who": who.reference(),
        "issuer": who.issuer,
        "display": who.display,
        "run": run,
        "sign_in": caller.sign_in().as_str(),
        "from": caller.from().to_string(),
        "client": caller.client(),
        "client_serial": caller.certificate_serial().map(|serial| serial.to_string()),
        "target": permit.ask().target.as_str(),
        "login": permit.ask().login.as_str(),
        "target_serial": begun.target_serial.to_string(),
        "act": act,
        "terminal": terminal,
        "roles": permit.role_names().iter().map(|role| role.as_str()).collect::<Vec<_>>(),
        "grants": grants(app, permit).await?,
        "policy": permit.policy_digest(),
        "recorded": permit.terms().recording.as_str(),
    }))
}

/// On whose word it hangs: each grant with its request, the reason given and who approved.
async fn grants(app: &App, permit: &Permit) -> Result<Vec<Value>, StoreError> {
    let mut grants = Vec::new();
    for grant in permit.grants() {
        let case = app.store.case(&grant.case).await?;
        let approved: Vec<String> = case
            .iter()
            .flat_map(|case| &case.approvals)
            .map(|approval| approval.by.reference.clone())
            .collect();
        grants.push(json!({
            "grant": grant.id.as_str(),
            "case": grant.case.as_str(),
            "role": grant.scope.role.as_str(),
            "until": grant.until.to_string(),
            "break_glass": grant.break_glass,
            "reason": case.as_ref().map(|case| case.reason.clone()),
            "ticket": case.as_ref().and_then(|case| case.ticket.clone()),
            "approved_by": approved,
        }));
    }
    Ok(grants)
}
