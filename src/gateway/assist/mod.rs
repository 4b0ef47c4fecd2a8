//! What `ssh bastion` answers: who you are, what you may reach, what you have asked for and what waits for you; and
//! asking, approving and the like, by the same flows as everywhere. There is no shell on a bastion.
//!
//! `words` reads the question, `lines` writes the answer.

mod lines;
mod words;

use std::sync::Arc;

use bytes::Bytes;
use russh::server::Msg;
use russh::{Channel, ChannelWriteHalf};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::limits::{ANSWER_GRACE, ANSWER_MAX, FAREWELL, REQUEST_GRACE};
use super::relay::STDERR;
use super::shared::Shared;
use super::wait::{DENIED, WAITING, who_decides};
use crate::access::{Case, State};
use crate::app::App;
use crate::flow::Caller;
use crate::flow::answer::{AnswerRefused, By, Wanted, answer as decide};
use crate::flow::ask::{AskRefused, ask_here};
use crate::flow::present::{Absent, present};
use crate::flow::seen::{self, For, Meant};
use crate::ids::CaseId;
use crate::policy::request::{PlanRefused, TargetWish, Wish};
use crate::store::StoreError;
use lines::Lines;
use words::{Bad, Question, WORDS};

/// `EX_USAGE` of sysexits.h.
const USAGE: u32 = 64;
/// As shells say it.
const NO_SUCH_COMMAND: u32 = 127;
/// We are broken.
const BROKEN: u32 = 255;

/// A question, and whose.
pub(super) struct Asked {
    pub(super) caller: Caller,
    /// Empty for a bare `ssh bastion`.
    pub(super) command: Vec<u8>,
}

/// Text and exit status of an answer.
#[derive(Default)]
struct Answer {
    text: String,
    /// For stderr.
    problem: String,
    exit_status: u32,
}

impl Answer {
    fn ok(lines: Lines) -> Self {
        Self { text: lines.0, ..Self::default() }
    }

    fn problem(exit_status: u32, problem: &str) -> Self {
        let mut lines = Lines::default();
        lines.add(&format!("caponier: {problem}"));
        Self { problem: lines.0, exit_status, ..Self::default() }
    }
}

/// The answer to a question.
async fn answer(app: &App, asked: &Asked) -> Answer {
    let question = match words::read(&asked.command) {
        Ok(question) => question,
        Err(Bad::Unknown) => {
            let words: Vec<&str> = WORDS.iter().filter_map(|(form, _)| form.split(' ').next()).collect();
            let text = format!("unknown command; here you can ask: {}", words.join(", "));
            return Answer::problem(NO_SUCH_COMMAND, &text);
        }
        Err(Bad::Usage(form)) => {
            return Answer::problem(USAGE, &format!("not like this; write: ssh {} {form}", host(app)));
        }
        Err(Bad::Line) => {
            return Answer::problem(USAGE, "a question is one line of text without control characters");
        }
    };
    let answered = async {
        match present(app, &asked.caller).await {
            Ok(caller) => answered(app, &caller, question).await,
            Err(Absent::Store(error)) => Err(error),
            Err(absent) => Ok(Answer::problem(DENIED, &absent.to_string())),
        }
    };
    match answered.await {
        Ok(answer) => answer,
        Err(error) => broken(app, &error),
    }
}

