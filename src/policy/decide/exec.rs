//! Whether a command may run. Roles without command rules allow every command. Rules of several roles meet like this:
//! a deny rule that matches denies, a review rule that matches holds, whatever other roles say; beyond that it is
//! enough that one role allows. A default alone ("no rule matches") takes nothing away from another role; but a set with
//! deny or review rules stops what it cannot understand, unless a rule or a pin of another role means just that.
//!
//! Old copying programs (`scp -t`, `rsync --server`, `git-upload-pack`) are commands; a role that does not open them as
//! such can open them by name, and then its path rules judge them.

use super::open::{Open, done_under};
use super::{CommandPass, Verdict, allow, allow_under, refuse, wrong_kind};
use crate::identity::Identity;
use crate::inspect::command::Reading;
use crate::inspect::transfer::{self, Tool, Transfer, Unclear};
use crate::policy::commands::{self, Assurance, Finding};
use crate::policy::files::{self, FileRules};
use crate::policy::{Ask, ChannelKind, Circumstances, Refusal, RefusalCode, Target};

/// What one role says of the command: none where it has no rules.
struct Said<'p> {
    role: &'p Open<'p>,
    finding: Option<Finding>,
}

pub(super) fn judge(
    who: &Identity,
    ask: &Ask,
    target: &Target,
    command: &[u8],
    opening: &[&Open<'_>],
    at: &Circumstances,
) -> Verdict {
    let reading = Reading::of(command, target.dialect).of_party(who.reference());
    let roles = opening.iter().filter(|role| role.opens(ChannelKind::Exec));
    let said: Vec<Said<'_>> = roles.map(|role| Said { role, finding: strictest(role, &reading) }).collect();
    let findings = || said.iter().filter_map(|said| said.finding.as_ref());
    let explicit = findings().filter(|finding| finding.explicit).max_by_key(|finding| finding.verdict);
    if let Some(against) = explicit.filter(|finding| finding.verdict != commands::Verdict::Allow) {
        return refused(ask, &reading, against);
    }
    let allows = |said: &&Said<'_>| {
        said.finding.as_ref().is_none_or(|finding| finding.verdict == commands::Verdict::Allow)
    };
    let allowing: Vec<&Open<'_>> = said.iter().filter(allows).map(|said| said.role).collect();
    if let Some(against) = objection(&said, &allowing, &reading) {
        return refused(ask, &reading, &against);
    }
    let moved = moved(&reading);
    if let Some(verdict) = allow(target, &allowing, at) {
        return with(verdict, pass(&reading, &said, moved.ok().flatten()));
    }
    if let Some(verdict) = by_transfer(ask, target, &reading, moved, opening, at) {
        return verdict;
    }
    match findings().min_by_key(|finding| finding.verdict) {
        Some(against) => refused(ask, &reading, against),
        None => wrong_kind(ask, ChannelKind::Exec, opening),
    }
}

/// A set that refuses a line by default says nothing of what it cannot understand in it. Where another role lets the line
/// through, and by no rule or pin, it is asked whether its deny and review rules are certain not to mean it.
fn objection(said: &[Said<'_>], allowing: &[&Open<'_>], reading: &Reading) -> Option<Finding> {
    let allowed = |finding: &Finding| finding.verdict == commands::Verdict::Allow && finding.explicit;
    if allowing.is_empty() || said.iter().filter_map(|said| said.finding.as_ref()).any(allowed) {
        return None;
    }
    let sets = said.iter().flat_map(|said| said.role.command_sets());
    sets.filter_map(|set| set.objection(reading)).max_by_key(|finding| finding.verdict)
}

fn with(verdict: Verdict, pass: CommandPass) -> Verdict {
    match verdict {
        Verdict::Allow(mut allowance) => {
            allowance.command = Some(pass);
            Verdict::Allow(allowance)
        }
        refuse @ Verdict::Refuse(_) => refuse,
    }
}

/// What files the line moves, where it is one command and an old copying program.
fn moved(reading: &Reading) -> Result<Option<Transfer>, Unclear> {
    match reading.argvs() {
        Some([argv]) => transfer::recognise(argv),
        Some(_) | None => Ok(None),
    }
}

