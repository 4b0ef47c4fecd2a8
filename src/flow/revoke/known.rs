//! What is revoked, as this process sees it: a snapshot for judging, and the list that targets fetch. Both are made once
//! for each version that the store tells of.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::ssh_key::{Fingerprint, PublicKey};
use tokio::time::Instant;

use crate::app::App;
use crate::ca::Authority;
use crate::ca::krl::Krl;
use crate::flow::desk::lock;
use crate::ids::SessionId;
use crate::store::{RevocationRow, RevocationVersion, StoreError};

/// How old the answer about the version may be when somebody fetches the list: whoever asks often costs nothing.
const LIST_AGE_MAX: Duration = Duration::from_millis(500);

/// What is revoked of our own users' certificates and sessions, and the list for targets.
#[derive(Debug, Default)]
pub struct Known {
    version: u64,
    keys: BTreeSet<String>,
    key_ids: BTreeSet<String>,
    serials: BTreeSet<u64>,
    sessions: BTreeSet<String>,
    /// The list for targets.
    list: Option<Bytes>,
}

/// What somebody showed, as far as it can be revoked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Credential<'c> {
    /// Fingerprint of the key that signed the certificate.
    pub ca: Option<&'c str>,
    /// Serial of the user certificate.
    pub serial: Option<u64>,
    /// Its key id.
    pub key_id: Option<&'c str>,
    /// Fingerprint of their key.
    pub key: Option<&'c str>,
}

/// What of a credential was revoked; shown to its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// The authority that signed.
    Ca,
    /// The key.
    Key,
    /// The serial or the key id.
    Certificate,
}

impl fmt::Display for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ca => "the authority behind your certificate",
            Self::Key => "your key",
            Self::Certificate => "your certificate",
        })
    }
}

impl Known {
    fn new(at: RevocationVersion, rows: &[RevocationRow]) -> Self {
        let of = |kind: &'static str| rows.iter().filter(move |row| row.kind == kind);
        let values = |kind| of(kind).map(|row| row.value.clone()).collect::<BTreeSet<_>>();
        let for_users = |row: &&RevocationRow| row.authority != "target";
        Self {
            version: at.version,
            keys: of("key").chain(of("ca")).map(|row| row.value.clone()).collect(),
            key_ids: values("key-id"),
            serials: of("serial").filter(for_users).filter_map(|row| row.value.parse().ok()).collect(),
            sessions: values("session"),
            list: None,
        }
    }

    /// The version; 0 until the store was asked.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What of this was revoked.
    pub fn revokes(&self, shown: Credential<'_>) -> Option<Revoked> {
        if shown.ca.is_some_and(|ca| self.keys.contains(ca)) {
            Some(Revoked::Ca)
        } else if shown.key.is_some_and(|key| self.keys.contains(key)) {
            Some(Revoked::Key)
        } else if shown.serial.is_some_and(|serial| self.serials.contains(&serial))
            || shown.key_id.is_some_and(|key_id| self.key_ids.contains(key_id))
        {
            Some(Revoked::Certificate)
        } else {
            None
        }
    }

    /// Whether this session was revoked.
    pub fn has_session(&self, id: &SessionId) -> bool {
        self.sessions.contains(id.as_str())
    }
}

/// Sees what is revoked now: one short question when nothing has changed. An error means that nobody knows, which is a no.
pub async fn refresh(app: &App) -> Result<Arc<Known>, StoreError> {
    let at = app.store.revocation_version().await?;
    let seen = Arc::clone(&lock(&app.desk.revoked));
    if seen.version >= at.version {
        return Ok(seen);
    }
    // Rows written since the version was read may be among these; they are read again with their own version.
    let rows = app.store.revocations_in_force(app.clock.now()).await?;
    let target_ca = app.signer.public_key(Authority::Target).key_data();
    let list = list_of(&rows, at, "target", target_ca).write();
    let new = Arc::new(Known { list: Some(list.into()), ..Known::new(at, &rows) });
    let mut known = lock(&app.desk.revoked);
    // Another task may have read a newer one meanwhile.
    if known.version < new.version {
        *known = Arc::clone(&new);
    }
    Ok(new)
}

/// The list for targets, not older than half a second.
pub async fn published(app: &App) -> Result<Bytes, StoreError> {
    let seen = lock(&app.desk.revoked).list.clone();
    if let Some(list) = seen
        && lock(&app.desk.list_asked).is_some_and(|asked| asked.elapsed() < LIST_AGE_MAX)
    {
        return Ok(list);
    }
    let known = refresh(app).await?;
    *lock(&app.desk.list_asked) = Some(Instant::now());
    let missing = || StoreError::BadRow {
        table: "revocation_head",
        what: "its version is not a positive number".into(),
    };
    known.list.clone().ok_or_else(missing)
}

