//! Every state meets every event, and rows for what people try.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::access::{Approvers, Scope, Stage};
use crate::identity::Kind;
use crate::random::Random;

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(1_000_000 + secs)
}

fn person(subject: &str, groups: &[&str]) -> Identity {
    Identity {
        kind: Kind::Person,
        provider: "corp".parse().unwrap(),
        issuer: "https://id.example".into(),
        subject: subject.into(),
        display: subject.into(),
        groups: groups.iter().map(|group| group.parse().unwrap()).collect(),
        run: None,
    }
}

fn dora() -> Identity {
    person("dora", &["corp:dev", "corp:leads"])
}

fn people(groups: &[&str]) -> Approvers {
    Approvers { groups: groups.iter().map(|group| group.parse().unwrap()).collect(), ..Approvers::default() }
}

fn stage(name: &str, groups: &[&str], needed: usize) -> Stage {
    Stage {
        name: name.into(),
        approvers: people(groups),
        needed,
        remind_after: Some(Duration::from_secs(600)),
        escalate: Some((Duration::from_secs(1200), people(&["corp:boss"]))),
        give_up_after: Some(Duration::from_secs(3000)),
    }
}

/// Two people of `leads`, then one of `owners`.
fn case() -> Case {
    let random = Random::seeded(1);
    let scope = Scope {
        role: "ops".parse().unwrap(),
        targets: ["web1".parse().unwrap()].into(),
        logins: ["deploy".parse().unwrap(), "root".parse().unwrap()].into(),
        commands: BTreeSet::new(),
        length: Duration::from_secs(1800),
        once: None,
    };
    Case {
        id: crate::ids::CaseId::random(&random),
        who: Party::of(&dora()),
        asked: scope.clone(),
        scope,
        start: None,
        reason: "OPS-1".into(),
        ticket: None,
        break_glass: false,
        filed: at(0),
        expires: at(86_400),
        stages: vec![stage("leads", &["corp:leads"], 2), stage("owners", &["corp:owners"], 1)],
        approvals: Vec::new(),
        state: State::Waiting { stage: 0, since: at(0), reminded: false, escalated: false },
        review: Review::NotNeeded,
        reviewers: Approvers::default(),
    }
}

fn grant() -> GrantId {
    GrantId::random(&Random::seeded(7))
}

fn yes(by: Identity) -> Event {
    Event::Approve { by, narrow: Narrowing::default(), note: String::new(), grant: grant() }
}

fn no(by: Identity, reason: &str) -> Event {
    Event::Deny { by, reason: reason.into() }
}

fn ann() -> Identity {
    person("ann", &["corp:leads"])
}

fn bob() -> Identity {
    person("bob", &["corp:leads"])
}

fn olga() -> Identity {
    person("olga", &["corp:owners"])
}

fn approved(case: &Case) -> Case {
    let case = step(case, yes(ann()), at(1)).unwrap().case;
    let case = step(&case, yes(bob()), at(2)).unwrap().case;
    step(&case, yes(olga()), at(3)).unwrap().case
}

#[test]
fn two_stages_and_a_quorum_open_one_grant() {
    let one = step(&case(), yes(ann()), at(1)).unwrap();
    assert_eq!((one.effects.as_slice(), one.case.missing()), (&[Effect::Approved][..], 1));
    let two = step(&one.case, yes(bob()), at(2)).unwrap();
    assert_eq!(two.effects, [Effect::Approved, Effect::NextStage]);
    assert_eq!(two.case.approvers(), people(&["corp:owners"]));
    assert_eq!(step(&two.case, yes(person("eve", &["corp:leads"])), at(3)).unwrap_err(), Denied::NotYours);
    let three = step(&two.case, yes(olga()), at(9)).unwrap();
    assert_eq!(three.effects, [Effect::AllApproved, Effect::Open]);
    let open = State::Granted { grant: grant(), starts: at(9), until: at(9 + 1800) };
    assert_eq!(three.case.state, open);
    assert_eq!(
        step(&three.case, yes(person("zoe", &["corp:owners"])), at(10)).unwrap_err(),
        Denied::Over("granted")
    );
}

