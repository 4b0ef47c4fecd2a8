//! The question and its no: what somebody wants to do, in which circumstances, and how a refusal reads. Every kind of
//! channel, request and global request that SSH knows is one [`Act`]; there is no other way to ask.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::access::{Grant, Lock};
use crate::ids::SessionId;
use crate::names::{LoginName, TargetName};
use crate::time::Timestamp;

/// Kinds of channel a role can open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChannelKind {
    /// A shell, with or without a terminal.
    Shell,
    /// One command.
    Exec,
    /// The `sftp` subsystem.
    Sftp,
    /// The old `scp -t` and `scp -f`. A role that opens `exec` without command rules opens these as well.
    Scp,
    /// `rsync --server`. As `Scp`.
    Rsync,
    /// `git-upload-pack`, `git-receive-pack`, `git-upload-archive`. As `Scp`.
    Git,
}

impl ChannelKind {
    /// Every kind, in the order people are told of them.
    pub const ALL: [Self; 6] = [Self::Shell, Self::Exec, Self::Sftp, Self::Scp, Self::Rsync, Self::Git];

    /// The kind as the policy file and refusals write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shell => "shell",
            Self::Exec => "exec",
            Self::Sftp => "sftp",
            Self::Scp => "scp",
            Self::Rsync => "rsync",
            Self::Git => "git",
        }
    }
}

/// What somebody wants to do on a target. One per channel or request; the same type for every door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The target's name as the client gave it.
    pub target: TargetName,
    /// The account.
    pub login: LoginName,
    /// What in particular.
    pub act: Act,
}

/// The particular thing asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// A shell (RFC 4254 section 6.5 `shell`).
    Shell {
        /// With a pseudo-terminal.
        pty: bool,
    },
    /// One command (`exec`), as the bytes the client sent.
    Exec {
        /// The command line.
        command: Vec<u8>,
        /// With a pseudo-terminal.
        pty: bool,
    },
    /// A subsystem by name; only `sftp` is known.
    Subsystem {
        /// Its name.
        name: String,
    },
    /// An environment variable for a later program (RFC 4254 section 6.4 `env`).
    Env {
        /// Its name. The value is not judged.
        name: String,
    },
    /// A connection from the target to an address (`direct-tcpip`; `-L`, `-D`, `-W`).
    LocalForward {
        /// Host as the client wrote it.
        host: String,
        /// TCP port.
        port: u32,
        /// What the host is when it is a name: resolved by the door, which has I/O, before it asks.
        resolved: Vec<IpAddr>,
    },
    /// A connection from the target to a unix socket there (`direct-streamlocal@openssh.com`).
    LocalSocket {
        /// Path on the target.
        path: String,
    },
    /// A listener on the target (`tcpip-forward`; `-R`).
    RemoteForward {
        /// Address to bind there, as the client wrote it.
        host: String,
        /// TCP port; 0 lets the target choose.
        port: u32,
    },
    /// A unix socket to listen on at the target (`streamlocal-forward@openssh.com`).
    RemoteSocket {
        /// Path on the target.
        path: String,
    },
    /// The client's ssh-agent, for programs on the target (`auth-agent-req@openssh.com`).
    Agent,
    /// The client's X server, for programs on the target (`x11-req`).
    X11,
    /// A network interface (`tun@openssh.com`). Always refused.
    Tun,
    /// A channel type or request that this server does not know. Always refused.
    Unknown {
        /// What the client called it.
        name: String,
    },
}

impl fmt::Display for Act {
    /// In one line, for audit and people: `shell`, `exec: uname -a`, `subsystem: sftp`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shell { .. } => f.write_str("shell"),
            Self::Exec { command, .. } => write!(f, "exec: {}", String::from_utf8_lossy(command)),
            Self::Subsystem { name } => write!(f, "subsystem: {name}"),
            Self::Env { name } => write!(f, "env: {name}"),
            Self::LocalForward { host, port, .. } => write!(f, "forward: {host}:{port}"),
            Self::LocalSocket { path } => write!(f, "forward: {path}"),
            Self::RemoteForward { host, port } => write!(f, "remote forward: {host}:{port}"),
            Self::RemoteSocket { path } => write!(f, "remote forward: {path}"),
            Self::Agent => f.write_str("agent forwarding"),
            Self::X11 => f.write_str("X11 forwarding"),
            Self::Tun => f.write_str("tun"),
            Self::Unknown { name } => write!(f, "unknown: {name}"),
        }
    }
}

/// What a verdict depends on besides the policy and the person. `now` and the address are arguments, so that every
/// rule about time and place is a row in a test.
#[derive(Clone, Debug)]
pub struct Circumstances {
    /// The moment.
    pub now: Timestamp,
    /// The client's address.
    pub from: IpAddr,
    /// The bastion's own addresses, to which nothing is forwarded by accident. Needed for forwards only.
    pub own: Arc<[IpAddr]>,
    /// What the store holds for and against it.
    pub held: Held,
}

/// Grants and locks, as they stand in the store at the moment of a verdict.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// What opens roles that are by request.
    pub granted: Granted,
    /// What closes everything.
    pub locks: Arc<[Lock]>,
    /// The session that is judged again: what it used up is still its own.
    pub session: Option<SessionId>,
}

