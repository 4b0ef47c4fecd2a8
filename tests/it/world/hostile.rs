//! A target that bends the protocol: a russh server with the host certificate of a target of a [`Local`] gateway, whose
//! policy then points to it.

use std::sync::Arc;
use std::time::Duration;

use caponier::ca::Draft;
use russh::keys::ssh_key::{Algorithm, Certificate, PrivateKey};
use russh::server::{self, Auth, ChannelOpenHandle, Handler, Msg, Session};
use russh::{Channel, ChannelId, MethodKind, MethodSet, Pty};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::local::Local;

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trick {
    /// Never answers the request for a program.
    SaysNothing,
    /// Sends bytes where the answer to the request for a terminal should be.
    TalksBeforeTheTerminal,
}

/// The target; ends with the gateway's runtime.
pub(crate) struct Hostile {
    asked: mpsc::Receiver<String>,
}

impl Hostile {
    /// Takes the place of `web1`.
    #[track_caller]
    pub(crate) fn instead_of_web1(local: &Local, trick: Trick) -> Self {
        let app = &local.app;
        let key = app.random.with(|mut rng| PrivateKey::random(&mut rng, Algorithm::Ed25519)).unwrap();
        let (now, hour) = (app.clock.now(), Duration::from_secs(3600));
        let draft = Draft::host(key.public_key(), 8, "web1", &["web1".into()], now, hour).unwrap();
        let certificate = local.runtime.block_on(app.signer.sign(&draft, &app.random, now)).unwrap();
        let listener = local.runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tell, asked) = mpsc::channel(64);
        local.runtime.spawn(serve(listener, key, certificate, trick, tell));
        let mut policy = (*app.policy()).clone();
        policy.targets.values_mut().for_each(|target| target.port = port);
        policy.digest = format!("{trick:?}");
        app.policy.send_replace(policy.into());
        Self { asked }
    }

    /// The next request on a channel.
    #[track_caller]
    pub(crate) fn asked(&mut self, local: &Local) -> String {
        let next = async { tokio::time::timeout(super::PATIENCE, self.asked.recv()).await };
        local.runtime.block_on(next).expect("the target hears of something").unwrap()
    }

    /// Everything it was asked and nobody has looked at.
    pub(crate) fn asked_so_far(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.asked.try_recv().ok()).collect()
    }
}

async fn serve(
    listener: TcpListener,
    key: PrivateKey,
    certificate: Certificate,
    trick: Trick,
    tell: mpsc::Sender<String>,
) {
    let config = Arc::new(server::Config {
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        keys: vec![key],
        certificates: vec![certificate],
        ..server::Config::default()
    });
    while let Ok((stream, _)) = listener.accept().await {
        let door = Door { trick, tell: tell.clone() };
        let running = server::run_stream(Arc::clone(&config), stream, door);
        tokio::spawn(async move {
            if let Ok(running) = running.await {
                drop(running.await);
            }
        });
    }
}

struct Door {
    trick: Trick,
    tell: mpsc::Sender<String>,
}

impl Door {
    fn tell(&self, what: String) {
        // Nobody may be left to hear it.
        drop(self.tell.try_send(what));
    }
}

impl Handler for Door {
    type Error = russh::Error;

    async fn auth_openssh_certificate(&mut self, _: &str, _: &Certificate) -> Result<Auth, Self::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        open: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        open.accept().await;
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        term: &str,
        _: u32,
        _: u32,
        _: u32,
        _: u32,
        _: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.tell(format!("pty {term}"));
        match self.trick {
            Trick::TalksBeforeTheTerminal => session.data(channel, "not a yes\n"),
            Trick::SaysNothing => session.channel_success(channel),
        }
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.tell(format!("subsystem {name}"));
        session.channel_failure(channel)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.tell(format!("exec {}", String::from_utf8_lossy(command)));
        match self.trick {
            Trick::SaysNothing => Ok(()),
            Trick::TalksBeforeTheTerminal => session.channel_success(channel),
        }
    }
}
