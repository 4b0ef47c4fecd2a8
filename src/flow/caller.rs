//! Proof that we know who is calling. Made in two places only: `flow::sign_in` and `flow::recognise`.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use crate::identity::Identity;
use crate::ids::SignInId;
use crate::names::LoginName;
use crate::time::Timestamp;

/// Somebody we recognised, with what the credential limits them to.
#[derive(Clone, Debug)]
pub struct Caller {
    identity: Identity,
    sign_in: SignInId,
    sign_in_expires: Timestamp,
    logins: Option<BTreeSet<LoginName>>,
    certificate_serial: Option<u64>,
    certificate_key_id: Option<Box<str>>,
    key_fingerprint: Option<Box<str>>,
    from: IpAddr,
    /// Shared by all clones: it is known after them.
    client: Arc<OnceLock<Box<str>>>,
}

impl Caller {
    /// Only for `flow::sign_in` and `flow::recognise`. `logins` are the certificate's principals; none when the
    /// credential is the sign-in itself, and the policy alone says which logins there are.
    pub(super) fn new(
        sign_in: &crate::store::SignIn,
        logins: Option<BTreeSet<LoginName>>,
        certificate_serial: Option<u64>,
        from: IpAddr,
    ) -> Self {
        Self {
            identity: sign_in.who.clone(),
            sign_in: sign_in.id.clone(),
            sign_in_expires: sign_in.expires,
            logins,
            certificate_serial,
            certificate_key_id: None,
            key_fingerprint: sign_in.key_fingerprint.as_deref().map(Into::into),
            from,
            client: Arc::default(),
        }
    }

    /// What the client's program says it is (RFC 4253 section 4.2): anybody's text, and nothing is decided by it.
    pub fn says_it_is(&self, client: &[u8]) {
        let text: String =
            String::from_utf8_lossy(client).chars().filter(|c| !c.is_control()).take(255).collect();
        self.client.get_or_init(|| text.into());
    }

    /// What the client's program said it is, where it is known.
    pub fn client(&self) -> Option<&str> {
        self.client.get().map(|text| &**text)
    }

    /// The same caller as their sign-in has them now: groups may have changed since they were recognised.
    pub(super) fn as_in(&self, sign_in: &crate::store::SignIn) -> Self {
        Self { identity: sign_in.who.clone(), sign_in_expires: sign_in.expires, ..self.clone() }
    }

    /// The same, by a certificate with this key id.
    pub(super) fn with_key_id(self, key_id: &str) -> Self {
        Self { certificate_key_id: Some(key_id.into()), ..self }
    }

    /// Who.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Under which sign-in.
    pub fn sign_in(&self) -> &SignInId {
        &self.sign_in
    }

    /// When that sign-in ends by itself.
    pub fn sign_in_expires(&self) -> Timestamp {
        self.sign_in_expires
    }

    /// Whether the credential may be used for `login`; what policy says comes after.
    pub fn may_use(&self, login: &LoginName) -> bool {
        self.logins.as_ref().is_none_or(|logins| logins.contains(login))
    }

    /// Serial of the certificate shown, if one was.
    pub fn certificate_serial(&self) -> Option<u64> {
        self.certificate_serial
    }

    /// Key id of the certificate shown, if one was.
    pub fn certificate_key_id(&self) -> Option<&str> {
        self.certificate_key_id.as_deref()
    }

    /// SHA-256 fingerprint of the key that signed in; none when bound to one SSH connection.
    pub fn key_fingerprint(&self) -> Option<&str> {
        self.key_fingerprint.as_deref()
    }

    /// The client's address.
    pub fn from(&self) -> IpAddr {
        self.from
    }
}
