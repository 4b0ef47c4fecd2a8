//! What the audit log says of revocations.

use serde_json::{Value, json};

use crate::ids::{RevocationId, SignInId};

/// Something about revocations.
#[derive(Clone, Debug)]
pub enum RevocationEvent {
    /// Somebody revoked something. The sign-ins that this ended have entries of their own.
    Revoked {
        /// What was asked to be revoked: `user`, `workload`, `key`, `serial`, `session`, `ca`.
        what: &'static str,
        /// Which one, as it was asked for.
        value: String,
        /// Who: `provider:subject`, or `admin` for the command on the server.
        by: String,
        /// Why.
        reason: String,
        /// What was revoked by that and was not before.
        revoked: Vec<RevokedItem>,
        /// The sign-ins that ended.
        sign_ins: Vec<SignInId>,
        /// The version of the list from here on.
        version: u64,
    },
}

/// One thing that is revoked now.
#[derive(Clone, Debug)]
pub struct RevokedItem {
    /// Its id.
    pub id: RevocationId,
    /// `serial`, `key`, `key-id`, `ca`, `session`.
    pub kind: String,
    /// Whose certificates: `user`, `target`, `any`.
    pub authority: String,
    /// Serial, fingerprint, key id or session id.
    pub value: String,
}

impl RevocationEvent {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Revoked { .. } => "revoked",
        }
    }

    pub(super) fn fields(&self) -> Value {
        match self {
            Self::Revoked { what, value, by, reason, revoked, sign_ins, version } => {
                let revoked: Vec<Value> = revoked
                    .iter()
                    .map(|one| {
                        json!({
                            "id": one.id.as_str(), "kind": one.kind, "authority": one.authority,
                            "value": one.value,
                        })
                    })
                    .collect();
                let sign_ins: Vec<&str> = sign_ins.iter().map(SignInId::as_str).collect();
                json!({
                    "what": what, "value": value, "by": by, "reason": reason, "revoked": revoked,
                    "sign_ins": sign_ins, "version": version.to_string(),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_it_is_written_down() {
        let (id, sign_in) = ("rev_00000000000000000000000000", "sgn_00000000000000000000000000");
        let event = RevocationEvent::Revoked {
            what: "user",
            value: "corp:ann".into(),
            by: "admin".into(),
            reason: "left".into(),
            revoked: vec![RevokedItem {
                id: id.parse().unwrap(),
                kind: "serial".into(),
                authority: "user".into(),
                value: u64::MAX.to_string(),
            }],
            sign_ins: vec![sign_in.parse().unwrap()],
            version: 7,
        };
        assert_eq!(event.kind(), "revoked");
        assert_eq!(crate::audit::schema::misfit(event.kind(), &event.fields()), None);
        let revoked =
            json!([{ "id": id, "kind": "serial", "authority": "user", "value": "18446744073709551615" }]);
        let expect = json!({
            "what": "user", "value": "corp:ann", "by": "admin", "reason": "left", "revoked": revoked,
            "sign_ins": [sign_in], "version": "7",
        });
        assert_eq!(event.fields(), expect);
    }
}