impl Held {
    /// For explanations: nothing granted, or everything that could be asked for.
    pub fn of(granted: bool) -> Self {
        Self { granted: if granted { Granted::Assumed } else { Granted::default() }, ..Self::default() }
    }
}

/// What opens roles that are by request.
#[derive(Clone, Debug)]
pub enum Granted {
    /// These grants, of whomever they are.
    Only(Arc<[Grant]>),
    /// Whatever could be asked for: to explain what a grant would open. No door says this.
    Assumed,
}

impl Default for Granted {
    fn default() -> Self {
        Self::Only(Arc::default())
    }
}

/// A no, as an answer: not an error. `code` is stable and documented, `text` is one line for the user and says
/// what to do next, `reason` is the fuller text for the audit. Unknown and forbidden targets get the same `text`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Stable code, e.g. `no-access`.
    pub code: RefusalCode,
    /// For a command: the rule that spoke, as `Finding::rule` names it.
    pub rule: Option<String>,
    /// One line for the user.
    pub text: String,
    /// For the audit only.
    pub reason: String,
}

impl Refusal {
    /// What the person reads, with the code: behind the text, or before it where that ends with a command to be copied.
    pub fn line(&self) -> String {
        let (text, code) = (&self.text, self.code.as_str());
        if self.code == RefusalCode::ByRequest {
            format!("[{code}] {text}")
        } else {
            format!("{text} [{code}]")
        }
    }

    /// What a program that was not started ends with: 126 for a command that was judged and refused, as shells say
    /// "found, but not executed"; 255 otherwise, as ssh says "it did not come to that".
    pub fn exit_status(&self) -> u32 {
        match self.code {
            RefusalCode::Command | RefusalCode::Opaque | RefusalCode::Review | RefusalCode::File => 126,
            RefusalCode::NoAccess
            | RefusalCode::ChannelKind
            | RefusalCode::Principal
            | RefusalCode::SignInEnded
            | RefusalCode::Limit
            | RefusalCode::Unknown
            | RefusalCode::Source
            | RefusalCode::Hours
            | RefusalCode::Env
            | RefusalCode::Forward
            | RefusalCode::Agent
            | RefusalCode::X11
            | RefusalCode::Tun
            | RefusalCode::ByRequest
            | RefusalCode::Locked
            | RefusalCode::Unchecked
            | RefusalCode::Revoked
            | RefusalCode::Killed => 255,
        }
    }
}

/// Stable codes of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusalCode {
    /// No role opens this target with this login for this person, or there is no such target.
    NoAccess,
    /// A role opens the target, but not this kind of channel.
    ChannelKind,
    /// The certificate does not name this login.
    Principal,
    /// The sign-in has ended.
    SignInEnded,
    /// A limit of the server is reached. Of a command: it could not be judged for the moment.
    Limit,
    /// A request that this server does not know.
    Unknown,
    /// A role would open it, but not from this network.
    Source,
    /// A role would open it, but not at this time.
    Hours,
    /// No rule allows this command, or one denies it.
    Command,
    /// The command cannot be read exactly, and the role does not allow such.
    Opaque,
    /// The command needs somebody's approval.
    Review,
    /// No rule allows this operation on this file, or one denies it.
    File,
    /// This environment variable may not pass.
    Env,
    /// No rule allows this forward.
    Forward,
    /// No role allows agent forwarding.
    Agent,
    /// No role allows X11 forwarding.
    X11,
    /// Network interfaces are never forwarded.
    Tun,
    /// A role opens it to those who ask, and nothing is granted now.
    ByRequest,
    /// The person, the target or the role is locked.
    Locked,
    /// The identity provider has not confirmed the person for too long.
    Unchecked,
    /// The certificate, its key or the session was revoked.
    Revoked,
    /// Somebody ordered this session to end.
    Killed,
}

impl Refusal {
    /// The word for the end of what it takes away: `killed` by order, else `policy`.
    pub fn end_word(&self) -> &'static str {
        if self.code == RefusalCode::Killed { "killed" } else { "policy" }
    }
}

impl RefusalCode {
    /// Every code.
    pub const ALL: [Self; 22] = [
        Self::NoAccess,
        Self::ChannelKind,
        Self::Principal,
        Self::SignInEnded,
        Self::Limit,
        Self::Unknown,
        Self::Source,
        Self::Hours,
        Self::Command,
        Self::Opaque,
        Self::Review,
        Self::File,
        Self::Env,
        Self::Forward,
        Self::Agent,
        Self::X11,
        Self::Tun,
        Self::ByRequest,
        Self::Locked,
        Self::Unchecked,
        Self::Revoked,
        Self::Killed,
    ];

    /// The code as users see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoAccess => "no-access",
            Self::ChannelKind => "channel-kind",
            Self::Principal => "principal",
            Self::SignInEnded => "sign-in-ended",
            Self::Limit => "limit",
            Self::Unknown => "unknown-request",
            Self::Source => "source-network",
            Self::Hours => "hours",
            Self::Command => "command",
            Self::Opaque => "opaque-command",
            Self::Review => "review",
            Self::File => "file",
            Self::Env => "env",
            Self::Forward => "forward",
            Self::Agent => "agent-forwarding",
            Self::X11 => "x11-forwarding",
            Self::Tun => "tun",
            Self::ByRequest => "by-request",
            Self::Locked => "locked",
            Self::Unchecked => "unchecked",
            Self::Revoked => "revoked",
            Self::Killed => "killed",
        }
    }
}
