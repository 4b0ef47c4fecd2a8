//! A copy at a syslog server: one message (RFC 5424) for each entry, with its length before it (RFC 6587 section 3.4.1, RFC 5425
//! section 4.3), over TCP, TLS or a stream socket of this machine.
//!
//! Syslog has no answers, so nobody ever knows that a message was taken. An entry counts here only when the connection on which it
//! was sent still stood [`SETTLE`] later; when it breaks before that, what was not counted is sent again. Of TCP that means: the
//! server's machine has taken it (else [`UNANSWERED_MAX`] would have ended the connection); that the server has read it nobody
//! says. Numbers and hashes in the entries show what is missing.

use std::collections::VecDeque;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout};

use super::super::export::Line;
use super::SinkError;
use crate::alerts::deliver::egress;
use crate::config::SyslogTo;
use crate::plain;

/// How long a connection must stand after an entry was sent on it.
pub(super) const SETTLE: Duration = Duration::from_secs(5);
/// How long what was sent may go unanswered by the other machine. Shorter than [`SETTLE`].
const UNANSWERED_MAX: Duration = Duration::from_secs(4);
/// Facility 13 (log audit), severity 5 (notice).
const PRIORITY: u8 = 13 * 8 + 5;
/// The server says nothing; what it says all the same is read, so much at a time.
const SAID: usize = 1024;

trait Stream: AsyncRead + AsyncWrite + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Send + Sync> Stream for T {}

/// One server and the way to it.
pub struct SyslogSink {
    to: SyslogTo,
    host: String,
    timeout: Duration,
    open: Option<Open>,
}

struct Open {
    stream: Pin<Box<dyn Stream>>,
    /// What was sent when, oldest first.
    sent: VecDeque<(Instant, u64)>,
    settled: Option<u64>,
}

impl SyslogSink {
    pub(super) fn new(to: SyslogTo, host: &str, timeout: Duration) -> Self {
        // RFC 5424 section 6.2.4: printable ASCII without blanks, at most 255.
        let host: String = host.chars().filter(char::is_ascii_graphic).take(255).collect();
        Self { to, host: if host.is_empty() { "-".into() } else { host }, timeout, open: None }
    }

    pub(super) async fn send(&mut self, lines: &[Line]) -> Result<(), SinkError> {
        let Some(last) = lines.last().map(|line| line.seq) else { return Ok(()) };
        let late = || SinkError::late(self.timeout);
        let mut open = match self.open.take() {
            Some(open) => open,
            None => timeout(self.timeout, connect(&self.to)).await.map_err(|_| late())??,
        };
        let mut bytes = Vec::new();
        for line in lines {
            let message = message(line, &self.host);
            bytes.extend_from_slice(format!("{} ", message.len()).as_bytes());
            bytes.extend_from_slice(message.as_bytes());
        }
        let written = async {
            open.stream.write_all(&bytes).await?;
            open.stream.flush().await
        };
        timeout(self.timeout, written).await.map_err(|_| late())??;
        open.sent.push_back((Instant::now(), last));
        self.open = Some(open);
        Ok(())
    }

    /// What was sent long enough ago, if the connection still stands.
    pub(super) async fn acknowledged(&mut self) -> Result<Option<u64>, SinkError> {
        let Some(open) = &mut self.open else { return Ok(None) };
        let gone = loop {
            let mut said = [0; SAID];
            match open.stream.read(&mut said).now_or_never() {
                None => break None,
                Some(Ok(0)) => break Some(SinkError::Failed("the server has closed the connection".into())),
                Some(Err(error)) => break Some(SinkError::of(&error)),
                Some(Ok(_)) => {}
            }
        };
        if let Some(error) = gone {
            self.open = None;
            return Err(error);
        }
        let now = Instant::now();
        while let Some((_, seq)) = open.sent.pop_front_if(|(at, _)| now - *at >= SETTLE) {
            open.settled = Some(seq);
        }
        Ok(open.settled)
    }
}

/// One entry as RFC 5424 has it; the message itself is the line of an export.
fn message(line: &Line, host: &str) -> String {
    let at = line.moment();
    let kind: String = line.kind.chars().filter(char::is_ascii_graphic).take(32).collect();
    let text = line.text();
    // Section 6.4: the mark says that the message is UTF-8.
    format!("<{PRIORITY}>1 {at} {host} caponier - {kind} [audit@32473 seq=\"{}\"] \u{feff}{text}", line.seq)
}

async fn connect(to: &SyslogTo) -> Result<Open, SinkError> {
    let stream: Pin<Box<dyn Stream>> = match to {
        SyslogTo::Unix(path) => Box::pin(UnixStream::connect(path).await?),
        SyslogTo::Tcp(host, port) => Box::pin(dial(host, *port).await?),
        SyslogTo::Tls(host, port, ca_file) => {
            let config = trust(ca_file)?;
            let name = ServerName::try_from(host.clone()).map_err(|error| SinkError::of(&error))?;
            let stream = dial(host, *port).await?;
            Box::pin(tokio_rustls::TlsConnector::from(config).connect(name, stream).await?)
        }
    };
    Ok(Open { stream, sent: VecDeque::new(), settled: None })
}

async fn dial(host: &str, port: u16) -> Result<TcpStream, SinkError> {
    let found = egress::resolve(host, port).await.map_err(|error| SinkError::of(&error))?;
    let mut failed = SinkError::Failed(format!("{} has no address", plain::line(host, 100)));
    for at in found {
        match TcpStream::connect(at).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(UNANSWERED_MAX))?;
                return Ok(stream);
            }
            Err(error) => failed = SinkError::of(&error),
        }
    }
    Err(failed)
}

/// Whose certificates are trusted: those of the file, and what hangs on them.
fn trust(ca_file: &Path) -> Result<Arc<ClientConfig>, SinkError> {
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(ca_file).map_err(|error| SinkError::of(&error))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| SinkError::of(&error))?;
        roots.add(certificate).map_err(|error| SinkError::of(&error))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| SinkError::of(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    #[test]
    fn a_message() {
        let line = Line {
            seq: 7,
            at: Timestamp::from_millis(1_700_000_000_001),
            kind: "signed_in".into(),
            json: "{\"a\":\"\u{e9}\"}".into(),
            prev: String::new(),
            hash: None,
        };
        assert_eq!(
            message(&line, "b1"),
            "<109>1 2023-11-14T22:13:20.001Z b1 caponier - signed_in [audit@32473 seq=\"7\"] \u{feff}{\"seq\":7,\
             \"at\":\"2023-11-14T22:13:20.001Z\",\"kind\":\"signed_in\",\"fields\":{\"a\":\"\u{e9}\"},\"prev\":null,\"hash\":null}"
        );
        assert!(UNANSWERED_MAX < SETTLE);
    }
}
