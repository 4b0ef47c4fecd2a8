//! What russh calls: one type for both kinds of SSH server we are. A connection is `outer` (a TCP client) or `inner`
//! (the second handshake inside a jump channel); session channels of both go to a [`Desk`].
//!
//! Everything not named here is refused: russh's own answers to unknown channels, requests and global requests are
//! refusals. Replies to global requests and to requests on channels are given within the callback: russh forgets whether
//! one is wanted with the next request.

use russh::keys::ssh_key::Certificate;
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, Response, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty};

use super::desk::{Desk, Program, PtyRequest, X11Request};
use super::inner::Inner;
use super::limits::WINDOW;
use super::outer::Outer;
use crate::policy::Act;

/// One connection's door.
pub(super) enum Door {
    Outer(Box<Outer>),
    Inner(Box<Inner>),
}

impl Door {
    fn desk(&mut self) -> Option<&mut Desk> {
        match self {
            Self::Outer(outer) => outer.desk(),
            Self::Inner(inner) => inner.desk(),
        }
    }

    fn start(&mut self, id: ChannelId, program: Program, session: &mut Session) -> Result<(), russh::Error> {
        let granted = match self {
            Self::Outer(outer) if outer.assists() => outer.assist(id, &program),
            Self::Outer(_) | Self::Inner(_) => self.desk().is_some_and(|desk| desk.start(id, program)),
        };
        reply(granted, id, session)
    }
}

impl Door {
    /// Refuses a channel that clients do not open, and has that written down.
    async fn refuse(&mut self, act: Act, open: ChannelOpenHandle) {
        if let Some(desk) = self.desk() {
            desk.forwards().refuse(act).await;
        }
        open.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
    }
}

fn reply(granted: bool, id: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
    if granted { session.channel_success(id) } else { session.channel_failure(id) }
}

impl Handler for Door {
    type Error = russh::Error;

    async fn auth_none(&mut self, user: &str) -> Result<Auth, Self::Error> {
        Ok(match self {
            Self::Outer(outer) => {
                outer.asked();
                Auth::reject()
            }
            Self::Inner(inner) => inner.log_in(user),
        })
    }

    /// A bare key proves nothing here, whoever it belongs to; only certificates do.
    async fn auth_publickey(
        &mut self,
        _user: &str,
        _key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        if let Self::Outer(outer) = self {
            outer.asked();
        }
        Ok(Auth::reject())
    }

    async fn auth_openssh_certificate(
        &mut self,
        user: &str,
        shown: &Certificate,
    ) -> Result<Auth, Self::Error> {
        Ok(match self {
            Self::Outer(outer) => outer.certificate(user, shown).await,
            Self::Inner(_) => Auth::reject(),
        })
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _submethods: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, Self::Error> {
        Ok(match self {
            Self::Outer(outer) => outer.pairing(user, response.is_some()).await,
            Self::Inner(_) => Auth::reject(),
        })
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), Self::Error> {
        match self {
            Self::Outer(outer) => outer.authenticated(session.handle(), session.remote_sshid()),
            Self::Inner(inner) => inner.authenticated(session.handle()),
        }
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        open: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let handle = session.handle();
        let taken = match self {
            Self::Outer(outer) if outer.assists() => outer.open_assistance(channel),
            Self::Outer(_) | Self::Inner(_) => self.desk().is_some_and(|desk| desk.open(channel, handle)),
        };
        if taken {
            open.accept().await;
        } else {
            open.reject(ChannelOpenFailure::ResourceShortage).await;
        }
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host_to_connect: &str,
        port_to_connect: u32,
        originator_address: &str,
        originator_port: u32,
        open: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if let Some(desk) = self.desk() {
            let (to, from) = ((host_to_connect, port_to_connect), (originator_address, originator_port));
            desk.forwards().open_tcp(channel, to, from, open);
            return Ok(());
        }
        match self {
            Self::Outer(outer) => match outer.jump(channel, host_to_connect, port_to_connect) {
                Ok(()) => open.accept().await,
                Err(why) => {
                    open.reject(ChannelOpenFailure::Other { code: 1, reason: format!("caponier: {why}") })
                        .await
                }
            },
            Self::Inner(_) => open.reject(ChannelOpenFailure::AdministrativelyProhibited).await,
        }
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        socket_path: &str,
        open: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        match self.desk() {
            Some(desk) => desk.forwards().open_socket(channel, socket_path, open),
            None => open.reject(ChannelOpenFailure::AdministrativelyProhibited).await,
        }
        Ok(())
    }

    /// Only servers open these.
    async fn channel_open_x11(
        &mut self,
        _channel: Channel<Msg>,
        _originator_address: &str,
        _originator_port: u32,
        open: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.refuse(Act::Unknown { name: "channel x11".into() }, open).await;
        Ok(())
    }

    /// Only servers open these.
    async fn channel_open_forwarded_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        _address: &str,
        _port: u32,
        _originator_address: &str,
        _originator_port: u32,
        open: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.refuse(Act::Unknown { name: "channel forwarded-tcpip".into() }, open).await;
        Ok(())
    }

