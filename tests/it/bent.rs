//! Clients that bend the protocol to keep something from the bastion, or to hold on to it: with russh as client, which
//! lets a test say what stock clients never do.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use caponier::audit::AuditEvent;
use caponier::ids::SignInId;
use caponier::policy::Policy;
use caponier::store::{SessionFilter, SessionRow};
use russh::client::{self, Handle};
use russh::keys::ssh_key::Certificate;
use russh::{Channel, ChannelMsg};

use crate::world::hostile::{Hostile, Trick};
use crate::world::keys::Key;
use crate::world::local::Local;
use crate::world::process::run;
use crate::world::{PATIENCE, me, wait_for};

/// Trusts any server: the tests are about what the server does.
struct Anybody;

impl client::Handler for Anybody {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        _: &russh::keys::PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

/// A gateway, and the key of somebody who is signed in.
struct Bent {
    local: Local,
    key: Key,
    sign_in: SignInId,
}

impl Bent {
    fn new() -> Self {
        let local = Local::start();
        let key = Key::make(local.dir(), "id");
        let sign_in = local.sign_in(&key);
        local.certify(&key, &sign_in);
        Self { local, key, sign_in }
    }

    /// Logged in as this user with russh, whose windows are of this many bytes.
    fn connect(&self, user: &str, window_size: u32) -> Handle<Anybody> {
        let private = Arc::new(russh::keys::load_secret_key(&self.key.path, None).unwrap());
        let path = format!("{}-cert.pub", self.key.path.display());
        let certificate = Certificate::read_file(path.as_ref()).unwrap();
        let config = Arc::new(client::Config { window_size, ..client::Config::default() });
        let mut handle = self
            .local
            .runtime
            .block_on(client::connect(config, ("127.0.0.1", self.local.port), Anybody))
            .unwrap();
        let answer =
            self.local.runtime.block_on(handle.authenticate_openssh_cert(user, private, certificate));
        assert!(answer.unwrap().success());
        handle
    }

    /// A session channel to `web1` in a connection of its own.
    fn session(&self, window_size: u32) -> (Handle<Anybody>, Channel<client::Msg>) {
        let handle = self.connect(&format!("{}%web1", me()), window_size);
        let channel = self.local.runtime.block_on(handle.channel_open_session()).unwrap();
        (handle, channel)
    }

    /// The newest session.
    fn newest(&self) -> Option<SessionRow> {
        let filter = SessionFilter { limit: 1, ..SessionFilter::default() };
        self.local.runtime.block_on(self.local.app.store.sessions(&filter)).unwrap().pop()
    }

    /// The newest session, once it is closed.
    #[track_caller]
    fn closed(&self) -> SessionRow {
        wait_for("the end of the session", PATIENCE, || self.newest().filter(|row| row.closed.is_some()))
    }

    /// Ends the sign-in in the store alone, as another process does whose clock is an hour late.
    fn end(&self) {
        self.local.runtime.block_on(async {
            let id = &self.sign_in;
            let now = self.local.app.clock.now().minus(Duration::from_secs(3600));
            let mut tx = self.local.app.store.begin().await.unwrap();
            assert!(tx.end_sign_in(id, now).await.unwrap());
            let (by, reason) = ("test".to_owned(), "test".into());
            let event = AuditEvent::SignInEnded { sign_in: id.clone(), by, reason };
            tx.commit(now, event).await.unwrap();
        });
    }

    /// What is recorded of a session so far.
    fn recorded(&self, row: &SessionRow) -> String {
        let relative = row.recording.as_ref().unwrap();
        let folder = self.local.app.config.recording.dir.join(relative);
        std::fs::read_to_string(folder.join("0001.cast")).unwrap()
    }

    /// Changes the database behind the gateway's back.
    #[track_caller]
    fn sql(&self, statement: &str) {
        let script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], timeout=30); c.execute(sys.argv[2]); c.commit()";
        let database = self.local.dir().join("state/caponier.db");
        run(Command::new("python3").args(["-c", script]).arg(database).arg(statement), b"", PATIENCE).ok();
    }

    /// The recordings there are.
    fn recordings(&self) -> usize {
        let folder = &self.local.app.config.recording.dir;
        let found = run(Command::new("find").arg(folder).args(["-name", "*.cast"]), b"", PATIENCE);
        found.text().lines().count()
    }

    /// Changes the policy.
    fn policy(&self, digest: &str, change: impl FnOnce(&mut Policy)) {
        let mut other = (*self.local.app.policy()).clone();
        change(&mut other);
        other.digest = digest.into();
        self.local.app.policy.send_replace(other.into());
    }

    #[track_caller]
    fn wait_for_recorded(&self, text: &str) {
        wait_for(&format!("{text} in the recording"), PATIENCE, || {
            self.newest().filter(|row| self.recorded(row).contains(text))
        });
    }
}

