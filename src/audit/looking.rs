//! Events of looking: somebody read what others have and do. One entry for each look, whatever it showed.

use serde_json::{Value, json};

use super::fields::with;
use crate::identity::Identity;
use crate::ids::SignInId;

/// Who looks.
#[derive(Clone, Debug)]
pub enum Looker {
    /// The command on the server.
    Admin,
    /// Somebody signed in.
    Person {
        /// Who.
        who: Box<Identity>,
        /// The sign-in.
        sign_in: SignInId,
        /// Their address.
        from: String,
    },
}

/// One look.
#[derive(Clone, Debug)]
pub enum LookingEvent {
    /// At who has access, had it, or does not use it.
    AccessSeen {
        /// Who looks.
        by: Looker,
        /// `now`, `history` or `unused`.
        what: &'static str,
        /// Only at this person, as asked for.
        user: Option<String>,
        /// Only at this target.
        target: Option<String>,
    },
}

impl LookingEvent {
    /// The stable word.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::AccessSeen { .. } => "access_seen",
        }
    }

    /// What happened.
    pub(super) fn fields(&self) -> Value {
        match self {
            Self::AccessSeen { by, what, user, target } => match by {
                Looker::Admin => json!({
                    "who": "admin", "sign_in": null, "what": what, "user": user, "target": target, "from": null,
                }),
                Looker::Person { who, sign_in, from } => with(
                    who,
                    json!({
                        "sign_in": sign_in.as_str(), "what": what, "user": user, "target": target, "from": from,
                    }),
                ),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Kind;

    #[test]
    fn words_and_fields() {
        let id = "sgn_00000000000000000000000000";
        let who = Identity {
            kind: Kind::Person,
            provider: "corp".parse().unwrap(),
            issuer: "https://id.example".into(),
            subject: "a-1".into(),
            display: "Ann".into(),
            groups: std::collections::BTreeSet::new(),
            run: None,
        };
        let person =
            Looker::Person { who: Box::new(who), sign_in: id.parse().unwrap(), from: "192.0.2.1".into() };
        let rows = [
            (
                LookingEvent::AccessSeen { by: Looker::Admin, what: "unused", user: None, target: None },
                json!({
                    "who": "admin", "sign_in": null, "what": "unused", "user": null, "target": null, "from": null,
                }),
            ),
            (
                LookingEvent::AccessSeen {
                    by: person,
                    what: "now",
                    user: Some("corp:b-2".into()),
                    target: Some("web1".into()),
                },
                json!({
                    "who": "corp:a-1", "who_kind": "person", "issuer": "https://id.example", "subject": "a-1",
                    "display": "Ann", "sign_in": id, "what": "now", "user": "corp:b-2", "target": "web1",
                    "from": "192.0.2.1",
                }),
            ),
        ];
        for (event, fields) in rows {
            assert_eq!((event.kind(), event.fields()), ("access_seen", fields));
            assert_eq!(crate::audit::schema::misfit(event.kind(), &event.fields()), None);
        }
    }
}
