//! The audit log: a closed list of events. An entry is written in the same transaction as the act it tells of
//! (`store::Tx::commit` takes the event), never beside it.

use serde_json::{Value, json};

use crate::identity::Identity;
use crate::ids::{SessionId, SignInId};
use crate::policy::RefusalCode;

/// One thing that happened. `kind()` and `fields()` are what is stored; names of both are stable.
#[derive(Clone, Debug)]
pub enum AuditEvent {
    /// The server started; `interrupted` recordings were sealed.
    ServerStarted {
        /// Version of the program.
        version: String,
        /// Recordings found open and sealed as interrupted.
        interrupted: usize,
    },
    /// Somebody signed in.
    SignedIn {
        /// The new sign-in.
        sign_in: SignInId,
        /// Who.
        who: Identity,
        /// `loopback`, `device` or `ssh`.
        method: &'static str,
        /// SHA-256 fingerprint of the bound SSH key; none when bound to one SSH connection.
        key: Option<String>,
        /// The client's address.
        from: String,
    },
    /// A sign-in attempt failed at the provider's answer or before.
    SignInFailed {
        /// Which provider, when known.
        provider: Option<String>,
        /// Why.
        reason: String,
        /// The client's address.
        from: String,
    },
    /// A sign-in was ended before its time.
    SignInEnded {
        /// Which.
        sign_in: SignInId,
        /// Who ended it: `provider:subject`, or `admin` for the command on the server.
        by: String,
        /// Why.
        reason: String,
    },
    /// A user certificate was issued.
    CertificateIssued {
        /// For which sign-in.
        sign_in: SignInId,
        /// Its serial number.
        serial: u64,
        /// Its key id.
        key_id: String,
        /// Its principals.
        principals: Vec<String>,
        /// Seconds since the epoch.
        valid_before: u64,
        /// The client's address.
        from: String,
    },
    /// A certificate or an API request was refused.
    CredentialRefused {
        /// What was shown: `certificate` or `request`.
        what: &'static str,
        /// Key id or fingerprint, as claimed.
        claimed: String,
        /// Stable word, e.g. `expired`, `wrong-ca`.
        code: &'static str,
        /// Why, in full.
        reason: String,
        /// The client's address.
        from: String,
    },
    /// A session (or a certificate for one) was refused by policy.
    AccessRefused {
        /// Who.
        who: Identity,
        /// The sign-in.
        sign_in: SignInId,
        /// Target as asked for.
        target: String,
        /// Login as asked for.
        login: String,
        /// What was asked.
        act: String,
        /// The stable code.
        code: RefusalCode,
        /// The fuller reason.
        reason: String,
        /// The client's address.
        from: String,
    },
    /// A session was permitted and its recording begun; nothing was sent to the target yet.
    SessionOpened {
        /// Which.
        session: SessionId,
        /// Who.
        who: Identity,
        /// The sign-in.
        sign_in: SignInId,
        /// Serial of the client's certificate; none when signed in by keyboard-interactive.
        client_serial: Option<u64>,
        /// Serial of the certificate for the target.
        target_serial: u64,
        /// Target.
        target: String,
        /// Login.
        login: String,
        /// What: `shell`, `exec: ...`, `sftp`.
        act: String,
        /// The role that allowed it.
        role: String,
        /// Digest of the policy that allowed it.
        policy: String,
        /// The client's address.
        from: String,
        /// Path of the recording, relative to the recordings folder; none for sftp.
        recording: Option<String>,
    },
    /// A session ended.
    SessionClosed {
        /// Which.
        session: SessionId,
        /// Why: `finished`, `client-gone`, `target-gone`, `idle`, `session-max`, `sign-in-ended`, `recorder`, `drain`,
        /// `overflow`, `target-refused`, `interrupted`.
        reason: String,
        /// Exit status, when there was one.
        exit_status: Option<u32>,
        /// Bytes from client to target.
        bytes_in: u64,
        /// Bytes from target to client.
        bytes_out: u64,
        /// SHA-256 of the sealed recording, in hex.
        recording_sha256: Option<String>,
    },
    /// A host certificate was made for a target by `ca sign-host`.
    HostCertificateIssued {
        /// Principals.
        principals: Vec<String>,
        /// Serial.
        serial: u64,
        /// Seconds since the epoch.
        valid_before: u64,
    },
}

