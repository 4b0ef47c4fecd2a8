//! Waiting until a request is decided, with a line for each thing that happens to it. Decides the exit code.

use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use super::super::api::ApiError;
use super::super::signed::{Signed, told};
use super::super::{EXIT_DENIED, EXIT_WAITING};
use super::shown::{at, list, safe, stage_line};
use crate::cli::terminal::say;
use crate::time::{Clock, Timestamp};
use crate::web::api::requests::{RequestAnswer, StageState};

/// How often the server is asked: often while somebody may be looking at the screen, then less.
const SOON: Duration = Duration::from_secs(1);
const LATER: Duration = Duration::from_secs(5);
const SOON_FOR: Duration = Duration::from_secs(120);
/// Failures in a row after which waiting makes no sense.
const FAILURES_MAX: u32 = 60;

/// Waits until it is decided, or `patience` is over; the request as it is then. What is waited for is told at each change, and
/// again after `every`, for logs that nobody would take for alive otherwise.
pub(in crate::cli) fn wait(
    signed: &Signed,
    mut one: RequestAnswer,
    patience: Option<Duration>,
    every: Option<Duration>,
) -> anyhow::Result<RequestAnswer> {
    let begun = Clock::System.now();
    let (mut said, mut said_at, mut failures) = (String::new(), begun, 0);
    while one.state == "waiting" {
        let line = progress(&one);
        let now = Clock::System.now();
        if line != said || every.is_some_and(|every| now.since(said_at) >= every) {
            say(format_args!("{line}"));
            (said, said_at) = (line, now);
        }
        let waited = now.since(begun);
        let left = patience.map(|patience| patience.saturating_sub(waited));
        if left == Some(Duration::ZERO) {
            break;
        }
        let pause = if waited < SOON_FOR { SOON } else { LATER };
        sleep(left.map_or(pause, |left| left.min(pause)));
        match signed.poll(&super::path(&one.id, "")) {
            Ok(now) => (one, failures) = (now, 0),
            // A server that restarts is no answer.
            Err(ApiError::Unreachable { .. }) if failures < FAILURES_MAX => failures += 1,
            Err(error) => return Err(told(error)),
        }
    }
    Ok(one)
}

/// What is waited for, on one line.
fn progress(one: &RequestAnswer) -> String {
    let now = (1..).zip(&one.stages).find(|(_, stage)| stage.state == StageState::Now);
    let stage = now.map(|(number, stage)| stage_line(number, stage)).unwrap_or_default();
    let until = at(one.expires);
    format!("Waiting for {} more of {} (until {until}). {stage}", one.missing, list(&one.approvers))
}

/// What became of it, for the person and for scripts.
pub(in crate::cli) fn outcome(one: &RequestAnswer) -> (String, ExitCode) {
    let closed = one.closed.as_ref();
    let by = closed.and_then(|closed| closed.by.as_ref()).map(|by| format!(" by {}", safe(&by.who)));
    let by = by.unwrap_or_default();
    let note = closed.filter(|closed| !closed.note.is_empty());
    let note = note.map(|closed| format!(": {}", safe(&closed.note))).unwrap_or_default();
    let ended = format!("{} is {}{by}{note}", safe(&one.id), safe(&one.state));
    match (one.state.as_str(), &one.grant) {
        ("granted", Some(grant)) => {
            let narrowed = if one.narrowed { "; less than you asked for" } else { "" };
            let from = Timestamp::from_secs(grant.starts);
            let from = if from > Clock::System.now() { format!(" from {from}") } else { String::new() };
            let text = format!("{} is granted{from} until {}{narrowed}.", safe(&one.id), at(grant.until));
            (text, ExitCode::SUCCESS)
        }
        ("waiting", _) => {
            let text = format!(
                "{} waits for {} more of {}, until {}.\nThey say: caponier approve {}",
                safe(&one.id),
                one.missing,
                list(&one.approvers),
                at(one.expires),
                safe(&one.id)
            );
            (text, ExitCode::from(EXIT_WAITING))
        }
        ("expired", _) => (format!("{ended}: nobody approved in time."), ExitCode::from(EXIT_WAITING)),
        ("lapsed" | "used" | "finished" | "released", _) => {
            (format!("{ended}: it was granted, and is over."), ExitCode::from(EXIT_WAITING))
        }
        _ => (ended, ExitCode::from(EXIT_DENIED)),
    }
}
