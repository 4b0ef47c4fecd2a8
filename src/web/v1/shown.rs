//! A request as the API shows it: nothing that happened to it is left out. Decides form only.

use crate::access::{Approval, Case, Once, Party, Review, Scope, Stage, State};
use crate::flow::cases::Shown;
use crate::policy::request::{Eligible, Plan, RequestRules, Words};
use crate::store::GrantRow;
use crate::time::Timestamp;
use crate::web::api::requests::{
    ApprovalAnswer, AskingAnswer, ClosedAnswer, EligibleAnswer, GrantAnswer, OnceWord, PersonAnswer,
    PlanAnswer, RequestAnswer, ReviewAnswer, ScopeAnswer, StageAnswer, StageState, WordsAnswer,
};

/// Targets of a role that are listed.
const TARGETS_MAX: usize = 100;

/// The request at `now`.
pub(super) fn request(shown: Shown, now: Timestamp) -> RequestAnswer {
    let Shown { case, grant, may } = shown;
    let at = |at: Timestamp| at.as_secs();
    let closed = match &case.state {
        State::Waiting { .. } | State::Granted { .. } => None,
        State::Closed { at: when, by, note, .. } => {
            Some(ClosedAnswer { at: at(*when), by: by.as_ref().map(person), note: note.clone() })
        }
    };
    RequestAnswer {
        id: case.id.to_string(),
        by: person(&case.who),
        state: case.state.word().to_owned(),
        asked: scope(&case.asked),
        scope: scope(&case.scope),
        narrowed: case.asked != case.scope,
        start: case.start.map(at),
        reason: case.reason.clone(),
        ticket: case.ticket.clone(),
        break_glass: case.break_glass,
        filed: at(case.filed),
        expires: at(case.expires),
        stages: (0..).zip(&case.stages).map(|(number, one)| stage(&case, number, one)).collect(),
        approvers: case.approvers().listed(),
        missing: count(case.missing()),
        may: may.into_iter().map(str::to_owned).collect(),
        grant: grant.map(|row| granted(&row, &case, now)),
        closed,
        review: review(&case),
    }
}

/// What would become of a wish.
pub(super) fn plan(plan: &Plan) -> PlanAnswer {
    let stage = |stage: &Stage| bare(stage, Vec::new(), StageState::Next);
    PlanAnswer {
        scope: scope(&plan.scope),
        start: plan.start.map(Timestamp::as_secs),
        automatic: plan.automatic.map(count),
        break_glass: plan.break_glass.as_ref().map(crate::access::Approvers::listed),
        stages: plan.stages.iter().map(stage).collect(),
        pending: plan.pending_max.as_secs(),
    }
}

/// A role of somebody's.
pub(super) fn eligible(eligible: &Eligible<'_>) -> EligibleAnswer {
    let role = eligible.role;
    EligibleAnswer {
        role: role.name.to_string(),
        targets: eligible.targets.iter().take(TARGETS_MAX).map(ToString::to_string).collect(),
        target_count: count(eligible.targets.len()),
        logins: texts(&role.logins),
        channels: role.channels.iter().map(|kind| kind.as_str().to_owned()).collect(),
        asking: role.access.rules().map(asking),
    }
}

fn asking(rules: &RequestRules) -> AskingAnswer {
    AskingAnswer {
        max: rules.max.as_secs(),
        reason: words(&rules.reason),
        ticket: words(&rules.ticket),
        connect: rules.connect,
        automatic: !rules.automatic.is_empty(),
        stages: rules.stages.iter().map(|stage| stage.name.clone()).collect(),
        break_glass: rules.break_glass.is_some(),
    }
}

fn words(words: &Words) -> WordsAnswer {
    WordsAnswer {
        required: words.required,
        min: count(words.min),
        pattern: words.pattern.as_ref().map(|pattern| pattern.text.clone()),
    }
}

fn scope(scope: &Scope) -> ScopeAnswer {
    ScopeAnswer {
        role: scope.role.to_string(),
        targets: texts(&scope.targets),
        logins: texts(&scope.logins),
        commands: scope.commands.iter().cloned().collect(),
        seconds: scope.length.as_secs(),
        once: scope.once.map(|once| match once {
            Once::Session => OnceWord::Session,
            Once::Exec => OnceWord::Exec,
        }),
    }
}

fn stage(case: &Case, number: usize, stage: &Stage) -> StageAnswer {
    let approvals: Vec<ApprovalAnswer> =
        case.approvals.iter().filter(|one| one.stage == number).map(approval).collect();
    let waits_here = matches!(&case.state, State::Waiting { stage, .. } if *stage == number);
    let state = if waits_here {
        StageState::Now
    } else if approvals.len() >= stage.needed {
        StageState::Done
    } else {
        StageState::Next
    };
    bare(stage, approvals, state)
}

fn bare(stage: &Stage, approvals: Vec<ApprovalAnswer>, state: StageState) -> StageAnswer {
    let secs = |span: std::time::Duration| span.as_secs();
    StageAnswer {
        name: stage.name.clone(),
        approvers: stage.approvers.listed(),
        needed: count(stage.needed),
        approvals,
        state,
        remind_after: stage.remind_after.map(secs),
        escalate_after: stage.escalate.as_ref().map(|(after, _)| secs(*after)),
        escalate_to: stage.escalate.as_ref().map(|(_, to)| to.listed()).unwrap_or_default(),
        give_up_after: stage.give_up_after.map(secs),
    }
}

fn approval(approval: &Approval) -> ApprovalAnswer {
    ApprovalAnswer { by: person(&approval.by), at: approval.at.as_secs(), note: approval.note.clone() }
}

fn granted(row: &GrantRow, case: &Case, now: Timestamp) -> GrantAnswer {
    let grant = &row.grant;
    GrantAnswer {
        id: grant.id.to_string(),
        starts: grant.starts.as_secs(),
        until: grant.until.as_secs(),
        ended: grant.ended.map(Timestamp::as_secs),
        live: matches!(case.state, State::Granted { .. }) && grant.is_live(now),
        uses: row.uses,
    }
}

fn review(case: &Case) -> Option<ReviewAnswer> {
    let reviewers = case.reviewers.listed();
    match &case.review {
        Review::NotNeeded => None,
        Review::Due => Some(ReviewAnswer { due: true, reviewers, by: None, at: None, note: String::new() }),
        Review::Done { by, at, note } => Some(ReviewAnswer {
            due: false,
            reviewers,
            by: Some(person(by)),
            at: Some(at.as_secs()),
            note: note.clone(),
        }),
    }
}

fn person(who: &Party) -> PersonAnswer {
    PersonAnswer { who: who.reference.clone(), display: who.display.clone() }
}

fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn texts<T: ToString>(all: impl IntoIterator<Item = T>) -> Vec<String> {
    all.into_iter().map(|one| one.to_string()).collect()
}
