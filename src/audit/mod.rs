//! The audit log: a closed list of events. An entry is written in the same transaction as the act it tells of
//! (`store::Tx::commit` takes the event), never beside it. `fields` says how an event is written down; numbering, time and storage
//! are `store`'s.

mod access;
mod archive;
pub mod chain;
pub mod checkpoint;
pub mod export;
mod fields;
mod log;
mod looking;
mod provider;
mod recording;
mod revocation;
pub mod schema;
pub mod sink;
mod telling;
mod watching;
mod workload;

pub use provider::ProviderEvent;

pub use access::AccessEvent;
pub use archive::ArchiveEvent;
pub use log::LogEvent;
pub use looking::{Looker, LookingEvent};
pub use recording::RecordingEvent;

use crate::identity::Identity;
use crate::ids::{GrantId, SessionId, SignInId};
use crate::policy::RefusalCode;

pub use revocation::{RevocationEvent, RevokedItem};
pub use telling::{Raised, TellingEvent};
pub use watching::WatchingEvent;
pub use workload::WorkloadEvent;

/// One thing that happened. `kind()` and `fields()` are what is stored; names of both are stable.
#[derive(Clone, Debug)]
pub enum AuditEvent {
    /// Something about requests, grants and locks.
    Access(AccessEvent),
    /// Something that a provider said after the sign-in.
    Provider(ProviderEvent),
    /// The server started; `interrupted` recordings were sealed.
    ServerStarted {
        /// Version of the program.
        version: String,
        /// Recordings found open and sealed as interrupted.
        interrupted: usize,
    },
    /// Another policy holds from here on.
    PolicyLoaded {
        /// Digest of the new policy.
        digest: String,
        /// Digest of the one before.
        replaces: String,
        /// Roles in it, templates not counted.
        roles: usize,
        /// Targets in it.
        targets: usize,
    },
    /// The policy's files changed and were refused; the policy before stays in force.
    PolicyRefused {
        /// Digest of the policy that stays.
        keeps: String,
        /// How many problems were found.
        problems: usize,
        /// The first of them, with file and line.
        first: String,
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
        /// Live sign-ins of the same key, which ended with this one.
        replaced: Vec<SignInId>,
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
        /// Who ended it: `provider:subject`, `admin` for the command on the server, `provider` when the provider said no
        /// or logged the person out, `outage` when it gave no answer for too long.
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
        /// What was shown: `certificate`, `request` or `logout-token`.
        what: &'static str,
        /// Key id or fingerprint, as claimed; the provider of a logout token.
        claimed: String,
        /// Stable word, e.g. `expired`, `wrong-ca`.
        code: &'static str,
        /// Why, in full.
        reason: String,
        /// The client's address.
        from: String,
    },
    /// More credentials and sign-ins were refused than are written down one by one.
    RefusalsNotListed {
        /// The network they came from: an IPv4 address or the first address of a /64; `::` for many networks together.
        network: String,
        /// Start of the minute, in seconds since the epoch.
        since: u64,
        /// How many more.
        count: u64,
    },
    /// A session (or a certificate for one, or the end of a sign-in) was refused by policy.
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
        /// The roles that allow it, comma-separated.
        role: String,
        /// The grants it hangs on; none where access is standing.
        grants: Vec<GrantId>,
        /// The command rule that allowed it, where one did.
        rule: Option<String>,
        /// How sure that rule's verdict is: `enforced` or `detected`.
        assurance: Option<&'static str>,
        /// The files that an old copying program moves: `scp to the target: /srv/x`.
        transfer: Option<String>,
        /// The command line that the target gets, where it is not the client's byte for byte.
        sent: Option<String>,
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
        /// Why: `finished`, `client-gone`, `target-gone`, `idle`, `session-max`, `sign-in-ended`, `policy`, `killed`, `recorder`, `drain`,
        /// `overflow`, `protocol`, `target-refused`, `interrupted`.
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
    /// A forward, or the use of the client's agent or display, was permitted; nothing was sent to the target yet. For a
    /// listener at the target and again for each connection that comes in there.
    ForwardOpened {
        /// Which, within its session.
        number: u64,
        /// The session whose connection to the target carries it.
        session: SessionId,
        /// Who.
        who: Identity,
        /// The sign-in.
        sign_in: SignInId,
        /// Target.
        target: String,
        /// Login.
        login: String,
        /// `local` (the target connects), `listen` (the target listens) or `remote` (somebody came to such a listener,
        /// or a program at the target uses agent or display).
        direction: &'static str,
        /// `tcp`, `socket`, `agent` or `x11`.
        kind: &'static str,
        /// `HOST:PORT` or path, as asked for; empty for agent and display.
        what: String,
        /// What the target is asked for, or who came: addresses.
        addresses: Vec<String>,
        /// The roles that allow it.
        role: String,
        /// Digest of the policy that allowed it.
        policy: String,
        /// The client's address.
        from: String,
    },
    /// It ended.
    ForwardClosed {
        /// Which, within its session.
        number: u64,
        /// The session.
        session: SessionId,
        /// Why: `finished`, `refused` (by the target or, for `remote`, by the client), `client-gone`, `target-gone`,
        /// `policy`, and the words of `SessionClosed`.
        reason: &'static str,
        /// Bytes from client to target.
        bytes_in: u64,
        /// Bytes from target to client.
        bytes_out: u64,
        /// How long it was open, in milliseconds.
        lasted_ms: u64,
    },
    /// In an sftp session something is about to be done to a file (nothing was sent to the target yet), or was refused.
    FileOperation {
        /// The session.
        session: SessionId,
        /// `read`, `write`, `create`, `remove`, `rename`, `setattr`, `symlink`, `mkdir`, `list`; `extended` for an
        /// extension that is not known.
        op: &'static str,
        /// The path, as the target resolved it; as the client wrote it when it did not come to that. For `extended`
        /// the name of the extension. What is not UTF-8 is `\xNN`.
        path: String,
        /// The new name (`rename`), where it leads (`symlink`), what it is of (`create` for a hard link, `write` for a
        /// copy).
        second: Option<String>,
        /// Whether it is sent to the target.
        allowed: bool,
        /// The path rule that spoke.
        rule: String,
    },
    /// In an sftp session content passed, and the file was closed, or the session ended before that.
    FileTransferred {
        /// The session.
        session: SessionId,
        /// The path.
        path: String,
        /// `read` (from the target) or `write`.
        direction: &'static str,
        /// Bytes of content that passed.
        bytes: u64,
        /// SHA-256 of the content in hex, when the whole of it passed, each byte once, and nothing failed.
        sha256: Option<String>,
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
    /// Somebody looked at what others have and do.
    Looking(LookingEvent),
    /// A notice or an alert, see there.
    Telling(TellingEvent),
    /// Somebody watched or ended a live session.
    Watching(WatchingEvent),
    /// What becomes of recordings.
    Archive(ArchiveEvent),
    /// Something about this log itself.
    Log(LogEvent),
    /// Something about revocations.
    Revocation(RevocationEvent),
    /// Something about recordings beside their sessions.
    Recording(RecordingEvent),
    /// Something about jobs and service accounts.
    Workload(WorkloadEvent),
}
