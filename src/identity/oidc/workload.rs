//! The issuers of jobs' tokens: their keys, from themselves (OpenID Connect Discovery, of which they speak the least part) or from
//! a file, and whether one of them made a token. What the token must say is `identity::token`'s matter.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use openidconnect::core::CoreJsonWebKeySet;
use openidconnect::http::{Method, StatusCode};
use serde::Deserialize;
use url::Url;

use super::OidcError;
use super::fetch::Way;
use super::keys::made_by;
use super::remembered::{Remembered, Told};
use crate::config::{Issuer, Keys};
use crate::identity::claims::TokenRefused;
use crate::identity::token::{self, Opened, WorkloadToken};
use crate::names::ProviderName;
use crate::time::Timestamp;

/// Largest file of keys, in bytes.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// The issuers as far as their keys are known. Each is asked at the first use.
#[derive(Default)]
pub struct Issuers {
    sources: Mutex<HashMap<ProviderName, Arc<Source>>>,
}

enum Source {
    Discovery { way: Way, memory: Remembered<CoreJsonWebKeySet> },
    File { read: tokio::sync::Mutex<Option<Read>> },
}

/// A file as it was read.
struct Read {
    changed: SystemTime,
    length: u64,
    keys: Arc<CoreJsonWebKeySet>,
}

/// The part of a discovery document that verifying needs; the platforms' have little more.
#[derive(Deserialize)]
struct Described {
    issuer: String,
    jwks_uri: String,
}

impl Issuers {
    /// Verifies a token that claims to be of `issuer`, shown with the key whose blob has this SHA-256 (lower-case hexadecimal).
    /// That it comes for the first time is not judged here.
    pub async fn verify(
        &self,
        issuer: &Issuer,
        opened: Opened<'_>,
        key_sha256: &str,
        now: Timestamp,
    ) -> Result<WorkloadToken, OidcError> {
        token::check_algorithm(&opened, issuer)?;
        let holds = |keys: &CoreJsonWebKeySet| {
            let key_id = Some(opened.key_id());
            made_by(keys, opened.algorithm(), key_id, opened.signed(), opened.signature())
        };
        let made = match (&*self.source(issuer)?, &issuer.keys) {
            (Source::File { read }, Keys::File(path)) => {
                let keys = from_file(read, path).await.map_err(OidcError::Provider)?;
                holds(&keys)
            }
            (Source::Discovery { way, memory }, _) => {
                let ask = || discover(way, issuer);
                let get = async |insufficient: Option<&Arc<Told<CoreJsonWebKeySet>>>| {
                    memory.get(&issuer.name, now, insufficient, ask).await.map_err(OidcError::Provider)
                };
                let known = get(None).await?;
                // The issuer may have changed its keys since we asked. How often strangers can make us ask is bounded there.
                holds(&known.value) || {
                    let newer = get(Some(&known)).await?;
                    !Arc::ptr_eq(&newer, &known) && holds(&newer.value)
                }
            }
            (Source::File { .. }, Keys::Discovery) => false,
        };
        if !made {
            return Err(
                TokenRefused::new("signature", "no key of the issuer made the token's signature").into()
            );
        }
        Ok(token::check(opened, issuer, key_sha256, now)?)
    }

    fn source(&self, issuer: &Issuer) -> Result<Arc<Source>, OidcError> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(source) = sources.get(&issuer.name) {
            return Ok(Arc::clone(source));
        }
        let source = Arc::new(match &issuer.keys {
            Keys::Discovery => Source::Discovery {
                way: Way::to(&issuer.issuer).map_err(|e| OidcError::Config(e.to_string()))?,
                memory: Remembered::default(),
            },
            Keys::File(_) => Source::File { read: tokio::sync::Mutex::default() },
        });
        sources.insert(issuer.name.clone(), Arc::clone(&source));
        Ok(source)
    }
}

/// The keys in the file at `path`, read again when it has changed. A file that cannot be read or understood is no keys at all:
/// whoever takes it away wants it so.
async fn from_file(
    read: &tokio::sync::Mutex<Option<Read>>,
    path: &Path,
) -> Result<Arc<CoreJsonWebKeySet>, String> {
    let failed = |e: &dyn std::fmt::Display| format!("jwks_file {}: {e}", path.display());
    let mut read = read.lock().await;
    let meta = tokio::fs::metadata(path).await.map_err(|e| failed(&e))?;
    let changed = meta.modified().map_err(|e| failed(&e))?;
    if let Some(read) = &*read
        && (read.changed, read.length) == (changed, meta.len())
    {
        return Ok(Arc::clone(&read.keys));
    }
    if meta.len() > FILE_BYTES_MAX {
        return Err(failed(&format!("over {FILE_BYTES_MAX} bytes")));
    }
    let text = tokio::fs::read(path).await.map_err(|e| failed(&e))?;
    let keys: CoreJsonWebKeySet = serde_json::from_slice(&text).map_err(|e| failed(&e))?;
    let keys = Arc::new(keys);
    *read = Some(Read { changed, length: meta.len(), keys: Arc::clone(&keys) });
    Ok(keys)
}

/// Asks the issuer for its keys. They must come from the issuer's own address: a document that points elsewhere could point
/// anywhere, also inwards.
async fn discover(way: &Way, issuer: &Issuer) -> Result<CoreJsonWebKeySet, String> {
    let base = issuer.issuer.trim_end_matches('/');
    let document = get(way, &format!("{base}/.well-known/openid-configuration")).await?;
    let described: Described =
        serde_json::from_slice(&document).map_err(|e| format!("its discovery document: {e}"))?;
    if described.issuer != issuer.issuer {
        return Err("its discovery document names another issuer".into());
    }
    let (own, keys) = (Url::parse(&issuer.issuer), Url::parse(&described.jwks_uri));
    let same = matches!((&own, &keys), (Ok(own), Ok(keys)) if own.origin() == keys.origin());
    if !same {
        return Err("its discovery document has the keys at another address (jwks_uri): use jwks_file".into());
    }
    let keys = get(way, &described.jwks_uri).await?;
    serde_json::from_slice(&keys).map_err(|e| format!("its keys: {e}"))
}

async fn get(way: &Way, url: &str) -> Result<Vec<u8>, String> {
    let request = openidconnect::http::Request::builder()
        .method(Method::GET)
        .uri(url)
        .header("accept", "application/json")
        .body(Vec::new())
        .map_err(|e| format!("{url}: {e}"))?;
    let answer = way.clone().send(request).await.map_err(|e| format!("{url}: {e}"))?;
    if answer.status() != StatusCode::OK {
        return Err(format!("{url}: it answers with status {}", answer.status().as_u16()));
    }
    Ok(answer.into_body())
}
