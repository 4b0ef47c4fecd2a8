//! Events of looking into sessions: somebody watches a live one, or ends it, searches recordings or reads one.

use serde_json::{Value, json};

use crate::ids::SessionId;

/// Something about a live session of somebody else.
#[derive(Clone, Debug)]
pub enum WatchingEvent {
    /// Somebody ordered a session to end. That it ended has its own entry, `session_closed`, with the reason `killed`.
    SessionKilled {
        /// Which.
        session: SessionId,
        /// Who ordered it: `provider:subject`, or `admin` for the command on the server.
        by: String,
        /// Why, in their words.
        reason: String,
        /// Whose session it is.
        whose: String,
        /// Its target.
        target: String,
        /// Its login there.
        login: String,
        /// The bastion process that holds it.
        node: String,
        /// The address that the order came from; none for the command on the server.
        from: Option<String>,
    },
    /// Somebody begins to watch a live session; nothing was shown yet.
    SessionWatched {
        /// Which.
        session: SessionId,
        /// Who watches: `provider:subject`.
        by: String,
        /// Whose session it is.
        whose: String,
        /// Its target.
        target: String,
        /// Its login there.
        login: String,
        /// The watcher's address.
        from: String,
    },
    /// They do not any more.
    SessionWatchEnded {
        /// Which.
        session: SessionId,
        /// Who watched.
        by: String,
        /// Why: `session-over`, `left` (they did not ask for more), `stopped` (the bastion did).
        reason: &'static str,
        /// How long they watched, in milliseconds.
        lasted_ms: u64,
    },
    /// Somebody searched recordings for a text, or for commands.
    RecordingsSearched {
        /// Who: `admin` for the command on the server.
        by: String,
        /// The texts.
        texts: Vec<String>,
        /// What the command is like.
        command: Option<String>,
        /// Only sessions of this person, as asked for.
        user: Option<String>,
        /// Only sessions to this target.
        target: Option<String>,
        /// How many hits were shown.
        hits: usize,
    },
    /// Somebody gets a recording to see, or to take along; nothing of it was given out yet.
    RecordingRead {
        /// Who: `admin` for the command on the server.
        by: String,
        /// Whose recording.
        session: SessionId,
        /// How: `play`, `export` or `path`.
        how: &'static str,
    },
}

impl WatchingEvent {
    /// The stable word.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::SessionKilled { .. } => "session_killed",
            Self::SessionWatched { .. } => "session_watched",
            Self::SessionWatchEnded { .. } => "session_watch_ended",
            Self::RecordingsSearched { .. } => "recordings_searched",
            Self::RecordingRead { .. } => "recording_read",
        }
    }

    /// What happened.
    pub(super) fn fields(&self) -> Value {
        match self {
            Self::SessionKilled { session, by, reason, whose, target, login, node, from } => json!({
                "session": session.as_str(), "by": by, "reason": reason, "whose": whose, "target": target,
                "login": login, "node": node, "from": from,
            }),
            Self::SessionWatched { session, by, whose, target, login, from } => json!({
                "session": session.as_str(), "by": by, "whose": whose, "target": target, "login": login,
                "from": from,
            }),
            Self::SessionWatchEnded { session, by, reason, lasted_ms } => json!({
                "session": session.as_str(), "by": by, "reason": reason, "lasted_ms": lasted_ms,
            }),
            Self::RecordingsSearched { by, texts, command, user, target, hits } => json!({
                "by": by, "texts": texts, "command": command, "user": user, "target": target, "hits": hits,
            }),
            Self::RecordingRead { by, session, how } => {
                json!({ "by": by, "session": session.as_str(), "how": how })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_fields() {
        let session = "ses_00000000000000000000000000";
        let event = WatchingEvent::SessionKilled {
            session: session.parse().unwrap(),
            by: "corp:root".into(),
            reason: "wrong machine".into(),
            whose: "corp:ann".into(),
            target: "web1".into(),
            login: "deploy".into(),
            node: "n1".into(),
            from: None,
        };
        let fields = json!({
            "session": session, "by": "corp:root", "reason": "wrong machine", "whose": "corp:ann",
            "target": "web1", "login": "deploy", "node": "n1", "from": null,
        });
        assert_eq!((event.kind(), event.fields()), ("session_killed", fields));
        let event = WatchingEvent::SessionWatched {
            session: session.parse().unwrap(),
            by: "corp:ash".into(),
            whose: "corp:ann".into(),
            target: "web1".into(),
            login: "deploy".into(),
            from: "192.0.2.1".into(),
        };
        let fields = json!({
            "session": session, "by": "corp:ash", "whose": "corp:ann", "target": "web1", "login": "deploy",
            "from": "192.0.2.1",
        });
        assert_eq!((event.kind(), event.fields()), ("session_watched", fields));
        let event = WatchingEvent::SessionWatchEnded {
            session: session.parse().unwrap(),
            by: "corp:ash".into(),
            reason: "left",
            lasted_ms: 1500,
        };
        let fields = json!({ "session": session, "by": "corp:ash", "reason": "left", "lasted_ms": 1500 });
        assert_eq!((event.kind(), event.fields()), ("session_watch_ended", fields));
        let event = WatchingEvent::RecordingsSearched {
            by: "admin".into(),
            texts: vec!["drop table".into()],
            command: None,
            user: Some("corp:ann".into()),
            target: None,
            hits: 3,
        };
        let fields = json!({
            "by": "admin", "texts": ["drop table"], "command": null, "user": "corp:ann", "target": null, "hits": 3,
        });
        assert_eq!((event.kind(), event.fields()), ("recordings_searched", fields));
        let event = WatchingEvent::RecordingRead {
            by: "admin".into(),
            session: session.parse().unwrap(),
            how: "play",
        };
        let fields = json!({ "by": "admin", "session": session, "how": "play" });
        assert_eq!((event.kind(), event.fields()), ("recording_read", fields));
    }
}