#[test]
fn a_client_that_takes_nothing_does_not_keep_its_session_out_of_the_recording() {
    let bent = Bent::new();
    let (handle, channel) = bent.session(0);
    let command = "echo one; sleep 0.2; echo two >&2; sleep 0.2; echo three; sleep 60";
    bent.local.runtime.block_on(channel.exec(true, command)).unwrap();
    for word in ["one\\r", "two\\r", "three\\r"] {
        bent.wait_for_recorded(&format!("{word}\\n"));
    }
    drop((channel, handle));
    let row = bent.closed();
    assert_eq!(row.bytes_out, "onetwothree".len() as u64 + 3, "{}", bent.recorded(&row));
}

#[test]
fn what_comes_of_commands_sent_together_with_the_end_is_recorded() {
    let bent = Bent::new();
    let (_handle, mut channel) = bent.session(2 << 20);
    bent.local.runtime.block_on(async {
        channel.request_pty(true, "xterm", 80, 24, 0, 0, &[]).await.unwrap();
        channel.request_shell(true).await.unwrap();
        let mut shown = String::new();
        channel.data_bytes("PS1='ready> '; echo up-$((1+1))\n").await.unwrap();
        while !shown.contains("up-2") {
            let message = tokio::time::timeout(PATIENCE, channel.wait()).await.unwrap().unwrap();
            if let ChannelMsg::Data { data } = message {
                shown.push_str(&String::from_utf8_lossy(&data));
            }
        }
        channel.data_bytes("sleep 0.1; echo hidden-$((2+2))\n").await.unwrap();
        channel.close().await.unwrap();
    });
    let row = bent.closed();
    let cast = bent.recorded(&row);
    assert!(cast.contains("hidden-4"), "{cast}");
    assert_eq!(row.close_reason.as_deref(), Some("client-gone"));
    assert!(row.closed.unwrap().since(row.opened) < Duration::from_secs(20));
}

#[test]
fn a_session_whose_target_does_not_answer_ends_like_any_other() {
    let bent = Bent::new();
    let mut target = Hostile::instead_of_web1(&bent.local, Trick::SaysNothing);
    let usual = bent.local.app.policy();
    let start = || {
        let running = bent.local.ssh(&bent.key).args(["web1", "true"]).start();
        (running, Instant::now())
    };
    let (client, _) = start();
    assert_eq!(target.asked(&bent.local), "exec true");
    client.signal("TERM");
    assert_eq!(bent.closed().close_reason.as_deref(), Some("client-gone"));

    let (client, began) = start();
    assert_eq!(target.asked(&bent.local), "exec true");
    let mut other = (*usual).clone();
    other.roles.clear();
    other.digest = "nobody".into();
    bent.local.app.policy.send_replace(other.into());
    assert!(client.finish(PATIENCE).ended(255).errors().contains("[no-access]"));
    assert_eq!(bent.closed().close_reason.as_deref(), Some("policy"));
    bent.local.app.policy.send_replace(usual);

    let (client, _) = start();
    assert_eq!(target.asked(&bent.local), "exec true");
    bent.end();
    assert!(client.finish(PATIENCE).ended(255).errors().contains("your sign-in has ended"));
    assert_eq!(bent.closed().close_reason.as_deref(), Some("sign-in-ended"));
    assert!(began.elapsed() < bent.local.app.config.sessions.dial, "it was the target's time that ran out");
}

#[test]
fn messages_without_bytes_are_not_kept_without_end() {
    let bent = Bent::new();
    let mut target = Hostile::instead_of_web1(&bent.local, Trick::SaysNothing);
    let (_handle, channel) = bent.session(2 << 20);
    bent.local.runtime.block_on(channel.exec(true, "true")).unwrap();
    assert_eq!(target.asked(&bent.local), "exec true");
    let send = async |signals: u32, sizes: u32| {
        for _ in 0..sizes {
            channel.window_change(80, 24, 0, 0).await.unwrap();
        }
        for _ in 0..signals {
            // It may have been closed by then.
            drop(channel.signal(russh::Sig::USR1).await);
        }
    };
    bent.local.runtime.block_on(send(500, 10_000));
    assert!(bent.newest().unwrap().closed.is_none(), "only the newest size is kept");
    bent.local.runtime.block_on(send(1000, 0));
    assert_eq!(bent.closed().close_reason.as_deref(), Some("overflow"));
}

#[test]
fn a_session_is_closed_in_the_store_once_the_store_is_back() {
    let bent = Bent::new();
    let running = bent.local.ssh(&bent.key).args(["web1", "echo up; exec sleep 60"]).start();
    running.wait_for_text("up", PATIENCE);
    bent.sql("ALTER TABLE session RENAME TO elsewhere");
    drop(running);
    let gone = || bent.local.web1.log().contains("onnection closed").then(Instant::now);
    let gone = wait_for("the target to be let go", PATIENCE, gone);
    wait_for("a try to close it", PATIENCE, || (gone.elapsed() > Duration::from_millis(300)).then_some(()));
    bent.sql("ALTER TABLE elsewhere RENAME TO session");
    assert_eq!(bent.closed().close_reason.as_deref(), Some("client-gone"));
    bent.local.wait_for_audit("session_closed", "client-gone");
}

