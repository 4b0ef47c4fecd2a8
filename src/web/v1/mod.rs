//! What the endpoints of the table do: they turn wire shapes into what flows take, and back. A handler gets the proof of
//! its permission and what it declared, nothing else; flows decide.
//!
//! `sign_in` · `certificate` · `requests`, with `shown` for how a request is shown · `locks` · `looking` · `alerts` ·
//! `revocations`, with the list for targets · `sessions` · `workloads` · `description` is the API about itself ·
//! `refused` says which refusal has which status.

pub(super) mod alerts;
pub(super) mod certificate;
pub(super) mod description;
pub(super) mod locks;
pub mod looking;
mod refused;
pub(super) mod requests;
pub(super) mod revocations;
pub(super) mod sessions;
mod shown;
pub(super) mod sign_in;
pub(super) mod workloads;

use crate::app::App;
use crate::ca::Authority;
use crate::identity::Identity;
use crate::policy::targets_for;
use crate::web::api::SshClientSettings;
use crate::web::error::Failed;

/// What the client writes into its ssh configuration: the configured patterns, or the targets this person may reach.
fn settings<E>(app: &App, who: &Identity) -> Result<SshClientSettings, Failed<E>> {
    let mut host_ca = app.signer.public_key(Authority::Host).clone();
    host_ca.set_comment("");
    let host_ca = host_ca.to_openssh().map_err(Failed::broken)?;
    let ssh = &app.config.ssh;
    let patterns = if ssh.client_patterns.is_empty() {
        targets_for(&app.policy(), who).into_iter().map(|(target, _)| target.to_string()).collect()
    } else {
        ssh.client_patterns.clone()
    };
    Ok(SshClientSettings {
        host: ssh.host_names.first().cloned().unwrap_or_default(),
        port: ssh.public_port,
        host_ca,
        patterns,
    })
}
