//! Revokes: people, workloads, keys, certificates, sessions, authorities that are not in use any more. `order` is what may
//! be asked for, `known` what is revoked as this process sees it, with the list that targets fetch. Here is who may ask
//! and what follows: one transaction with the rows, the sign-ins that end, and their audit entries.
//!
//! What is open is cut by whoever holds it: sessions hear of ended sign-ins (`Desk::ended`) and of the order itself
//! (`change`), here at once and at other bastions by the audit log, and are judged again (`authorize::overruled`). Grants are ended by their own flow; an order for one would be one more [`What`].

mod known;
mod order;

use std::time::Duration;

use russh::keys::ssh_key::{HashAlg, PublicKey};

use super::change::Change;
use super::denials::{self, Refused};
use super::permission::{SignedIn, is_admin};
use super::recognise::begin_once;
use crate::app::App;
use crate::audit::{AuditEvent, RevocationEvent, RevokedItem};
use crate::ca::Authority;
use crate::identity::Kind;
use crate::ids::{RevocationId, SessionId, SignInId};
use crate::policy::RefusalCode;
use crate::random::Random;
use crate::store::{CertificateOf, RevocationRow, SignIn, Store, StoreError, Tx};
use crate::time::Timestamp;

pub use known::{Credential, Known, Revoked, list_of, published, refresh};
pub use order::{BadOrder, KeyName, Order, What};

/// What somebody whose key was revoked is told.
pub const KEY_REVOKED: &str =
    "this key was revoked; to make a new one, run: caponier logout, then: caponier login";
/// How long after its end something still counts as there: clocks differ.
const SLACK: Duration = Duration::from_secs(3600);

/// Why nothing is revoked.
#[derive(Debug, thiserror::Error)]
pub enum RevokeRefused {
    /// There is no such thing on record, or it is not theirs to revoke; only admins learn which.
    #[error("{0}")]
    NotFound(String),
    /// The key of an authority that signs now.
    #[error(
        "{0} is the key with which this bastion signs now, as {1}: revoking it would lock everybody out. First make new \
         authorities (move the old ones' folder away, run: caponier ca init, give targets and clients the lines of: \
         caponier ca show, start again); then revoke the old key"
    )]
    Active(String, &'static str),
    /// The same signed request came before.
    #[error("this request was sent before; send a new one")]
    Replay,
    /// The store is out of order.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What came of an order.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// What is revoked now and was not before. Empty when all of it was.
    pub revoked: Vec<RevocationRow>,
    /// The sign-ins that ended.
    pub sign_ins: Vec<SignInId>,
    /// The version of the list.
    pub version: u64,
}

impl Done {
    /// All of it was revoked before.
    pub fn is_nothing(&self) -> bool {
        self.revoked.is_empty() && self.sign_ins.is_empty()
    }
}

/// What revoking needs to know besides the store.
#[derive(Clone, Debug)]
pub struct Ground {
    /// The public keys that sign now.
    pub active: Vec<(Authority, PublicKey)>,
    /// The longest that any session can be open.
    pub session_max: Duration,
    /// For ids.
    pub random: Random,
}

impl Ground {
    fn of(app: &App) -> Self {
        let active = Authority::ALL.map(|authority| (authority, app.signer.public_key(authority).clone()));
        Self { active: active.into(), session_max: app.config.sessions.max, random: app.random.clone() }
    }
}

/// Revokes what a signed request asks for: anything by an admin; one's own key, certificate or session by its owner.
pub async fn revoke(app: &App, by: &SignedIn, order: &Order) -> Result<Done, RevokeRefused> {
    let (caller, asking) = (by.caller(), by.sign_in());
    let may = is_admin(app, caller).await?;
    if !may && !is_own(&app.store, asking, &order.what).await? {
        let act = format!("revoke {} {}", order.what.word(), order.what.value());
        let why = format!("{} is no admin, and it is not theirs", caller.identity().reference());
        let refused = Refused::act(&act, RefusalCode::NoAccess, &why);
        denials::note_once(app, caller, Some(by.signed()), &refused, app.clock.now()).await?;
        let text = format!("there is no such {} that you may revoke", order.what.word());
        return Err(RevokeRefused::NotFound(text));
    }
    let ground = Ground::of(app);
    let found = find(&app.store, &ground, &order.what).await?;
    let tx = begin_once(app, by.signed()).await?.ok_or(RevokeRefused::Replay)?;
    let done =
        write(tx, &app.store, &ground, (order, found), &asking.who.reference(), app.clock.now()).await?;
    done.sign_ins.iter().for_each(|id| app.desk.tell_ended(id));
    if !done.is_nothing() {
        // Whoever holds something open looks whether it is theirs.
        app.desk.tell(Change::Everything);
    }
    Ok(done)
}

