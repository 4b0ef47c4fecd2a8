//! What holds when the file says nothing, and the ranges of what it may say: the one table. `config/caponier.toml`
//! repeats the defaults for people; a test compares the two.

use std::time::Duration;

use super::RecordingIndex;
use super::checks::Outage;
use super::provider::RefreshToken;
use super::units::Bounds;

const fn secs(default: u64, min: u64, max: u64) -> Bounds<Duration> {
    Bounds {
        default: Duration::from_secs(default),
        min: Duration::from_secs(min),
        max: Duration::from_secs(max),
    }
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// `state_dir`.
pub(crate) const STATE_DIR: &str = "/var/lib/caponier";

/// `ssh.listen`.
pub(crate) const SSH_LISTEN: &str = "0.0.0.0:2222";
/// `ssh.public_port`; the default is the port listened on.
pub(crate) const SSH_PUBLIC_PORT: Bounds<u64> = Bounds { default: 0, min: 1, max: 65_535 };
/// `ssh.connections_max`.
pub(crate) const SSH_CONNECTIONS_MAX: Bounds<u64> = Bounds { default: 1024, min: 1, max: 65_536 };
/// `ssh.unauthenticated_max`.
pub(crate) const SSH_UNAUTHENTICATED_MAX: Bounds<u64> = Bounds { default: 64, min: 1, max: 65_536 };
/// `ssh.login_grace`: long enough to sign in with a browser while `ssh` waits.
pub(crate) const SSH_LOGIN_GRACE: Bounds<Duration> = secs(3 * MINUTE, 5, 15 * MINUTE);

/// `web.listen`.
pub(crate) const WEB_LISTEN: &str = "127.0.0.1:8443";

/// The SQLite file below `state_dir`.
pub(crate) const STORE_FILE: &str = "caponier.db";
/// The folder of the CA keys below `state_dir`.
pub(crate) const CA_DIR: &str = "ca";

/// `certificates.life`, and the range of a role's `certificate_max`; the upper end is also the signer's own cap.
pub(crate) const CERTIFICATE_LIFE: Bounds<Duration> = secs(5 * MINUTE, 30, 15 * MINUTE);
/// `certificates.bind_source_address`.
pub(crate) const BIND_SOURCE_ADDRESS: bool = false;

/// `sign_in.life`.
pub(crate) const SIGN_IN_LIFE: Bounds<Duration> = secs(10 * HOUR, 5 * MINUTE, DAY);

/// `sign_in.check_every`. The longest time for which somebody who was put out at the provider keeps what is open.
pub(crate) const CHECK_EVERY: Bounds<Duration> = secs(10 * MINUTE, 1, 4 * HOUR);
/// `sign_in.provider_outage`: a bastion is what the provider is repaired through.
pub(crate) const PROVIDER_OUTAGE: Outage = Outage::Keep;
/// `sign_in.provider_outage_max`.
pub(crate) const PROVIDER_OUTAGE_MAX: Bounds<Duration> = secs(HOUR, 1, DAY);
/// `issuer.age_max`: a job asks for its token just before it comes here, whatever `exp` says.
pub(crate) const TOKEN_AGE: Bounds<Duration> = secs(5 * MINUTE, 10, HOUR);
/// `issuer.run_max`, and of service accounts in the policy: how long a run's sign-in lasts when nobody says that it is over.
pub(crate) const RUN: Bounds<Duration> = secs(HOUR, MINUTE, DAY);
/// The keys that refresh tokens are sealed under, below `state_dir`, unless `sign_in.key_file` or `key_env` is set.
pub(crate) const KEYS_FILE: &str = "sign_in_keys";

/// `provider.refresh_token`.
pub(crate) const REFRESH_TOKEN: RefreshToken = RefreshToken::Auto;
/// `provider.scopes`, beside `openid`, which is always asked for.
pub(crate) const SCOPES: [&str; 2] = ["profile", "email"];
/// `provider.algorithms`.
pub(crate) const ALGORITHMS: [&str; 3] = ["RS256", "ES256", "EdDSA"];
/// What `provider.algorithms` may list: asymmetric signatures that the OpenID library verifies.
pub(crate) const ALGORITHMS_KNOWN: [&str; 9] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];
/// `provider.claim_subject`.
pub(crate) const CLAIM_SUBJECT: &str = "sub";
/// `provider.claim_display`.
pub(crate) const CLAIM_DISPLAY: [&str; 2] = ["name", "email"];
/// `provider.claim_groups`.
pub(crate) const CLAIM_GROUPS: &str = "groups";

