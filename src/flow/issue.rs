//! A certificate for somebody who is signed in: policy, then a draft that the client can only narrow, then the row with
//! its audit entry, then the signature.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use russh::keys::ssh_key::Certificate;

use super::denials::{self, Refused};
use super::permission::{SignedIn, is_locked_in};
use super::recognise::{RequestRefused, SignedBy, begin_once, not_signed_in};
use super::{Caller, recheck};
use crate::app::App;
use crate::audit::AuditEvent;
use crate::ca::{Draft, DraftError, SignerError, draft};
use crate::identity::Identity;
use crate::ids::SignInId;
use crate::names::LoginName;
use crate::net::Cidr;
use crate::platform::Platform;
use crate::policy::workload::service_of;
use crate::policy::{Refusal, RefusalCode, certificate_max, logins_for};
use crate::store::{CertificateRow, StoreError, Tx};
use crate::time::Timestamp;

/// Longest key id, in bytes.
const KEY_ID_MAX: usize = 128;
/// Longest reference of a job in a key id, in characters.
const SUBJECT_MAX: usize = 192;
/// Shortest life that makes sense: a certificate must survive its own delivery.
const LIFE_MIN: Duration = Duration::from_secs(10);

/// What the client asks for; it can only narrow.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Only these logins.
    pub logins: Option<BTreeSet<LoginName>>,
    /// At most this long.
    pub life: Option<Duration>,
}