    async fn tcpip_forward(
        &mut self,
        address: &str,
        port: &mut u32,
        _session: &mut Session,
    ) -> Result<bool, Self::Error> {
        let Some(desk) = self.desk() else { return Ok(false) };
        let listening = desk.forwards().listen_tcp(address, *port).await;
        if let Some(chosen) = listening {
            *port = chosen;
        }
        Ok(listening.is_some())
    }

    async fn cancel_tcpip_forward(
        &mut self,
        address: &str,
        port: u32,
        _session: &mut Session,
    ) -> Result<bool, Self::Error> {
        let Some(desk) = self.desk() else { return Ok(false) };
        Ok(desk.forwards().cancel_tcp(address, port).await)
    }

    async fn streamlocal_forward(&mut self, path: &str, _session: &mut Session) -> Result<bool, Self::Error> {
        let Some(desk) = self.desk() else { return Ok(false) };
        Ok(desk.forwards().listen_socket(path).await)
    }

    async fn cancel_streamlocal_forward(
        &mut self,
        path: &str,
        _session: &mut Session,
    ) -> Result<bool, Self::Error> {
        let Some(desk) = self.desk() else { return Ok(false) };
        Ok(desk.forwards().cancel_socket(path).await)
    }

    async fn agent_request(
        &mut self,
        channel: ChannelId,
        _session: &mut Session,
    ) -> Result<bool, Self::Error> {
        let Some(desk) = self.desk() else { return Ok(false) };
        Ok(desk.agent(channel).await)
    }

    async fn channel_close(&mut self, channel: ChannelId, _session: &mut Session) -> Result<(), Self::Error> {
        if let Self::Outer(outer) = self {
            outer.close_assistance(channel);
        }
        if let Some(desk) = self.desk() {
            desk.closed(channel);
        }
        Ok(())
    }

    fn adjust_window(&mut self, _channel: ChannelId, _current: u32) -> u32 {
        self.desk().map_or(WINDOW, |desk| desk.window())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let pty = PtyRequest { term: term.into(), columns, rows, width, height, modes: modes.to_vec() };
        let granted = match self {
            // Help is plain text; a terminal makes no difference to it.
            Self::Outer(outer) if outer.assists() => true,
            Self::Outer(_) | Self::Inner(_) => self.desk().is_some_and(|desk| desk.pty(channel, pty)),
        };
        reply(granted, channel, session)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let granted = self.desk().is_some_and(|desk| desk.env(channel, name, value));
        reply(granted, channel, session)
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        self.start(channel, Program::Shell, session)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.start(channel, Program::Exec(command.to_vec()), session)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.start(channel, Program::Subsystem(name.into()), session)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        single: bool,
        protocol: &str,
        cookie: &str,
        screen: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let request = X11Request { single, protocol: protocol.into(), cookie: cookie.into(), screen };
        let granted = match self.desk() {
            Some(desk) => desk.x11(channel, request).await,
            None => false,
        };
        reply(granted, channel, session)
    }
}