#[test]
fn a_session_that_the_store_does_not_take_leaves_no_recording() {
    let bent = Bent::new();
    bent.local.ssh(&bent.key).args(["web1", "true"]).run().ended(0);
    assert_eq!(bent.recordings(), 1);
    bent.sql("ALTER TABLE certificate RENAME TO elsewhere");
    let said = bent.local.ssh(&bent.key).args(["web1", "true"]).run();
    assert!(said.ended(255).errors().contains("nothing was sent"), "{}", said.errors());
    assert_eq!(bent.recordings(), 1);
    bent.sql("ALTER TABLE elsewhere RENAME TO certificate");
    bent.local.ssh(&bent.key).args(["web1", "true"]).run().ended(0);
    assert_eq!(bent.recordings(), 2);
}

#[test]
fn a_connection_without_sessions_ends_with_its_sign_in() {
    let bent = Bent::new();
    let handle = bent.connect("bastion", 2 << 20);
    bent.end();
    wait_for("the end of the connection", PATIENCE, || handle.is_closed().then_some(()));
}

#[test]
fn narrower_limits_reach_open_sessions() {
    let bent = Bent::new();
    for (word, text) in
        [("idle", "nothing was sent for too long"), ("session-max", "its longest time is over")]
    {
        let usual = bent.local.app.policy();
        let running = bent.local.ssh(&bent.key).args(["web1", "echo up; sleep 60"]).start();
        running.wait_for_text("up", PATIENCE);
        bent.policy(word, |policy| {
            let terms = &mut policy.roles[0].terms;
            let limit = if word == "idle" { &mut terms.idle_max } else { &mut terms.session_max };
            *limit = Some(Duration::from_secs(1));
        });
        let ended = running.finish(PATIENCE);
        assert!(ended.ended(255).errors().contains(text), "{}", ended.errors());
        assert_eq!(bent.closed().close_reason.as_deref(), Some(word));
        bent.local.app.policy.send_replace(usual);
    }
}

#[test]
fn questions_whose_answers_nobody_takes_are_counted_and_end() {
    let bent = Bent::new();
    let handle = bent.connect("bastion", 0);
    let ask = async || {
        let channel = handle.channel_open_session().await?;
        channel.exec(true, "help").await?;
        Ok::<_, russh::Error>(channel)
    };
    bent.local.runtime.block_on(async {
        let mut open = Vec::new();
        let refused = loop {
            match ask().await {
                Ok(channel) => open.push(channel),
                Err(error) => break error,
            }
            assert!(open.len() <= 64, "one more is taken each time");
        };
        assert!(matches!(refused, russh::Error::ChannelOpenFailure(_)), "{refused}");
        let again = async {
            while ask().await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, again).await.unwrap();
    });
}

#[test]
fn a_subsystem_has_no_terminal() {
    let bent = Bent::new();
    let mut target = Hostile::instead_of_web1(&bent.local, Trick::SaysNothing);
    let (_handle, channel) = bent.session(2 << 20);
    bent.local.runtime.block_on(async {
        channel.request_pty(true, "xterm", 80, 24, 0, 0, &[]).await.unwrap();
        channel.request_subsystem(true, "sftp").await.unwrap();
    });
    assert_eq!(target.asked(&bent.local), "subsystem sftp");
}

#[test]
fn a_target_that_talks_instead_of_granting_a_terminal_gets_no_program() {
    let bent = Bent::new();
    let mut target = Hostile::instead_of_web1(&bent.local, Trick::TalksBeforeTheTerminal);
    let (_handle, channel) = bent.session(2 << 20);
    bent.local.runtime.block_on(async {
        channel.request_pty(true, "xterm", 80, 24, 0, 0, &[]).await.unwrap();
        channel.exec(true, "true").await.unwrap();
    });
    assert_eq!(bent.closed().close_reason.as_deref(), Some("target-refused"));
    assert_eq!(target.asked_so_far(), ["pty xterm"]);
}

#[test]
fn a_jump_tells_nothing_of_targets_that_are_not_open_to_the_caller() {
    let bent = Bent::new();
    bent.policy("hidden", |policy| {
        let mut target = policy.targets.values().next().unwrap().clone();
        target.name = "hidden1".parse().unwrap();
        target.port = 2222;
        policy.targets.insert(target.name.clone(), target);
    });
    let handle = bent.connect("bastion", 2 << 20);
    let answer = |host: &str| {
        let opened =
            bent.local.runtime.block_on(handle.channel_open_direct_tcpip(host, 2222, "127.0.0.1", 1));
        opened.map(|_| "open".to_owned()).unwrap_or_else(|error| format!("{error:?}")).replace(host, "HOST")
    };
    let (hidden, nowhere) = (answer("hidden1"), answer("nowhere1"));
    assert_eq!(hidden, nowhere);
    assert_ne!(hidden, "open");
}
