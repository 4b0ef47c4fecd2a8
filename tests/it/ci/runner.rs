//! The runner of GitHub Actions as a job sees it: variables, files, and on loopback the service that hands out tokens. What is
//! in a token is the test's matter.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use tokio::sync::oneshot;

use crate::world::bastion::CAPONIER;
use crate::world::scratch;

/// What allows a job to ask.
const BEARER: &str = "the-runners-bearer";

/// Makes a token for an audience.
pub(crate) type Mint = Box<dyn Fn(&str) -> String + Send>;

/// What the service has heard, and what it does.
pub(crate) struct Service {
    mint: Mint,
    /// The audiences that were asked for.
    pub(crate) audiences: Vec<String>,
    /// The tokens that were given.
    pub(crate) tokens: Vec<String>,
    /// Statuses that it answers with first, instead of a token.
    pub(crate) failures: Vec<u16>,
}

/// A runner with one job on it.
pub(crate) struct Runner {
    dir: tempfile::TempDir,
    port: u16,
    service: Arc<Mutex<Service>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Runner {
    /// Starts the service; the job may ask it.
    pub(crate) fn start(mint: Mint) -> Self {
        let dir = scratch();
        for folder in ["temp", "home"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        for file in ["output", "state", "env"] {
            std::fs::write(dir.path().join(file), "").unwrap();
        }
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let service = Arc::new(Mutex::new(Service {
            mint,
            audiences: Vec::new(),
            tokens: Vec::new(),
            failures: Vec::new(),
        }));
        let (stop, stopped) = oneshot::channel::<()>();
        let app = Router::new().fallback(answer).with_state(Arc::clone(&service));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    served = async { axum::serve(listener, app).await } => served.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        Self { dir, port, service, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn service(&self) -> MutexGuard<'_, Service> {
        self.service.lock().unwrap()
    }

    /// The folder that the runner clears away after the job.
    pub(crate) fn temp(&self) -> PathBuf {
        self.dir.path().join("temp")
    }

    /// One of the files that the runner reads after a step: `output`, `state`, `env`.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// An output of the step.
    #[track_caller]
    pub(crate) fn output(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.file("output")).unwrap();
        let start = format!("{name}=");
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        line.unwrap_or_else(|| panic!("no output {name} in {text:?}")).to_owned()
    }

    /// A program with the variables that a job of GitHub Actions has, and no others.
    pub(crate) fn program(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let binaries = Path::new(CAPONIER).parent().unwrap().display().to_string();
        let url = format!("http://127.0.0.1:{}/token?api-version=2.0", self.port);
        command
            .env_clear()
            .env("PATH", format!("{binaries}:{}", std::env::var("PATH").unwrap()))
            .env("HOME", self.file("home"))
            .env("CI", "true")
            .env("GITHUB_ACTIONS", "true")
            .env("GITHUB_EVENT_NAME", "push")
            .env("GITHUB_REPOSITORY", "acme/shop")
            .env("GITHUB_RUN_ID", "987654321")
            .env("RUNNER_TEMP", self.temp())
            .env("GITHUB_OUTPUT", self.file("output"))
            .env("GITHUB_STATE", self.file("state"))
            .env("GITHUB_ENV", self.file("env"))
            .env("ACTIONS_ID_TOKEN_REQUEST_URL", url)
            .env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", BEARER);
        command
    }

    /// `caponier ARGS` in the job.
    pub(crate) fn caponier(&self, args: &[&str]) -> Command {
        let mut command = self.program(CAPONIER);
        command.args(args);
        command
    }

    /// Every file below the runner's folder with its bytes.
    pub(crate) fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let (mut found, mut folders) = (Vec::new(), vec![self.dir.path().to_owned()]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file() {
                    found.push((entry.path(), std::fs::read(entry.path()).unwrap()));
                }
            }
        }
        found
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        // Of a test that failed before its job was done.
        for agent in super::agents_below(self.dir.path()) {
            drop(Command::new("kill").arg(agent.to_string()).status());
        }
        // It listens for this until then; had it ended before, it had panicked, and the test has failed already.
        if let (Some(stop), Some(thread)) = (self.stop.take(), self.thread.take())
            && stop.send(()).is_ok()
        {
            drop(thread.join());
        }
    }
}

async fn answer(State(service): State<Arc<Mutex<Service>>>, uri: Uri, headers: HeaderMap) -> Response {
    let mut service = service.lock().unwrap();
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if bearer != Some(format!("Bearer {BEARER}").as_str()) || uri.path() != "/token" {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let pairs: Vec<(String, String)> =
        url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let [(version, _), (name, audience)] = pairs.as_slice() else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    assert_eq!((version.as_str(), name.as_str()), ("api-version", "audience"));
    service.audiences.push(audience.clone());
    if !service.failures.is_empty() {
        let status = service.failures.remove(0);
        let elsewhere = [(header::LOCATION, "/token/elsewhere")];
        return (StatusCode::from_u16(status).unwrap(), elsewhere).into_response();
    }
    let token = (service.mint)(audience);
    service.tokens.push(token.clone());
    axum::Json(serde_json::json!({ "count": token.len(), "value": token })).into_response()
}
