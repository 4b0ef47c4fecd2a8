//! A target that opens channels nobody asked for: none of them reaches the client.

use std::sync::{Arc, Mutex};

use caponier::random::Random;
use russh::keys::Algorithm;
use russh::keys::ssh_key::{Certificate, PrivateKey};
use russh::server::{self, Auth, ChannelOpenHandle, Handle, Msg, Session};
use russh::{Channel, ChannelId};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::wire::{Echo, exchange};
use super::{ALL, entries, stage_of};
use crate::world::stage::policy;
use crate::world::{PATIENCE, free_port, me, wait_for};

type Said = Arc<Mutex<Vec<String>>>;

/// An SSH server that lets everybody in and tries every channel a server can open, as soon as something runs, and as soon
/// as it is asked to listen.
#[derive(Clone)]
struct Evil {
    said: Said,
}

impl Evil {
    fn start(runtime: &Runtime) -> (u16, String, Said) {
        let key = Random::System.with(|mut rng| PrivateKey::random(&mut rng, Algorithm::Ed25519)).unwrap();
        let public = key.public_key().to_openssh().unwrap();
        let config = Arc::new(server::Config { keys: vec![key], ..server::Config::default() });
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let said = Said::default();
        let evil = Self { said: Arc::clone(&said) };
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (config, evil) = (Arc::clone(&config), evil.clone());
                tokio::spawn(async move {
                    if let Ok(running) = server::run_stream(config, stream, evil).await {
                        drop(running.await);
                    }
                });
            }
        });
        (port, public, said)
    }

    /// Tries them all; `port` is where it was asked to listen.
    async fn knock(self, handle: Handle, port: Option<u32>) {
        let origin = "192.0.2.66";
        let mut tried = vec![
            ("forwarded-tcpip", handle.channel_open_forwarded_tcpip("localhost", 9, origin, 1).await),
            (
                "forwarded-tcpip elsewhere",
                handle.channel_open_forwarded_tcpip("", port.unwrap_or(9), origin, 1).await,
            ),
            ("forwarded-streamlocal", handle.channel_open_forwarded_streamlocal("/run/s").await),
            ("agent", handle.channel_open_agent().await),
            ("x11", handle.channel_open_x11(origin, 1).await),
            ("session", handle.channel_open_session().await),
            ("direct-tcpip", handle.channel_open_direct_tcpip("127.0.0.1", 22, origin, 1).await),
            ("direct-streamlocal", handle.channel_open_direct_streamlocal("/run/s").await),
        ];
        if let Some(port) = port {
            tried
                .push(("asked for", handle.channel_open_forwarded_tcpip("localhost", port, origin, 1).await));
        }
        let mut said = self.said.lock().unwrap();
        said.extend(tried.iter().map(|(what, opened)| format!("{what}: {}", opened.is_ok())));
        said.push("done".into());
    }
}

impl server::Handler for Evil {
    type Error = russh::Error;

    async fn auth_openssh_certificate(&mut self, _: &str, _: &Certificate) -> Result<Auth, Self::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        _: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(id)?;
        let (evil, handle) = (self.clone(), session.handle());
        tokio::spawn(async move {
            evil.knock(handle.clone(), None).await;
            handle.exit_status_request(id, 0).await.unwrap();
            handle.close(id).await.unwrap();
        });
        Ok(())
    }

    async fn tcpip_forward(
        &mut self,
        _: &str,
        port: &mut u32,
        session: &mut Session,
    ) -> Result<bool, Self::Error> {
        tokio::spawn(self.clone().knock(session.handle(), Some(*port)));
        Ok(true)
    }
}

#[test]
fn what_nobody_asked_for_is_refused() {
    let stage = stage_of(ALL);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (port, key, said) = Evil::start(&runtime);
    let usual = policy(stage.web1.port, ALL);
    let (before, after) = usual.split_once("name = \"pinned1\"").unwrap();
    let (own, rest) = after.split_once("\n\n").unwrap();
    assert!(own.contains("pinned = "));
    stage.bastion.write_policy(&format!(
        "{before}name = \"pinned1\"\naddress = \"127.0.0.1:{port}\"\nhost_key = {{ pinned = [\"{key}\"] }}\n\n{rest}"
    ));
    stage.wait_for_audit("policy_loaded", "");
    let evil = format!("{}@pinned1", me());
    let take = || {
        wait_for("the target to have tried everything", PATIENCE, || {
            let mut said = said.lock().unwrap();
            let done = said.last().is_some_and(|last| last == "done");
            done.then(|| std::mem::take(&mut *said))
        })
    };
    // A session that wanted nothing but a command.
    stage.ssh(&[&evil, "anything"]).run().ok();
    let tried = take();
    assert_eq!(tried.len(), 9);
    assert!(tried.iter().all(|line| !line.ends_with("true")), "{tried:?}");
    // One whose agent may be used: the agent and nothing else. (The client has none, so even that comes to nothing.)
    stage.ssh(&["-A", &evil, "anything"]).env("SSH_AUTH_SOCK", "/nowhere").run().ok();
    assert!(take().iter().all(|line| !line.ends_with("true")));
    // A listener: only connections to that one.
    let echo = Echo::on_tcp();
    let listen = free_port();
    let spec = format!("{listen}:127.0.0.1:{}", echo.port);
    let ssh = stage.ssh(&["-N", "-o", "ExitOnForwardFailure=yes", "-R", &spec, &evil]).start();
    let tried = take();
    let opened: Vec<&String> = tried.iter().filter(|line| line.ends_with("true")).collect();
    assert_eq!(opened, ["asked for: true"], "{tried:?}");
    wait_for("the one connection that was asked for", PATIENCE, || (echo.count() == 1).then_some(()));
    assert!(exchange(echo.port, b"x") == b"x");
    let directions: Vec<String> =
        entries(&stage, "forward_opened").iter().map(|entry| entry["direction"].to_string()).collect();
    assert!(directions.iter().filter(|direction| *direction == "\"remote\"").count() <= 2, "{directions:?}");
    drop(ssh);
}
