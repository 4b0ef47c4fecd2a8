//! Events of providers that are asked again, or speak unasked. That somebody who is gone is out is `SignInEnded`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::fields::with;
use crate::identity::Identity;
use crate::ids::SignInId;
use crate::names::{GroupName, ProviderName};

/// One thing that a provider said, or did not say.
#[derive(Clone, Debug)]
pub enum ProviderEvent {
    /// The provider names other groups now; access that hung on a missing one is gone.
    GroupsChanged {
        /// Of which sign-in.
        sign_in: SignInId,
        /// Who, with the groups of now.
        who: Identity,
        /// The groups before.
        before: BTreeSet<GroupName>,
    },
    /// A provider did not answer when it was asked about somebody. Written once, until it answers again.
    Silent {
        /// Which.
        provider: ProviderName,
        /// Why, as far as we know.
        reason: String,
    },
    /// It answers again.
    Answers {
        /// Which.
        provider: ProviderName,
    },
    /// A provider logged somebody out (OpenID Connect Back-Channel Logout).
    LoggedOut {
        /// Which.
        provider: ProviderName,
        /// Its own name for the person.
        sub: Option<String>,
        /// Its own name for their session.
        sid: Option<String>,
        /// The sign-ins that ended with it.
        ended: Vec<SignInId>,
        /// Where the token came from.
        from: String,
    },
}

impl ProviderEvent {
    /// The stable word.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::GroupsChanged { .. } => "groups_changed",
            Self::Silent { .. } => "provider_silent",
            Self::Answers { .. } => "provider_answers",
            Self::LoggedOut { .. } => "provider_logged_out",
        }
    }

    /// What happened, as a JSON object.
    pub(super) fn fields(&self) -> Value {
        match self {
            Self::GroupsChanged { sign_in, who, before } => with(
                who,
                json!({ "sign_in": sign_in.as_str(), "groups": names(&who.groups), "before": names(before) }),
            ),
            Self::Silent { provider, reason } => json!({ "provider": provider.as_str(), "reason": reason }),
            Self::Answers { provider } => json!({ "provider": provider.as_str() }),
            Self::LoggedOut { provider, sub, sid, ended, from } => {
                let ended: Vec<&str> = ended.iter().map(SignInId::as_str).collect();
                json!({ "provider": provider.as_str(), "sub": sub, "sid": sid, "ended": ended, "from": from })
            }
        }
    }
}

fn names(groups: &BTreeSet<GroupName>) -> Vec<String> {
    groups.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::AuditEvent;
    use crate::identity::Kind;

    #[test]
    fn events_of_providers() {
        let id = "sgn_00000000000000000000000000";
        let sign_in: SignInId = id.parse().unwrap();
        let provider: ProviderName = "corp".parse().unwrap();
        let who = Identity {
            kind: Kind::Person,
            provider: provider.clone(),
            issuer: "https://id.example".into(),
            subject: "a-1".into(),
            display: "Ann".into(),
            groups: ["corp:dev".parse().unwrap()].into(),
            run: None,
        };
        let rows = [
            (
                ProviderEvent::GroupsChanged {
                    sign_in: sign_in.clone(),
                    who,
                    before: ["corp:dev".parse().unwrap(), "corp:ops".parse().unwrap()].into(),
                },
                "groups_changed",
                json!({
                    "who": "corp:a-1", "who_kind": "person", "issuer": "https://id.example", "subject": "a-1",
                    "display": "Ann", "sign_in": id, "groups": ["corp:dev"], "before": ["corp:dev", "corp:ops"],
                }),
            ),
            (
                ProviderEvent::Silent { provider: provider.clone(), reason: "down".into() },
                "provider_silent",
                json!({ "provider": "corp", "reason": "down" }),
            ),
            (
                ProviderEvent::Answers { provider: provider.clone() },
                "provider_answers",
                json!({ "provider": "corp" }),
            ),
            (
                ProviderEvent::LoggedOut {
                    provider,
                    sub: Some("a-1".into()),
                    sid: None,
                    ended: vec![sign_in],
                    from: "192.0.2.1".into(),
                },
                "provider_logged_out",
                json!({ "provider": "corp", "sub": "a-1", "sid": null, "ended": [id], "from": "192.0.2.1" }),
            ),
        ];
        for (event, kind, fields) in rows {
            let event = AuditEvent::Provider(event);
            assert_eq!((event.kind(), event.fields()), (kind, fields));
            assert_eq!(crate::audit::schema::misfit(kind, &event.fields()), None);
        }
    }
}
