//! The table of a sign-in: every state against every event.

use super::*;
use crate::identity::Kind;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn stay() -> Stay {
    Stay {
        provider: "corp".parse().unwrap(),
        state_hash: hash("state"),
        cookie_hash: hash("cookie"),
        sealed_code: None,
    }
}

fn who() -> Identity {
    Identity {
        kind: Kind::Person,
        provider: "corp".parse().unwrap(),
        issuer: "https://id.example".into(),
        subject: "42".into(),
        display: "Erin".into(),
        groups: std::collections::BTreeSet::new(),
        run: None,
    }
}

fn handoff(mode: &Mode) -> Option<Handoff> {
    matches!(mode, Mode::Loopback { .. })
        .then(|| Handoff { hash: hash("code"), until: NOW.plus(HANDOFF_LIFE) })
}

fn states(mode: &Mode) -> Vec<State> {
    vec![
        State::Begun,
        State::AtProvider(stay()),
        State::Exchanging(stay()),
        State::Identified { stay: stay(), who: who(), handoff: handoff(mode) },
        State::Confirmed { who: who() },
        State::Done,
        State::Denied { text: "no".into() },
    ]
}

fn events(mode: &Mode) -> Vec<Event> {
    vec![
        Event::Leave(stay()),
        Event::Return,
        Event::Identify { who: who(), handoff: handoff(mode) },
        Event::Confirm,
        Event::Deny("no".into()),
        Event::Finish,
    ]
}

/// For each state a row, for each event a column: the word of the next state, or `-`.
fn table(mode: &Mode) -> Vec<String> {
    states(mode)
        .into_iter()
        .map(|state| {
            let next = events(mode).into_iter().map(|event| {
                step(mode, state.clone(), event, NOW).map_or("-", |next| next.word()).to_owned()
            });
            next.collect::<Vec<_>>().join(" ")
        })
        .collect()
}

#[test]
fn every_state_against_every_event() {
    let loopback = Mode::Loopback { port: 1, challenge: String::new() };
    assert_eq!(
        table(&loopback),
        [
            "at-provider - - - denied -",
            "at-provider exchanging - - denied -",
            "- - identified - denied -",
            "- - - - denied done",
            "- - - - - -",
            "- - - - - -",
            "- - - - - -",
        ]
    );
    for mode in [Mode::Device, Mode::Ssh] {
        assert_eq!(
            table(&mode),
            [
                "at-provider - - - denied -",
                "at-provider exchanging - - denied -",
                "- - identified - denied -",
                "- - - confirmed denied -",
                "- - - - - done",
                "- - - - - -",
                "- - - - - -",
            ]
        );
    }
}

#[test]
fn a_handoff_code_is_for_loopback_and_expires() {
    let loopback = Mode::Loopback { port: 1, challenge: String::new() };
    let identified = State::Identified { stay: stay(), who: who(), handoff: handoff(&loopback) };
    let late = NOW.plus(HANDOFF_LIFE);
    assert_eq!(step(&loopback, identified, Event::Finish, late), Err(NotNow));
    let with_code = Event::Identify { who: who(), handoff: handoff(&loopback) };
    assert_eq!(step(&Mode::Device, State::Exchanging(stay()), with_code, NOW), Err(NotNow));
    let without = Event::Identify { who: who(), handoff: None };
    assert_eq!(step(&loopback, State::Exchanging(stay()), without, NOW), Err(NotNow));
}
