//! A target of the demo: a small SSH server on loopback that gives a real shell as the current user, trusts only the
//! target CA, and shows a host certificate. Not for anything else: it has none of sshd's care for accounts.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::Context as _;
use pty_process::{OwnedWritePty, Size};
use russh::keys::ssh_key::{Certificate, PrivateKey, PublicKey};
use russh::server::{self, Auth, ChannelOpenHandle, Handle, Handler, Msg, Session};
use russh::{Channel, ChannelId, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, MethodKind, MethodSet, Pty};
use tokio::io::{AsyncRead, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::ca::verify::verify_user;
use crate::time::Clock;

/// Where OpenSSH keeps its sftp server; without it the demo has no sftp.
const SFTP_SERVERS: &[&str] = &["/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server"];

/// What a target is started with.
#[derive(Clone)]
pub struct Setup {
    /// Its name, shown in the prompt.
    pub name: String,
    /// Its host key.
    pub host_key: PrivateKey,
    /// Its host certificate.
    pub certificate: Certificate,
    /// The only CA it trusts.
    pub target_ca: PublicKey,
    /// The time.
    pub clock: Clock,
}

/// Serves on `listener` until `stop`.
pub async fn serve(setup: Setup, listener: TcpListener, stop: CancellationToken) {
    let config = Arc::new(server::Config {
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        keys: vec![setup.host_key.clone()],
        certificates: vec![setup.certificate.clone()],
        nodelay: true,
        inactivity_timeout: None,
        ..server::Config::default()
    });
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else { continue };
        let (config, setup, stop) = (Arc::clone(&config), setup.clone(), stop.clone());
        tokio::spawn(async move {
            let host = Host { setup, channels: HashMap::new() };
            let running = match server::run_stream(config, stream, host).await {
                Ok(running) => running,
                Err(error) => return tracing::debug!(%error, "demo target: not an SSH client"),
            };
            tokio::select! {
                () = stop.cancelled() => {}
                result = running => if let Err(error) = result {
                    tracing::debug!(%error, "demo target: connection ended");
                },
            }
        });
    }
}

struct Host {
    setup: Setup,
    channels: HashMap<ChannelId, Slot>,
}

#[derive(Default)]
struct Slot {
    channel: Option<Channel<Msg>>,
    size: Option<Size>,
    term: String,
    env: Vec<(String, String)>,
    terminal: Option<tokio::sync::mpsc::Sender<Size>>,
}

fn size(columns: u32, rows: u32) -> Size {
    let cap = |n: u32| u16::try_from(n.clamp(1, 1000)).unwrap_or(80);
    Size::new(cap(rows), cap(columns))
}

impl Host {
    /// Starts a program on the channel; false when there is nothing to start it on.
    fn start(&mut self, id: ChannelId, program: Command, handle: Handle) -> bool {
        let Some(slot) = self.channels.get_mut(&id) else { return false };
        let Some(channel) = slot.channel.take() else { return false };
        let mut program = program;
        program.envs(slot.env.drain(..)).kill_on_drop(true);
        program.env("CAPONIER_DEMO_TARGET", &self.setup.name);
        let (read, write) = channel.split();
        let end = End { id, handle, read, write };
        match slot.size {
            Some(size) => {
                program.env("TERM", &slot.term);
                let (sizes, resized) = tokio::sync::mpsc::channel(8);
                slot.terminal = Some(sizes);
                tokio::spawn(finish(end, move |end| Box::pin(with_terminal(end, program, size, resized))));
            }
            None => {
                tokio::spawn(finish(end, move |end| Box::pin(with_pipes(end, program))));
            }
        }
        true
    }

    fn shell(&self) -> Command {
        let mut shell = Command::new("/bin/bash");
        shell.args(["--noprofile", "--norc"]).env("PS1", format!("{}$ ", self.setup.name));
        shell
    }
}

impl Handler for Host {
    type Error = russh::Error;

