//! The clients: each has one key, one connection that is kept, and asks again as soon as it has its answer. HTTP/1.1 by
//! hand over a TCP stream, so that what is measured is the server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use caponier::cli::client::sign::{self, Key, Request};
use caponier::random::Random;
use caponier::time::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

const PATH: &str = "/v1/certificate";
const BODY: &[u8] = b"{}";
/// Of so many certificates of a client, one is kept and verified at the end.
const KEEP_ONE_OF: usize = 50;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What one client got.
#[derive(Default)]
pub(crate) struct Answers {
    /// Which of the keys it has.
    pub(crate) key: usize,
    /// The serials of all certificates it was given.
    pub(crate) serials: Vec<u64>,
    /// Some of the certificates, as they came.
    pub(crate) some: Vec<String>,
    /// How long it waited for those that it was given while it counted.
    pub(crate) waits: Vec<Duration>,
}

/// All clients.
pub(crate) struct Load {
    address: SocketAddr,
    keys: Arc<[Key]>,
    counting: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
}

impl Load {
    pub(crate) fn new(address: SocketAddr, keys: Arc<[Key]>) -> Self {
        Self { address, keys, counting: Arc::default(), over: Arc::default() }
    }

    /// One client for each key.
    pub(crate) fn start(&self) -> Vec<JoinHandle<anyhow::Result<Answers>>> {
        let start = |key| {
            let client = Client {
                address: self.address,
                keys: Arc::clone(&self.keys),
                key,
                stream: None,
                read: Vec::new(),
            };
            tokio::spawn(client.run(Arc::clone(&self.counting), Arc::clone(&self.over)))
        };
        (0..self.keys.len()).map(start).collect()
    }

    /// Whether answers that come now count.
    pub(crate) fn count(&self, yes: bool) {
        self.counting.store(yes, Ordering::SeqCst);
    }

    /// Each client waits for the answer it is owed, and ends.
    pub(crate) fn stop(&self) {
        self.over.store(true, Ordering::SeqCst);
    }
}

struct Client {
    address: SocketAddr,
    keys: Arc<[Key]>,
    key: usize,
    /// None before the first request, and when the server has ended it: it does so every two minutes.
    stream: Option<TcpStream>,
    read: Vec<u8>,
}

impl Client {
    async fn run(mut self, counting: Arc<AtomicBool>, over: Arc<AtomicBool>) -> anyhow::Result<Answers> {
        let mut answers = Answers { key: self.key, ..Answers::default() };
        let authority = self.address.to_string();
        while !over.load(Ordering::SeqCst) {
            let request = self.request(&authority)?;
            let began = Instant::now();
            let answer = tokio::time::timeout(PATIENCE, self.ask(&request)).await;
            let answer = answer.context("an answer did not come in time")??;
            if counting.load(Ordering::SeqCst) {
                answers.waits.push(began.elapsed());
            }
            answers.serials.push(field(&answer, "serial")?.parse()?);
            if answers.serials.len() % KEEP_ONE_OF == 1 {
                answers.some.push(field(&answer, "certificate")?.to_owned());
            }
        }
        Ok(answers)
    }

    /// A request, signed.
    fn request(&self, authority: &str) -> anyhow::Result<Vec<u8>> {
        let key = self.keys.get(self.key).context("a key for each client")?;
        let request = Request { method: "POST", authority, path: PATH, body: BODY };
        let proof = sign::sign(key, &request, Clock::System.now(), Random::System.token())?;
        let mut head = format!(
            "POST {PATH} HTTP/1.1\r\nhost: {authority}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
            BODY.len()
        );
        for (name, value) in proof {
            head.extend([name, ": ", &value, "\r\n"]);
        }
        head.push_str("\r\n");
        Ok([head.as_bytes(), BODY].concat())
    }

    /// The body of the answer, which must be a good one.
    async fn ask(&mut self, request: &[u8]) -> anyhow::Result<String> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => TcpStream::connect(self.address).await?,
        };
        stream.set_nodelay(true)?;
        stream.write_all(request).await?;
        self.read.clear();
        let (head, rest) = loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break self.read.split_at(end + 4);
            }
            ensure!(stream.read_buf(&mut self.read).await? > 0, "the server hung up");
        };
        let head = String::from_utf8_lossy(head).to_ascii_lowercase();
        let mut body = rest.to_vec();
        let length: usize = header(&head, "content-length").context("an answer without a length")?.parse()?;
        while body.len() < length {
            ensure!(stream.read_buf(&mut body).await? > 0, "the server hung up");
        }
        if header(&head, "connection") != Some("close") {
            self.stream = Some(stream);
        }
        let body = String::from_utf8(body)?;
        if !head.starts_with("http/1.1 200 ") {
            bail!("the server said: {}: {body}", head.lines().next().unwrap_or_default());
        }
        Ok(body)
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value)
}

/// A text field of the answer. Cut out, not parsed: the clients share the processor with the server.
fn field<'a>(answer: &'a str, name: &str) -> anyhow::Result<&'a str> {
    let start = format!("\"{name}\":\"");
    let found = answer.split_once(&start).and_then(|(_, rest)| rest.split_once('"'));
    found.map(|(value, _)| value).with_context(|| format!("no {name} in {answer}"))
}