impl AuditEvent {
    /// The stable word for what happened.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ServerStarted { .. } => "server_started",
            Self::SignedIn { .. } => "signed_in",
            Self::SignInFailed { .. } => "sign_in_failed",
            Self::SignInEnded { .. } => "sign_in_ended",
            Self::CertificateIssued { .. } => "certificate_issued",
            Self::CredentialRefused { .. } => "credential_refused",
            Self::AccessRefused { .. } => "access_refused",
            Self::SessionOpened { .. } => "session_opened",
            Self::SessionClosed { .. } => "session_closed",
            Self::HostCertificateIssued { .. } => "host_certificate_issued",
        }
    }

    /// What is stored beside the word: an object with stable names. Serials are decimal text, as JSON numbers end at
    /// 53 bits in many readers.
    pub fn fields(&self) -> Value {
        match self {
            Self::ServerStarted { version, interrupted } => {
                json!({ "version": version, "interrupted": interrupted })
            }
            Self::SignedIn { sign_in, who, method, key, from } => json!({
                "sign_in": sign_in.as_str(),
                "who": person(who),
                "method": method,
                "key": key,
                "from": from,
            }),
            Self::SignInFailed { provider, reason, from } => {
                json!({ "provider": provider, "reason": reason, "from": from })
            }
            Self::SignInEnded { sign_in, by, reason } => {
                json!({ "sign_in": sign_in.as_str(), "by": by, "reason": reason })
            }
            Self::CertificateIssued { sign_in, serial, key_id, principals, valid_before, from } => json!({
                "sign_in": sign_in.as_str(),
                "serial": serial.to_string(),
                "key_id": key_id,
                "principals": principals,
                "valid_before": valid_before,
                "from": from,
            }),
            Self::CredentialRefused { what, claimed, code, reason, from } => json!({
                "what": what,
                "claimed": claimed,
                "code": code,
                "reason": reason,
                "from": from,
            }),
            Self::HostCertificateIssued { principals, serial, valid_before } => json!({
                "principals": principals,
                "serial": serial.to_string(),
                "valid_before": valid_before,
            }),
            Self::AccessRefused { .. } | Self::SessionOpened { .. } | Self::SessionClosed { .. } => {
                self.session_fields()
            }
        }
    }

    fn session_fields(&self) -> Value {
        match self {
            Self::AccessRefused { who, sign_in, target, login, act, code, reason, from } => json!({
                "who": person(who),
                "sign_in": sign_in.as_str(),
                "target": target,
                "login": login,
                "act": act,
                "code": code.as_str(),
                "reason": reason,
                "from": from,
            }),
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
                policy,
                from,
                recording,
            } => json!({
                "session": session.as_str(),
                "who": person(who),
                "sign_in": sign_in.as_str(),
                "client_serial": client_serial.map(|serial| serial.to_string()),
                "target_serial": target_serial.to_string(),
                "target": target,
                "login": login,
                "act": act,
                "role": role,
                "policy": policy,
                "from": from,
                "recording": recording,
            }),
            Self::SessionClosed { session, reason, exit_status, bytes_in, bytes_out, recording_sha256 } => {
                json!({
                    "session": session.as_str(),
                    "reason": reason,
                    "exit_status": exit_status,
                    "bytes_in": bytes_in,
                    "bytes_out": bytes_out,
                    "recording_sha256": recording_sha256,
                })
            }
            Self::ServerStarted { .. }
            | Self::SignedIn { .. }
            | Self::SignInFailed { .. }
            | Self::SignInEnded { .. }
            | Self::CertificateIssued { .. }
            | Self::CredentialRefused { .. }
            | Self::HostCertificateIssued { .. } => Value::Null,
        }
    }
}

fn person(who: &Identity) -> Value {
    let groups: Vec<String> = who.groups.iter().map(ToString::to_string).collect();
    json!({
        "id": who.reference(),
        "issuer": who.issuer,
        "subject": who.subject,
        "display": who.display,
        "groups": groups,
    })
}