#[test]
fn nobody_decides_alone_what_needs_others() {
    let first = step(&case(), yes(ann()), at(1)).unwrap().case;
    let both = person("ann", &["corp:leads", "corp:owners"]);
    let second = step(&first, yes(bob()), at(2)).unwrap().case;
    let rows = [
        (&case(), yes(dora()), Denied::Own, "her own, although she is of the leads"),
        (&case(), no(dora(), "x"), Denied::Own, "her own no"),
        (&first, yes(ann()), Denied::Twice, "one person counts once"),
        (&second, yes(both), Denied::Twice, "also in another stage"),
        (&case(), yes(olga()), Denied::NotYours, "not her stage yet"),
        (&case(), yes(person("max", &["corp:boss"])), Denied::NotYours, "not escalated yet"),
        (&case(), no(olga(), "x"), Denied::NotYours, "a no is a decision, too"),
        (&case(), no(ann(), " "), Denied::Reason, "a no without a word"),
    ];
    for (case, event, denied, what) in rows {
        assert_eq!(step(case, event, at(5)).unwrap_err(), denied, "{what}");
    }
    // Another provider's group of the same name, and another issuer's person of the same subject.
    let mut other = ann();
    other.provider = "other".parse().unwrap();
    assert_eq!(step(&case(), yes(other), at(5)).unwrap_err(), Denied::NotYours);
    let twin = Identity { issuer: "https://other.example".into(), ..person("dora", &["corp:leads"]) };
    assert!(step(&case(), yes(twin), at(5)).is_ok(), "the same subject of another issuer is somebody else");
}

#[test]
fn an_approver_takes_away_and_never_gives() {
    let narrow =
        |narrow: Narrowing| Event::Approve { by: ann(), narrow, note: String::new(), grant: grant() };
    let logins = |names: &[&str]| Some(names.iter().map(|name| name.parse().unwrap()).collect());
    let lines = |lines: &[&str]| Some(lines.iter().map(|line| (*line).to_owned()).collect());
    let secs = |secs| Some(Duration::from_secs(secs));
    let rows = [
        (Narrowing { length: secs(60), ..Narrowing::default() }, true),
        (Narrowing { length: secs(1801), ..Narrowing::default() }, false),
        (Narrowing { length: secs(0), ..Narrowing::default() }, false),
        (Narrowing { logins: logins(&["deploy"]), ..Narrowing::default() }, true),
        (Narrowing { logins: logins(&["admin"]), ..Narrowing::default() }, false),
        (Narrowing { logins: logins(&["deploy", "admin"]), ..Narrowing::default() }, false),
        (Narrowing { logins: logins(&[]), ..Narrowing::default() }, false),
        (Narrowing { commands: lines(&["id"]), ..Narrowing::default() }, true),
        (Narrowing { commands: lines(&[]), ..Narrowing::default() }, false),
    ];
    for (by, allowed) in rows {
        let done = step(&case(), narrow(by.clone()), at(1));
        assert_eq!(done.is_ok(), allowed, "{by:?}");
        if let Ok(done) = done {
            assert!(case().scope.covers(&done.case.scope) && done.case.scope != case().scope, "{by:?}");
            assert_eq!(done.case.asked, case().asked, "what was asked for stays on record");
        }
    }
    let first = step(&case(), narrow(Narrowing { commands: lines(&["id"]), ..Narrowing::default() }), at(1));
    let wider = Event::Approve {
        by: bob(),
        narrow: Narrowing { commands: lines(&["id", "reboot"]), ..Narrowing::default() },
        note: String::new(),
        grant: grant(),
    };
    assert!(matches!(step(&first.unwrap().case, wider, at(2)), Err(Denied::Widens(_))));
}

