//! A connection that waits for access: it says what was asked for, by whom it is decided and until when, and is told what
//! became of it. Nothing is accepted, dialled or sent for the target meanwhile: what the client sends stays in its window.
//! Who may ask, and for what, is `flow::waiting`'s.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::desk::Route;
use super::hold::HoldPlace;
use super::limits::{ASK_GRACE, FAREWELL, HELD_LINE, HELD_LOOK, HELD_UNSEEN_MAX};
use super::relay::ClientEnd;
use super::session::broken;
use super::shared::Shared;
use crate::access::{Case, Close, State, gives_up};
use crate::config::show_duration;
use crate::flow::waiting::{Asking, News, ask_for, look, withdraw};
use crate::ids::CaseId;
use crate::plain;
use crate::policy::{Ask, Refusal};
use crate::store::StoreError;

/// Exit status of a command that was denied, and of one that waited for nothing (`EX_TEMPFAIL` of sysexits.h).
pub(super) const DENIED: u32 = 126;
pub(super) const WAITING: u32 = 75;
/// Characters of what people said that are shown, and approvers that are named.
const NOTE_MAX: usize = 200;
const APPROVERS_MAX: usize = 5;

/// One connection that was refused because nothing is granted.
pub(super) struct Wait<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) route: &'a Route,
    pub(super) client: &'a ClientEnd,
    /// The client has a terminal, which is in raw mode by now.
    pub(super) terminal: bool,
    pub(super) sign_in_ended: &'a CancellationToken,
}

/// Why it waits no more.
enum Over {
    /// The case is decided.
    Decided(Box<Case>),
    /// The client is gone, or its person does not want to wait.
    Left,
    /// Told so, with this exit status. The case stays what it is when `keep`.
    Told {
        text: String,
        exit_status: u32,
        keep: bool,
    },
    Broken(StoreError),
}

