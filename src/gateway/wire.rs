//! What we say and accept on the wire: algorithms, russh configurations, sockets.

use std::borrow::Cow;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use russh::keys::ssh_key::{Algorithm, Certificate, EcdsaCurve, HashAlg, PrivateKey, PublicKey};
use russh::{MethodKind, MethodSet, Preferred, SshId, cipher, client, compression, kex, mac, server};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::limits::{
    AUTH_ATTEMPTS_MAX, CHANNEL_QUEUE, CLIENT_KEEPALIVE, KEEPALIVE_MAX, PACKET, TARGET_KEEPALIVE, WINDOW,
};
use crate::policy::HostKey;

/// Key exchange: post-quantum hybrid first, no SHA-1, no group under 2048 bits; strict key exchange on (Terrapin).
const KEX: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::DH_GEX_SHA256,
    kex::DH_G16_SHA512,
    kex::DH_G14_SHA256,
    kex::EXTENSION_SUPPORT_AS_CLIENT,
    kex::EXTENSION_SUPPORT_AS_SERVER,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
];

/// AES-GCM first: towards targets we choose, and it costs little more than half of ChaCha20. No CBC, no 3DES, no CTR
/// with separate MAC.
const CIPHERS: &[cipher::Name] = &[cipher::AES_256_GCM, cipher::AES_128_GCM, cipher::CHACHA20_POLY1305];

const MACS: &[mac::Name] = &[mac::HMAC_SHA256_ETM, mac::HMAC_SHA512_ETM];

/// Key algorithms we accept from targets, and in users' certificates. No DSA, no RSA with SHA-1.
const KEYS: &[Algorithm] = &[
    Algorithm::Ed25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
    Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
    Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
];

fn preferred(keys: Vec<Algorithm>, certificates: Vec<Algorithm>) -> Preferred {
    Preferred {
        kex: Cow::Borrowed(KEX),
        key: Cow::Owned(keys),
        host_key_certificates: Cow::Owned(certificates),
        cipher: Cow::Borrowed(CIPHERS),
        mac: Cow::Borrowed(MACS),
        // Compression before and across trust boundaries leaks lengths and costs memory.
        compression: Cow::Borrowed(&[compression::NONE]),
    }
}

fn server_id() -> SshId {
    SshId::Standard(Cow::Borrowed("SSH-2.0-Caponier"))
}

/// Configuration of a server leg that shows `host_key` and `certificate`.
pub(super) fn server(
    host_key: &PrivateKey,
    certificate: Certificate,
    methods: &[MethodKind],
) -> Arc<server::Config> {
    Arc::new(server::Config {
        server_id: server_id(),
        methods: MethodSet::from(methods),
        // Nothing here depends on a secret of ours: certificates and codes are compared without timing to hide.
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![host_key.clone()],
        certificates: vec![certificate],
        window_size: WINDOW,
        maximum_packet_size: PACKET,
        channel_buffer_size: CHANNEL_QUEUE,
        event_buffer_size: CHANNEL_QUEUE,
        preferred: preferred(KEYS.to_vec(), Vec::new()),
        max_auth_attempts: AUTH_ATTEMPTS_MAX,
        inactivity_timeout: None,
        keepalive_interval: Some(CLIENT_KEEPALIVE),
        keepalive_max: KEEPALIVE_MAX,
        nodelay: true,
        ..server::Config::default()
    })
}

/// Configuration of the client leg towards a target. Only what can be accepted is offered: certificates where the
/// policy says "host CA", and the very algorithms of the pinned keys otherwise.
pub(super) fn client(host_key: &HostKey) -> Arc<client::Config> {
    let preferred = match host_key {
        HostKey::Ca { .. } => preferred(KEYS.to_vec(), KEYS.to_vec()),
        HostKey::Pinned(lines) => {
            let pinned: Vec<Algorithm> = lines
                .iter()
                .filter_map(|line| PublicKey::from_openssh(line).ok())
                .map(|key| key.algorithm())
                .collect();
            let fits = |offered: &&Algorithm| {
                pinned.iter().any(|pinned| match (pinned, *offered) {
                    (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => true,
                    (pinned, offered) => pinned == offered,
                })
            };
            preferred(KEYS.iter().filter(fits).cloned().collect(), Vec::new())
        }
    };
    Arc::new(client::Config {
        client_id: server_id(),
        window_size: WINDOW,
        maximum_packet_size: PACKET,
        channel_buffer_size: CHANNEL_QUEUE,
        preferred,
        inactivity_timeout: None,
        keepalive_interval: Some(TARGET_KEEPALIVE),
        keepalive_max: KEEPALIVE_MAX,
        nodelay: true,
        ..client::Config::default()
    })
}

/// Reads during which a socket asks for immediate acknowledgements.
const QUICK_READS: u32 = 64;
/// Reads of fewer bytes ask for them always: ssh and sshd leave Nagle on where no terminal is, and the second small packet of
/// a forward (the end of its data) would wait 40 ms for the acknowledgement of the first.
const QUICK_BYTES: usize = 1024;

/// A TCP stream without Nagle's delay that acknowledges at once while a connection is being set up. Stock ssh sets
/// `TCP_NODELAY` late, and its small set-up packets would each wait for a delayed acknowledgement.
pub(super) struct Socket {
    stream: TcpStream,
    quick_reads: u32,
}

impl Socket {
    /// Takes the stream; fails when its options cannot be set (it is gone).
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        socket.set_keepalive(true)?;
        socket.set_tcp_quickack(true)?;
        Ok(Self { stream, quick_reads: QUICK_READS })
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let small = buf.filled().len() - before < QUICK_BYTES;
        if small || self.quick_reads > 0 {
            // The kernel forgets the option by itself, so it is set again after each read.
            self.quick_reads = self.quick_reads.saturating_sub(1);
            SockRef::from(&self.stream).set_tcp_quickack(true)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
