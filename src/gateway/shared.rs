//! What all connections of the gateway share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use russh::keys::ssh_key::{Certificate, PrivateKey};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::limits::CONNECTIONS_OF_ONE_MAX;
use crate::app::App;
use crate::ca::{Draft, DraftError, SignerError};
use crate::ids::SignInId;

/// There is no host certificate to show.
#[derive(Debug, thiserror::Error)]
pub(super) enum HostCertificateError {
    #[error(transparent)]
    Draft(#[from] DraftError),
    #[error(transparent)]
    Signer(#[from] SignerError),
}

/// Shared by all connections.
pub(super) struct Shared {
    pub(super) app: App,
    /// The bastion's own host key; certified anew for every name and connection.
    pub(super) host_key: PrivateKey,
    /// Every session's task; the server joins them when it stops.
    pub(super) sessions: TaskTracker,
    /// Cancelled when the server stops: sessions tell their clients and end.
    pub(super) drain: CancellationToken,
    live: Mutex<HashMap<SignInId, (CancellationToken, usize)>>,
    /// Connections of each sign-in.
    connections: Mutex<HashMap<SignInId, usize>>,
}

impl Shared {
    pub(super) fn new(app: App, host_key: PrivateKey, drain: CancellationToken) -> Self {
        Self {
            app,
            host_key,
            sessions: TaskTracker::new(),
            drain,
            live: Mutex::default(),
            connections: Mutex::default(),
        }
    }

    /// A host certificate for `names`, minutes long.
    pub(super) async fn host_certificate(
        &self,
        names: &[String],
    ) -> Result<Certificate, HostCertificateError> {
        let app = &self.app;
        let now = app.clock.now();
        let draft = Draft::host(
            self.host_key.public_key(),
            app.random.u64(),
            &format!("caponier:{}", app.node),
            names,
            now,
            crate::ca::draft::JUMP_HOST_LIFE,
        )?;
        Ok(app.signer.sign(&draft, &app.random, now).await?)
    }

    /// A token that is cancelled when this sign-in ends; drop the guard when the session is over.
    pub(super) fn watch_sign_in(&self, id: &SignInId) -> SignInWatch<'_> {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = live.entry(id.clone()).or_insert_with(|| (CancellationToken::new(), 0));
        entry.1 += 1;
        SignInWatch { shared: self, id: id.clone(), ended: entry.0.clone() }
    }

    /// A place for one more connection of this sign-in, free again when dropped; none when it has too many.
    pub(super) fn connection_of(self: &Arc<Self>, id: &SignInId) -> Option<ConnectionPlace> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let open = connections.entry(id.clone()).or_insert(0);
        if *open >= CONNECTIONS_OF_ONE_MAX {
            return None;
        }
        *open += 1;
        Some(ConnectionPlace { shared: Arc::clone(self), id: id.clone() })
    }

    /// Ends every session of this sign-in here.
    pub(super) fn sign_in_ended(&self, id: &SignInId) {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((token, _)) = live.get(id) {
            token.cancel();
        }
    }

    /// The sign-ins somebody watches.
    pub(super) fn live_sign_ins(&self) -> Vec<SignInId> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}

/// One connection of a sign-in.
pub(super) struct ConnectionPlace {
    shared: Arc<Shared>,
    id: SignInId,
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        let mut connections = self.shared.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = connections.get_mut(&self.id) {
            *open -= 1;
            if *open == 0 {
                connections.remove(&self.id);
            }
        }
    }
}

/// One session's interest in its sign-in.
pub(super) struct SignInWatch<'a> {
    shared: &'a Shared,
    id: SignInId,
    pub(super) ended: CancellationToken,
}

impl Drop for SignInWatch<'_> {
    fn drop(&mut self) {
        let mut live = self.shared.live.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = live.get_mut(&self.id) {
            entry.1 -= 1;
            if entry.1 == 0 {
                live.remove(&self.id);
            }
        }
    }
}