impl Wait<'_> {
    /// Asks for what `ask` lacks and waits for it: the case that was granted. None when the session does not begin; the
    /// client has been told why.
    pub(super) async fn run(&self, ask: &Ask, refusal: Refusal) -> Option<CaseId> {
        let line = refusal.line();
        let app = &self.shared.app;
        // Listening begins before asking, so that no answer falls between the two.
        let news = News::of(app);
        let Some(mut place) = self.shared.hold.take(self.route.caller.identity()) else {
            let text = format!("{line}; too many connections wait for access already, so this one does not");
            self.client.farewell(&text, WAITING).await;
            return None;
        };
        if !place.may_ask(Instant::now()) {
            let text = format!("{line}; you have asked too often by connecting, so this connection does not");
            self.client.farewell(&text, WAITING).await;
            return None;
        }
        let asking = match timeout(ASK_GRACE, ask_for(app, &self.route.caller, ask)).await {
            Ok(Ok(asking)) => asking,
            Ok(Err(error)) => {
                broken(self.client, self.shared, &error).await;
                return None;
            }
            Err(late) => {
                broken(self.client, self.shared, &late).await;
                return None;
            }
        };
        let filed = match asking {
            Asking::Filed(filed) => filed,
            Asking::NotHere => {
                self.client.farewell(&line, refusal.exit_status()).await;
                return None;
            }
            Asking::Refused(why) => {
                let text = format!("{line}; this connection did not ask by itself: {why}");
                self.client.farewell(&text, refusal.exit_status()).await;
                return None;
            }
        };
        place.wait_for(&filed.case.id, !filed.again);
        if !filed.again {
            place.has_asked(Instant::now());
        }
        if !matches!(filed.case.state, State::Waiting { .. }) {
            return self.end(Over::Decided(Box::new(filed.case)), place).await;
        }
        self.say(&asked(&filed.case, filed.again)).await;
        self.client.gate.terminal.store(self.terminal, Ordering::Relaxed);
        let holding = self.client.pressure.hold();
        let over = tokio::select! {
            biased;
            over = self.disturbed() => over,
            over = self.decided(&filed.case.id, news) => over,
        };
        drop(holding);
        self.end(over, place).await
    }

    /// Ready when the case is decided, with a line each minute until then.
    async fn decided(&self, id: &CaseId, mut news: News) -> Over {
        let mut lines = interval_at(Instant::now() + HELD_LINE, HELD_LINE);
        lines.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut unseen: Option<Instant> = None;
        loop {
            let mut still = None;
            match timeout(HELD_UNSEEN_MAX, look(&self.shared.app, id)).await {
                Ok(Ok(Some(case))) if matches!(case.state, State::Waiting { .. }) => {
                    unseen = None;
                    still = Some(case);
                }
                Ok(Ok(Some(case))) => return Over::Decided(Box::new(case)),
                Ok(Ok(None)) => return told("this request is gone; connect again", WAITING, true),
                Ok(Err(error)) => {
                    tracing::error!(%error, case = %id, "cannot see what became of a request");
                    let since = *unseen.get_or_insert_with(Instant::now);
                    if since.elapsed() >= HELD_UNSEEN_MAX {
                        return Over::Broken(error);
                    }
                }
                Err(_) => {
                    return told("the bastion does not see what becomes of it; connect again", WAITING, true);
                }
            }
            let again = if unseen.is_some() { Duration::from_secs(1) } else { HELD_LOOK };
            tokio::select! {
                () = news.about(id) => {}
                () = sleep(again) => {}
                _ = lines.tick() => if let Some(case) = &still {
                    self.say(&format!("still waiting for {}", who_decides(case))).await;
                },
            }
        }
    }

    /// Ready when something else ends it.
    async fn disturbed(&self) -> Over {
        let caller = &self.route.caller;
        let sign_in_left = caller.sign_in_expires().since(self.shared.app.clock.now());
        let signed_out = || told("your sign-in has ended; run: caponier login", 255, false);
        tokio::select! {
            biased;
            () = self.sign_in_ended.cancelled() => signed_out(),
            () = self.shared.drain.cancelled() => {
                told("the bastion is stopping; connect again: the request stays", WAITING, true)
            }
            () = self.client.overflowed.cancelled() => {
                told("too much was sent while this waited for access", 255, false)
            }
            () = self.client.gone.cancelled() => Over::Left,
            () = self.client.gate.interrupted.cancelled() => Over::Left,
            () = sleep(sign_in_left) => signed_out(),
        }
    }

    async fn end(&self, over: Over, mut place: HoldPlace) -> Option<CaseId> {
        let last = place.leave();
        match over {
            Over::Decided(case) => {
                let (text, exit_status) = match outcome(&case) {
                    Ok(text) => {
                        self.say(&text).await;
                        return Some(case.id.clone());
                    }
                    Err(refused) => refused,
                };
                self.client.farewell(&text, exit_status).await;
            }
            Over::Told { text, exit_status, keep } => {
                self.client.farewell(&text, exit_status).await;
                self.take_back(last.filter(|_| !keep)).await;
            }
            Over::Left => {
                let text = match &last {
                    Some(id) => format!("{id} was taken back"),
                    None => "not waiting any more; the request stays".to_owned(),
                };
                tokio::join!(self.take_back(last), self.client.farewell(&text, 130));
            }
            Over::Broken(error) => broken(self.client, self.shared, &error).await,
        }
        None
    }

    async fn take_back(&self, case: Option<CaseId>) {
        let Some(id) = case else { return };
        let taking = withdraw(&self.shared.app, &self.route.caller, &id);
        match timeout(ASK_GRACE, taking).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(%error, case = %id, "a request could not be taken back; it expires")
            }
            Err(_) => tracing::error!(case = %id, "a request could not be taken back in time; it expires"),
        }
    }

    async fn say(&self, text: &str) {
        self.client.say(text, self.terminal, FAREWELL).await;
    }
}

fn told(text: &str, exit_status: u32, keep: bool) -> Over {
    Over::Told { text: text.to_owned(), exit_status, keep }
}

/// What was asked for, who decides, and how to leave.
fn asked(case: &Case, again: bool) -> String {
    let scope = &case.scope;
    let how = if again { "you have asked for this already" } else { "asked for access" };
    let targets: Vec<&str> = scope.targets.iter().map(crate::names::TargetName::as_str).collect();
    let logins: Vec<&str> = scope.logins.iter().map(crate::names::LoginName::as_str).collect();
    format!(
        "{how}: role {} on {} as {} for {}. Waiting for {}. Ctrl-C ends the waiting",
        scope.role,
        targets.join(", "),
        logins.join(", "),
        show_duration(scope.length),
        who_decides(case)
    )
}

