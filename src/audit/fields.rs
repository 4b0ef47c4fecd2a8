//! How an event is written down: a stable word and a flat JSON object. Names and meanings here are a promise to whoever
//! reads the audit log, so they are written by hand and a test holds them; adding a field is fine, renaming is not.
//!
//! Conventions: `who` is `provider:subject`; serial numbers are decimal strings, because JSON readers round numbers
//! above 2^53; what is not known is `null`, never left out; times are seconds since the epoch. No secrets.

use serde_json::{Map, Value, json};

use super::AuditEvent;
use crate::identity::{Identity, Kind};

impl AuditEvent {
    /// The stable word for this kind of event, in snake case.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Access(event) => event.kind(),
            Self::Archive(event) => event.kind(),
            Self::Provider(event) => event.kind(),
            Self::ServerStarted { .. } => "server_started",
            Self::PolicyLoaded { .. } => "policy_loaded",
            Self::PolicyRefused { .. } => "policy_refused",
            Self::SignedIn { .. } => "signed_in",
            Self::SignInFailed { .. } => "sign_in_failed",
            Self::SignInEnded { .. } => "sign_in_ended",
            Self::CertificateIssued { .. } => "certificate_issued",
            Self::CredentialRefused { .. } => "credential_refused",
            Self::RefusalsNotListed { .. } => "refusals_not_listed",
            Self::AccessRefused { .. } => "access_refused",
            Self::SessionOpened { .. } => "session_opened",
            Self::SessionClosed { .. } => "session_closed",
            Self::ForwardOpened { .. } => "forward_opened",
            Self::ForwardClosed { .. } => "forward_closed",
            Self::FileOperation { .. } => "file_operation",
            Self::FileTransferred { .. } => "file_transferred",
            Self::HostCertificateIssued { .. } => "host_certificate_issued",
            Self::Looking(event) => event.kind(),
            Self::Telling(event) => event.kind(),
            Self::Watching(event) => event.kind(),
            Self::Log(event) => event.kind(),
            Self::Revocation(event) => event.kind(),
            Self::Recording(event) => event.kind(),
            Self::Workload(event) => event.kind(),
        }
    }

    /// What happened, as a JSON object.
    #[expect(clippy::too_many_lines, reason = "one arm for each event of a closed list, nothing else")]
    pub fn fields(&self) -> Value {
        match self {
            Self::Access(event) => event.fields(),
            Self::Archive(event) => event.fields(),
            Self::Provider(event) => event.fields(),
            Self::ServerStarted { version, interrupted } => {
                json!({ "version": version, "interrupted": interrupted })
            }
            Self::PolicyLoaded { digest, replaces, roles, targets } => {
                json!({ "digest": digest, "replaces": replaces, "roles": roles, "targets": targets })
            }
            Self::PolicyRefused { keeps, problems, first } => {
                json!({ "keeps": keeps, "problems": problems, "first": first })
            }
            Self::SignedIn { sign_in, who, method, key, replaced, from } => {
                let replaced: Vec<&str> = replaced.iter().map(|id| id.as_str()).collect();
                let groups: Vec<String> = who.groups.iter().map(ToString::to_string).collect();
                with(
                    who,
                    json!({
                        "sign_in": sign_in.as_str(), "groups": groups, "method": method, "key": key,
                        "replaced": replaced, "from": from,
                    }),
                )
            }
            Self::SignInFailed { provider, reason, from } => {
                json!({ "provider": provider, "reason": reason, "from": from })
            }
            Self::SignInEnded { sign_in, by, reason } => {
                json!({ "sign_in": sign_in.as_str(), "by": by, "reason": reason })
            }
            Self::CertificateIssued { sign_in, serial, key_id, principals, valid_before, from } => json!({
                "sign_in": sign_in.as_str(), "serial": serial.to_string(), "key_id": key_id,
                "principals": principals, "valid_before": valid_before, "from": from,
            }),
            Self::CredentialRefused { what, claimed, code, reason, from } => {
                json!({ "what": what, "claimed": claimed, "code": code, "reason": reason, "from": from })
            }
            Self::RefusalsNotListed { network, since, count } => {
                json!({ "network": network, "since": since, "count": count })
            }
            Self::AccessRefused { who, sign_in, target, login, act, code, reason, from } => with(
                who,
                json!({
                    "sign_in": sign_in.as_str(), "target": target, "login": login, "act": act,
                    "code": code.as_str(), "reason": reason, "from": from,
                }),
            ),
            Self::SessionOpened {
                session,
                who,
                sign_in,
                client_serial,
                target_serial,
                target,
                login,
                act,
                role,
                grants,
                rule,
                assurance,
                transfer,
                sent,
                policy,
                from,
                recording,
            } => with(
                who,
                json!({
                    "session": session.as_str(), "sign_in": sign_in.as_str(),
                    "client_serial": client_serial.map(|serial| serial.to_string()),
                    "target_serial": target_serial.to_string(), "target": target, "login": login, "act": act,
                    "role": role, "grants": grants.iter().map(crate::ids::GrantId::as_str).collect::<Vec<_>>(),
                    "rule": rule, "assurance": assurance, "transfer": transfer, "sent": sent, "policy": policy, "from": from, "recording": recording,
                }),
            ),
            Self::SessionClosed { session, reason, exit_status, bytes_in, bytes_out, recording_sha256 } => {
                json!({
                    "session": session.as_str(), "reason": reason, "exit_status": exit_status,
                    "bytes_in": bytes_in, "bytes_out": bytes_out, "recording_sha256": recording_sha256,
                })
            }
            Self::ForwardOpened {
                number,
                session,
                who,
                sign_in,
                target,
                login,
                direction,
                kind,
                what,
                addresses,
                role,
                policy,
                from,
            } => with(
                who,
                json!({
                    "number": number, "session": session.as_str(), "sign_in": sign_in.as_str(),
                    "target": target, "login": login, "direction": direction, "kind": kind, "what": what,
                    "addresses": addresses, "role": role, "policy": policy, "from": from,
                }),
            ),
            Self::ForwardClosed { number, session, reason, bytes_in, bytes_out, lasted_ms } => json!({
                "number": number, "session": session.as_str(), "reason": reason, "bytes_in": bytes_in,
                "bytes_out": bytes_out, "lasted_ms": lasted_ms,
            }),
            Self::FileOperation { session, op, path, second, allowed, rule } => json!({
                "session": session.as_str(), "op": op, "path": path, "second": second, "allowed": allowed,
                "rule": rule,
            }),
            Self::FileTransferred { session, path, direction, bytes, sha256 } => json!({
                "session": session.as_str(), "path": path, "direction": direction, "bytes": bytes,
                "sha256": sha256, "complete": sha256.is_some(),
            }),
            Self::HostCertificateIssued { principals, serial, valid_before } => {
                json!({ "principals": principals, "serial": serial.to_string(), "valid_before": valid_before })
            }
            Self::Looking(event) => event.fields(),
            Self::Telling(event) => event.fields(),
            Self::Watching(event) => event.fields(),
            Self::Log(event) => event.fields(),
            Self::Revocation(event) => event.fields(),
            Self::Recording(event) => event.fields(),
            Self::Workload(event) => event.fields(),
        }
    }
}

