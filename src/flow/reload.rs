//! Another policy: read and checked as a whole, written to the audit, and only then in force. When anything is wrong,
//! nothing changes.

use std::sync::Arc;

use crate::app::App;
use crate::audit::AuditEvent;
use crate::config::Problem;
use crate::policy;
use crate::store::StoreError;

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// The files say what is in force already.
    Unchanged,
    /// The new policy is in force; open sessions are being judged again.
    Changed,
    /// The files are wrong; the policy before stays in force.
    Refused(Vec<Problem>),
}

/// Reads the policy files again. An error means that it could not be written down, and then nothing changes either.
pub async fn reload(app: &App) -> Result<Reloaded, StoreError> {
    let config = Arc::clone(&app.config);
    let read = tokio::task::spawn_blocking(move || policy::load_for(&config.policy_file, &config)).await;
    let read = read.unwrap_or_else(|error| {
        let message = format!("reading failed: {error}");
        Err(vec![Problem { file: app.config.policy_file.clone(), line: 0, column: 0, message }])
    });
    let held = app.policy();
    match read {
        Ok(policy) if policy.digest == held.digest => Ok(Reloaded::Unchanged),
        Ok(policy) => {
            let event = AuditEvent::PolicyLoaded {
                digest: policy.digest.clone(),
                replaces: held.digest.clone(),
                roles: policy.roles.len(),
                targets: policy.targets.len(),
            };
            app.store.note(app.clock.now(), event).await?;
            app.policy.send_replace(Arc::new(policy));
            Ok(Reloaded::Changed)
        }
        Err(problems) => {
            let event = AuditEvent::PolicyRefused {
                keeps: held.digest.clone(),
                problems: problems.len(),
                first: problems.first().map(ToString::to_string).unwrap_or_default(),
            };
            app.store.note(app.clock.now(), event).await?;
            Ok(Reloaded::Refused(problems))
        }
    }
}