/// `sessions.max`, and the range of a role's `session_max`.
pub(crate) const SESSION_MAX: Bounds<Duration> = secs(12 * HOUR, 1, 7 * DAY);
/// `sessions.idle`, and the range of a role's `idle_max`.
pub(crate) const SESSION_IDLE: Bounds<Duration> = secs(HOUR, 1, 7 * DAY);
/// `sessions.dial`.
pub(crate) const SESSION_DIAL: Bounds<Duration> = secs(10, 1, 2 * MINUTE);
/// `sessions.env`.
pub(crate) const SESSION_ENV: [&str; 2] = ["LANG", "LC_*"];

/// The folder of the recordings below `state_dir`.
pub(crate) const RECORDING_DIR: &str = "recordings";
/// `recording.input`.
pub(crate) const RECORDING_INPUT: bool = false;
/// `recording.index`.
pub(crate) const RECORDING_INDEX: RecordingIndex = RecordingIndex::Screen;
/// `recording.exec_output_max`, in bytes.
pub(crate) const RECORDING_EXEC_OUTPUT_MAX: Bounds<u64> = Bounds { default: 1 << 20, min: 0, max: 1 << 30 };
/// `recording.part_max`, in bytes.
pub(crate) const RECORDING_PART_MAX: Bounds<u64> =
    Bounds { default: 256 << 20, min: 64 << 10, max: 16 << 30 };
/// `recording.free_min`, in bytes.
pub(crate) const RECORDING_FREE_MIN: Bounds<u64> = Bounds { default: 256 << 20, min: 0, max: 1 << 40 };

/// `archive.region`.
pub(crate) const ARCHIVE_REGION: &str = "us-east-1";
/// `archive.path_style`.
pub(crate) const ARCHIVE_PATH_STYLE: bool = false;
/// `archive.zstd_level`. The default packs the output of terminals to a fifth; the next levels cost more than they give.
pub(crate) const ARCHIVE_ZSTD_LEVEL: Bounds<u64> = Bounds { default: 3, min: 1, max: 19 };
/// `archive.keep_local`.
pub(crate) const ARCHIVE_KEEP_LOCAL: Bounds<Duration> = secs(7 * DAY, 0, 3650 * DAY);
/// `archive.retention_days` and `archive.retention.days`. There is no default: recordings are kept.
pub(crate) const ARCHIVE_RETENTION_DAYS: Bounds<u64> = Bounds { default: 365, min: 1, max: 36_500 };

/// `notify.give_up`.
pub(crate) const NOTIFY_GIVE_UP: Bounds<Duration> = secs(DAY, MINUTE, 7 * DAY);
/// `notify.keep`.
pub(crate) const NOTIFY_KEEP: Bounds<Duration> = secs(30 * DAY, HOUR, 366 * DAY);
/// `notify.webhook.timeout` and `notify.mail.timeout`. Well below the time for which a delivery is claimed.
pub(crate) const NOTIFY_TIMEOUT: Bounds<Duration> = secs(10, 1, 30);

/// `[audit] checkpoint_every`
pub(crate) const AUDIT_CHECKPOINT: Bounds<Duration> = secs(MINUTE, 1, HOUR);
/// `[[audit.sink]] behind_max`
pub(crate) const AUDIT_BEHIND: Bounds<Duration> = secs(5 * MINUTE, 1, DAY);
/// `alerts.RULE.count`; the default is the rule's.
pub(crate) const ALERT_COUNT: Bounds<u64> = Bounds { default: 1, min: 1, max: 1000 };
/// `alerts.RULE.window`; the default is the rule's.
pub(crate) const ALERT_WINDOW: Bounds<Duration> = secs(HOUR, 10, DAY);
/// `alerts.odd_hours.zone`.
pub(crate) const ALERT_ZONE: &str = "UTC";
/// `alerts.odd_hours.days`.
pub(crate) const ALERT_DAYS: [&str; 5] = ["mon", "tue", "wed", "thu", "fri"];
/// `alerts.odd_hours.from`.
pub(crate) const ALERT_FROM: &str = "07:00";
/// `alerts.odd_hours.to`.
pub(crate) const ALERT_TO: &str = "20:00";

/// `policy.file`, beside the configuration.
pub(crate) const POLICY_FILE: &str = "policy.toml";
/// `log.format`.
pub(crate) const LOG_FORMAT: &str = "text";

/// A role's `request.max`: the longest grant.
pub(crate) const REQUEST_MAX: Bounds<Duration> = secs(HOUR, MINUTE, 30 * DAY);
/// `request.pending_max`: how long a request may wait.
pub(crate) const REQUEST_PENDING: Bounds<Duration> = secs(DAY, MINUTE, 30 * DAY);
/// Spans in the rules for requests: when to remind, to escalate, to give up, and how old an approval may be.
pub(crate) const REQUEST_SPAN: Bounds<Duration> = secs(HOUR, 1, 365 * DAY);
/// Fewest characters of a reason, where the rules do not say.
pub(crate) const REQUEST_REASON_MIN: usize = 5;