/// Revokes by a command on the server, beside the running server, which sees it in the store within a second.
pub async fn revoke_by_command(
    store: &Store,
    ground: &Ground,
    order: &Order,
    now: Timestamp,
) -> Result<Done, RevokeRefused> {
    let found = find(store, ground, &order.what).await?;
    Ok(write(store.begin().await?, store, ground, (order, found), "admin", now).await?)
}

/// Whether it belongs to whoever asks.
async fn is_own(store: &Store, asking: &SignIn, what: &What) -> Result<bool, StoreError> {
    let sign_in = match what {
        // A run has one key, and other runs of its repository have others.
        What::Key(key) if asking.who.kind == Kind::Workload => {
            return Ok(asking.key_fingerprint.as_deref() == Some(key.fingerprint()));
        }
        What::Key(key) => return store.is_key_of(key.fingerprint(), &asking.who).await,
        What::Serial(serial) => store.certificate(*serial).await?.map(|certificate| certificate.sign_in),
        What::Session(id) => store.session(id).await?.map(|session| session.sign_in),
        What::User(_) | What::Workload(_) | What::KeyId(_) | What::Ca(_) => None,
    };
    let Some(sign_in) = sign_in else { return Ok(false) };
    let theirs = store.sign_in(&sign_in).await?;
    Ok(theirs.is_some_and(|theirs| theirs.who.is_same_holder(&asking.who)))
}

/// The certificates that the order names, by serial or session; or why it can name nothing.
async fn find(store: &Store, ground: &Ground, what: &What) -> Result<Vec<CertificateOf>, RevokeRefused> {
    let unknown = |text: String| Err(RevokeRefused::NotFound(text));
    match what {
        What::Key(key) | What::Ca(key) => {
            let is_it =
                |active: &PublicKey| active.fingerprint(HashAlg::Sha256).to_string() == key.fingerprint();
            match ground.active.iter().find(|(_, active)| is_it(active)) {
                Some((authority, _)) => {
                    Err(RevokeRefused::Active(key.fingerprint().to_owned(), authority.file_name()))
                }
                None => Ok(Vec::new()),
            }
        }
        What::User(who) | What::Workload(who) => {
            if store.has_signed_in(what.identity_kind(), who).await? {
                return Ok(Vec::new());
            }
            unknown(format!(
                "no {} called {who} ever signed in here (write PROVIDER:SUBJECT, as `caponier sign-ins ls` does; \
                 people are --user, workloads --workload)",
                what.word()
            ))
        }
        What::Serial(serial) => match store.certificate(*serial).await? {
            Some(certificate) => Ok(vec![certificate]),
            None => unknown(format!(
                "no certificate with the serial {serial} was issued here; `ssh-keygen -L -f FILE` shows a certificate's"
            )),
        },
        What::Session(id) => match store.session(id).await? {
            Some(_) => Ok(store.certificates_of_session(id).await?),
            None => unknown(format!(
                "there is no session {id}; `caponier sessions --open` lists those that are open"
            )),
        },
        What::KeyId(_) => Ok(Vec::new()),
    }
}