/// The verdict of the roles that open the copying program by its own name; none where that is not the question.
fn by_transfer(
    ask: &Ask,
    target: &Target,
    reading: &Reading,
    moved: Result<Option<Transfer>, Unclear>,
    opening: &[&Open<'_>],
    at: &Circumstances,
) -> Option<Verdict> {
    let of = |kinds: &[ChannelKind]| -> Vec<&Open<'_>> {
        opening.iter().filter(|role| kinds.iter().any(|kind| role.opens(*kind))).copied().collect()
    };
    let no = |why: &str| {
        let text = format!("file transfer refused: {why}; use sftp, or ask an administrator");
        by_rule(refuse(ask, RefusalCode::File, text, why.to_owned()), &format!("files: {why}"))
    };
    let moved = match moved {
        Ok(moved) => moved?,
        Err(unclear) => {
            let roles = of(&[ChannelKind::Scp, ChannelKind::Rsync, ChannelKind::Git]);
            return (!roles.is_empty()).then(|| no(&unclear.to_string()));
        }
    };
    let kind = match moved.tool {
        Tool::Scp => ChannelKind::Scp,
        Tool::Rsync => ChannelKind::Rsync,
        Tool::Git => ChannelKind::Git,
    };
    let all = of(&[kind]);
    if all.is_empty() {
        return None;
    }
    let judged = |roles: &[&Open<'_>]| {
        let rules: Vec<FileRules> = roles.iter().map(|role| role.files.clone()).collect();
        files::judge_transfer(&rules, &moved)
    };
    // What is for one use is taken only where the others do not allow it.
    let mut roles = done_under(&all, false);
    let mut verdict = judged(&roles);
    if !verdict.allowed {
        roles = done_under(&all, true);
        verdict = judged(&roles);
    }
    if !verdict.allowed {
        return Some(no(&verdict.rule));
    }
    let send = reading.text().map_or_else(|| reading.raw().to_vec(), |text| text.as_bytes().to_vec());
    let rule = Some((format!("files: {}", verdict.rule), Assurance::Enforced));
    Some(with(allow_under(target, &roles, at)?, CommandPass { send, rule, transfer: Some(moved) }))
}

/// All sets of a role must allow: the strictest of them speaks, and of equals one whose rule matched.
fn strictest(role: &Open<'_>, reading: &Reading) -> Option<Finding> {
    let findings = role.command_sets().map(|set| set.judge(reading));
    findings.max_by_key(|finding| (finding.verdict, finding.explicit))
}

/// What is sent: our own text wherever a rule judged the words, so that what was checked is what runs.
fn pass(reading: &Reading, said: &[Said<'_>], transfer: Option<Transfer>) -> CommandPass {
    let allowing = said.iter().filter_map(|said| said.finding.as_ref());
    let by_rule =
        allowing.filter(|finding| finding.verdict == commands::Verdict::Allow).min_by_key(|finding| {
            // A matching rule is a better reason than a default.
            !finding.explicit
        });
    let ruled = said.iter().any(|said| said.finding.is_some());
    let verbatim = by_rule.is_some_and(|finding| finding.verbatim);
    let send = match reading.text() {
        Some(text) if ruled && !verbatim => text.as_bytes().to_vec(),
        Some(_) | None => reading.raw().to_vec(),
    };
    let rule = by_rule.map(|finding| (finding.rule.clone(), finding.assurance));
    CommandPass { send, rule, transfer }
}

fn refused(ask: &Ask, reading: &Reading, against: &Finding) -> Verdict {
    let rule = &against.rule;
    let why = against.message.as_deref().unwrap_or(&against.why);
    let (code, text) = match (against.verdict, reading.opaque()) {
        _ if against.busy => (
            RefusalCode::Limit,
            format!("command refused for now by \"{rule}\": {why}; try again in a moment"),
        ),
        (commands::Verdict::Review, _) => (
            RefusalCode::Review,
            format!(
                "command needs approval by rule \"{rule}\" ({why}), and approvals are not there yet: ask an administrator"
            ),
        ),
        (_, Some(_)) if !against.explicit => (
            RefusalCode::Opaque,
            format!(
                "command refused by \"{rule}\": {why}; write it in plain words, or ask an administrator to pin the line"
            ),
        ),
        _ => (
            RefusalCode::Command,
            format!("command refused by rule \"{rule}\": {why}; ask an administrator if you need it"),
        ),
    };
    let reason = format!("{} ({}): {}", rule, against.assurance.as_str(), against.why);
    by_rule(refuse(ask, code, text, reason), rule)
}

/// The verdict with the rule that spoke.
fn by_rule(verdict: Verdict, rule: &str) -> Verdict {
    match verdict {
        Verdict::Refuse(refusal) => Verdict::Refuse(Refusal { rule: Some(rule.to_owned()), ..refusal }),
        allow @ Verdict::Allow(_) => allow,
    }
}