/// `req_x: 1 more must approve (corp:leads), until 2026-11-21T14:00:00Z`.
pub(super) fn who_decides(case: &Case) -> String {
    let mut who: Vec<String> = case.approvers().listed();
    let more = who.len().saturating_sub(APPROVERS_MAX);
    who.truncate(APPROVERS_MAX);
    let mut who = plain::line(&who.join(", "), 4 * NOTE_MAX);
    if more > 0 {
        who.push_str(&format!(" and {more} more"));
    }
    format!("{}: {} more must approve ({who}), until {}", case.id, case.missing(), gives_up(case))
}

/// What became of it: a line for who goes on, or the last line and the exit status.
fn outcome(case: &Case) -> Result<String, (String, u32)> {
    let id = &case.id;
    let (close, by, note) = match &case.state {
        State::Granted { until, .. } => return Ok(format!("granted ({id}), until {until}")),
        State::Waiting { .. } => return Err((format!("{id} is still waiting"), WAITING)),
        State::Closed { close, by, note, .. } => (*close, by, note),
    };
    let by =
        by.as_ref().map(|by| format!(" by {}", plain::line(&by.reference, NOTE_MAX))).unwrap_or_default();
    let note = if note.is_empty() { String::new() } else { format!(": {}", plain::line(note, NOTE_MAX)) };
    Err(match close {
        Close::Denied => (format!("{id} was denied{by}{note}"), DENIED),
        Close::Revoked => (format!("{id} was granted, and taken away{by}{note}"), DENIED),
        Close::Expired => (format!("{id}: nobody approved in time; connect again to ask again"), WAITING),
        Close::Cancelled => (format!("{id} was taken back{by}; connect again to ask again"), WAITING),
        Close::Outdated => {
            (format!("{id}: the rules for this have changed; connect again to ask again"), WAITING)
        }
        Close::Lapsed | Close::Released | Close::Used | Close::Finished => {
            (format!("{id} was granted, and is over ({close}); connect again to ask again"), WAITING)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Approvers, Party, Review, Scope, Stage};
    use crate::random::Random;
    use crate::time::Timestamp;

    fn case(state: State) -> Case {
        let scope = Scope {
            role: "ops".parse().unwrap(),
            targets: ["web1".parse().unwrap()].into(),
            logins: ["root".parse().unwrap()].into(),
            commands: std::collections::BTreeSet::new(),
            length: Duration::from_secs(1800),
            once: None,
        };
        let leads = Approvers { groups: ["corp:leads".parse().unwrap()].into(), ..Approvers::default() };
        Case {
            id: CaseId::random(&Random::seeded(1)),
            who: Party::local("ann"),
            asked: scope.clone(),
            scope,
            start: None,
            reason: "why".into(),
            ticket: None,
            break_glass: false,
            filed: Timestamp::from_secs(0),
            expires: Timestamp::from_secs(3600),
            stages: vec![Stage {
                name: "leads".into(),
                approvers: leads,
                needed: 2,
                remind_after: None,
                escalate: None,
                give_up_after: Some(Duration::from_secs(60)),
            }],
            approvals: Vec::new(),
            state,
            review: Review::NotNeeded,
            reviewers: Approvers::default(),
        }
    }

    #[test]
    fn who_decides_and_until_when_is_said() {
        let waiting =
            State::Waiting { stage: 0, since: Timestamp::from_secs(0), reminded: false, escalated: false };
        let said = asked(&case(waiting), false);
        assert!(said.contains("role ops on web1 as root for 30m"), "{said}");
        assert!(said.contains("2 more must approve (corp:leads), until 1970-01-01T00:01:00Z"), "{said}");
    }

    #[test]
    fn each_end_has_its_exit_status_and_no_text_of_others_steers_a_terminal() {
        let closed = |close| {
            let note = "no\u{1b}[2J\r\nreally".to_owned();
            let by = Some(Party::local("corp:b\u{9b}ob"));
            case(State::Closed { close, at: Timestamp::from_secs(1), by, note })
        };
        for close in Close::ALL {
            let (text, status) = outcome(&closed(close)).unwrap_err();
            let expect = if matches!(close, Close::Denied | Close::Revoked) { DENIED } else { WAITING };
            assert_eq!(status, expect, "{close}");
            assert!(!text.chars().any(plain::is_hidden), "{text:?}");
        }
        let until = Timestamp::from_secs(9);
        let grant = crate::ids::GrantId::random(&Random::seeded(2));
        assert!(outcome(&case(State::Granted { grant, starts: Timestamp::from_secs(1), until })).is_ok());
    }
}
