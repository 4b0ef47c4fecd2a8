//! What a platform tells of its runs unasked: that one is running, that one is over. A delivery is believed by its signature
//! (GitHub: HMAC-SHA-256 over the body, `X-Hub-Signature-256`) or by the secret in it (GitLab: `X-Gitlab-Token`), and counts once.
//! The end of a run ends what it has here; that it runs is what rules with `announced` wait for.

use std::net::IpAddr;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::exchange::REMEMBERED;
use super::finish::{self, Over};
use super::refusals;
use crate::app::App;
use crate::audit::{AuditEvent, WorkloadEvent};
use crate::config::Issuer;
use crate::identity::claims::label;
use crate::identity::token::hex;
use crate::platform::Platform;
use crate::store::{RunName, RunWindow, StoreError};

/// How long deliveries are remembered: the platforms let people send one again for three days.
const DELIVERIES: Duration = Duration::from_secs(7 * 24 * 3600);
/// Longest id of a delivery, in bytes.
const ID_MAX: usize = 128;

/// One delivery, as it came.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// The issuer that the address names.
    pub issuer: &'a str,
    /// What it is about.
    pub event: Option<&'a str>,
    /// Its id.
    pub id: Option<&'a str>,
    /// GitHub's signature: `sha256=HEX`.
    pub signature: Option<&'a str>,
    /// GitLab's secret.
    pub token: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
    /// Where it came from.
    pub from: IpAddr,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A run is over; so many sign-ins ended.
    Ended(usize),
    /// A run is running.
    Announced,
    /// Nothing that matters here, or a delivery that came before.
    Nothing,
}

