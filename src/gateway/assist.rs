//! What `ssh bastion` answers: who you are, what you may reach, how to go on. There is no shell on a bastion.

use std::fmt::Write as _;

use bytes::Bytes;
use russh::server::Msg;
use russh::{Channel, ChannelWriteHalf};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::limits::{ANSWER_GRACE, FAREWELL, REQUEST_GRACE};
use crate::app::App;
use crate::flow::Caller;
use crate::policy;

/// Text and exit status of an answer.
pub(super) struct Answer {
    text: String,
    exit_status: u32,
}

/// The answer to `command` (empty for a bare `ssh bastion`).
pub(super) fn answer(app: &App, caller: &Caller, command: &str) -> Answer {
    let mut text = String::new();
    let exit_status = match command.trim() {
        "" | "help" => {
            whoami(&mut text, caller);
            targets(&mut text, app, caller);
            let host = app.config.ssh.host_names.first().map_or("BASTION", String::as_str);
            let (after, before) = match app.config.ssh.public_port {
                22 => (String::new(), String::new()),
                port => (format!(":{port}"), format!("-p {port} ")),
            };
            line(&mut text, &format!("Go on with:  ssh -J {host}{after} LOGIN@TARGET"));
            line(&mut text, &format!("or, without a jump:  ssh {before}LOGIN%TARGET@{host}"));
            line(&mut text, "Here you can ask: whoami, targets, help. There is no shell on the bastion.");
            0
        }
        "whoami" => {
            whoami(&mut text, caller);
            0
        }
        "targets" => {
            targets(&mut text, app, caller);
            0
        }
        _ => {
            line(&mut text, "caponier: unknown command; here you can ask: whoami, targets, help");
            127
        }
    };
    Answer { text, exit_status }
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push_str("\r\n");
}

fn whoami(text: &mut String, caller: &Caller) {
    let who = caller.identity();
    line(
        text,
        &format!(
            "You are {} ({}), signed in until {}.",
            who.display,
            who.reference(),
            caller.sign_in_expires()
        ),
    );
}

fn targets(text: &mut String, app: &App, caller: &Caller) {
    let open = policy::targets_for(&app.policy(), caller.identity());
    if open.is_empty() {
        return line(text, "No role opens a target for you; ask an administrator.");
    }
    line(text, "You may reach:");
    for (target, logins) in open {
        let mut row = format!("  {target}  as");
        for login in logins {
            if write!(row, " {login}").is_err() {
                break;
            }
        }
        line(text, &row);
    }
}

/// Attends to one channel until it has its answer, or the client closes it, or takes too long over either.
pub(super) async fn attend(channel: Channel<Msg>, answer: oneshot::Receiver<Answer>) {
    let (mut read, write) = channel.split();
    let answering = async {
        if let Ok(Ok(answer)) = timeout(REQUEST_GRACE, answer).await
            && timeout(ANSWER_GRACE, send(&write, answer)).await.is_err()
        {
            tracing::debug!("the client did not take the answer");
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
        write.exit_status(answer.exit_status).await?;
        write.eof().await
    };
    if let Err(error) = sent.await {
        tracing::debug!(%error, "the client did not take the answer");
    }
}
