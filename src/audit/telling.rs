//! What is told, and what is not: notices that reached nobody, alerts raised and acknowledged, and recordings that could
//! not begin. Their words and fields are as stable as those of the other events.

use serde_json::{Value, json};

use crate::ids::{AlertId, CaseId, NoticeId};

/// An alert that was raised, in short.
#[derive(Clone, Debug)]
pub struct Raised {
    /// Which.
    pub alert: AlertId,
    /// The rule's word.
    pub rule: &'static str,
    /// Whom or what it is about.
    pub subject: String,
}

/// One thing that happened around notices and alerts.
#[derive(Clone, Debug)]
pub enum TellingEvent {
    /// A notice was not delivered to a receiver, and nobody tries any more.
    NoticeGivenUp {
        /// Which notice.
        notice: NoticeId,
        /// What it is about, as its stable word.
        kind: &'static str,
        /// The request it belongs to.
        case: Option<CaseId>,
        /// The receiver.
        sink: String,
        /// How often it was tried.
        attempts: u64,
        /// What came of the last attempt.
        problem: Option<String>,
    },
    /// Rules found what somebody should look at.
    AlertsRaised {
        /// Each of them.
        alerts: Vec<Raised>,
    },
    /// Somebody has looked.
    AlertAcknowledged {
        /// At which alert.
        alert: AlertId,
        /// Who: `provider:subject`, or `admin` for the command on the server.
        by: String,
        /// What they say.
        note: String,
    },
    /// A session was permitted and did not begin, because its recording could not.
    RecorderFailed {
        /// Who wanted it, as `provider:subject`.
        who: String,
        /// Target.
        target: String,
        /// Login.
        login: String,
        /// The bastion.
        node: String,
        /// What went wrong.
        why: String,
    },
}

impl TellingEvent {
    /// The stable word.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::NoticeGivenUp { .. } => "notice_given_up",
            Self::AlertsRaised { .. } => "alerts_raised",
            Self::AlertAcknowledged { .. } => "alert_acknowledged",
            Self::RecorderFailed { .. } => "recorder_failed",
        }
    }

    /// What happened.
    pub(super) fn fields(&self) -> Value {
        match self {
            Self::NoticeGivenUp { notice, kind, case, sink, attempts, problem } => json!({
                "notice": notice.as_str(), "kind": kind, "case": case.as_ref().map(|case| case.as_str()),
                "sink": sink, "attempts": attempts, "problem": problem,
            }),
            Self::AlertsRaised { alerts } => {
                let each = |one: &Raised| json!({ "alert": one.alert.as_str(), "rule": one.rule, "subject": one.subject });
                json!({ "alerts": alerts.iter().map(each).collect::<Vec<_>>() })
            }
            Self::AlertAcknowledged { alert, by, note } => {
                json!({ "alert": alert.as_str(), "by": by, "note": note })
            }
            Self::RecorderFailed { who, target, login, node, why } => {
                json!({ "who": who, "target": target, "login": login, "node": node, "why": why })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_fields() {
        const ALERT: &str = "alr_00000000000000000000000000";
        const NOTICE: &str = "ntc_00000000000000000000000000";
        let rows = [
            (
                TellingEvent::NoticeGivenUp {
                    notice: NOTICE.parse().unwrap(),
                    kind: "request.pending",
                    case: None,
                    sink: "webhook:ops".into(),
                    attempts: 7,
                    problem: Some("the receiver answered 500".into()),
                },
                "notice_given_up",
                json!({
                    "notice": NOTICE, "kind": "request.pending", "case": null, "sink": "webhook:ops", "attempts": 7,
                    "problem": "the receiver answered 500",
                }),
            ),
            (
                TellingEvent::AlertsRaised {
                    alerts: vec![Raised {
                        alert: ALERT.parse().unwrap(),
                        rule: "recorder",
                        subject: "b1".into(),
                    }],
                },
                "alerts_raised",
                json!({ "alerts": [{ "alert": ALERT, "rule": "recorder", "subject": "b1" }] }),
            ),
            (
                TellingEvent::AlertAcknowledged {
                    alert: ALERT.parse().unwrap(),
                    by: "corp:a-1".into(),
                    note: "mine".into(),
                },
                "alert_acknowledged",
                json!({ "alert": ALERT, "by": "corp:a-1", "note": "mine" }),
            ),
            (
                TellingEvent::RecorderFailed {
                    who: "corp:a-1".into(),
                    target: "web1".into(),
                    login: "root".into(),
                    node: "b1:22".into(),
                    why: "disk full".into(),
                },
                "recorder_failed",
                json!({
                    "who": "corp:a-1", "target": "web1", "login": "root", "node": "b1:22", "why": "disk full",
                }),
            ),
        ];
        for (event, kind, fields) in rows {
            assert_eq!((event.kind(), event.fields()), (kind, fields));
            assert_eq!(crate::audit::schema::misfit(kind, &event.fields()), None);
        }
    }
}
