//! The listener on 127.0.0.1 that the browser is sent back to. It answers one good request, and that one only after
//! the sign-in has worked or failed, so the page tells the truth. Everything else gets a 404 or 400 and changes
//! nothing: any page that the browser shows can send requests here, but none knows the id of the sign-in.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use url::form_urlencoded;

const HEAD_MAX: usize = 8 * 1024;
const CONNECTIONS_MAX: usize = 16;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const REQUEST_PATIENCE: Duration = Duration::from_secs(5);

/// The listener.
#[derive(Debug)]
pub struct Loopback {
    listener: TcpListener,
    port: u16,
}

/// What the browser brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Brought {
    /// The code to finish with.
    Code(String),
    /// The sign-in failed, in the server's words.
    Failure(String),
}

/// The good request, not yet answered.
#[derive(Debug)]
pub struct Arrival {
    /// What it brought.
    pub brought: Brought,
    stream: TcpStream,
}

impl Loopback {
    /// Listens on a free port of 127.0.0.1.
    pub async fn bind() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        Ok(Self { listener, port })
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits for the good request, which is for the sign-in `id`; none when `patience` is over. Browsers open connections
    /// that they never use, so several are read at once.
    pub async fn wait(self, id: &str, patience: Duration) -> io::Result<Option<Arrival>> {
        let mut open = JoinSet::new();
        let deadline = tokio::time::sleep(patience);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                () = &mut deadline => return Ok(None),
                accepted = self.listener.accept(), if open.len() < CONNECTIONS_MAX => {
                    let stream = match accepted {
                        Ok((stream, _)) => stream,
                        Err(error) => {
                            // One connection that broke off says nothing about the next.
                            tracing::debug!(%error, "a connection was not accepted");
                            tokio::time::sleep(ACCEPT_PAUSE).await;
                            continue;
                        }
                    };
                    let received = receive(stream, self.port, id.to_owned());
                    open.spawn(tokio::time::timeout(REQUEST_PATIENCE, received));
                }
                Some(done) = open.join_next() => {
                    if let Ok(Ok(Ok(Some(arrival)))) = done {
                        return Ok(Some(arrival));
                    }
                }
            }
        }
    }
}

impl Arrival {
    /// Answers with a small page.
    pub async fn answer(mut self, title: &str, text: &str) -> io::Result<()> {
        let page = format!(
            "<!doctype html><meta charset=utf-8><title>{0}</title><h1>{0}</h1><p>{1}</p>\n",
            escape(title),
            escape(text)
        );
        tokio::time::timeout(REQUEST_PATIENCE, respond(&mut self.stream, "200 OK", &page)).await?
    }
}

/// Reads one request; bad ones are answered here.
async fn receive(mut stream: TcpStream, port: u16, id: String) -> io::Result<Option<Arrival>> {
    let mut head = Vec::new();
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        let mut chunk = [0; 1024];
        let n = stream.read(&mut chunk).await?;
        if n == 0 || head.len() + n > HEAD_MAX {
            return Ok(None);
        }
        head.extend_from_slice(chunk.get(..n).unwrap_or_default());
    }
    match judge(&String::from_utf8_lossy(&head), port, &id) {
        Ok(brought) => Ok(Some(Arrival { brought, stream })),
        Err(status) => {
            respond(&mut stream, status, "Not here.\n").await?;
            Ok(None)
        }
    }
}

async fn respond(stream: &mut TcpStream, status: &str, page: &str) -> io::Result<()> {
    let length = page.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {length}\r\n\
         Content-Security-Policy: default-src 'none'\r\nX-Content-Type-Options: nosniff\r\n\
         Referrer-Policy: no-referrer\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n{page}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

/// What a request head brings, or the status it is turned away with. The `Host` must be ours: a page elsewhere that
/// points a name of its own at 127.0.0.1 is not the redirect we wait for. And the `id` must be that of our sign-in.
fn judge(head: &str, port: u16, id: &str) -> Result<Brought, &'static str> {
    const BAD: &str = "400 Bad Request";
    const ABSENT: &str = "404 Not Found";
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some("GET"), Some(target), Some("HTTP/1.1" | "HTTP/1.0"), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(BAD);
    };
    let mut hosts = lines
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| name.eq_ignore_ascii_case("host"))
        .map(|(_, value)| value.trim());
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return Err(BAD) };
    if host != format!("127.0.0.1:{port}") && host != format!("localhost:{port}") {
        return Err(BAD);
    }
    let Some(query) = target.strip_prefix("/?") else { return Err(ABSENT) };
    let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    let all = |wanted: &str| -> Vec<&str> {
        pairs.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value.as_ref()).collect()
    };
    if all("id") != [id] {
        return Err(ABSENT);
    }
    match (all("code").as_slice(), all("error").as_slice()) {
        ([code], []) if is_code(code) => Ok(Brought::Code((*code).to_owned())),
        ([], [error]) => Ok(Brought::Failure((*error).to_owned())),
        ([], []) => Err(ABSENT),
        _ => Err(BAD),
    }
}

fn is_code(text: &str) -> bool {
    (1..=512).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'~' | b'-'))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests() {
        let check = |line: &str, host: &str, expect: Result<Brought, &str>| {
            assert_eq!(judge(&format!("{line}\r\n{host}\r\n\r\n"), 99, "pnd_1"), expect, "{line} {host}");
        };
        let (ours, code) = ("Host: 127.0.0.1:99", Ok(Brought::Code("a-b_c.~1".to_owned())));
        check("GET /?code=a-b_c.~1&id=pnd_1 HTTP/1.1", ours, code.clone());
        check("GET /?code=a-b_c.~1&x=y&id=pnd_1 HTTP/1.1", "hOST:localhost:99", code);
        check(
            "GET /?error=it+is%20denied&id=pnd_1 HTTP/1.1",
            ours,
            Ok(Brought::Failure("it is denied".to_owned())),
        );
        for (line, host) in [
            ("POST /?code=a&id=pnd_1 HTTP/1.1", ours),
            ("GET /?code=a&id=pnd_1 HTTP/2", ours),
            ("GET /?code=a&id=pnd_1", ours),
            ("GET /?code=a&id=pnd_1 b HTTP/1.1", ours),
            ("GET /?code=&id=pnd_1 HTTP/1.1", ours),
            ("GET /?code=a%0a&id=pnd_1 HTTP/1.1", ours),
            ("GET /?code=a&code=b&id=pnd_1 HTTP/1.1", ours),
            ("GET /?code=a&error=b&id=pnd_1 HTTP/1.1", ours),
            ("GET /?code=a&id=pnd_1 HTTP/1.1", "Host: evil.example:99"),
            ("GET /?code=a&id=pnd_1 HTTP/1.1", "Host: 127.0.0.1"),
            ("GET /?code=a&id=pnd_1 HTTP/1.1", "Host: 127.0.0.1:99\r\nHost: evil"),
            ("GET /?code=a&id=pnd_1 HTTP/1.1", "X: y"),
        ] {
            check(line, host, Err("400 Bad Request"));
        }
        for line in [
            "GET / HTTP/1.1",
            "GET /favicon.ico HTTP/1.1",
            "GET /x?code=a HTTP/1.1",
            "GET /?x=y&id=pnd_1 HTTP/1.1",
            "GET /?code=a HTTP/1.1",
            "GET /?code=a&id=pnd_2 HTTP/1.1",
            "GET /?error=x HTTP/1.1",
            "GET /?error=x&id=pnd_1&id=pnd_2 HTTP/1.1",
        ] {
            check(line, ours, Err("404 Not Found"));
        }
    }
}