async fn answered(app: &App, caller: &Caller, question: Question) -> Result<Answer, StoreError> {
    let mut lines = Lines::default();
    match question {
        Question::Help => {
            whoami(&mut lines, caller);
            targets(&mut lines, app, caller).await?;
            help(&mut lines, app);
        }
        Question::Whoami => whoami(&mut lines, caller),
        Question::Targets => targets(&mut lines, app, caller).await?,
        Question::Inbox => {
            let cases = seen::inbox(app, caller).await?;
            cases.iter().for_each(|case| lines::brief(&mut lines, case));
            lines.add(&match cases.len() {
                0 => "Nothing waits for you.".to_owned(),
                _ => format!(
                    "Decide with:  ssh {0} approve ID [NOTE]   or:  ssh {0} deny ID REASON",
                    host(app)
                ),
            });
        }
        Question::Requests => {
            let cases = seen::own(app, caller).await?;
            cases.iter().for_each(|case| lines::brief(&mut lines, case));
            if cases.is_empty() {
                lines.add("You have asked for nothing.");
            }
        }
        Question::Show(id) => match found(app, caller, &id, For::Look).await? {
            Ok(case) => lines::full(&mut lines, &case),
            Err(answer) => return Ok(answer),
        },
        Question::Approve { id, note } => {
            let wanted = Wanted::Approve { narrow: crate::access::Narrowing::default(), note };
            return act(app, caller, &id, wanted).await;
        }
        Question::Deny { id, reason } => return act(app, caller, &id, Wanted::Deny { reason }).await,
        Question::Cancel(id) => return act(app, caller, &id, Wanted::Cancel).await,
        Question::Release(Some(id)) => return act(app, caller, &id, Wanted::Release).await,
        Question::Release(None) => return release(app, caller).await,
        Question::Request(wanted) => return request(app, caller, *wanted).await,
    }
    Ok(Answer::ok(lines))
}

fn host(app: &App) -> &str {
    app.config.ssh.host_names.first().map_or("BASTION", String::as_str)
}

fn help(lines: &mut Lines, app: &App) {
    let host = host(app);
    let (after, before) = match app.config.ssh.public_port {
        22 => (String::new(), String::new()),
        port => (format!(":{port}"), format!("-p {port} ")),
    };
    lines.add(&format!("Go on with:  ssh -J {host}{after} LOGIN@TARGET"));
    lines.add(&format!("or, without a jump:  ssh {before}LOGIN%TARGET@{host}"));
    lines.add("Here you can ask (an ID may be cut after eight characters, to show it after four):");
    for (form, what) in WORDS {
        lines.add(&format!("  {form:<60} {what}"));
    }
    lines.add(
        "Exit status: 0 done, 64 not understood, 75 waiting, 126 denied. There is no shell on the bastion.",
    );
}

fn whoami(lines: &mut Lines, caller: &Caller) {
    let who = caller.identity();
    lines.add(&format!(
        "You are {} ({}), signed in until {}.",
        who.display,
        who.reference(),
        caller.sign_in_expires()
    ));
}

async fn targets(lines: &mut Lines, app: &App, caller: &Caller) -> Result<(), StoreError> {
    let reach = seen::reach(app, caller).await?;
    if reach.is_empty() {
        lines.add("No role opens a target for you; ask an administrator.");
        return Ok(());
    }
    lines.add("You may reach:");
    for (target, logins) in &reach {
        lines.add(&lines::target(target, logins));
    }
    Ok(())
}

/// The case that somebody means, or what they are told.
async fn found(
    app: &App,
    caller: &Caller,
    id: &str,
    purpose: For,
) -> Result<Result<Box<Case>, Answer>, StoreError> {
    Ok(match seen::find(app, caller, id, purpose).await? {
        Meant::One(case) => Ok(case),
        Meant::Nothing => {
            let text = "there is no such request that you may see; ask for: requests, inbox";
            Err(Answer::problem(DENIED, text))
        }
        Meant::Several => {
            Err(Answer::problem(USAGE, "this may be the beginning of several ids; write more of it"))
        }
    })
}

async fn act(app: &App, caller: &Caller, id: &str, wanted: Wanted) -> Result<Answer, StoreError> {
    match found(app, caller, id, For::Act).await? {
        Ok(case) => act_on(app, caller, &case.id, wanted).await,
        Err(answer) => Ok(answer),
    }
}

async fn act_on(app: &App, caller: &Caller, id: &CaseId, wanted: Wanted) -> Result<Answer, StoreError> {
    match decide(app, By::Here(caller), id, wanted).await {
        Ok(case) => {
            let mut lines = Lines::default();
            lines::full(&mut lines, &case);
            Ok(Answer::ok(lines))
        }
        Err(AnswerRefused::Store(error) | AnswerRefused::Absent(Absent::Store(error))) => Err(error),
        Err(refused) => Ok(Answer::problem(DENIED, &refused.to_string())),
    }
}

