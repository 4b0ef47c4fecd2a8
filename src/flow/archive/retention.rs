//! For how long a recording is kept: by the roles its session was opened under and the labels of its target; and from when
//! that is counted. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::{Archive, Retention};
use crate::policy::Policy;
use crate::time::Timestamp;

/// One day.
pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// Days; none when it is kept for good. Of several rules that fit the longest counts, for what one of them wants kept must not
/// go because of another; where none fits, the default. The labels of a target that the policy does not have any more are
/// not known: then it is the longest that any labels could give.
pub(super) fn days(config: &Archive, roles: &[String], target: &str, policy: &Policy) -> Option<u32> {
    let found = policy.targets.iter().find(|(name, _)| name.as_str() == target);
    judge(config, roles, found.map(|(_, target)| &target.labels))
}

fn judge(config: &Archive, roles: &[String], labels: Option<&BTreeMap<String, String>>) -> Option<u32> {
    let fits = |rule: &&Retention| {
        let role = rule.role.as_ref().is_none_or(|role| roles.contains(role));
        let label = rule.label.as_ref().is_none_or(|(key, value)| {
            labels.is_none_or(|labels| labels.get(key).is_some_and(|found| found == value))
        });
        role && label
    };
    let fitting: Vec<&Retention> = config.retention.iter().filter(fits).collect();
    let longest = fitting.iter().map(|rule| rule.days).max();
    let surely = labels.is_some() || fitting.iter().any(|rule| rule.label.is_none());
    let days = match longest {
        Some(longest) if surely => Some(longest),
        // It may have had labels that no rule fits, and then the default, which may be for good.
        Some(longest) => config.retention_days.map(|default| default.max(longest)),
        None => config.retention_days,
    };
    days.map(|days| u32::try_from(days).unwrap_or(u32::MAX))
}

/// From when the days are counted: from the session's end; but for sessions that were over before this process looked after
/// recordings, or for longer than a day, from now. Who turns retention on deletes nothing with that.
pub(super) fn counts_from(closed: Timestamp, began: Timestamp, now: Timestamp) -> Timestamp {
    if closed < began || closed.plus(DAY) < now { now.max(closed) } else { closed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ArchivePlace;

    fn config(default: Option<u64>, rules: &[(Option<&str>, Option<&str>, u64)]) -> Archive {
        let rule = |&(role, label, days): &(Option<&str>, Option<&str>, u64)| Retention {
            role: role.map(str::to_owned),
            label: label.map(|value| ("env".to_owned(), value.to_owned())),
            days,
        };
        Archive {
            place: ArchivePlace::Nowhere,
            encrypt_to: Vec::new(),
            zstd_level: 3,
            keep_local: DAY,
            retention_days: default,
            retention: rules.iter().map(rule).collect(),
        }
    }

    #[test]
    fn a_target_that_left_the_policy_is_kept_as_long_as_it_could_have_been() {
        let prod = (None, Some("prod"), 1825);
        let test = (None, Some("test"), 3);
        let of_role = (Some("ops"), None, 50);
        let of_both = (Some("dba"), Some("prod"), 9999);
        let rows = [
            // Default, rules, labels, days.
            (Some(10), vec![prod, test], Some("prod"), Some(1825)),
            (Some(10), vec![prod, test], Some("test"), Some(3)),
            (Some(10), vec![prod, test], Some("else"), Some(10)),
            (Some(10), vec![prod, test], None, Some(1825)),
            (Some(10), vec![test], None, Some(10)),
            (None, vec![prod, test], Some("prod"), Some(1825)),
            (None, vec![prod, test], None, None),
            (Some(10), vec![of_role, test], None, Some(50)),
            (None, vec![of_role, test], None, Some(50)),
            (None, vec![of_role, prod], None, Some(1825)),
            (Some(10), vec![of_both], None, Some(10)),
            (None, vec![], None, None),
        ];
        for (default, rules, label, expect) in rows {
            let labels = label.map(|value| BTreeMap::from([("env".to_owned(), value.to_owned())]));
            let got = judge(&config(default, &rules), &["ops".to_owned()], labels.as_ref());
            assert_eq!(got, expect, "{default:?} {rules:?} {label:?}");
        }
    }

    #[test]
    fn what_was_over_before_is_counted_from_now() {
        let at = |days: u32| Timestamp::from_secs(1_800_000_000).plus(DAY * days);
        let rows = [
            // Closed, this process began, now, from.
            (at(5), at(1), at(5), at(5)),
            (at(5), at(1), at(6), at(5)),
            (at(5), at(1), at(7), at(7)),
            (at(1), at(5), at(5), at(5)),
            (at(4), at(5), at(5), at(5)),
            // A clock that went back deletes nothing earlier.
            (at(5), at(6), at(4), at(5)),
        ];
        for (closed, began, now, expect) in rows {
            assert_eq!(counts_from(closed, began, now), expect, "{closed:?} {began:?} {now:?}");
        }
    }
}
