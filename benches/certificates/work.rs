//! What the clients ask with: keys, and tokens for them, made before the clock starts.

use caponier::cli::client::sign::Key;
use caponier::identity::token::{KEY_IN_AUDIENCE, hex};
use caponier::random::Random;
use russh::keys::ssh_key::{Algorithm, HashAlg, PrivateKey};
use serde_json::json;

use crate::issuer::JobIssuer;
use crate::load::{Job, Work};

/// Keys of people that renew.
pub(crate) fn renew(count: usize, random: &Random) -> anyhow::Result<Work> {
    Ok(Work::Renew((0..count).map(|_| key(random)).collect::<Result<_, _>>()?))
}

/// Jobs with tokens like GitHub's, each bound to a key of its own. Takes a millisecond or two for each.
pub(crate) fn exchange(count: usize, issuer: &JobIssuer, web: u16, random: &Random) -> anyhow::Result<Work> {
    let jobs = (0..count).map(|_| job(issuer, web, random));
    Ok(Work::Exchange(jobs.collect::<Result<_, _>>()?))
}

fn job(issuer: &JobIssuer, web: u16, random: &Random) -> anyhow::Result<Job> {
    let key = key(random)?;
    let hash = key.public().fingerprint(HashAlg::Sha256);
    let audience = format!("http://127.0.0.1:{web}{KEY_IN_AUDIENCE}{}", hex(hash.as_bytes()));
    let token = issuer.mint(&issuer.github(&audience));
    Ok(Job { key, body: json!({ "token": token }).to_string() })
}

fn key(random: &Random) -> anyhow::Result<Key> {
    let key = random.with(|mut rng| PrivateKey::random(&mut rng, Algorithm::Ed25519))?;
    Ok(Key::Held(Box::new(key)))
}