#[test]
fn time_reminds_escalates_and_gives_up() {
    let case = case();
    assert_eq!(due(&case), Some(at(600)));
    assert!(step(&case, Event::Tick, at(599)).unwrap().effects.is_empty());
    let reminded = step(&case, Event::Tick, at(600)).unwrap();
    assert_eq!(reminded.effects, [Effect::Remind]);
    assert!(step(&reminded.case, Event::Tick, at(601)).unwrap().effects.is_empty(), "once");
    let escalated = step(&reminded.case, Event::Tick, at(1200)).unwrap();
    assert_eq!(escalated.effects, [Effect::Escalate]);
    assert_eq!(due(&escalated.case), Some(at(3000)));
    let max = person("max", &["corp:boss"]);
    assert!(step(&escalated.case, yes(max), at(1300)).is_ok(), "others may approve now");
    assert!(step(&escalated.case, yes(ann()), at(1300)).is_ok(), "and those before still");
    let both = step(&case, Event::Tick, at(1500)).unwrap();
    assert_eq!(both.effects, [Effect::Remind, Effect::Escalate], "a late clock misses nothing");
    // Too late is too late, whether or not somebody looked at the clock.
    assert_eq!(step(&escalated.case, yes(ann()), at(3000)).unwrap_err(), Denied::Over("expired"));
    let over = step(&escalated.case, Event::Tick, at(3000)).unwrap();
    assert_eq!(over.effects, [Effect::Refused(Close::Expired)]);
    assert_eq!(due(&over.case), None);
    let short = Case { expires: at(100), ..case };
    assert_eq!(due(&short), Some(at(100)));
    assert_eq!(step(&short, Event::Tick, at(100)).unwrap().effects, [Effect::Refused(Close::Expired)]);
}

#[test]
fn a_window_does_not_move() {
    let window = Case { start: Some(at(1000)), ..case() };
    let early = approved(&window);
    assert_eq!(early.state, State::Granted { grant: grant(), starts: at(1000), until: at(2800) });
    let rest = |now| {
        let case = step(&window, yes(ann()), at(1)).unwrap().case;
        let case = step(&case, yes(bob()), at(2)).unwrap().case;
        step(&case, yes(olga()), now).unwrap()
    };
    let late = rest(at(2000));
    assert_eq!(late.case.state, State::Granted { grant: grant(), starts: at(2000), until: at(2800) });
    assert_eq!(rest(at(2800)).effects, [Effect::Refused(Close::Expired)]);
}

#[test]
fn break_glass_is_looked_at_by_somebody_else() {
    let filed = Case {
        stages: Vec::new(),
        break_glass: true,
        review: Review::Due,
        reviewers: people(&["corp:security"]),
        ..case()
    };
    let open = step(&filed, Event::Open { grant: grant() }, at(0)).unwrap();
    assert_eq!(open.effects, [Effect::Open]);
    let review = |by: Identity, admin, note: &str| Event::Reviewed { by, admin, note: note.into() };
    let sam = person("sam", &["corp:security"]);
    let own = person("dora", &["corp:security"]);
    let rows = [
        (review(own.clone(), false, "fine"), Denied::Own),
        (review(own, true, "fine"), Denied::Own),
        (review(ann(), false, "fine"), Denied::NotYours),
        (review(sam.clone(), false, ""), Denied::Reason),
    ];
    for (event, denied) in rows {
        assert_eq!(step(&open.case, event, at(1)).unwrap_err(), denied);
    }
    let lapsed = step(&open.case, Event::Tick, at(1800)).unwrap();
    assert_eq!(lapsed.case.review, Review::Due, "the end of the access is not the end of it");
    let done = step(&lapsed.case, review(sam.clone(), false, "fine"), at(9000)).unwrap();
    assert_eq!(done.effects, [Effect::Reviewed]);
    assert_eq!(
        step(&done.case, review(sam, false, "again"), at(9001)).unwrap_err(),
        Denied::Over("reviewed")
    );
}

/// All events, in one order; `by` does it, as an administrator where that matters.
fn events(by: &Identity) -> Vec<(&'static str, Event)> {
    let (by, reason) = (by.clone(), String::from("because"));
    let (party, who) = (Party::of(&by), Some(by.clone()));
    vec![
        ("open", Event::Open { grant: grant() }),
        ("approve", yes(by.clone())),
        ("deny", no(by.clone(), "because")),
        ("cancel", Event::Cancel { by: by.clone(), admin: true }),
        ("outdate", Event::Outdate),
        ("release", Event::Release { by: by.clone() }),
        ("revoke", Event::Revoke { by: party, admin: true, who, reason: reason.clone() }),
        ("used", Event::Used),
        ("finish", Event::Finish { reason: reason.clone() }),
        ("reviewed", Event::Reviewed { by, admin: true, note: reason }),
        ("tick", Event::Tick),
    ]
}

