//! What is written down of recordings beside their sessions: the keys that seal them, their checkpoints while they run, and a full disk.

use serde_json::{Value, json};

use crate::ids::SessionId;

/// Something about recordings.
#[derive(Clone, Debug)]
pub enum RecordingEvent {
    /// A node seals recordings with this key from here on.
    KeyUsed {
        /// The node.
        node: String,
        /// The public key, as OpenSSH writes it.
        key: String,
        /// Its SHA-256 fingerprint.
        fingerprint: String,
    },
    /// How far running recordings of a node have come: what stands here cannot be altered there any more.
    Checkpoint {
        /// The node.
        node: String,
        /// Each session with the number and the SHA-256 of the newest line of its `chain.ndjson`.
        recordings: Vec<(SessionId, u64, String)>,
    },
    /// The disk of the recordings is full: no session begins at this node.
    DiskFull {
        /// The node.
        node: String,
        /// What is missing.
        why: String,
        /// Sessions that were closed for it.
        closed: usize,
        /// Sessions that went on unrecorded, because their role says so.
        unrecorded: usize,
    },
    /// A recording ended before its session, which goes on because its role says so.
    Lost {
        /// The node.
        node: String,
        /// The session.
        session: SessionId,
        /// What was wrong.
        why: String,
    },
    /// At its start a node found a recording that belongs to no session in the database, and left it alone.
    WithoutSession {
        /// The node.
        node: String,
        /// The session that its folder is named like.
        session: SessionId,
        /// What was found.
        why: String,
    },
    /// There is room again.
    DiskFree {
        /// The node.
        node: String,
    },
}

impl RecordingEvent {
    /// The stable word.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::KeyUsed { .. } => "recording_key_used",
            Self::Checkpoint { .. } => "recording_checkpoint",
            Self::DiskFull { .. } => "recording_disk_full",
            Self::Lost { .. } => "recording_lost",
            Self::WithoutSession { .. } => "recording_without_session",
            Self::DiskFree { .. } => "recording_disk_free",
        }
    }

    /// What happened.
    pub(super) fn fields(&self) -> Value {
        match self {
            Self::KeyUsed { node, key, fingerprint } => {
                json!({ "node": node, "key": key, "fingerprint": fingerprint })
            }
            Self::Checkpoint { node, recordings } => {
                let each = |(session, n, sha256): &(SessionId, u64, String)| json!({ "session": session.as_str(), "n": n, "sha256": sha256 });
                json!({ "node": node, "recordings": recordings.iter().map(each).collect::<Vec<_>>() })
            }
            Self::DiskFull { node, why, closed, unrecorded } => {
                json!({ "node": node, "why": why, "closed": closed, "unrecorded": unrecorded })
            }
            Self::Lost { node, session, why } | Self::WithoutSession { node, session, why } => {
                json!({ "node": node, "session": session.as_str(), "why": why })
            }
            Self::DiskFree { node } => json!({ "node": node }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_fields() {
        const SESSION: &str = "ses_00000000000000000000000000";
        let (node, why) = (|| "b1:22".to_owned(), "only 1KiB is free".to_owned());
        let rows = [
            (
                RecordingEvent::KeyUsed {
                    node: node(),
                    key: "ssh-ed25519 A".into(),
                    fingerprint: "SHA256:x".into(),
                },
                "recording_key_used",
                json!({ "node": "b1:22", "key": "ssh-ed25519 A", "fingerprint": "SHA256:x" }),
            ),
            (
                RecordingEvent::Checkpoint {
                    node: node(),
                    recordings: vec![(SESSION.parse().unwrap(), 3, "ab".into())],
                },
                "recording_checkpoint",
                json!({ "node": "b1:22", "recordings": [{ "session": SESSION, "n": 3, "sha256": "ab" }] }),
            ),
            (
                RecordingEvent::DiskFull { node: node(), why, closed: 2, unrecorded: 1 },
                "recording_disk_full",
                json!({ "node": "b1:22", "why": "only 1KiB is free", "closed": 2, "unrecorded": 1 }),
            ),
            (
                RecordingEvent::Lost { node: node(), session: SESSION.parse().unwrap(), why: "full".into() },
                "recording_lost",
                json!({ "node": "b1:22", "session": SESSION, "why": "full" }),
            ),
            (
                RecordingEvent::WithoutSession {
                    node: node(),
                    session: SESSION.parse().unwrap(),
                    why: "more".into(),
                },
                "recording_without_session",
                json!({ "node": "b1:22", "session": SESSION, "why": "more" }),
            ),
            (RecordingEvent::DiskFree { node: node() }, "recording_disk_free", json!({ "node": "b1:22" })),
        ];
        for (event, kind, fields) in rows {
            assert_eq!((event.kind(), event.fields()), (kind, fields));
            assert_eq!(crate::audit::schema::misfit(kind, &event.fields()), None);
        }
    }
}
