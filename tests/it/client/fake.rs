//! A server as the client sees it: speaks `/v1` on loopback, checks every signature with the real verifier, and says
//! whatever a test puts into its mind, also what no honest server would say.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use caponier::identity::proof::{self, Shown, Signed};
use caponier::random::Random;
use caponier::time::Clock;
use caponier::web::api::workloads::{
    ExchangeAnswer, ExchangeLook, ExchangeRequest, IssuerAnswer, RunAnswer, WorkloadSettings,
};
use caponier::web::api::{
    BeginAnswer, BeginRequest, CertificateAnswer, CertificateRequest, ErrorBody, ErrorDetail, FinishRequest,
    SignInAnswer, SignInMode, SshClientSettings,
};
use russh::keys::ssh_key::certificate::{Builder, CertType};
use russh::keys::ssh_key::{Algorithm, PrivateKey, PublicKey};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;

/// The code that the browser brings.
pub(crate) const CODE: &str = "the-code_1";
/// The code that a person types.
pub(crate) const USER_CODE: &str = "BCDF-GHJK";

/// How a certificate is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Twist {
    None,
    OtherKey,
    Host,
    Expired,
    TwoLines,
}

/// What it thinks and has seen.
pub(crate) struct Mind {
    pub(crate) user_ca: PrivateKey,
    pub(crate) ssh: SshClientSettings,
    pub(crate) principals: Vec<String>,
    pub(crate) life: u64,
    pub(crate) twist: Twist,
    /// What `begin` says the browser should open; its own address when none.
    pub(crate) url: Option<String>,
    /// How many more times `finish` says "not yet".
    pub(crate) polls_left: u32,
    /// Every request that needs a sign-in is refused with this code.
    pub(crate) refuses: Option<&'static str>,
    pub(crate) begun: Option<BeginRequest>,
    pub(crate) signed_in: Option<PublicKey>,
    /// What it says to jobs, and what they said.
    pub(crate) jobs: Jobs,
    /// Paths asked for, in order.
    pub(crate) asked: Vec<String>,
    nonces: HashSet<String>,
    authority: String,
}

impl Mind {
    /// How often this path was asked for.
    pub(crate) fn count(&self, path: &str) -> usize {
        self.asked.iter().filter(|asked| *asked == path).count()
    }

    /// A certificate for `key`, valid from and until so many seconds from now.
    pub(crate) fn certificate(&self, key: &PublicKey, from: i64, until: i64) -> String {
        let now = Clock::System.now().as_secs();
        let at = |offset| now.checked_add_signed(offset).unwrap();
        let (kind, key, until) = match self.twist {
            Twist::Host => (CertType::Host, key.clone(), until),
            Twist::OtherKey => (CertType::User, new_key().public_key().clone(), until),
            Twist::Expired => (CertType::User, key.clone(), -1),
            Twist::None | Twist::TwoLines => (CertType::User, key.clone(), until),
        };
        let nonce = Random::System.bytes::<16>().to_vec();
        let mut builder = Builder::new(nonce, key.key_data().clone(), at(from), at(until)).unwrap();
        builder.cert_type(kind).unwrap().serial(4711).unwrap().key_id("corp:ada").unwrap();
        for principal in &self.principals {
            builder.valid_principal(principal.as_str()).unwrap();
        }
        builder.extension("permit-pty", "").unwrap().extension("permit-port-forwarding", "").unwrap();
        let line = builder.sign(&self.user_ca).unwrap().to_openssh().unwrap();
        if self.twist == Twist::TwoLines { format!("{line}\n{line}") } else { line }
    }
}

/// What it believes of jobs and has heard from them.
#[derive(Default)]
pub(crate) struct Jobs {
    pub(crate) issuers: Vec<IssuerAnswer>,
    /// The host CA that it shows before anybody sends anything; its real one when none.
    pub(crate) host_ca: Option<String>,
    pub(crate) exchanged: Vec<ExchangeRequest>,
    pub(crate) looked: Vec<ExchangeRequest>,
    pub(crate) certified: Vec<CertificateRequest>,
    pub(crate) by_request: Vec<String>,
    pub(crate) refusal: Option<String>,
    /// Command lines of this machine that had the token in them when it came.
    pub(crate) seen_in_arguments: Vec<String>,
    /// How many runs were said to be over.
    pub(crate) done: usize,
}