#[test]
fn every_state_meets_every_event() {
    let waiting = case();
    let granted = approved(&case());
    let closed: Vec<Case> = Close::ALL
        .into_iter()
        .map(|close| Case {
            state: State::Closed { close, at: at(5), by: None, note: String::new() },
            ..granted.clone()
        })
        .collect();
    // What is allowed to an administrator who is an approver, and to the person; everything else changes nothing.
    let rows: [(&Case, Identity, &[&str]); 4] = [
        (&waiting, ann(), &["open", "approve", "deny", "cancel", "outdate", "finish", "tick"]),
        (&waiting, dora(), &["open", "cancel", "outdate", "finish", "tick"]),
        (&granted, ann(), &["revoke", "used", "finish", "tick"]),
        (&granted, dora(), &["release", "revoke", "used", "finish", "tick"]),
    ];
    let closed_rows = closed.iter().map(|case| (case, ann(), &["tick"][..]));
    for (case, by, allowed) in rows.into_iter().chain(closed_rows) {
        for (name, event) in events(&by) {
            let done = step(case, event, at(10));
            let state = case.state.word();
            assert_eq!(done.is_ok(), allowed.contains(&name), "{state} {name} by {}: {done:?}", by.subject);
            let Ok(done) = done else { continue };
            let opens = done.effects.contains(&Effect::Open);
            let ends = done.effects.iter().any(|effect| matches!(effect, Effect::End(_)));
            let is_granted = |case: &Case| matches!(case.state, State::Granted { .. });
            assert_eq!(opens, !is_granted(case) && is_granted(&done.case), "{state} {name}");
            assert_eq!(ends, is_granted(case) && !is_granted(&done.case), "{state} {name}");
            if matches!(case.state, State::Closed { .. }) {
                assert_eq!(done.case, *case, "what is over stays over");
            }
        }
    }
}

#[test]
fn who_may_end_what_was_granted() {
    let granted = approved(&case());
    let revoke = |who: Identity, admin| Event::Revoke {
        by: Party::of(&who),
        admin,
        who: Some(who),
        reason: "because".into(),
    };
    for (event, allowed, what) in [
        (revoke(ann(), false), true, "an approver"),
        (revoke(person("max", &["corp:boss"]), false), true, "somebody it could have been escalated to"),
        (revoke(person("eve", &[]), false), false, "anybody"),
        (revoke(person("root", &[]), true), true, "an administrator"),
        (revoke(dora(), false), false, "the person, who releases instead"),
        (Event::Release { by: ann() }, false, "only the person releases"),
        (Event::Cancel { by: dora(), admin: false }, false, "what is granted is not cancelled"),
    ] {
        assert_eq!(step(&granted, event, at(10)).is_ok(), allowed, "{what}");
    }
    assert_eq!(
        step(&granted, Event::Release { by: dora() }, at(3 + 1800)).unwrap_err(),
        Denied::Over("lapsed"),
        "it is over by its own time before anybody looks at the clock"
    );
}

/// Random events on random cases: a grant is opened at most once, ended at most once, and never without all approvals.
#[test]
fn no_order_of_events_opens_twice() {
    let random = Random::seeded(99);
    let people = [dora(), ann(), bob(), olga(), person("max", &["corp:boss", "corp:owners"])];
    for _ in 0..2000 {
        let mut case = case();
        let (mut opened, mut ended, mut now) = (0, 0, 0);
        for _ in 0..40 {
            let draw = random.u64();
            let by = people.get(usize::try_from(draw % 5).unwrap()).unwrap();
            let all = events(by);
            // Without the event that only automatic approval makes.
            let pick = 1 + usize::try_from((draw >> 8) % 10).unwrap();
            now += (draw >> 16) % 400;
            let Some((_, event)) = all.into_iter().nth(pick) else { continue };
            let Ok(done) = step(&case, event, at(now)) else { continue };
            if done.effects.contains(&Effect::Open) {
                opened += 1;
                for (at, stage) in case.stages.iter().enumerate() {
                    let by: BTreeSet<&str> = done
                        .case
                        .approvals
                        .iter()
                        .filter(|one| one.stage == at)
                        .map(|one| one.by.subject.as_str())
                        .collect();
                    assert!(by.len() >= stage.needed && !by.contains("dora"), "{by:?}");
                }
            }
            ended += done.effects.iter().filter(|effect| matches!(effect, Effect::End(_))).count();
            assert!(case.scope.covers(&done.case.scope) && done.case.scope.length <= case.scope.length);
            case = done.case;
        }
        assert!(opened <= 1 && ended <= opened, "{opened} {ended}");
    }
}