/// The transaction, `found` being what [`find`] did. When everything was revoked before, and nobody is signed in by it,
/// nothing is written.
async fn write(
    mut tx: Tx,
    store: &Store,
    ground: &Ground,
    (order, found): (&Order, Vec<CertificateOf>),
    by: &str,
    now: Timestamp,
) -> Result<Done, StoreError> {
    let version = tx.next_revocation_version(now).await?;
    let mut certificates = found;
    let ended = match &order.what {
        What::User(who) | What::Workload(who) => {
            let kind = order.what.identity_kind();
            let ended = tx.end_sign_ins_of(kind, who, now).await?;
            certificates = tx.certificates_of(kind, who, now).await?;
            ended
        }
        What::Key(key) => tx.end_sign_ins_of_key(key.fingerprint(), now).await?,
        What::KeyId(_) | What::Serial(_) | What::Session(_) | What::Ca(_) => Vec::new(),
    };
    let mut revoked = Vec::new();
    for thing in things(&order.what, &certificates, ground.session_max, now) {
        let row = RevocationRow {
            id: RevocationId::random(&ground.random),
            kind: thing.kind.to_owned(),
            authority: thing.authority.to_owned(),
            value: thing.value,
            public_key: order.what.public_key(),
            reason: order.reason.clone(),
            by: by.to_owned(),
            created: now,
            until: thing.until,
        };
        if tx.insert_revocation(&row).await? {
            revoked.push(row);
        }
    }
    let sign_ins: Vec<SignInId> = ended.into_iter().map(|sign_in| sign_in.id).collect();
    let done = Done { revoked, sign_ins, version };
    if done.is_nothing() {
        tx.leave().await?;
        return Ok(Done { version: store.revocation_version().await?.version, ..done });
    }
    tx.commit_all(now, events(order, &done, by)).await?;
    Ok(done)
}

/// One row to be.
struct Thing<'a> {
    kind: &'static str,
    authority: &'a str,
    value: String,
    until: Option<Timestamp>,
}

/// What an order comes to: the thing itself, and the certificates and sessions that go with it.
fn things<'a>(
    what: &What,
    certificates: &'a [CertificateOf],
    session_max: Duration,
    now: Timestamp,
) -> Vec<Thing<'a>> {
    let for_good = |kind, value: &str| Thing { kind, authority: "any", value: value.to_owned(), until: None };
    let session = |id: &SessionId| Thing {
        kind: "session",
        authority: "any",
        value: id.to_string(),
        until: Some(now.plus(session_max).plus(SLACK)),
    };
    let mut things: Vec<Thing<'_>> = certificates
        .iter()
        .map(|one| {
            // A session outlives the certificate that opened it.
            let life = if one.authority == "user" { session_max } else { Duration::ZERO };
            let until = Some(one.valid_before.plus(life).plus(SLACK));
            Thing { kind: "serial", authority: &one.authority, value: one.serial.to_string(), until }
        })
        .collect();
    match what {
        What::Key(key) => things.push(for_good("key", key.fingerprint())),
        What::KeyId(key_id) => things.push(for_good("key-id", key_id)),
        What::Ca(key) => things.push(for_good("ca", key.fingerprint())),
        What::Session(id) => things.push(session(id)),
        What::Serial(_) => {
            things.extend(certificates.iter().filter_map(|one| one.session.as_ref()).map(session))
        }
        What::User(_) | What::Workload(_) => {}
    }
    things
}

/// The order, and each sign-in that it ended.
fn events(order: &Order, done: &Done, by: &str) -> Vec<AuditEvent> {
    let item = |row: &RevocationRow| RevokedItem {
        id: row.id.clone(),
        kind: row.kind.clone(),
        authority: row.authority.clone(),
        value: row.value.clone(),
    };
    let ended = done.sign_ins.iter().map(|sign_in| AuditEvent::SignInEnded {
        sign_in: sign_in.clone(),
        by: by.to_owned(),
        reason: format!("revoked: {}", order.reason),
    });
    let revoked = AuditEvent::Revocation(RevocationEvent::Revoked {
        what: order.what.word(),
        value: order.what.value(),
        by: by.to_owned(),
        reason: order.reason.clone(),
        revoked: done.revoked.iter().map(item).collect(),
        sign_ins: done.sign_ins.clone(),
        version: done.version,
    });
    ended.chain([revoked]).collect()
}
