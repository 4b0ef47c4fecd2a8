//! What stands at the ends of a forward: a server that sends back what it gets, and clients that send, end their data and
//! read until the end.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::world::{PATIENCE, wait_for};

/// Sends back what comes, and ends its side when the other has ended. It lives as long as the test.
pub(crate) struct Echo {
    /// Where, on 127.0.0.1; 0 for a socket.
    pub(crate) port: u16,
    count: Arc<AtomicUsize>,
}

impl Echo {
    pub(crate) fn on_tcp() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let echo = Self { port, count: Arc::default() };
        let count = Arc::clone(&echo.count);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::Relaxed);
                std::thread::spawn(move || {
                    let mut back = stream.try_clone().unwrap();
                    drop(std::io::copy(&mut &stream, &mut back));
                    drop(stream.shutdown(Shutdown::Write));
                });
            }
        });
        echo
    }

    pub(super) fn on_socket(path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let echo = Self { port: 0, count: Arc::default() };
        let count = Arc::clone(&echo.count);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::Relaxed);
                std::thread::spawn(move || {
                    let mut back = stream.try_clone().unwrap();
                    drop(std::io::copy(&mut &stream, &mut back));
                    drop(stream.shutdown(Shutdown::Write));
                });
            }
        });
        echo
    }

    /// How many have come.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

/// Reproducible bytes of every value.
pub(crate) fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(count)
    .collect()
}

/// A connection to this port, once something listens there.
pub(crate) fn connect(port: u16) -> TcpStream {
    let stream = wait_for(&format!("a listener on port {port}"), PATIENCE, || {
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()
    });
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends, ends the data, and answers everything that comes until the other side's end.
pub(crate) fn exchange(port: u16, bytes: &[u8]) -> Vec<u8> {
    over_tcp(connect(port), bytes)
}

/// The same through a SOCKS5 proxy (RFC 1928) that resolves names itself; nothing when it refuses.
pub(super) fn exchange_by_socks(proxy: u16, host: &str, port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(proxy);
    let mut request = vec![5, 1, 0, 5, 1, 0, 3, u8::try_from(host.len()).unwrap()];
    request.extend(host.as_bytes());
    request.extend(port.to_be_bytes());
    stream.write_all(&request).unwrap();
    let mut answer = [0; 12];
    // ssh's answer to a refusal is the end of the connection.
    if stream.read_exact(&mut answer).is_err() || answer[3] != 0 {
        return Vec::new();
    }
    over_tcp(stream, bytes)
}

fn over_tcp(stream: TcpStream, bytes: &[u8]) -> Vec<u8> {
    let mut sending = stream.try_clone().unwrap();
    let mut receiving = stream;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            drop(sending.write_all(bytes));
            drop(sending.shutdown(Shutdown::Write));
        });
        let mut got = Vec::new();
        drop(receiving.read_to_end(&mut got));
        got
    })
}

/// The same over a Unix socket.
pub(super) fn exchange_by_socket(path: &Path, bytes: &[u8]) -> Vec<u8> {
    let mut receiving = UnixStream::connect(path).unwrap();
    receiving.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut sending = receiving.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            drop(sending.write_all(bytes));
            drop(sending.shutdown(Shutdown::Write));
        });
        let mut got = Vec::new();
        drop(receiving.read_to_end(&mut got));
        got
    })
}
