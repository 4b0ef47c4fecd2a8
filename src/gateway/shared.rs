//! What all connections of the gateway share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use russh::keys::ssh_key::{Certificate, PrivateKey};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::hold::Hold;
use super::limits::CERTIFICATES_KEPT;
use super::shares::Shares;
use crate::app::App;
use crate::ca::draft::JUMP_HOST_LIFE;
use crate::ca::{Draft, DraftError, SignerError};
use crate::ids::SignInId;
use crate::time::Timestamp;

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
    /// The bastion's own host key; certified for every name it goes by.
    pub(super) host_key: PrivateKey,
    /// Every session's task; the server joins them when it stops.
    pub(super) sessions: TaskTracker,
    /// Cancelled when the server stops: sessions tell their clients and end.
    pub(super) drain: CancellationToken,
    /// Connections that wait for access.
    pub(super) hold: Arc<Hold>,
    live: Mutex<HashMap<SignInId, (CancellationToken, usize)>>,
    /// Host certificates by their names, and when they were made.
    certificates: Mutex<HashMap<Vec<String>, (Certificate, Timestamp)>>,
    /// Connections of each identity.
    pub(super) shares: Arc<Shares>,
}

impl Shared {
    pub(super) fn new(app: App, host_key: PrivateKey, drain: CancellationToken) -> Self {
        let shares = Arc::new(Shares::of(app.config.ssh.connections_max));
        Self {
            app,
            host_key,
            sessions: TaskTracker::new(),
            drain,
            hold: Arc::default(),
            live: Mutex::default(),
            certificates: Mutex::default(),
            shares,
        }
    }

    /// A host certificate for `names`, minutes long; the same one for half of that.
    pub(super) async fn host_certificate(
        &self,
        names: &[String],
    ) -> Result<Certificate, HostCertificateError> {
        let app = &self.app;
        let now = app.clock.now();
        let is_fresh = |made: &Timestamp| *made <= now && now.since(*made) < JUMP_HOST_LIFE / 2;
        if let Some((certificate, _)) = lock(&self.certificates).get(names).filter(|(_, made)| is_fresh(made))
        {
            return Ok(certificate.clone());
        }
        let draft = Draft::host(
            self.host_key.public_key(),
            app.random.u64(),
            &format!("caponier:{}", app.node),
            names,
            now,
            JUMP_HOST_LIFE,
        )?;
        let certificate = app.signer.sign(&draft, &app.random, now).await?;
        let mut certificates = lock(&self.certificates);
        if certificates.len() >= CERTIFICATES_KEPT {
            certificates.retain(|_, (_, made)| is_fresh(made));
        }
        if certificates.len() < CERTIFICATES_KEPT {
            certificates.insert(names.to_vec(), (certificate.clone(), now));
        }
        Ok(certificate)
    }

    /// A token that is cancelled when this sign-in ends; drop the guard when the session is over.
    pub(super) fn watch_sign_in(&self, id: &SignInId) -> SignInWatch<'_> {
        let mut live = lock(&self.live);
        let entry = live.entry(id.clone()).or_insert_with(|| (CancellationToken::new(), 0));
        entry.1 += 1;
        SignInWatch { shared: self, id: id.clone(), ended: entry.0.clone() }
    }

    /// Ends every session of this sign-in here.
    pub(super) fn sign_in_ended(&self, id: &SignInId) {
        let live = lock(&self.live);
        if let Some((token, _)) = live.get(id) {
            token.cancel();
        }
    }

    /// The sign-ins somebody watches.
    pub(super) fn live_sign_ins(&self) -> Vec<SignInId> {
        lock(&self.live).keys().cloned().collect()
    }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One session's interest in its sign-in.
pub(super) struct SignInWatch<'a> {
    shared: &'a Shared,
    id: SignInId,
    pub(super) ended: CancellationToken,
}

impl Drop for SignInWatch<'_> {
    fn drop(&mut self) {
        let mut live = lock(&self.shared.live);
        if let Some(entry) = live.get_mut(&self.id) {
            entry.1 -= 1;
            if entry.1 == 0 {
                live.remove(&self.id);
            }
        }
    }
}