/// The list of what is revoked of the certificates of `authority`, whose key is `ca`, and of all keys.
pub fn list_of(rows: &[RevocationRow], at: RevocationVersion, authority: &str, ca: &KeyData) -> Krl {
    let mut krl = Krl::new(at.version, at.changed.as_secs(), "caponier");
    for row in rows.iter().filter(|row| row.authority == authority || row.authority == "any") {
        let written = match row.kind.as_str() {
            "serial" => row
                .value
                .parse()
                .map(|serial| krl.revoke_serials(ca, serial, serial).is_ok())
                .unwrap_or(false),
            "key-id" => krl.revoke_key_id(ca, &row.value).is_ok(),
            "key" | "ca" => key(&mut krl, row),
            // A session is cut here; its certificate has a row of its own.
            _ => true,
        };
        if !written {
            tracing::error!(revocation = %row.id, "a revocation cannot be written into the list for targets");
        }
    }
    krl
}

/// The key itself where it is known, which is what every sshd understands; else its fingerprint.
fn key(krl: &mut Krl, row: &RevocationRow) -> bool {
    let public = row.public_key.as_deref().and_then(|line| PublicKey::from_openssh(line).ok());
    if let Some(public) = public {
        return krl.revoke_key(public.key_data()).is_ok();
    }
    match row.value.parse() {
        Ok(Fingerprint::Sha256(digest)) => {
            krl.revoke_fingerprint(digest);
            true
        }
        Ok(_) | Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use russh::keys::ssh_key::HashAlg;
    use russh::keys::ssh_key::certificate::{Builder, CertType};
    use russh::keys::{Algorithm, PrivateKey};

    use super::*;
    use crate::ids::RevocationId;
    use crate::random::Random;
    use crate::time::Timestamp;

    fn row(random: &Random, (kind, authority, value): (&str, &str, &str)) -> RevocationRow {
        RevocationRow {
            id: RevocationId::random(random),
            kind: kind.into(),
            authority: authority.into(),
            value: value.into(),
            public_key: None,
            reason: "r".into(),
            by: "admin".into(),
            created: Timestamp::from_secs(5),
            until: None,
        }
    }

    /// The list for an authority, read by what agrees with `ssh-keygen` (`tests/it/krl.rs`), says what the snapshot says.
    #[test]
    fn our_verdict_is_that_of_the_list() {
        let random = Random::seeded(1);
        let new = || random.with(|rng| PrivateKey::random(rng, Algorithm::Ed25519)).unwrap();
        let (ca, other, key) = (new(), new(), new());
        let print = |key: &PrivateKey| key.fingerprint(HashAlg::Sha256).to_string();
        let certificate = {
            let subject = key.public_key().key_data().clone();
            let mut builder = Builder::new([7; 16], subject, 1, 100).unwrap();
            builder.serial(17).unwrap().cert_type(CertType::User).unwrap();
            builder.key_id("corp:ann/sgn").unwrap().valid_principal("root").unwrap();
            builder.sign(&ca).unwrap()
        };
        let (ca_print, key_print) = (print(&ca), print(&key));
        let shown = Credential {
            ca: Some(&ca_print),
            serial: Some(17),
            key_id: Some("corp:ann/sgn"),
            key: Some(&key_print),
        };
        type Row<'t> = ((&'t str, &'t str, &'t str), Option<Revoked>);
        let rows: &[Row<'_>] = &[
            (("serial", "user", "17"), Some(Revoked::Certificate)),
            (("serial", "target", "17"), None),
            (("serial", "user", "18"), None),
            (("key-id", "any", "corp:ann/sgn"), Some(Revoked::Certificate)),
            (("key-id", "any", "corp:ann"), None),
            (("key", "any", &key_print), Some(Revoked::Key)),
            (("key", "any", &print(&other)), None),
            (("ca", "any", &ca_print), Some(Revoked::Ca)),
            (("ca", "any", &print(&other)), None),
            (("session", "any", "ses_00000000000000000000000000"), None),
        ];
        let at = RevocationVersion { version: 9, changed: Timestamp::from_secs(5) };
        for (revoked, expect) in rows {
            let rows = [row(&random, *revoked)];
            assert_eq!(Known::new(at, &rows).revokes(shown), *expect, "{revoked:?}");
            let list = list_of(&rows, at, "user", ca.public_key().key_data());
            assert_eq!(list.revokes(&certificate), expect.is_some(), "{revoked:?}");
            assert_eq!((list.version, list.generated), (9, 5));
        }
        // The key itself, where it is known.
        let line = Some(ca.public_key().to_openssh().unwrap());
        let of_ca = RevocationRow { public_key: line, ..row(&random, ("ca", "any", &ca_print)) };
        let list = list_of(&[of_ca], at, "target", other.public_key().key_data());
        let blob = ca.public_key().to_bytes().unwrap();
        assert!(list.revokes(&certificate) && list.write().windows(blob.len()).any(|some| some == blob));
        // What cannot be written leaves the rest.
        let rows = [row(&random, ("serial", "user", "0")), row(&random, ("serial", "user", "17"))];
        assert!(list_of(&rows, at, "user", ca.public_key().key_data()).revokes(&certificate));
        assert_eq!(Known::default().revokes(shown), None);
    }
}