/// Why nothing came of it. The text goes to the platform.
#[derive(Debug, thiserror::Error)]
pub enum HearRefused {
    /// There is no such issuer, or it has no secret for webhooks.
    #[error("there is no issuer of this name with a webhook secret")]
    NotFound,
    /// Not signed by the platform.
    #[error("the signature or the secret token is missing or wrong")]
    Signature,
    /// Not understood.
    #[error("the delivery is not understood: {0}")]
    Form(String),
    /// Too many refused ones from there.
    #[error("too many refused requests came from your address; wait a minute")]
    Limit,
    /// The store is out of order.
    #[error("the delivery could not be written down; send it again")]
    Store(#[from] StoreError),
}

/// What a delivery says of one run.
struct Said {
    subject: String,
    run: String,
    attempt: String,
    over: bool,
    note: String,
}

/// Hears a delivery. Refusals are in the audit log, up to a rate for each network.
pub async fn hear(app: &App, delivery: Delivery<'_>) -> Result<Heard, HearRefused> {
    match try_hear(app, delivery).await {
        Err(why @ (HearRefused::NotFound | HearRefused::Signature | HearRefused::Form(_))) => {
            let code = match why {
                HearRefused::NotFound => "unknown-issuer",
                HearRefused::Signature => "signature",
                HearRefused::Form(_) | HearRefused::Limit | HearRefused::Store(_) => "shape",
            };
            let event = AuditEvent::CredentialRefused {
                what: "webhook",
                claimed: label(delivery.issuer, ID_MAX),
                code,
                reason: label(&why.to_string(), 400),
                from: delivery.from.to_string(),
            };
            // A right signature is always heard, whoever shares the platform's address.
            Err(if refusals::note(app, delivery.from, event).await? { why } else { HearRefused::Limit })
        }
        done => done,
    }
}

async fn try_hear(app: &App, delivery: Delivery<'_>) -> Result<Heard, HearRefused> {
    let issuer = app.config.issuers.iter().find(|one| one.name.as_str() == delivery.issuer);
    let issuer = issuer.ok_or(HearRefused::NotFound)?;
    check_secret(issuer, &delivery)?;
    let id = delivery.id.filter(|id| !id.is_empty() && id.len() <= ID_MAX);
    let id = id.ok_or_else(|| HearRefused::Form("its id is missing or too long".to_owned()))?;
    let Some(said) = said(issuer.platform, delivery.event.unwrap_or_default(), delivery.body)? else {
        return Ok(Heard::Nothing);
    };
    let now = app.clock.now();
    let name =
        RunName { issuer: &issuer.name, subject: &said.subject, run: &said.run, attempt: &said.attempt };
    let window = if said.over {
        RunWindow { opened: None, closed: Some(now) }
    } else {
        RunWindow { opened: Some(now), closed: None }
    };
    let mut tx = app.store.begin().await?;
    // By what it says: a delivery's own id is not signed, and GitLab takes it from whoever causes the event.
    let used = used(delivery.event.unwrap_or_default(), delivery.body);
    let again = match tx.use_token(&issuer.name, &used, now.plus(DELIVERIES)).await {
        Ok(()) => false,
        Err(StoreError::Conflict) => true,
        Err(error) => return Err(error.into()),
    };
    let live = if said.over { tx.live_of_run(&name, now).await? } else { Vec::new() };
    // That a run is over is heard as often as there is something to end.
    if again && live.is_empty() {
        tx.leave().await?;
        return Ok(Heard::Nothing);
    }
    tx.run_window(&name, window, now.plus(REMEMBERED)).await?;
    if !said.over {
        let announced = WorkloadEvent::Announced {
            issuer: issuer.name.to_string(),
            subject: said.subject,
            run: said.run,
            attempt: said.attempt,
            delivery: label(id, ID_MAX),
        };
        tx.commit(now, AuditEvent::Workload(announced)).await?;
        return Ok(Heard::Announced);
    }
    let over = Over {
        issuer: issuer.name.to_string(),
        subject: said.subject,
        run: said.run,
        attempt: said.attempt,
        by: "webhook",
        note: label(&format!("{} (delivery {id})", said.note), 2 * ID_MAX),
    };
    let ended = finish::end(app, tx, &live, over).await?;
    finish::settle(app).await?;
    Ok(Heard::Ended(ended))
}

/// What is remembered of a delivery.
fn used(event: &str, body: &[u8]) -> String {
    let digest = Sha256::new().chain_update(event).chain_update([0]).chain_update(body).finalize();
    format!("delivery:{}", hex(&digest))
}

fn check_secret(issuer: &Issuer, delivery: &Delivery<'_>) -> Result<(), HearRefused> {
    let secret = issuer.webhook_secret.as_ref().ok_or(HearRefused::NotFound)?.expose().as_bytes();
    let right = match issuer.platform {
        Platform::GitHub => {
            let hex = delivery.signature.and_then(|text| text.strip_prefix("sha256="));
            hex.and_then(bytes).is_some_and(|shown| {
                let mac = Hmac::<Sha256>::new_from_slice(secret);
                mac.is_ok_and(|mac| mac.chain_update(delivery.body).verify_slice(&shown).is_ok())
            })
        }
        Platform::GitLab => delivery.token.is_some_and(|token| bool::from(token.as_bytes().ct_eq(secret))),
        Platform::Forgejo
        | Platform::Buildkite
        | Platform::CircleCi
        | Platform::Kubernetes
        | Platform::Oidc
        | Platform::Service => false,
    };
    if right { Ok(()) } else { Err(HearRefused::Signature) }
}

/// Two lower-case hexadecimal digits a byte.
fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let pairs = hex.as_bytes().chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

fn said(platform: Platform, event: &str, body: &[u8]) -> Result<Option<Said>, HearRefused> {
    match (platform, event) {
        (Platform::GitHub, "workflow_run") => of_workflow_run(body),
        (Platform::GitLab, "Pipeline Hook") => of_pipeline(body),
        // Whatever else the platform was told to send.
        _ => Ok(None),
    }
}

fn parsed<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, HearRefused> {
    serde_json::from_slice(body).map_err(|e| HearRefused::Form(e.to_string()))
}

/// GitHub, "Webhook events and payloads", `workflow_run`.
fn of_workflow_run(body: &[u8]) -> Result<Option<Said>, HearRefused> {
    #[derive(Deserialize)]
    struct Body {
        action: String,
        workflow_run: WorkflowRun,
        repository: Repository,
    }
    #[derive(Deserialize)]
    struct WorkflowRun {
        id: u64,
        run_attempt: u64,
        conclusion: Option<String>,
    }
    #[derive(Deserialize)]
    struct Repository {
        id: u64,
    }
    let body: Body = parsed(body)?;
    let over = match body.action.as_str() {
        "completed" => true,
        "requested" | "in_progress" => false,
        _ => return Ok(None),
    };
    Ok(Some(Said {
        subject: format!("repository/{}", body.repository.id),
        run: body.workflow_run.id.to_string(),
        attempt: body.workflow_run.run_attempt.to_string(),
        over,
        note: body.workflow_run.conclusion.unwrap_or_default(),
    }))
}

/// GitLab, "Webhook events", pipeline events.
fn of_pipeline(body: &[u8]) -> Result<Option<Said>, HearRefused> {
    #[derive(Deserialize)]
    struct Body {
        object_attributes: Pipeline,
        project: Project,
    }
    #[derive(Deserialize)]
    struct Pipeline {
        id: u64,
        status: String,
    }
    #[derive(Deserialize)]
    struct Project {
        id: u64,
    }
    let body: Body = parsed(body)?;
    let over = match body.object_attributes.status.as_str() {
        "success" | "failed" | "canceled" | "skipped" => true,
        "created" | "waiting_for_resource" | "preparing" | "pending" | "running" => false,
        // A pipeline that waits for a person runs nothing, and goes on under its id.
        _ => return Ok(None),
    };
    Ok(Some(Said {
        subject: format!("project/{}", body.project.id),
        run: body.object_attributes.id.to_string(),
        attempt: String::new(),
        over,
        note: body.object_attributes.status,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_deliveries_say() {
        let github = |action: &str| {
            let body = serde_json::json!({
                "action": action, "workflow_run": { "id": 987, "run_attempt": 2, "conclusion": "success", "more": 1 },
                "repository": { "id": 123, "full_name": "acme/shop" },
            });
            said(Platform::GitHub, "workflow_run", body.to_string().as_bytes()).unwrap()
        };
        let done = github("completed").unwrap();
        assert_eq!(
            (done.subject.as_str(), done.run.as_str(), done.attempt.as_str()),
            ("repository/123", "987", "2")
        );
        assert!(done.over && !github("in_progress").unwrap().over && github("other").is_none());
        let gitlab = |status: &str| {
            let body = serde_json::json!({
                "object_attributes": { "id": 31, "status": status }, "project": { "id": 42 },
            });
            said(Platform::GitLab, "Pipeline Hook", body.to_string().as_bytes()).unwrap()
        };
        assert!(
            gitlab("success").unwrap().over
                && gitlab("failed").unwrap().over
                && !gitlab("running").unwrap().over
        );
        assert!(gitlab("manual").is_none());
        assert!(said(Platform::GitHub, "push", b"not json").unwrap().is_none());
        for bad in [
            "",
            "[]",
            r#"{"action":"completed"}"#,
            r#"{"action":"completed","workflow_run":{"id":"987","run_attempt":1},"repository":{"id":1}}"#,
        ] {
            assert!(said(Platform::GitHub, "workflow_run", bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn hexadecimal_has_one_form() {
        assert_eq!(bytes("00ff1a"), Some(vec![0, 255, 26]));
        for bad in ["0", "0g", "FF", "é1", " 00"] {
            assert_eq!(bytes(bad), None, "{bad}");
        }
    }
}