    async fn auth_openssh_certificate(
        &mut self,
        user: &str,
        shown: &Certificate,
    ) -> Result<Auth, Self::Error> {
        let from = std::net::Ipv4Addr::LOCALHOST.into();
        let known = verify_user(shown, &self.setup.target_ca, from, self.setup.clock.now())
            .is_ok_and(|verified| verified.principals().iter().any(|login| login.as_str() == user));
        Ok(if known { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        open: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels.insert(channel.id(), Slot { channel: Some(channel), ..Slot::default() });
        open.accept().await;
        Ok(())
    }

    async fn channel_close(&mut self, id: ChannelId, _session: &mut Session) -> Result<(), Self::Error> {
        self.channels.remove(&id);
        Ok(())
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if let Some(slot) = self.channels.get_mut(&id) {
            slot.size = Some(size(columns, rows));
            slot.term = term.into();
        }
        session.channel_success(id)
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if let Some(slot) = self.channels.get_mut(&id).filter(|_| name == "LANG" || name.starts_with("LC_")) {
            slot.env.push((name.into(), value.into()));
        }
        session.channel_success(id)
    }

    async fn window_change_request(
        &mut self,
        id: ChannelId,
        columns: u32,
        rows: u32,
        _width: u32,
        _height: u32,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if let Some(terminal) = self.channels.get(&id).and_then(|slot| slot.terminal.as_ref())
            && terminal.try_send(size(columns, rows)).is_err()
        {
            tracing::debug!("demo target: a resize was dropped");
        }
        Ok(())
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        let shell = self.shell();
        answer(self.start(id, shell, session.handle()), id, session)
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let mut shell = self.shell();
        shell.arg("-c").arg(String::from_utf8_lossy(command).into_owned());
        answer(self.start(id, shell, session.handle()), id, session)
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let server = SFTP_SERVERS.iter().find(|path| name == "sftp" && std::path::Path::new(path).exists());
        let granted = server.is_some_and(|path| self.start(id, Command::new(path), session.handle()));
        answer(granted, id, session)
    }
}

fn answer(granted: bool, id: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
    if granted { session.channel_success(id) } else { session.channel_failure(id) }
}

struct End {
    id: ChannelId,
    handle: Handle,
    read: ChannelReadHalf,
    write: ChannelWriteHalf<Msg>,
}

type Running<'a> =
    std::pin::Pin<Box<dyn Future<Output = anyhow::Result<std::process::ExitStatus>> + Send + 'a>>;

/// Runs `program` and reports how it ended.
async fn finish(mut end: End, program: impl FnOnce(&mut End) -> Running<'_>) {
    use std::os::unix::process::ExitStatusExt as _;
    let status = program(&mut end).await;
    let ended = async {
        end.write.eof().await?;
        match &status {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => end.write.exit_status(code.unsigned_abs()).await?,
                (None, signal) => {
                    let name = match signal {
                        Some(15) => russh::Sig::TERM,
                        Some(1) => russh::Sig::HUP,
                        Some(2) => russh::Sig::INT,
                        _ => russh::Sig::KILL,
                    };
                    let sent =
                        end.handle.exit_signal_request(end.id, name, false, String::new(), String::new());
                    sent.await.map_err(|()| russh::Error::SendError)?;
                }
            },
            Err(error) => {
                tracing::warn!(%error, "demo target: a program did not start");
                end.write.exit_status(127).await?;
            }
        }
        end.write.close().await
    };
    if let Err(error) = ended.await {
        tracing::debug!(%error, "demo target: the client was gone");
    }
}

async fn with_terminal(
    end: &mut End,
    program: Command,
    size: Size,
    mut resized: tokio::sync::mpsc::Receiver<Size>,
) -> anyhow::Result<std::process::ExitStatus> {
    let (pty, pts) = pty_process::open()?;
    pty.resize(size)?;
    let std_command = program.as_std();
    let mut command =
        pty_process::Command::new(std_command.get_program()).args(std_command.get_args()).kill_on_drop(true);
    for (name, value) in std_command.get_envs() {
        if let Some(value) = value {
            command = command.env(name, value);
        }
    }
    let mut child = command.spawn(pts)?;
    let (mut output, mut input) = pty.into_split();
    let End { read, write, .. } = end;
    let writer = write.make_writer();
    tokio::pin!(writer);
    let copy_out = tokio::io::copy(&mut output, &mut writer);
    let copy_in = terminal_input(read, &mut input, &mut resized);
    tokio::select! {
        // The terminal answers EIO once the last process on it is gone.
        ended = copy_out => tracing::trace!(?ended, "demo target: the terminal ended"),
        result = copy_in => result?,
    }
    Ok(child.wait().await?)
}

/// Types what the client sends and follows its window, until the client is gone. The end of its input is no end: the
/// program goes on, as under sshd.
async fn terminal_input(
    read: &mut ChannelReadHalf,
    input: &mut OwnedWritePty,
    resized: &mut tokio::sync::mpsc::Receiver<Size>,
) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            Some(size) = resized.recv() => input.resize(size)?,
            message = read.wait() => match message {
                Some(ChannelMsg::Data { data }) => input.write_all(&data).await?,
                None | Some(ChannelMsg::Close) => return Ok(()),
                Some(_) => {}
            },
        }
    }
}

async fn with_pipes(end: &mut End, mut program: Command) -> anyhow::Result<std::process::ExitStatus> {
    let mut child: Child = program
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("spawn")?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let End { read, write, .. } = end;
    let gone = feed(read, stdin);
    let drain = async {
        tokio::try_join!(pump(stdout, write.make_writer()), pump(stderr, write.make_writer_ext(Some(1))))
    };
    tokio::select! {
        drained = drain => drained.map(drop)?,
        // The client is gone: the program goes with it.
        () = gone => child.kill().await?,
    }
    Ok(child.wait().await?)
}

/// Feeds the program until the client is gone. A program that closes its input early is no error.
async fn feed(read: &mut ChannelReadHalf, stdin: Option<tokio::process::ChildStdin>) {
    let mut stdin = stdin;
    loop {
        match read.wait().await {
            Some(ChannelMsg::Data { data }) => {
                if let Some(open) = stdin.as_mut()
                    && open.write_all(&data).await.is_err()
                {
                    stdin = None;
                }
            }
            Some(ChannelMsg::Eof) => stdin = None,
            None | Some(ChannelMsg::Close) => return,
            Some(_) => {}
        }
    }
}

async fn pump(from: Option<impl AsyncRead + Unpin>, to: impl tokio::io::AsyncWrite) -> anyhow::Result<()> {
    tokio::pin!(to);
    if let Some(mut from) = from {
        tokio::io::copy(&mut from, &mut to).await?;
    }
    Ok(())
}
