//! What becomes of recordings once they are sealed: archived, removed here, deleted when their time is over, and held. Their
//! words and fields are as stable as those of the other events.

use serde_json::{Value, json};

use crate::ids::{HoldId, SessionId};

/// One thing that happened to a recording.
#[derive(Clone, Debug)]
pub enum ArchiveEvent {
    /// The archive has it, whole, and gave it back right.
    RecordingArchived {
        /// The session.
        session: SessionId,
        /// How many files.
        files: usize,
        /// Their bytes.
        bytes: u64,
        /// Bytes of the archive.
        stored_bytes: u64,
        /// SHA-256 of what its seal is over, in hex.
        seal: String,
        /// SHA-256 of the archive's list, in hex.
        index: String,
        /// Whether the bastion cannot read it there.
        encrypted: bool,
    },
    /// It does not get into the archive, or not out of the way; somebody should look. Not written for each attempt.
    ArchiveFailed {
        /// The session.
        session: SessionId,
        /// `archive`, `remove` (the local copy) or `delete`.
        act: &'static str,
        /// The bastion that tries.
        node: String,
        /// How often it was tried.
        attempts: u64,
        /// What came of the last attempt.
        problem: String,
    },
    /// The copy on the bastion is about to be removed; the archive has the recording.
    RecordingLocalRemoved {
        /// The session.
        session: SessionId,
        /// The bastion.
        node: String,
        /// SHA-256 of what its seal is over, in hex.
        seal: Option<String>,
    },
    /// Its time is over: it is about to be deleted, in the archive and here.
    RecordingDeleted {
        /// The session.
        session: SessionId,
        /// Whose it was, as `provider:subject`.
        who: String,
        /// Where.
        target: String,
        /// SHA-256 of what its seal is over, in hex.
        seal: Option<String>,
        /// When its time was over, in seconds since the epoch.
        delete_after: u64,
    },
    /// Recordings must not be deleted from here on.
    LegalHoldSet {
        /// The hold.
        hold: HoldId,
        /// `session`, `user` or `target`.
        what: &'static str,
        /// Which.
        subject: String,
        /// Why.
        reason: String,
        /// Who set it: `admin` for the command on the server.
        by: String,
    },
    /// They may again.
    LegalHoldReleased {
        /// The hold.
        hold: HoldId,
        /// `session`, `user` or `target`.
        what: &'static str,
        /// Which.
        subject: String,
        /// Why.
        reason: String,
        /// Who released it.
        by: String,
    },
}

impl ArchiveEvent {
    /// The stable word.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::RecordingArchived { .. } => "recording_archived",
            Self::ArchiveFailed { .. } => "archive_failed",
            Self::RecordingLocalRemoved { .. } => "recording_local_removed",
            Self::RecordingDeleted { .. } => "recording_deleted",
            Self::LegalHoldSet { .. } => "legal_hold_set",
            Self::LegalHoldReleased { .. } => "legal_hold_released",
        }
    }

    /// What happened.
    pub(super) fn fields(&self) -> Value {
        match self {
            Self::RecordingArchived { session, files, bytes, stored_bytes, seal, index, encrypted } => {
                json!({
                    "session": session.as_str(), "files": files, "bytes": bytes, "stored_bytes": stored_bytes,
                    "seal": seal, "index": index, "encrypted": encrypted,
                })
            }
            Self::ArchiveFailed { session, act, node, attempts, problem } => json!({
                "session": session.as_str(), "act": act, "node": node, "attempts": attempts, "problem": problem,
            }),
            Self::RecordingLocalRemoved { session, node, seal } => {
                json!({ "session": session.as_str(), "node": node, "seal": seal })
            }
            Self::RecordingDeleted { session, who, target, seal, delete_after } => json!({
                "session": session.as_str(), "who": who, "target": target, "seal": seal,
                "delete_after": delete_after,
            }),
            Self::LegalHoldSet { hold, what, subject, reason, by }
            | Self::LegalHoldReleased { hold, what, subject, reason, by } => json!({
                "hold": hold.as_str(), "what": what, "subject": subject, "reason": reason, "by": by,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_fields() {
        const SESSION: &str = "ses_00000000000000000000000000";
        const HOLD: &str = "hld_00000000000000000000000000";
        let session = || SESSION.parse().unwrap();
        let rows = [
            (
                ArchiveEvent::RecordingArchived {
                    session: session(),
                    files: 7,
                    bytes: 1000,
                    stored_bytes: 300,
                    seal: "ab".into(),
                    index: "cd".into(),
                    encrypted: true,
                },
                "recording_archived",
                json!({
                    "session": SESSION, "files": 7, "bytes": 1000, "stored_bytes": 300, "seal": "ab", "index": "cd",
                    "encrypted": true,
                }),
            ),
            (
                ArchiveEvent::ArchiveFailed {
                    session: session(),
                    act: "archive",
                    node: "b1:22".into(),
                    attempts: 4,
                    problem: "503".into(),
                },
                "archive_failed",
                json!({ "session": SESSION, "act": "archive", "node": "b1:22", "attempts": 4, "problem": "503" }),
            ),
            (
                ArchiveEvent::RecordingLocalRemoved { session: session(), node: "b1:22".into(), seal: None },
                "recording_local_removed",
                json!({ "session": SESSION, "node": "b1:22", "seal": null }),
            ),
            (
                ArchiveEvent::RecordingDeleted {
                    session: session(),
                    who: "corp:a-1".into(),
                    target: "web1".into(),
                    seal: Some("ab".into()),
                    delete_after: 5,
                },
                "recording_deleted",
                json!({ "session": SESSION, "who": "corp:a-1", "target": "web1", "seal": "ab", "delete_after": 5 }),
            ),
            (
                ArchiveEvent::LegalHoldSet {
                    hold: HOLD.parse().unwrap(),
                    what: "user",
                    subject: "corp:a-1".into(),
                    reason: "case 7".into(),
                    by: "admin".into(),
                },
                "legal_hold_set",
                json!({ "hold": HOLD, "what": "user", "subject": "corp:a-1", "reason": "case 7", "by": "admin" }),
            ),
        ];
        for (event, kind, fields) in rows {
            assert_eq!((event.kind(), event.fields()), (kind, fields));
        }
    }

    #[test]
    fn a_released_hold() {
        let event = ArchiveEvent::LegalHoldReleased {
            hold: "hld_00000000000000000000000000".parse().unwrap(),
            what: "user",
            subject: "corp:a-1".into(),
            reason: "closed".into(),
            by: "admin".into(),
        };
        assert_eq!(event.kind(), "legal_hold_released");
        let expect = json!({
            "hold": "hld_00000000000000000000000000", "what": "user", "subject": "corp:a-1", "reason": "closed",
            "by": "admin",
        });
        assert_eq!(event.fields(), expect);
    }
}
