//! Clients that bend the protocol to keep something from the bastion, or to hold on to it: with russh as client, which
//! lets a test say what stock clients never do.

use std::sync::Arc;
use std::time::Duration;

use caponier::audit::AuditEvent;
use caponier::ids::SignInId;
use caponier::store::{SessionFilter, SessionRow};
use russh::client::{self, Handle};
use russh::keys::ssh_key::Certificate;
use russh::{Channel, ChannelMsg};

use crate::world::hostile::{Hostile, Trick};
use crate::world::keys::Key;
use crate::world::local::Local;
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

    /// Ends a sign-in, as the command line on the server does.
    fn end(&self, id: &SignInId) {
        self.local.runtime.block_on(async {
            let now = self.local.app.clock.now();
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
        std::fs::read_to_string(self.local.app.config.recording.dir.join(relative)).unwrap()
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
        (running, std::time::Instant::now())
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
    bent.end(&bent.sign_in);
    assert!(client.finish(PATIENCE).ended(255).errors().contains("your sign-in has ended"));
    assert_eq!(bent.closed().close_reason.as_deref(), Some("sign-in-ended"));
    assert!(began.elapsed() < bent.local.app.config.sessions.dial, "it was the target's time that ran out");
}
