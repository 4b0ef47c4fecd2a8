//! Events of the audit log itself: signed checkpoints, that it was altered, and its copies elsewhere.

use serde_json::{Value, json};

use super::chain::Head;
use crate::time::Timestamp;

/// Something about the log itself.
#[derive(Clone, Debug)]
pub enum LogEvent {
    /// A bastion says, signed, how far the log had come (`audit::checkpoint`).
    Checkpoint {
        /// Which bastion.
        node: String,
        /// The last entry that it saw, with its hash.
        head: Head,
        /// Fingerprint of the key.
        key: String,
        /// The signature, as `ssh-keygen -Y sign` writes it.
        signature: String,
    },
    /// A bastion found the log other than it had been.
    Altered {
        /// Which bastion.
        node: String,
        /// The first entry that is wrong, or missing.
        seq: u64,
        /// What is wrong.
        why: String,
    },
    /// A copy has lost entries that it had; they are sent again.
    SinkGap {
        /// The sink.
        sink: String,
        /// The last entry that it still has.
        has: u64,
        /// The last entry that it had.
        had: u64,
        /// What was found.
        why: String,
    },
    /// A copy has been behind for too long.
    SinkBehind {
        /// The sink.
        sink: String,
        /// The last entry that it has.
        seq: u64,
        /// The last entry of the log.
        end: u64,
        /// Since when nothing got there.
        since: Timestamp,
        /// What the last attempt came to.
        problem: String,
    },
    /// A copy that was behind has caught up.
    SinkCaughtUp {
        /// The sink.
        sink: String,
        /// The last entry that it has.
        seq: u64,
    },
}

impl LogEvent {
    /// The stable word.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Checkpoint { .. } => "checkpoint",
            Self::Altered { .. } => "audit_altered",
            Self::SinkGap { .. } => "audit_sink_gap",
            Self::SinkBehind { .. } => "audit_sink_behind",
            Self::SinkCaughtUp { .. } => "audit_sink_caught_up",
        }
    }

    /// What happened.
    pub(super) fn fields(&self) -> Value {
        match self {
            Self::Checkpoint { node, head, key, signature } => json!({
                "node": node, "seq": head.seq, "hash": head.hash, "key": key, "signature": signature,
            }),
            Self::Altered { node, seq, why } => json!({ "node": node, "seq": seq, "why": why }),
            Self::SinkGap { sink, has, had, why } => {
                json!({ "sink": sink, "has": has, "had": had, "why": why })
            }
            Self::SinkBehind { sink, seq, end, since, problem } => json!({
                "sink": sink, "seq": seq, "end": end, "since": since.as_secs(), "problem": problem,
            }),
            Self::SinkCaughtUp { sink, seq } => json!({ "sink": sink, "seq": seq }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_fields() {
        let head = Head { seq: 7, hash: "00".into() };
        let (node, sink) = ("b1:22".to_owned(), "copy".to_owned());
        let rows = [
            (
                LogEvent::Checkpoint {
                    node: node.clone(),
                    head,
                    key: "SHA256:x".into(),
                    signature: "s".into(),
                },
                "checkpoint",
                json!({ "node": "b1:22", "seq": 7, "hash": "00", "key": "SHA256:x", "signature": "s" }),
            ),
            (
                LogEvent::Altered { node, seq: 5, why: "gone".into() },
                "audit_altered",
                json!({ "node": "b1:22", "seq": 5, "why": "gone" }),
            ),
            (
                LogEvent::SinkGap { sink: sink.clone(), has: 3, had: 9, why: "cut".into() },
                "audit_sink_gap",
                json!({ "sink": "copy", "has": 3, "had": 9, "why": "cut" }),
            ),
            (
                LogEvent::SinkBehind {
                    sink: sink.clone(),
                    seq: 3,
                    end: 9,
                    since: Timestamp::from_secs(60),
                    problem: "503".into(),
                },
                "audit_sink_behind",
                json!({ "sink": "copy", "seq": 3, "end": 9, "since": 60, "problem": "503" }),
            ),
            (
                LogEvent::SinkCaughtUp { sink, seq: 9 },
                "audit_sink_caught_up",
                json!({ "sink": "copy", "seq": 9 }),
            ),
        ];
        for (event, kind, fields) in rows {
            assert_eq!((event.kind(), event.fields()), (kind, fields));
            assert_eq!(crate::audit::schema::misfit(kind, &event.fields()), None);
        }
    }
}
