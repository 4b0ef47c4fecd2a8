//! A connection that asks by itself and waits: what it asks for, hearing what becomes of it, and taking it back. What may
//! be asked for is judged by `ask` like everything else; this only finds the words.

use tokio::sync::broadcast;

use super::answer::{self, AnswerRefused};
use super::ask::{AskRefused, Filed, ask_here};
use super::present::{Absent, present};
use super::{Caller, held};
use crate::access::{Case, Event, State};
use crate::app::App;
use crate::ids::CaseId;
use crate::policy::request::{TargetWish, Wish};
use crate::policy::{Act, Ask, Circumstances, asks_by_itself};
use crate::store::StoreError;

/// What came of asking.
#[derive(Debug)]
pub enum Asking {
    /// No role says that connections ask for this by themselves.
    NotHere,
    /// It cannot be asked for like this, and why.
    Refused(String),
    /// There is a case now, or was one before.
    Filed(Box<Filed>),
}

/// Asks for what `ask` lacks, where a role says that connections may. To be called when it was refused because nothing
/// is granted.
pub async fn ask_for(app: &App, caller: &Caller, ask: &Ask) -> Result<Asking, StoreError> {
    let reason = match reason(ask) {
        Some(Ok(reason)) => reason,
        Some(Err(why)) => return Ok(Asking::Refused(why.to_owned())),
        None => return Ok(Asking::NotHere),
    };
    let caller = &match present(app, caller).await {
        Ok(caller) => caller,
        Err(Absent::Store(error)) => return Err(error),
        Err(absent) => return Ok(Asking::Refused(absent.to_string())),
    };
    let at = Circumstances {
        now: app.clock.now(),
        from: caller.from(),
        own: std::sync::Arc::default(),
        held: held::by(app, caller.identity(), None).await?,
    };
    let policy = app.policy();
    let Some(role) = asks_by_itself(&policy, caller.identity(), ask, &at) else {
        return Ok(Asking::NotHere);
    };
    let wish = Wish {
        targets: vec![TargetWish::Name(ask.target.clone())],
        logins: [ask.login.clone()].into(),
        role: Some(role.name.clone()),
        reason,
        ..Wish::default()
    };
    match ask_here(app, caller, &wish).await {
        Ok(filed) => Ok(Asking::Filed(Box::new(filed))),
        Err(AskRefused::Store(error) | AskRefused::Absent(Absent::Store(error))) => Err(error),
        Err(refused) => Ok(Asking::Refused(refused.to_string())),
    }
}

/// What a connection gives as its reason: the command, or what it is. None for what never waits.
fn reason(ask: &Ask) -> Option<Result<String, &'static str>> {
    let connection = || Ok(format!("connection to {} as {}", ask.target, ask.login));
    match &ask.act {
        Act::Shell { .. } => Some(connection()),
        Act::Subsystem { name } if name == "sftp" => Some(connection()),
        Act::Exec { command, .. } if command.trim_ascii().is_empty() => Some(connection()),
        Act::Exec { command, .. } => {
            Some(String::from_utf8(command.clone()).map_err(|_| "the command line is no text"))
        }
        Act::Subsystem { .. }
        | Act::Env { .. }
        | Act::LocalForward { .. }
        | Act::LocalSocket { .. }
        | Act::RemoteForward { .. }
        | Act::RemoteSocket { .. }
        | Act::Agent
        | Act::X11
        | Act::Tun
        | Act::Unknown { .. } => None,
    }
}

/// Hears of cases that change, here and (within half a second) at other nodes. To be made before the case is.
pub struct News(broadcast::Receiver<CaseId>);

impl News {
    /// From now on.
    pub fn of(app: &App) -> Self {
        Self(app.desk.cases())
    }

    /// Ready when this case may have changed.
    pub async fn about(&mut self, id: &CaseId) {
        loop {
            match self.0.recv().await {
                Ok(changed) if changed == *id => return,
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => return,
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

/// The case as it is now.
pub async fn look(app: &App, id: &CaseId) -> Result<Option<Case>, StoreError> {
    app.store.case(id).await
}

/// Takes a case back that nobody waits for any more. Needs no live sign-in: it gives nothing.
pub async fn withdraw(app: &App, caller: &Caller, id: &CaseId) -> Result<(), StoreError> {
    let mut tx = app.store.begin().await?;
    let case = tx.take_case(id).await?;
    let Some(case) = case.filter(|case| matches!(case.state, State::Waiting { .. })) else {
        return tx.leave().await;
    };
    let event = Event::Cancel { by: caller.identity().clone(), admin: false };
    let now = app.clock.now();
    match answer::apply(app, tx, case, event, Vec::new(), &caller.from().to_string(), now).await {
        Err(AnswerRefused::Store(error)) => Err(error),
        // Decided or void in this moment, otherwise.
        Ok(_) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_connections_give_as_reason() {
        let ask = |act| Ask { target: "web1".parse().unwrap(), login: "root".parse().unwrap(), act };
        let exec = |command: &[u8]| Act::Exec { command: command.to_vec(), pty: false };
        let here = "connection to web1 as root";
        for (act, expect) in [
            (Act::Shell { pty: true }, Some(Some(here))),
            (Act::Subsystem { name: "sftp".into() }, Some(Some(here))),
            (exec(b" "), Some(Some(here))),
            (exec(b"systemctl restart nginx"), Some(Some("systemctl restart nginx"))),
            (exec(b"\xff"), Some(None)),
            (Act::Subsystem { name: "netconf".into() }, None),
            (Act::LocalSocket { path: "/run/x".into() }, None),
            (Act::Agent, None),
        ] {
            let got = reason(&ask(act.clone()));
            assert_eq!(got.as_ref().map(|said| said.as_deref().ok()), expect, "{act}");
        }
    }
}
