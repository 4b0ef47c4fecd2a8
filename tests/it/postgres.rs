//! A throw-away PostgreSQL cluster from Debian's package: own folder, loopback and a free port, no passwords, nothing
//! synced. Shared by the tests of one process while any of them holds it, and gone with the process however that ends.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so"
)]

use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tempfile::TempDir;

/// Stops PostgreSQL and removes its folder when standard input ends, which happens even if the tests are killed.
/// Its own standard error is closed so that ours ends with PostgreSQL's.
const KEEPER: &str =
    r#""$@" & pid=$!; exec 2>/dev/null; read -r _; kill -INT $pid; wait $pid; rm -rf "$PLACE""#;
const START_MAX: Duration = Duration::from_secs(60);
const LOG_LINES_MAX: usize = 200;

/// A running cluster. Clones and further calls of [`start`] share it; it stops with the last of them.
#[derive(Clone)]
pub(crate) struct Postgres {
    cluster: Arc<Cluster>,
}

struct Cluster {
    programs: PathBuf,
    port: u16,
    databases: AtomicU32,
    keeper: Child,
    place: TempDir,
}

/// Starts the cluster, or joins the one that other tests of this process use now. Fails when PostgreSQL is missing:
/// a test that needs it must not pass without it.
pub(crate) fn start() -> Postgres {
    static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(cluster) = shared.upgrade() {
        return Postgres { cluster };
    }
    let cluster = Arc::new(Cluster::start());
    *shared = Arc::downgrade(&cluster);
    Postgres { cluster }
}

impl Postgres {
    /// The URL of a new, empty database.
    pub(crate) fn fresh_database(&self) -> String {
        let name = format!("db{}", self.cluster.databases.fetch_add(1, Ordering::Relaxed));
        let port = self.cluster.port.to_string();
        run(Command::new(self.cluster.programs.join("createdb")).args([
            "--host=127.0.0.1",
            "--username=postgres",
            "--port",
            &port,
            &name,
        ]));
        format!("postgres://postgres@127.0.0.1:{port}/{name}")
    }
}

impl Cluster {
    fn start() -> Self {
        let programs = programs();
        let account = Account::find();
        let place = tempfile::tempdir().unwrap();
        if let Some((user, group)) = account.ids {
            chown(place.path(), Some(user), Some(group)).unwrap();
        }
        let mut initdb = account.command(&programs.join("initdb"), place.path());
        initdb.args(["--pgdata=cluster", "--username=postgres", "--auth=trust", "--encoding=UTF8"]);
        run(initdb.args(["--locale=C", "--no-sync"]));

        // Between choosing a free port and PostgreSQL's bind somebody else may take it; then choose again.
        let mut last = Vec::new();
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            match Self::try_start(&programs, &account, place.path(), port) {
                Ok(keeper) => {
                    return Self { programs, port, databases: AtomicU32::new(0), keeper, place };
                }
                Err(log) => last = log,
            }
        }
        panic!("PostgreSQL does not start:\n{}", last.join("\n"));
    }

    fn try_start(programs: &Path, account: &Account, place: &Path, port: u16) -> Result<Child, Vec<String>> {
        let mut keeper = account.command(Path::new("/bin/sh"), place);
        keeper.args(["-c", KEEPER, "sh"]).arg(programs.join("postgres")).args(["-D", "cluster", "-p"]);
        keeper.arg(port.to_string()).arg("-k").arg(place);
        for setting in [
            "listen_addresses=127.0.0.1",
            "fsync=off",
            "full_page_writes=off",
            "shared_buffers=16MB",
            "max_connections=100",
        ] {
            keeper.args(["-c", setting]);
        }
        keeper.env("PLACE", place).env("LC_ALL", "C").process_group(0);
        keeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut keeper = keeper.spawn().unwrap();
        let lines = follow(keeper.stderr.take().expect("piped above"));
        let mut log = Vec::new();
        while let Ok(line) = lines.recv_timeout(START_MAX) {
            if line.contains("ready to accept connections") {
                return Ok(keeper);
            }
            log.push(line);
            assert!(log.len() < LOG_LINES_MAX, "PostgreSQL talks without starting:\n{}", log.join("\n"));
        }
        // PostgreSQL is gone; its keeper would take the folder with it, which the next attempt still needs.
        keeper.kill().unwrap();
        keeper.wait().unwrap();
        Err(log)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        if let Err(e) = self.keeper.wait() {
            panic!("PostgreSQL's keeper: {e}");
        }
    }
}

/// Whose processes these are: PostgreSQL refuses to run as root, so root lends it the account `postgres`.
struct Account {
    ids: Option<(u32, u32)>,
}

impl Account {
    fn find() -> Self {
        if Path::new("/proc/self").metadata().unwrap().uid() != 0 {
            return Self { ids: None };
        }
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
        let line = passwd.lines().find(|line| line.starts_with("postgres:"));
        let fields: Vec<&str> = line.expect("no account `postgres`: run contrib/test").split(':').collect();
        let id = |at: usize| fields.get(at).and_then(|id| id.parse().ok()).expect("/etc/passwd has numbers");
        Self { ids: Some((id(2), id(3))) }
    }

    fn command(&self, program: &Path, place: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(place);
        if let Some((user, group)) = self.ids {
            command.uid(user).gid(group);
        }
        command
    }
}

/// The newest of Debian's versions.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions
        .map(|version| version.path().join("bin"))
        .filter(|bin| bin.join("initdb").exists() && bin.join("postgres").exists())
        .max_by_key(|bin| {
            let version = bin.parent().and_then(Path::file_name).and_then(|name| name.to_str());
            version.and_then(|version| version.parse::<u32>().ok())
        })
        .expect(
            "PostgreSQL is not installed (no /usr/lib/postgresql/*/bin): run contrib/test, which installs it",
        )
}

fn run(command: &mut Command) {
    let done = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Lines of a program's log. Read to the end, so that the program never waits for a reader.
fn follow(stderr: ChildStderr) -> Receiver<String> {
    let (send, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            // Nobody listens any more once PostgreSQL has started; the lines are still read.
            if send.send(line).is_err() {
                continue;
            }
        }
    });
    lines
}

#[test]
fn shared_and_gone_with_its_last_user() {
    let (first, second) = (start(), start());
    assert_eq!(first.cluster.port, second.cluster.port);
    drop((first, second));

    // Others may still hold the shared one, so its end is watched on one of our own.
    let mine = Postgres { cluster: Arc::new(Cluster::start()) };
    let (port, place) = (mine.cluster.port, mine.cluster.place.path().to_owned());
    assert_ne!(mine.fresh_database(), mine.fresh_database());
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
    drop(mine);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    assert!(!place.exists());
}