/// A certificate that was issued.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate.
    pub certificate: Certificate,
    /// Its serial.
    pub serial: u64,
    /// The logins it names.
    pub principals: Vec<String>,
    /// First instant it is no longer valid.
    pub valid_before: Timestamp,
    /// Whom it is for, as their sign-in has them now.
    pub who: Identity,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum IssueRefused {
    /// Policy says no.
    #[error("{}", .0.text)]
    Policy(Refusal),
    /// The sign-in ended while its provider was asked.
    #[error(transparent)]
    Caller(#[from] RequestRefused),
    /// The same signed request came before.
    #[error("this request was sent before; send a new one")]
    Replay,
    /// What is asked cannot be certified.
    #[error("{0}")]
    Draft(#[from] DraftError),
    /// The signer is out of order.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The store is out of order.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Issues a certificate for the key that signed the request of `by`.
pub async fn issue(app: &App, by: &SignedIn, wish: Wish) -> Result<Issued, IssueRefused> {
    let signed = by.signed();
    let caller = &confirmed(app, by).await?;
    let mut tx = begin_once(app, signed).await?.ok_or(IssueRefused::Replay)?;
    // Only now, as it may have taken a while to get a turn to write: the certificate's life begins here.
    let now = app.clock.now();
    let drafted = if is_locked_in(&mut tx, caller, now).await? {
        Err(IssueRefused::Policy(locked()))
    } else {
        draft_for(app, signed, caller, &wish, now)
    };
    let draft = match drafted {
        Ok(draft) => draft,
        Err(refused) => {
            // There may have been a lock that is not committed yet.
            tx.leave().await?;
            match &refused {
                IssueRefused::Policy(refusal) => {
                    note_refusal(app, caller, signed, refusal.code, &refusal.reason, now).await?;
                }
                IssueRefused::Draft(error) => {
                    note_refusal(app, caller, signed, RefusalCode::Limit, &error.to_string(), now).await?;
                }
                IssueRefused::Caller(_)
                | IssueRefused::Replay
                | IssueRefused::Signer(_)
                | IssueRefused::Store(_) => {}
            }
            return Err(refused);
        }
    };
    record(tx, signed, caller, &draft, now).await?;
    let certificate = app.signer.sign(&draft, &app.random, app.clock.now()).await?;
    Ok(Issued {
        certificate,
        serial: draft.serial(),
        principals: draft.principals().to_vec(),
        valid_before: draft.valid_before(),
        who: caller.identity().clone(),
    })
}

/// The caller, whose provider said not too long ago that they are still there.
async fn confirmed(app: &App, by: &SignedIn) -> Result<Caller, IssueRefused> {
    let caller = by.caller();
    match recheck::before_renewal(app, caller.sign_in()).await? {
        // Nobody was asked: the sign-in is as it was read for this request.
        Ok(false) => return Ok(caller.clone()),
        Ok(true) => {}
        Err(refusal) => {
            note_refusal(app, caller, by.signed(), refusal.code, &refusal.reason, app.clock.now()).await?;
            return Err(IssueRefused::Policy(refusal));
        }
    }
    // Asking may have ended the sign-in, or changed its groups.
    let sign_in = app.store.sign_in(caller.sign_in()).await?;
    match sign_in.filter(|sign_in| sign_in.is_live(app.clock.now())) {
        Some(sign_in) => Ok(caller.as_in(&sign_in)),
        None => Err(not_signed_in(app, by.signed()).await?.into()),
    }
}

fn locked() -> Refusal {
    Refusal {
        code: RefusalCode::Locked,
        rule: None,
        text: "your access is locked; ask an administrator".to_owned(),
        reason: "there is a lock on the person".to_owned(),
    }
}

/// What policy, configuration and wish come to.
pub(super) fn draft_for(
    app: &App,
    signed: &SignedBy,
    caller: &Caller,
    wish: &Wish,
    now: Timestamp,
) -> Result<Draft, IssueRefused> {
    let logins = narrow(logins_for(&app.policy(), caller.identity()), wish.logins.as_ref())
        .map_err(IssueRefused::Policy)?;
    let configured = app.config.certificates.life;
    let role_max = certificate_max(&app.policy(), caller.identity(), &logins).unwrap_or(configured);
    let life = life(configured.min(role_max), wish.life, caller.sign_in_expires().since(now))
        .map_err(IssueRefused::Policy)?;
    let who = caller.identity();
    let draft = Draft::user(
        signed.key(),
        app.random.u64(),
        &key_id(who, caller.sign_in()),
        caller.sign_in(),
        &logins,
        app.config.certificates.bind_source_address.then_some(signed.from()),
        now,
        life,
    )?;
    let draft = match networks(app, who, signed.from()).map_err(IssueRefused::Policy)? {
        Some(networks) => draft.within(&networks)?,
        None => draft,
    };
    match &who.run {
        Some(run) => Ok(draft.of_run(&run.line())?),
        None => Ok(draft),
    }
}

/// Where a service account may be used from; none for others.
fn networks(app: &App, who: &Identity, from: IpAddr) -> Result<Option<Vec<Cidr>>, Refusal> {
    if who.run.as_ref().is_none_or(|run| run.platform != Platform::Service) {
        return Ok(None);
    }
    let refused = |text: &str| Refusal {
        code: RefusalCode::Source,
        rule: None,
        text: text.to_owned(),
        reason: format!("{} from {from}", who.reference()),
    };
    let policy = app.policy();
    let service = service_of(&policy, who)
        .ok_or_else(|| refused("this service account is not in the policy any more"))?;
    if !service.is_source(from) {
        return Err(refused(
            "this service account may not be used from here: its sources in the policy say where",
        ));
    }
    Ok(Some(service.sources.clone()))
}

/// Row and audit entry, before the certificate exists: one that nobody knows of cannot be.
async fn record(
    mut tx: Tx,
    signed: &SignedBy,
    caller: &Caller,
    draft: &Draft,
    now: Timestamp,
) -> Result<(), StoreError> {
    let event = insert(&mut tx, signed, caller.sign_in(), draft).await?;
    tx.commit(now, event).await
}

/// The row; its audit entry is the caller's to commit.
pub(super) async fn insert(
    tx: &mut Tx,
    signed: &SignedBy,
    sign_in: &SignInId,
    draft: &Draft,
) -> Result<AuditEvent, StoreError> {
    let row = CertificateRow {
        serial: draft.serial(),
        kind: "user",
        sign_in: sign_in.clone(),
        session: None,
        key_id: draft.key_id().to_owned(),
        key_fingerprint: signed.fingerprint().to_owned(),
        principals: draft.principals().join(","),
        valid_after: draft.valid_after(),
        valid_before: draft.valid_before(),
    };
    tx.insert_certificate(&row).await?;
    Ok(AuditEvent::CertificateIssued {
        sign_in: sign_in.clone(),
        serial: draft.serial(),
        key_id: draft.key_id().to_owned(),
        principals: draft.principals().to_vec(),
        valid_before: draft.valid_before().as_secs(),
        from: signed.from().to_string(),
    })
}

/// The logins of the certificate: what policy allows, and of that what was wished for.
fn narrow(
    allowed: BTreeSet<LoginName>,
    wished: Option<&BTreeSet<LoginName>>,
) -> Result<Vec<LoginName>, Refusal> {
    if allowed.is_empty() {
        return Err(Refusal {
            code: RefusalCode::NoAccess,
            rule: None,
            text: "no role gives you access to any target; ask the administrators of this bastion for a role"
                .to_owned(),
            reason: "no role opens any login on any target".to_owned(),
        });
    }
    let left: Vec<LoginName> =
        allowed.into_iter().filter(|login| wished.is_none_or(|wished| wished.contains(login))).collect();
    if left.is_empty() {
        return Err(Refusal {
            code: RefusalCode::NoAccess,
            rule: None,
            text: "no role gives you any of these logins; ask without naming logins, or ask for a role"
                .to_owned(),
            reason: "none of the wished logins is opened by a role".to_owned(),
        });
    }
    Ok(left)
}

/// The shortest of what is configured, wished for, and left of the sign-in.
fn life(configured: Duration, wished: Option<Duration>, left: Duration) -> Result<Duration, Refusal> {
    let life = configured.min(wished.unwrap_or(configured)).min(left).min(draft::USER_LIFE_MAX);
    if life >= LIFE_MIN {
        return Ok(life);
    }
    let (code, text) = if left < LIFE_MIN {
        (RefusalCode::SignInEnded, "your sign-in ends now; run `caponier login`".to_owned())
    } else {
        (RefusalCode::Limit, format!("ask for at least {} seconds", LIFE_MIN.as_secs()))
    };
    Err(Refusal { code, rule: None, text, reason: "too short a life".to_owned() })
}

/// `provider:subject/sign-in`, for a job `provider:subject/run/.../sign-in`, printable ASCII: sshd writes it into its log, so
/// nothing in it may look like more.
fn key_id(who: &Identity, sign_in: &SignInId) -> String {
    let room = KEY_ID_MAX.saturating_sub(sign_in.as_str().len() + 1);
    let safe =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '.' | '_' | '-' | '@' | '+' | '|' | '=');
    let reference = |room| -> String {
        let safe = |c| if safe(c) || (c == '/' && who.run.is_some()) { c } else { '?' };
        who.reference().chars().map(safe).take(room).collect()
    };
    match who.run.as_ref().map(|run| run.key_id()).filter(|run| !run.is_empty()) {
        // Both are bounded, and together with the sign-in less than a key id may have.
        Some(run) => format!("{}/{run}/{sign_in}", reference(SUBJECT_MAX)),
        None => format!("{}/{sign_in}", reference(room)),
    }
}

async fn note_refusal(
    app: &App,
    caller: &Caller,
    signed: &SignedBy,
    code: RefusalCode,
    why: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    denials::note_once(app, caller, Some(signed), &Refused::act("certificate", code, why), now).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn logins(names: &[&str]) -> BTreeSet<LoginName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn a_wish_only_narrows() {
        let names = |list: Vec<LoginName>| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let allowed = logins(&["deploy", "root"]);
        assert_eq!(names(narrow(allowed.clone(), None).unwrap()), ["deploy", "root"]);
        assert_eq!(names(narrow(allowed.clone(), Some(&logins(&["deploy", "admin"]))).unwrap()), ["deploy"]);
        for (allowed, wish) in [(allowed, Some(logins(&["admin"]))), (logins(&[]), None)] {
            assert_eq!(narrow(allowed, wish.as_ref()).unwrap_err().code, RefusalCode::NoAccess);
        }
    }

    #[test]
    fn the_life_is_the_shortest_of_all() {
        let secs = Duration::from_secs;
        let rows = [
            (300, None, 36000, Ok(300)),
            (300, Some(60), 36000, Ok(60)),
            (300, Some(3600), 36000, Ok(300)),
            (300, None, 100, Ok(100)),
            (3600, None, 36000, Ok(900)),
            (300, Some(0), 36000, Err(RefusalCode::Limit)),
            (300, None, 3, Err(RefusalCode::SignInEnded)),
        ];
        for (configured, wished, left, expect) in rows {
            let got = life(secs(configured), wished.map(secs), secs(left));
            assert_eq!(
                got.map(|d| d.as_secs()).map_err(|r| r.code),
                expect,
                "{configured} {wished:?} {left}"
            );
        }
    }

    #[test]
    fn key_ids_are_harmless_and_short() {
        let who = |subject: &str| Identity {
            kind: crate::identity::Kind::Person,
            provider: "corp".parse().unwrap(),
            issuer: String::new(),
            subject: subject.to_owned(),
            display: String::new(),
            groups: BTreeSet::new(),
            run: None,
        };
        let id = SignInId::random(&Random::seeded(1));
        assert_eq!(key_id(&who("erin@example.com"), &id), format!("corp:erin@example.com/{id}"));
        let nasty = key_id(&who(&format!("a b\n\"{}", "é".repeat(300))), &id);
        assert!(nasty.len() <= KEY_ID_MAX && nasty.ends_with(id.as_str()));
        assert!(nasty.bytes().all(|b| b.is_ascii_graphic() && b != b'"'), "{nasty}");
        assert_eq!(nasty.matches('/').count(), 1, "a person's subject cannot look like a run");
    }
}
