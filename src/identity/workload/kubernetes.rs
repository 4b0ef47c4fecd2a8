//! Service accounts of a Kubernetes cluster: projected tokens with our audience. The issuer is one cluster.
//!
//! Source: kubernetes.io/docs "Managing Service Accounts", "bound service account tokens".

use super::ClaimType::{Name, Uuid};
use super::{Claim, NONE, Preset, Said, Shape};
use crate::identity::claims::TokenRefused;

pub(super) const PRESET: Preset = Preset {
    algorithms: &["RS256", "ES256"],
    claims: &[
        Claim::new("namespace", &["kubernetes.io", "namespace"], Name).identifies(),
        Claim::new("service_account", &["kubernetes.io", "serviceaccount", "name"], Name).identifies(),
        Claim::new("service_account_uid", &["kubernetes.io", "serviceaccount", "uid"], Uuid).needed(),
        Claim::new("pod", &["kubernetes.io", "pod", "name"], Name),
        Claim::new("pod_uid", &["kubernetes.io", "pod", "uid"], Uuid).hidden(),
        Claim::new("node", &["kubernetes.io", "node", "name"], Name),
    ],
    noun: "serviceaccount",
    found: "it is the namespace and the name of the service account",
    ..NONE
};

pub(super) fn shape(said: &Said<'_>) -> Result<Shape, TokenRefused> {
    let (namespace, account) = (said.need("namespace")?, said.need("service_account")?);
    Ok(Shape {
        label: format!("{namespace}/{}", said.get("pod").unwrap_or(account)),
        id: said.owned("pod_uid"),
        ..Shape::default()
    })
}
