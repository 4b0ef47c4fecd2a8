//! What every flow needs, put together once at start.

use std::sync::Arc;

use tokio::sync::watch;

use crate::ca::Signer;
use crate::config::Config;
use crate::policy::Policy;
use crate::random::Random;
use crate::store::Store;
use crate::time::Clock;

/// The parts of a running server. Cheap to clone.
#[derive(Clone)]
pub struct App {
    /// The configuration.
    pub config: Arc<Config>,
    /// The policy in force. Who subscribes hears of every change; only `flow::reload` sends.
    pub policy: Arc<watch::Sender<Arc<Policy>>>,
    /// The database.
    pub store: Store,
    /// The CA keys.
    pub signer: Signer,
    /// The time.
    pub clock: Clock,
    /// Randomness.
    pub random: Random,
    /// What signing in remembers between requests: known providers, guess limits, who listens for ended sign-ins.
    pub desk: Arc<crate::flow::Desk>,
    /// What is recorded here.
    pub recordings: Arc<crate::recording::Recordings>,
    /// Name of this process among several that share a store.
    pub node: Arc<str>,
}

impl App {
    /// The policy in force now.
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.borrow())
    }
}
