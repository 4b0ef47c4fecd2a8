//! What the audit log says of jobs and service accounts.

use serde_json::{Value, json};

use super::fields::with;
use crate::identity::{Identity, Run};
use crate::ids::SignInId;
use crate::names::WorkloadName;

/// Something about jobs and service accounts.
#[derive(Clone, Debug)]
pub enum WorkloadEvent {
    /// A token or a statement was exchanged for a sign-in; the certificate has an entry of its own.
    SignedIn {
        /// The new sign-in.
        sign_in: SignInId,
        /// Who, with the run.
        who: Identity,
        /// SHA-256 fingerprint of the bound SSH key.
        key: String,
        /// The rules that it fits.
        rules: Vec<WorkloadName>,
        /// When it ends by itself, in seconds since the epoch.
        expires: u64,
        /// The client's address.
        from: String,
    },
    /// Somebody was told what the exchange would come to.
    Checked {
        /// Who, with the run.
        who: Identity,
        /// The rules that it fits.
        rules: Vec<WorkloadName>,
        /// What the refusal would say; none when there would be a certificate.
        refusal: Option<String>,
        /// The client's address.
        from: String,
    },
    /// The platform said that a run is running.
    Announced {
        /// The issuer of the configuration.
        issuer: String,
        /// What runs: `repository/123456`.
        subject: String,
        /// The platform's id of the run.
        run: String,
        /// Which attempt; empty where there is none.
        attempt: String,
        /// The id of the delivery.
        delivery: String,
    },
    /// A run is over: its sign-ins have ended, and have entries of their own.
    Over {
        /// The issuer of the configuration.
        issuer: String,
        /// What ran.
        subject: String,
        /// The platform's id of the run; empty where there is none.
        run: String,
        /// Which attempt; empty where there is none.
        attempt: String,
        /// Who said so: `job`, `webhook`.
        by: &'static str,
        /// How it ended, as the platform calls it; the id of the delivery.
        note: String,
        /// The sign-ins that this ended.
        sign_ins: Vec<SignInId>,
    },
}

impl WorkloadEvent {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::SignedIn { .. } => "workload_signed_in",
            Self::Checked { .. } => "workload_checked",
            Self::Announced { .. } => "run_announced",
            Self::Over { .. } => "run_over",
        }
    }

    pub(super) fn fields(&self) -> Value {
        match self {
            Self::SignedIn { sign_in, who, key, rules, expires, from } => with(
                who,
                json!({
                    "sign_in": sign_in.as_str(), "run": who.run.as_deref().map(run), "key": key, "rules": names(rules),
                    "expires": expires, "from": from,
                }),
            ),
            Self::Checked { who, rules, refusal, from } => with(
                who,
                json!({
                    "run": who.run.as_deref().map(run), "rules": names(rules), "refusal": refusal, "from": from,
                }),
            ),
            Self::Announced { issuer, subject, run, attempt, delivery } => json!({
                "issuer": issuer, "subject": subject, "run": run, "attempt": attempt, "delivery": delivery,
            }),
            Self::Over { issuer, subject, run, attempt, by, note, sign_ins } => json!({
                "issuer": issuer, "subject": subject, "run": run, "attempt": attempt, "by": by, "note": note,
                "sign_ins": sign_ins.iter().map(SignInId::as_str).collect::<Vec<_>>(),
            }),
        }
    }
}

fn names(rules: &[WorkloadName]) -> Vec<&str> {
    rules.iter().map(WorkloadName::as_str).collect()
}

fn run(run: &Run) -> Value {
    json!({
        "platform": run.platform.as_str(), "subject": run.subject, "label": run.label, "id": run.id,
        "attempt": run.attempt, "commit": run.commit, "url": run.url, "actor": run.actor,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::run::tests::run as example;

    #[test]
    fn how_it_is_written_down() {
        let sign_in = "sgn_00000000000000000000000000";
        let who = Identity {
            kind: crate::identity::Kind::Workload,
            provider: "github".parse().unwrap(),
            issuer: "https://ci.example".into(),
            subject: "repository/123".into(),
            display: "acme/shop run 987".into(),
            groups: Default::default(),
            run: Some(std::sync::Arc::new(example())),
        };
        let rules: Vec<WorkloadName> = vec!["deploy".parse().unwrap()];
        let run = json!({
            "platform": "github", "subject": "repository/123", "label": "acme/shop", "id": "987", "attempt": "1",
            "commit": "ab".repeat(20), "url": "https://github.com/acme/shop/actions/runs/987", "actor": "octocat",
        });
        let whom = |more: Value| with(&who, more);
        let (issuer, subject) = ("github".to_owned(), "repository/123".to_owned());
        let (id, attempt) = ("987".to_owned(), "1".to_owned());
        let rows = [
            (
                WorkloadEvent::SignedIn {
                    sign_in: sign_in.parse().unwrap(),
                    who: who.clone(),
                    key: "SHA256:x".into(),
                    rules: rules.clone(),
                    expires: 9,
                    from: "192.0.2.1".into(),
                },
                "workload_signed_in",
                whom(
                    json!({ "sign_in": sign_in, "run": run, "key": "SHA256:x", "rules": ["deploy"], "expires": 9, "from": "192.0.2.1" }),
                ),
            ),
            (
                WorkloadEvent::Checked { who: who.clone(), rules, refusal: None, from: "192.0.2.1".into() },
                "workload_checked",
                whom(json!({ "run": run, "rules": ["deploy"], "refusal": null, "from": "192.0.2.1" })),
            ),
            (
                WorkloadEvent::Announced {
                    issuer: issuer.clone(),
                    subject: subject.clone(),
                    run: id.clone(),
                    attempt: attempt.clone(),
                    delivery: "d-1".into(),
                },
                "run_announced",
                json!({ "issuer": "github", "subject": "repository/123", "run": "987", "attempt": "1", "delivery": "d-1" }),
            ),
            (
                WorkloadEvent::Over {
                    issuer,
                    subject,
                    run: id,
                    attempt,
                    by: "webhook",
                    note: "success".into(),
                    sign_ins: vec![sign_in.parse().unwrap()],
                },
                "run_over",
                json!({
                    "issuer": "github", "subject": "repository/123", "run": "987", "attempt": "1", "by": "webhook",
                    "note": "success", "sign_ins": [sign_in],
                }),
            ),
        ];
        for (event, kind, fields) in rows {
            assert_eq!((event.kind(), event.fields()), (kind, fields));
            assert_eq!(crate::audit::schema::misfit(kind, &event.fields()), None);
        }
    }
}