/// The running server.
pub(crate) struct Fake {
    pub(crate) port: u16,
    mind: Arc<Mutex<Mind>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    /// Starts on a free port of 127.0.0.1. Its bastion is called `bastion.test`, with `*.web.test`, `web1` and `db1` behind it.
    pub(crate) fn start() -> Self {
        let host_ca = new_key().public_key().clone();
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let mind = Arc::new(Mutex::new(Mind {
            user_ca: new_key(),
            ssh: SshClientSettings {
                host: "bastion.test".into(),
                port: 2222,
                host_ca: PublicKey::new(host_ca.key_data().clone(), "").to_openssh().unwrap(),
                patterns: vec!["*.web.test".into(), "web1".into(), "db1".into()],
            },
            principals: vec!["deploy".into()],
            life: 300,
            twist: Twist::None,
            url: None,
            polls_left: 0,
            refuses: None,
            begun: None,
            signed_in: None,
            jobs: Jobs::default(),
            asked: Vec::new(),
            nonces: HashSet::new(),
            authority: format!("127.0.0.1:{port}"),
        }));
        let (stop, stopped) = oneshot::channel::<()>();
        let app = Router::new().fallback(answer).with_state(Arc::clone(&mind));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                // Dropped with the runtime, and every connection with it.
                tokio::select! {
                    served = async { axum::serve(listener, app).await } => served.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        Self { port, mind, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn mind(&self) -> MutexGuard<'_, Mind> {
        self.mind.lock().unwrap()
    }

    /// Goes away; its port refuses connections from then on.
    pub(crate) fn stop(&mut self) {
        if let (Some(stop), Some(thread)) = (self.stop.take(), self.thread.take()) {
            // It listens for this until then; had it ended before, it had panicked.
            stop.send(()).unwrap();
            thread.join().unwrap();
        }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(crate) fn new_key() -> PrivateKey {
    Random::System.with(|mut rng| PrivateKey::random(&mut rng, Algorithm::Ed25519)).unwrap()
}

async fn answer(
    State(mind): State<Arc<Mutex<Mind>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut mind = mind.lock().unwrap();
    mind.asked.push(uri.path().to_owned());
    if (method.as_str(), uri.path()) == ("GET", "/v1/workloads") {
        let host_ca = mind.jobs.host_ca.clone().unwrap_or_else(|| mind.ssh.host_ca.clone());
        return ok(&WorkloadSettings { issuers: mind.jobs.issuers.clone(), host_ca });
    }
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let shown = Shown {
        key: text(proof::HEADER_KEY),
        time: text(proof::HEADER_TIME),
        nonce: text(proof::HEADER_NONCE),
        signature: text(proof::HEADER_SIGNATURE),
    };
    let signed =
        Signed { method: method.as_str(), authority: &mind.authority, path: uri.path(), body: &body };
    let proven = match proof::verify(shown, signed, Clock::System.now()) {
        Ok(proven) => proven,
        Err(why) => return error(StatusCode::UNAUTHORIZED, "bad-signature", &why.to_string()),
    };
    if !mind.nonces.insert(proven.nonce().to_owned()) {
        return error(StatusCode::UNAUTHORIZED, "replay", "that nonce was used");
    }
    let key = proven.key().clone();
    match (method.as_str(), uri.path()) {
        ("POST", "/v1/sign-in/begin") => begin(&mut mind, &body),
        ("POST", "/v1/sign-in/finish") => finish(&mut mind, &key, &body),
        ("POST", "/v1/certificates") => exchange(&mut mind, &key, &body),
        ("POST", "/v1/certificates/check") => look(&mut mind, &body),
        _ => known(&mut mind, &key, &method, uri.path(), &body),
    }
}

fn exchange(mind: &mut Mind, key: &PublicKey, body: &[u8]) -> Response {
    let asked: ExchangeRequest = serde_json::from_slice(body).unwrap();
    if let Some(token) = &asked.token {
        mind.jobs.seen_in_arguments =
            command_lines().into_iter().filter(|line| line.contains(token)).collect();
    }
    mind.jobs.exchanged.push(asked);
    if let Some(why) = &mind.jobs.refusal {
        return error(StatusCode::FORBIDDEN, "no-rule", why);
    }
    mind.signed_in = Some(key.clone());
    ok(&ExchangeAnswer {
        sign_in: sign_in(mind),
        certificate: certificate(mind, key),
        key_id: "corp:ada".into(),
        run: run(),
        rules: vec!["deploy".into()],
        by_request: mind.jobs.by_request.clone(),
    })
}

fn look(mind: &mut Mind, body: &[u8]) -> Response {
    mind.jobs.looked.push(serde_json::from_slice(body).unwrap());
    ok(&ExchangeLook {
        run: run(),
        rules: vec!["deploy".into()],
        near: Vec::new(),
        principals: mind.principals.clone(),
        by_request: mind.jobs.by_request.clone(),
        refusal: mind.jobs.refusal.clone(),
    })
}

fn run() -> RunAnswer {
    RunAnswer {
        platform: "github".into(),
        subject: "repository/1".into(),
        label: "acme/shop".into(),
        id: Some("7".into()),
        attempt: None,
        commit: None,
        url: Some("https://github.example/acme/shop/actions/runs/7".into()),
    }
}

/// What everybody on this machine can read of everybody's arguments.
fn command_lines() -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).into_owned()).collect()
}

fn certificate(mind: &Mind, key: &PublicKey) -> CertificateAnswer {
    CertificateAnswer {
        certificate: mind.certificate(key, -60, i64::try_from(mind.life).unwrap()),
        serial: "4711".into(),
        principals: mind.principals.clone(),
        valid_before: 0,
        ssh: mind.ssh.clone(),
    }
}

fn begin(mind: &mut Mind, body: &[u8]) -> Response {
    let begun: BeginRequest = serde_json::from_slice(body).unwrap();
    let is_device = begun.mode == SignInMode::Device;
    mind.begun = Some(begun);
    let own = format!("http://{}/sign-in/pnd_1", mind.authority);
    ok(&BeginAnswer {
        id: "pnd_1".into(),
        url: mind.url.clone().unwrap_or(own),
        user_code: is_device.then(|| USER_CODE.into()),
        expires_in: 60,
        interval: 1,
    })
}

fn finish(mind: &mut Mind, key: &PublicKey, body: &[u8]) -> Response {
    let asked: FinishRequest = serde_json::from_slice(body).unwrap();
    assert_eq!(asked.id, "pnd_1");
    let begun = mind.begun.clone().unwrap();
    if begun.mode == SignInMode::Loopback {
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(asked.verifier.unwrap_or_default()));
        if asked.code.as_deref() != Some(CODE) || begun.challenge != Some(challenge) {
            return error(StatusCode::FORBIDDEN, "denied", "that code is not of this sign-in");
        }
    }
    if mind.polls_left > 0 {
        mind.polls_left -= 1;
        return StatusCode::ACCEPTED.into_response();
    }
    mind.signed_in = Some(key.clone());
    ok(&sign_in(mind))
}

