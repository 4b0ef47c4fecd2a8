//! The clients: each has one connection that is kept, and asks again as soon as it has its answer. HTTP/1.1 by hand over a
//! TCP stream, so that what is measured is the server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use caponier::cli::client::sign::{self, Key, Request};
use caponier::random::Random;
use caponier::time::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Of so many certificates of a client, one is kept and verified at the end.
const KEEP_ONE_OF: usize = 50;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is asked for, made before the clock starts.
pub(crate) enum Work {
    /// Each client has a key that is signed in, and renews its certificate.
    Renew(Vec<Key>),
    /// Each request is of another job, with a new key and a token for it.
    Exchange(Vec<Job>),
}

/// A job that comes once.
pub(crate) struct Job {
    pub(crate) key: Key,
    /// The request's body, with the token.
    pub(crate) body: String,
}

impl Work {
    /// What is asked for the `place`th time; none when there is nothing left.
    fn at(&self, client: usize, place: usize) -> Option<(usize, &'static str, &str)> {
        match self {
            Self::Renew(_) => Some((client, "/v1/certificate", "{}")),
            Self::Exchange(jobs) => {
                let job = jobs.get(place)?;
                Some((place, "/v1/certificates", job.body.as_str()))
            }
        }
    }

    /// One of the keys.
    pub(crate) fn key(&self, number: usize) -> anyhow::Result<&Key> {
        let key = match self {
            Self::Renew(keys) => keys.get(number),
            Self::Exchange(jobs) => jobs.get(number).map(|job| &job.key),
        };
        key.context("a key for each request")
    }

    /// All keys that are signed in from the start.
    pub(crate) fn signed_in(&self) -> &[Key] {
        match self {
            Self::Renew(keys) => keys,
            Self::Exchange(_) => &[],
        }
    }

    /// For the report.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Renew(_) => "renewals",
            Self::Exchange(_) => "exchanges of jobs' tokens",
        }
    }
}

/// What one client got.
#[derive(Default)]
pub(crate) struct Answers {
    /// The serials of all certificates it was given.
    pub(crate) serials: Vec<u64>,
    /// Some of the certificates, as they came, each with the number of its key.
    pub(crate) some: Vec<(usize, String)>,
    /// How long it waited for those that it was given while it counted.
    pub(crate) waits: Vec<Duration>,
}

/// All clients.
pub(crate) struct Load {
    address: SocketAddr,
    work: Arc<Work>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    counting: AtomicBool,
    over: AtomicBool,
    asked: AtomicUsize,
}

impl Load {
    pub(crate) fn new(address: SocketAddr, work: Arc<Work>) -> Self {
        Self { address, work, state: Arc::default() }
    }

    /// So many clients.
    pub(crate) fn start(&self, clients: usize) -> Vec<JoinHandle<anyhow::Result<Answers>>> {
        let start = |number| {
            let client = Client {
                address: self.address,
                work: Arc::clone(&self.work),
                number,
                stream: None,
                read: Vec::new(),
            };
            tokio::spawn(client.run(Arc::clone(&self.state)))
        };
        (0..clients).map(start).collect()
    }

    /// Whether answers that come now count.
    pub(crate) fn count(&self, yes: bool) {
        self.state.counting.store(yes, Ordering::SeqCst);
    }

    /// Whether there is nothing left to ask for.
    pub(crate) fn is_exhausted(&self) -> bool {
        matches!(&*self.work, Work::Exchange(jobs) if self.state.asked.load(Ordering::SeqCst) >= jobs.len())
    }

    /// Each client waits for the answer it is owed, and ends.
    pub(crate) fn stop(&self) {
        self.state.over.store(true, Ordering::SeqCst);
    }
}

struct Client {
    address: SocketAddr,
    work: Arc<Work>,
    number: usize,
    /// None before the first request, and when the server has ended it: it does so every two minutes.
    stream: Option<TcpStream>,
    read: Vec<u8>,
}

impl Client {
    async fn run(mut self, state: Arc<State>) -> anyhow::Result<Answers> {
        let mut answers = Answers::default();
        let authority = self.address.to_string();
        let work = Arc::clone(&self.work);
        while !state.over.load(Ordering::SeqCst) {
            let place = state.asked.fetch_add(1, Ordering::SeqCst);
            let Some((key, path, body)) = work.at(self.number, place) else { break };
            let request = request(work.key(key)?, &authority, path, body)?;
            let began = Instant::now();
            let answer = tokio::time::timeout(PATIENCE, self.ask(&request)).await;
            let answer = answer.context("an answer did not come in time")??;
            if state.counting.load(Ordering::SeqCst) {
                answers.waits.push(began.elapsed());
            }
            answers.serials.push(field(&answer, "serial")?.parse()?);
            if answers.serials.len() % KEEP_ONE_OF == 1 {
                answers.some.push((key, field(&answer, "certificate")?.to_owned()));
            }
        }
        Ok(answers)
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

/// A request, signed.
fn request(key: &Key, authority: &str, path: &str, body: &str) -> anyhow::Result<Vec<u8>> {
    let request = Request { method: "POST", authority, path, body: body.as_bytes() };
    let proof = sign::sign(key, &request, Clock::System.now(), Random::System.token())?;
    let length = body.len();
    let mut text = format!(
        "POST {path} HTTP/1.1\r\nhost: {authority}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n"
    );
    for (name, value) in proof {
        text.extend([name, ": ", &value, "\r\n"]);
    }
    text.extend(["\r\n", body]);
    Ok(text.into_bytes())
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
