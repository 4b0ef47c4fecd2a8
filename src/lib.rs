//! Caponier: an SSH bastion and SSH certificate authority in one binary.
//!
//! This page is the map of the code. README.md says how to use the program, SECURITY.md what it defends against.
//!
//! # The picture
//!
//! ```text
//!  browser ── OpenID provider                     ┌────────────── caponier serve ──────────────┐
//!     │                                           │                                            │
//!     └──────────── https ──────────────────────▶ │ web ─▶ flow::sign_in, flow::issue ─▶ store │
//!  caponier login / ensure ── signed requests ──▶ │                                   └─▶ ca   │
//!                                                 │                                            │
//!  ssh -J bastion web1 ─▶ outer ─▶ inner ───────▶ │ gateway ─▶ flow::authorize ─▶ policy       │
//!   (certificate,          (host certificate      │         └▶ flow::session ─▶ recording      │ ─▶ sshd on web1
//!    minutes)               for "web1")           │                        └─▶ store, ca       │    (one-session
//!                                                 └────────────────────────────────────────────┘     certificate)
//! ```
//!
//! # The two ways through it
//!
//! **A sign-in**: [`web`] or the gateway's keyboard-interactive begins one ([`flow::sign_in`]); the browser goes to the
//! provider and comes back with a code; [`identity`] turns the verified token into an [`identity::Identity`]; the
//! sign-in row commits together with its audit entry; [`flow::issue`] drafts a certificate ([`ca::Draft`]), commits its
//! row, and only then has it signed ([`ca::Signer`]).
//!
//! **A session**: `gateway::outer` recognises the certificate ([`flow::recognise`], [`ca::verify`]); a jump channel gets
//! an `inner` SSH server; each session channel becomes an [`policy::Ask`] and meets [`flow::authorize`]; with the
//! `Permit`, [`flow::session`] starts the recording and commits session, certificate and audit entry; only then does
//! `gateway::upstream` dial; `gateway::relay` moves bytes: read, record, write.
//!
//! Proofs in order: `VerifiedToken` → [`flow::Caller`] → [`flow::authorize::Permit`] → [`flow::session::OpenSession`].
//! Their fields are private and each has one maker, so skipping a check does not compile.
//!
//! # The folders, importing downwards
//!
//! | folder | what it is |
//! |---|---|
//! | [`cli`], [`server`], [`demo`] | wiring: a person at a shell, the server's life, the demo |
//! | [`gateway`], [`web`], [`jobs`] | doors: SSH, HTTP, the clock |
//! | [`flow`] (with [`app`], [`config`]) | recipes: the only place that judges and writes; `ls src/flow` lists what the product does |
//! | [`store`] | rows; all SQL |
//! | [`identity`], [`policy`], [`inspect`], [`ca`], [`recording`], [`audit`], [`alerts`] | subjects: pure files, a few named I/O files |
//! | [`names`], [`mod@pattern`], [`place`], [`plain`], [`platform`], [`ids`], [`net`], [`time`], [`random`], [`secret`] | words: used by all, use nobody |
//!
//! # What is not there
//!
//! - No other way to a target than `gateway::upstream`, and none to it without an `OpenSession`.
//! - No clock and no randomness below [`app::App`]: `now` and `random` are arguments (clippy's `disallowed_methods`).
//! - No transaction that commits without an audit event ([`store::Tx::commit`]).
//! - No unbounded queue: the gateway's backlogs have a cap in bytes (`gateway::limits`).
//! - No endpoint of the API beside [`web::table`], and none without a permission (`tests/it/api`).
//! - No outside crate at home in two places (`tests/it/tidy.rs`).
//!
//! # When somebody asks
//!
//! - *What may pass?* [`mod@policy::decide`]. *Who asks it?* [`flow::authorize::authorize`] for the doors, and
//!   [`policy::outcome`] for `caponier policy test` and `explain`; nobody else.
//! - *What does a CI job's token say, and which runs are members?* [`identity::workload`], [`policy::workload`].
//! - *What may be done to a file?* [`policy::files`] says, [`inspect::sftp`] asks; what remains open stands there too.
//! - *What is revoked?* [`flow::revoke`]; [`ca::krl`] is the list that targets read, `contrib/krl-update` what fetches it.
//! - *Where do a session's bytes go?* `gateway/relay.rs`, from top to bottom.
//! - *What is written of a session, and when is it on the disk?* [`recording::recorder`]; *is it what it was?* [`recording::verify`], which
//!   [`flow::evidence`] compares with database and audit log; what the log says of it is [`flow::told`]'s.
//! - *Where do recordings go, and when are they deleted?* [`flow::archive`] decides, [`recording::archive`] has the objects.
//! - *Why is memory bounded when one side does not read?* `gateway/pressure.rs`.
//! - *What does the API serve, and to whom?* [`web::table`], judged by [`flow::permission`]. Its first lines say how to add to it.
//! - *Who has access, who had it, and who does not use it?* [`flow::look`]. *Who could get there?* [`policy::ways`].
//! - *Was the audit log altered?* [`audit::chain`] says what it must be, [`flow::log`] looks; copies go by `audit::sink`.
//! - *What is in the audit log?* [`audit::AuditEvent`], written down in [`audit::schema`]. *Who looks at it?* [`alerts::rules`], by [`flow::alert`].
//! - *Who is told, and how does it get there?* [`alerts::route`] and [`flow::tell`]; text of others is made harmless in [`plain`].

pub mod access;
pub mod alerts;
pub mod app;
pub mod audit;
pub mod ca;
pub mod cli;
pub mod config;
pub mod demo;
pub mod flow;
pub mod gateway;
pub mod identity;
pub mod ids;
pub mod inspect;
pub mod jobs;
pub mod names;
pub mod net;
pub mod pattern;
pub mod place;
pub mod plain;
pub mod platform;
pub mod policy;
pub mod random;
pub mod recording;
pub mod secret;
pub mod server;
pub mod store;
pub mod time;
pub mod web;
