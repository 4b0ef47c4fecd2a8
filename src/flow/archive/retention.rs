//! For how long a recording is kept: by the roles its session was opened under and the labels of its target. Pure.

use std::time::Duration;

use crate::config::{Archive, Retention};
use crate::policy::Policy;

/// One day.
pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// Days; none when it is kept for good. Of several rules that fit the longest counts, for what one of them wants kept must not
/// go because of another; where none fits, the default.
pub(super) fn days(config: &Archive, roles: &[String], target: &str, policy: &Policy) -> Option<u32> {
    let labels =
        policy.targets.iter().find(|(name, _)| name.as_str() == target).map(|(_, target)| &target.labels);
    let fits = |rule: &&Retention| {
        let role = rule.role.as_ref().is_none_or(|role| roles.contains(role));
        let label = rule.label.as_ref().is_none_or(|(key, value)| {
            labels.is_some_and(|labels| labels.get(key).is_some_and(|found| found == value))
        });
        role && label
    };
    let longest = config.retention.iter().filter(fits).map(|rule| rule.days).max();
    longest.or(config.retention_days).map(|days| u32::try_from(days).unwrap_or(u32::MAX))
}