/// Requests of somebody who must be signed in.
fn known(mind: &mut Mind, key: &PublicKey, method: &Method, path: &str, body: &[u8]) -> Response {
    if let Some(code) = mind.refuses {
        return error(StatusCode::FORBIDDEN, code, "no\u{1b}[2J way");
    }
    if mind.signed_in.as_ref().map(PublicKey::key_data) != Some(key.key_data()) {
        return error(StatusCode::UNAUTHORIZED, "not-signed-in", "sign in first");
    }
    match (method.as_str(), path) {
        ("POST", "/v1/certificate") => {
            mind.jobs.certified.push(serde_json::from_slice(body).unwrap());
            ok(&certificate(mind, key))
        }
        ("POST", "/v1/runs/done") => {
            mind.jobs.done += 1;
            mind.signed_in = None;
            StatusCode::NO_CONTENT.into_response()
        }
        ("GET", "/v1/sign-in") => ok(&sign_in(mind)),
        ("DELETE", "/v1/sign-in") => {
            mind.signed_in = None;
            StatusCode::NO_CONTENT.into_response()
        }
        _ => error(StatusCode::NOT_FOUND, "not-found", "no such thing"),
    }
}

fn sign_in(mind: &Mind) -> SignInAnswer {
    SignInAnswer {
        sign_in: "sgn_1".into(),
        who: "corp:ada".into(),
        display: "Ada \u{1b}[31mLovelace".into(),
        groups: BTreeSet::from(["corp:ops".to_owned()]).into_iter().collect(),
        expires: Clock::System.now().as_secs() + 36_000,
        ssh: mind.ssh.clone(),
    }
}

fn ok(answer: &impl Serialize) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], serde_json::to_vec(answer).unwrap()).into_response()
}

fn error(status: StatusCode, code: &str, message: &str) -> Response {
    let body = ErrorBody { error: ErrorDetail { code: code.into(), message: message.into() } };
    (status, serde_json::to_vec(&body).unwrap()).into_response()
}
