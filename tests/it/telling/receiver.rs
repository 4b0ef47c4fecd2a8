//! A real web server that takes notices and answers as the test says: right, wrong, late, half, elsewhere, or without end.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use caponier::alerts::sign;
use caponier::time::{Clock, Timestamp};
use serde_json::Value;

use super::SECRET;

/// What it does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// This status, and headers.
    Status(u16, String),
    /// Nothing, until it is dropped or the client goes.
    Hang,
    /// Half of an answer's head, then the end.
    Half,
    /// 200 with a body of a gigabyte.
    Gigabyte,
}

impl Answer {
    pub(crate) fn ok() -> Self {
        Self::Status(204, String::new())
    }
}

/// A request it got.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) head: String,
    pub(crate) text: String,
    pub(crate) body: Value,
    /// The status it answered with; 0 for none.
    pub(crate) status: u16,
}

impl Taken {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Whether it is signed with `secret`, within five minutes of `now`.
    pub(crate) fn is_signed(&self, secret: &str, now: Timestamp) -> bool {
        let header = self.header(sign::HEADER).unwrap_or_default();
        sign::is_signed(secret, header, &self.text, now, Duration::from_secs(300))
    }

    pub(crate) fn id(&self) -> &str {
        self.body["id"].as_str().unwrap_or_default()
    }
}

type Script = dyn Fn(&[Taken], &Value) -> Answer + Send + Sync;

/// The server.
pub(crate) struct Receiver {
    pub(crate) port: u16,
    taken: Arc<Mutex<Vec<Taken>>>,
    /// Bytes of the endless body that went out.
    pub(crate) poured: Arc<AtomicU64>,
}

impl Receiver {
    /// Answers every request with what `script` makes of those before and this one's body.
    pub(crate) fn start(script: impl Fn(&[Taken], &Value) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let poured = Arc::new(AtomicU64::new(0));
        let script: Arc<Script> = Arc::new(script);
        let (all, count) = (Arc::clone(&taken), Arc::clone(&poured));
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (script, all, count) = (Arc::clone(&script), Arc::clone(&all), Arc::clone(&count));
                std::thread::spawn(move || serve(socket, &*script, &all, &count));
            }
        });
        Self { port, taken, poured }
    }

    /// One that takes everything.
    pub(crate) fn willing() -> Self {
        Self::start(|_, _| Answer::ok())
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    /// Every request so far.
    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.taken.lock().unwrap().clone()
    }

    /// Those it said yes to.
    pub(crate) fn accepted(&self) -> Vec<Taken> {
        self.taken().into_iter().filter(|one| one.status / 100 == 2).collect()
    }
}

fn serve(mut socket: TcpStream, script: &Script, taken: &Mutex<Vec<Taken>>, poured: &AtomicU64) {
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let Some((head, text)) = read(&mut socket) else { return };
    let body: Value = serde_json::from_str(&text).unwrap_or_default();
    let answer = {
        let mut all = taken.lock().unwrap();
        let answer = script(&all, &body);
        let status = match &answer {
            Answer::Status(status, _) => *status,
            Answer::Gigabyte => 200,
            Answer::Hang | Answer::Half => 0,
        };
        all.push(Taken { head, text, body, status });
        answer
    };
    // A client that has heard enough hangs up: no failure of this end.
    match answer {
        Answer::Status(status, headers) => {
            let text =
                format!("HTTP/1.1 {status} X\r\n{headers}content-length: 0\r\nconnection: close\r\n\r\n");
            drop(socket.write_all(text.as_bytes()));
        }
        Answer::Half => drop(socket.write_all(b"HTTP/1.1 20")),
        Answer::Hang => drop(socket.read(&mut [0; 1])),
        Answer::Gigabyte => {
            let block = [b'x'; 65_536];
            let mut said = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n");
            for _ in 0..16_384 {
                if said.is_err() {
                    return;
                }
                said = socket.write_all(&block);
                poured.fetch_add(65_536, Ordering::Relaxed);
            }
        }
    }
}

/// Head and body of one request; none when the client went before.
fn read(socket: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    let mut block = [0; 8192];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().ok())?
            });
            if body.len() >= length.unwrap_or(0) {
                return Some((head.to_owned(), body.to_owned()));
            }
        }
        match socket.read(&mut block) {
            Ok(0) | Err(_) => return None,
            Ok(count) => bytes.extend_from_slice(&block[..count]),
        }
    }
}

/// Fails unless the request is one of ours: signed, and as documented.
pub(crate) fn assert_is_ours(one: &Taken, now: Timestamp) {
    assert!(one.is_signed(SECRET, now), "{one:?}");
    assert!(!one.is_signed("another secret of 16", now), "{one:?}");
    assert!(one.head.starts_with("POST /hook HTTP/1.1"), "{}", one.head);
    assert_eq!(one.header("content-type"), Some("application/json"));
    assert_eq!(one.body["version"], 1);
    assert!(one.id().starts_with("ntc_"), "{}", one.text);
}

/// The time as receivers know it.
pub(crate) fn wall() -> Timestamp {
    Clock::System.now()
}