/// Gives back the one thing that is granted.
async fn release(app: &App, caller: &Caller) -> Result<Answer, StoreError> {
    match seen::grants(app, caller).await?.as_slice() {
        [] => Ok(Answer::problem(DENIED, "nothing is granted to you")),
        [one] => act_on(app, caller, &one.case, Wanted::Release).await,
        several => {
            let mut lines = Lines::default();
            lines.add("caponier: say which, with: release ID");
            for grant in several {
                lines.add(&format!("  {}  {}", grant.case, lines::what(&grant.scope)));
            }
            Ok(Answer { problem: lines.0, exit_status: USAGE, ..Answer::default() })
        }
    }
}

async fn request(app: &App, caller: &Caller, wanted: words::Wanted) -> Result<Answer, StoreError> {
    if !caller.may_use(&wanted.login) {
        let text = format!("your certificate is not for the login {}; see: targets", wanted.login);
        return Ok(Answer::problem(DENIED, &text));
    }
    let wish = Wish {
        targets: vec![TargetWish::Name(wanted.target)],
        logins: [wanted.login].into(),
        role: wanted.role,
        length: Some(wanted.length),
        reason: wanted.reason,
        ticket: wanted.ticket,
        ..Wish::default()
    };
    match ask_here(app, caller, &wish).await {
        Ok(filed) => {
            let mut lines = Lines::default();
            lines::full(&mut lines, &filed.case);
            let waits = matches!(filed.case.state, State::Waiting { .. });
            if waits {
                lines.add(&format!("Waiting for {}", who_decides(&filed.case)));
            }
            Ok(Answer { exit_status: if waits { WAITING } else { 0 }, ..Answer::ok(lines) })
        }
        Err(AskRefused::Store(error) | AskRefused::Absent(Absent::Store(error))) => Err(error),
        Err(AskRefused::Plan(standing @ PlanRefused::Standing(_))) => {
            Ok(Answer::problem(0, &standing.to_string()))
        }
        Err(busy @ AskRefused::TooMany(_)) => Ok(Answer::problem(WAITING, &busy.to_string())),
        Err(refused) => Ok(Answer::problem(DENIED, &refused.to_string())),
    }
}

/// We are broken: the user gets a number, the log gets the rest.
fn broken(app: &App, error: &(dyn std::error::Error + Send + Sync)) -> Answer {
    let reference = format!("{:08x}", app.random.u64() >> 32);
    tracing::error!(reference, %error, "a question could not be answered");
    Answer::problem(BROKEN, &format!("the bastion cannot answer right now (reference {reference})"))
}

/// Attends to one channel until it has its answer, or the client closes it, or takes too long over either.
pub(super) async fn attend(shared: Arc<Shared>, channel: Channel<Msg>, asked: oneshot::Receiver<Asked>) {
    let (mut read, write) = channel.split();
    let answering = async {
        if let Ok(Ok(asked)) = timeout(REQUEST_GRACE, asked).await {
            let app = shared.app.clone();
            // In a task of its own: what somebody decides is not broken off half-way because they leave.
            let thinking = shared.sessions.spawn(async move {
                match timeout(ANSWER_MAX, answer(&app, &asked)).await {
                    Ok(answer) => answer,
                    Err(late) => broken(&app, &late),
                }
            });
            let answer = thinking.await.unwrap_or_else(|error| broken(&shared.app, &error));
            if timeout(ANSWER_GRACE, send(&write, answer)).await.is_err() {
                tracing::debug!("the client did not take the answer");
            }
        }
        if !matches!(timeout(FAREWELL, write.close()).await, Ok(Ok(()))) {
            tracing::debug!("the client was gone already");
        }
    };
    tokio::select! {
        () = answering => {}
        // What is typed at us is thrown away; a full queue would stop the whole connection.
        () = async { while read.wait().await.is_some() {} } => {}
    }
}

async fn send(write: &ChannelWriteHalf<Msg>, answer: Answer) {
    let sent = async {
        write.data_bytes(Bytes::from(answer.text)).await?;
        write.extended_data_bytes(STDERR, Bytes::from(answer.problem)).await?;
        write.exit_status(answer.exit_status).await?;
        write.eof().await
    };
    if let Err(error) = sent.await {
        tracing::debug!(%error, "the client did not take the answer");
    }
}