/// `fields` and who it was: the key (issuer and subject), the reference that roles use, and the label.
pub(super) fn with(who: &Identity, fields: Value) -> Value {
    let kind = match who.kind {
        Kind::Person => "person",
        Kind::Workload => "workload",
    };
    let mut all = Map::new();
    all.insert("who".into(), who.reference().into());
    all.insert("who_kind".into(), kind.into());
    all.insert("issuer".into(), who.issuer.as_str().into());
    all.insert("subject".into(), who.subject.as_str().into());
    all.insert("display".into(), who.display.as_str().into());
    if let Value::Object(fields) = fields {
        all.extend(fields);
    }
    Value::Object(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{SessionId, SignInId};
    use crate::policy::RefusalCode;

    const SIGN_IN: &str = "sgn_00000000000000000000000000";
    const SESSION: &str = "ses_00000000000000000000000000";

    fn sign_in() -> SignInId {
        SIGN_IN.parse().unwrap()
    }

    fn session() -> SessionId {
        SESSION.parse().unwrap()
    }

    fn alice() -> Identity {
        Identity {
            kind: Kind::Person,
            provider: "corp".parse().unwrap(),
            issuer: "https://id.example.com".into(),
            subject: "a-1".into(),
            display: "Alice \u{0} \"A\"".into(),
            groups: ["corp:ops".parse().unwrap(), "corp:db".parse().unwrap()].into(),
            run: None,
        }
    }

    fn check(event: &AuditEvent, kind: &str, fields: Value) {
        assert_eq!(event.kind(), kind);
        assert_eq!(event.fields(), fields);
        assert_eq!(crate::audit::schema::misfit(kind, &fields), None);
        // What is stored is this text, and it must fit a PostgreSQL TEXT column and one line of an export.
        let text = event.fields().to_string();
        assert!(!text.contains(['\0', '\n']), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), fields);
    }

    fn with_alice(mut fields: Value) -> Value {
        let who = json!({
            "who": "corp:a-1", "who_kind": "person", "issuer": "https://id.example.com", "subject": "a-1",
            "display": "Alice \u{0} \"A\"",
        });
        fields.as_object_mut().unwrap().extend(who.as_object().unwrap().clone());
        fields
    }

    #[test]
    fn events_of_people_and_keys() {
        check(
            &AuditEvent::ServerStarted { version: "1.2.3".into(), interrupted: 2 },
            "server_started",
            json!({ "version": "1.2.3", "interrupted": 2 }),
        );
        check(
            &AuditEvent::SignedIn {
                sign_in: sign_in(),
                who: alice(),
                method: "device",
                key: Some("SHA256:x".into()),
                replaced: vec![sign_in()],
                from: "192.0.2.1".into(),
            },
            "signed_in",
            with_alice(json!({
                "sign_in": SIGN_IN, "groups": ["corp:db", "corp:ops"], "method": "device", "key": "SHA256:x",
                "replaced": [SIGN_IN], "from": "192.0.2.1",
            })),
        );
        check(
            &AuditEvent::SignInFailed { provider: None, reason: "state\nunknown".into(), from: "::1".into() },
            "sign_in_failed",
            json!({ "provider": null, "reason": "state\nunknown", "from": "::1" }),
        );
        check(
            &AuditEvent::SignInEnded { sign_in: sign_in(), by: "admin".into(), reason: "left".into() },
            "sign_in_ended",
            json!({ "sign_in": SIGN_IN, "by": "admin", "reason": "left" }),
        );
        check(
            &AuditEvent::CertificateIssued {
                sign_in: sign_in(),
                serial: u64::MAX,
                key_id: "k".into(),
                principals: vec!["root".into(), "deploy".into()],
                valid_before: 300,
                from: "192.0.2.1".into(),
            },
            "certificate_issued",
            json!({
                "sign_in": SIGN_IN, "serial": "18446744073709551615", "key_id": "k",
                "principals": ["root", "deploy"], "valid_before": 300, "from": "192.0.2.1",
            }),
        );
        check(
            &AuditEvent::HostCertificateIssued {
                principals: vec!["web1".into()],
                serial: 7,
                valid_before: 9,
            },
            "host_certificate_issued",
            json!({ "principals": ["web1"], "serial": "7", "valid_before": 9 }),
        );
    }

    #[test]
    fn events_of_files() {
        check(
            &AuditEvent::FileOperation {
                session: session(),
                op: "rename",
                path: "/a".into(),
                second: Some("/b".into()),
                allowed: false,
                rule: "kept".into(),
            },
            "file_operation",
            json!({
                "session": SESSION, "op": "rename", "path": "/a", "second": "/b", "allowed": false, "rule": "kept",
            }),
        );
        for (sha256, complete) in [(Some("ab".to_owned()), true), (None, false)] {
            check(
                &AuditEvent::FileTransferred {
                    session: session(),
                    path: "/a".into(),
                    direction: "write",
                    bytes: 7,
                    sha256: sha256.clone(),
                },
                "file_transferred",
                json!({
                    "session": SESSION, "path": "/a", "direction": "write", "bytes": 7, "sha256": sha256,
                    "complete": complete,
                }),
            );
        }
    }

    #[test]
    fn events_of_forwards() {
        check(
            &AuditEvent::ForwardOpened {
                number: 3,
                session: session(),
                who: alice(),
                sign_in: sign_in(),
                target: "web1".into(),
                login: "root".into(),
                direction: "local",
                kind: "tcp",
                what: "db.internal:5432".into(),
                addresses: vec!["10.1.0.5".into()],
                role: "ops".into(),
                policy: "ab".into(),
                from: "192.0.2.1".into(),
            },
            "forward_opened",
            with_alice(json!({
                "number": 3, "session": SESSION, "sign_in": SIGN_IN, "target": "web1", "login": "root",
                "direction": "local", "kind": "tcp", "what": "db.internal:5432", "addresses": ["10.1.0.5"],
                "role": "ops", "policy": "ab", "from": "192.0.2.1",
            })),
        );
        check(
            &AuditEvent::ForwardClosed {
                number: 3,
                session: session(),
                reason: "finished",
                bytes_in: 1,
                bytes_out: 2,
                lasted_ms: 5,
            },
            "forward_closed",
            json!({
                "number": 3, "session": SESSION, "reason": "finished", "bytes_in": 1, "bytes_out": 2, "lasted_ms": 5,
            }),
        );
    }

    #[test]
    fn a_count_of_refusals() {
        check(
            &AuditEvent::RefusalsNotListed { network: "2001:db8::".into(), since: 1000, count: 7 },
            "refusals_not_listed",
            json!({ "network": "2001:db8::", "since": 1000, "count": 7 }),
        );
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "one row for each event")]
    fn events_of_sessions() {
        check(
            &AuditEvent::CredentialRefused {
                what: "certificate",
                claimed: "k".into(),
                code: "expired",
                reason: "it expired".into(),
                from: "192.0.2.1".into(),
            },
            "credential_refused",
            json!({
                "what": "certificate", "claimed": "k", "code": "expired", "reason": "it expired", "from": "192.0.2.1",
            }),
        );
        check(
            &AuditEvent::AccessRefused {
                who: alice(),
                sign_in: sign_in(),
                target: "web1".into(),
                login: "root".into(),
                act: "exec: id\0".into(),
                code: RefusalCode::NoAccess,
                reason: "no role".into(),
                from: "192.0.2.1".into(),
            },
            "access_refused",
            with_alice(json!({
                "sign_in": SIGN_IN, "target": "web1", "login": "root", "act": "exec: id\0", "code": "no-access",
                "reason": "no role", "from": "192.0.2.1",
            })),
        );
        check(
            &AuditEvent::SessionOpened {
                session: session(),
                who: alice(),
                sign_in: sign_in(),
                client_serial: None,
                target_serial: 1 << 60,
                target: "web1".into(),
                login: "root".into(),
                act: "shell".into(),
                role: "ops".into(),
                grants: Vec::new(),
                rule: Some("web: restart".into()),
                assurance: Some("enforced"),
                transfer: None,
                sent: None,
                policy: "ab".into(),
                from: "192.0.2.1".into(),
                recording: Some("a.cast".into()),
            },
            "session_opened",
            with_alice(json!({
                "session": SESSION, "sign_in": SIGN_IN, "client_serial": null,
                "target_serial": "1152921504606846976", "target": "web1", "login": "root", "act": "shell",
                "role": "ops", "grants": [], "rule": "web: restart", "assurance": "enforced", "transfer": null, "sent": null, "policy": "ab", "from": "192.0.2.1", "recording": "a.cast",
            })),
        );
        check(
            &AuditEvent::SessionClosed {
                session: session(),
                reason: "finished".into(),
                exit_status: Some(137),
                bytes_in: 1,
                bytes_out: 2,
                recording_sha256: None,
            },
            "session_closed",
            json!({
                "session": SESSION, "reason": "finished", "exit_status": 137, "bytes_in": 1, "bytes_out": 2,
                "recording_sha256": null,
            }),
        );
    }
}
