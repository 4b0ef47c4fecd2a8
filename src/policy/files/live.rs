//! The path rules of an open session, which a new policy may replace while it runs.

use std::sync::{Arc, PoisonError, RwLock};

use super::FileRules;

/// A shared place for the rules of one session. Cheap to clone; all clones see the same rules.
#[derive(Clone, Debug)]
pub struct LiveRules(Arc<RwLock<Arc<[FileRules]>>>);

impl LiveRules {
    /// `roles`: the rules of every role that opens the session.
    pub fn new(roles: Vec<FileRules>) -> Self {
        Self(Arc::new(RwLock::new(roles.into())))
    }

    /// Other rules hold from now on, for open files too.
    pub fn set(&self, roles: Vec<FileRules>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = roles.into();
    }

    /// The rules that hold now. The same rules are the same `Arc`.
    pub fn now(&self) -> Arc<[FileRules]> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}
