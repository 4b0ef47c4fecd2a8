//! The real parts that the tests start: OpenSSH's client and server, an identity provider, a browser, a second SSH
//! client, and our own compiled binary. Everything listens on loopback, ends when its handle is dropped (by process
//! id), and every wait is for a condition and has a deadline. What they are asked, and what is right, stands in the
//! tests; this folder knows how to start and stop them.
//!
//! `contrib/test` installs what these parts need.

pub(crate) mod bastion;
pub(crate) mod browser;
pub(crate) mod hostile;
pub(crate) mod issuer;
pub(crate) mod keys;
pub(crate) mod lines;
pub(crate) mod local;
pub(crate) mod process;
pub(crate) mod provider;
pub(crate) mod second_client;
pub(crate) mod ssh;
pub(crate) mod sshd;
pub(crate) mod stage;
pub(crate) mod terminal;

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use caponier::ca::init;
use caponier::config::Config;
use caponier::random::Random;
use caponier::recording::Recordings;
use caponier::recording::key::RecordingKey;

/// How long a part may take for one thing before the test fails; generous, because CI has two cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The top of the source tree.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Something that `contrib/test` has put in place; fails with that advice when it has not.
pub(crate) fn part(path: &str) -> PathBuf {
    let found = root().join(path);
    assert!(
        found.exists(),
        "{path} is not there: run `contrib/test setup` once, it installs what the tests need"
    );
    found
}

/// Waits until `condition` answers something, asking every 10 ms; fails with `what` after `patience`. This and
/// [`until`] are the only places in the tests that let time pass.
pub(crate) fn wait_for<T>(what: &str, patience: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The same for a condition that is asynchronous.
pub(crate) async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(tokio::time::Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until something accepts connections on this port of 127.0.0.1.
pub(crate) fn wait_for_port(port: u16) {
    wait_for(&format!("a listener on port {port}"), PATIENCE, || {
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()
    });
}

/// A port of 127.0.0.1 that nobody listens on. It lies below the range from which the kernel takes the near ends of
/// outgoing connections, so that only another test could take it before its user does; those start elsewhere in the
/// range, by process id.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    for _ in 0..COUNT {
        let step = std::process::id().wrapping_mul(37).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST + step % COUNT).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port from {FIRST} on");
}

/// The recordings of a bastion that is put together in a test.
pub(crate) fn recordings(config: &Config, random: &Random, node: &str) -> Arc<Recordings> {
    let key = RecordingKey::new(init::recording_key(&config.state_dir, random).unwrap());
    Arc::new(Recordings::new(config.recording.clone(), key, node.into()))
}

/// A new empty folder, gone when the handle is dropped. Others may enter it: sshd reads files there as the account
/// that logs in.
pub(crate) fn scratch() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::Builder::new().prefix("caponier-test-").tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

/// The account that the tests run as; the real sshd lets it in.
pub(crate) fn me() -> String {
    process::run(std::process::Command::new("id").arg("-un"), b"", PATIENCE).ok().trim().to_owned()
}
