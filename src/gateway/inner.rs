//! The inner server: the second handshake of `ssh -J`, on the jump channel's stream. The outer connection proved who
//! it is, so `none` is enough here; the user name is the account on the target.

use std::sync::Arc;
use std::time::Duration;

use russh::server::{self, Auth, Msg};
use russh::{Channel, MethodKind};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::desk::{Desk, Route};
use super::door::Door;
use super::jump::JumpStream;
use super::limits::{FAREWELL, INNER_GRACE, JUMP_END};
use super::overheard::Overheard;
use super::pressure::{Brake, Budget, Paced, Pressure};
use super::shared::Shared;
use super::wire;
use crate::flow::Caller;
use crate::names::TargetName;

/// The state of one inner connection.
pub(super) struct Inner {
    shared: Arc<Shared>,
    caller: Caller,
    target: TargetName,
    pressure: Arc<Pressure>,
    overheard: Arc<Overheard>,
    over: CancellationToken,
    authenticated: CancellationToken,
    desk: Option<Desk>,
}

impl Inner {
    pub(super) fn desk(&mut self) -> Option<&mut Desk> {
        self.desk.as_mut()
    }

    /// The user name becomes the login asked for; whether it may be used is judged per channel.
    pub(super) fn log_in(&mut self, user: &str) -> Auth {
        let Ok(login) = user.parse() else { return Auth::reject() };
        let route = Route { caller: self.caller.clone(), target: self.target.clone(), login };
        self.desk =
            Some(Desk::new(Arc::clone(&self.shared), route, Arc::clone(&self.pressure), self.over.clone()));
        Auth::Accept
    }

    pub(super) fn authenticated(&self, handle: server::Handle) {
        self.authenticated.cancel();
        if let Some(desk) = &self.desk {
            desk.forwards().ready(handle, Arc::clone(&self.overheard));
        }
    }
}

/// Serves one jump channel: shows a host certificate for exactly `target`, and ends when the client, `kill` or the
/// grace time ends it. What does not speak SSH is closed.
pub(super) async fn serve(
    shared: Arc<Shared>,
    caller: Caller,
    target: TargetName,
    channel: Channel<Msg>,
    budget: Budget,
    kill: CancellationToken,
) {
    let (read, write) = channel.split();
    let (stream, intake) = JumpStream::over(read, &write, budget.clone(), kill.clone());
    tokio::select! {
        () = speak(shared, caller, target, (stream, budget), &kill) => {}
        () = async {
            intake.await;
            // The inner connection reads the end and ends, unless it is stuck in a write.
            sleep(JUMP_END).await;
            kill.cancel();
            std::future::pending().await
        } => {}
    }
    if !matches!(timeout(FAREWELL, write.close()).await, Ok(Ok(()))) {
        tracing::debug!("the client was gone already");
    }
}

async fn speak(
    shared: Arc<Shared>,
    caller: Caller,
    target: TargetName,
    (stream, budget): (JumpStream, Budget),
    kill: &CancellationToken,
) {
    let certificate = match shared.host_certificate(&[target.to_string()]).await {
        Ok(certificate) => certificate,
        Err(error) => return tracing::error!(%error, target = %target, "no host certificate for a jump"),
    };
    let config = wire::server(&shared.host_key, certificate, &[MethodKind::None]);
    let pressure = Arc::new(Pressure::within(budget));
    let over = CancellationToken::new();
    let authenticated = CancellationToken::new();
    let overheard = Arc::new(Overheard::default());
    let paced = Paced::new(stream, Brake::Client(Arc::clone(&pressure), Arc::clone(&overheard)), kill);
    let inner = Inner {
        shared,
        caller,
        target: target.clone(),
        pressure,
        overheard,
        over: over.clone(),
        authenticated: authenticated.clone(),
        desk: None,
    };
    let _over = over.drop_guard();
    let starting = server::run_stream(config, paced, Door::Inner(Box::new(inner)));
    let running = match timeout(INNER_GRACE, starting).await {
        Ok(Ok(running)) => running,
        Ok(Err(error)) => return tracing::info!(%error, target = %target, "a jump channel did not speak SSH"),
        Err(_) => return tracing::info!(target = %target, "a jump channel said nothing"),
    };
    tokio::pin!(running);
    let result = tokio::select! {
        result = &mut running => result,
        () = grace(&authenticated, INNER_GRACE) => {
            kill.cancel();
            running.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, target = %target, "an inner connection ended with an error");
    }
}

/// Ready after `limit`, unless `authenticated` comes first: then never.
pub(super) async fn grace(authenticated: &CancellationToken, limit: Duration) {
    if timeout(limit, authenticated.cancelled()).await.is_ok() {
        std::future::pending::<()>().await;
    }
}
