//! TLS as the client speaks it: a server is believed because of the system's certificates or of `--ca-file`, and for
//! its own name only.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{caponier, files};
use crate::world::bastion::Laptop;
use crate::world::process::run;
use crate::world::{PATIENCE, scratch};

/// A self-signed certificate for `name` and its key, made by `openssl`.
pub(crate) fn certificate(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    let mut command = Command::new("openssl");
    command.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "1",
    ]);
    command.args(["-subj", "/CN=test", "-addext", &format!("subjectAltName={name}")]);
    command
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&cert);
    run(&mut command, b"", PATIENCE).ok();
    (cert, key)
}

/// A server with this certificate.
pub(crate) fn server(cert: &Path, key: &Path) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(cert).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    Arc::new(config)
}

/// Serves one connection on a free port with `{}` as the answer, then ends.
fn serve_once(cert: &Path, key: &Path) -> (u16, std::thread::JoinHandle<()>) {
    let config = server(cert, key);
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut session = rustls::ServerConnection::new(config).unwrap();
        let mut tls = rustls::Stream::new(&mut session, &mut socket);
        let mut head = [0; 64];
        // A client that does not believe the certificate hangs up here.
        if tls.read(&mut head).is_ok() {
            tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}").unwrap();
        }
    });
    (port, thread)
}

#[test]
fn a_certificate_is_believed_for_a_reason() {
    let believed = "answered 200 with something that is not Caponier's";
    for (name, trusted, expect) in [
        ("IP:127.0.0.1", true, believed),
        ("IP:127.0.0.1", false, "cannot reach https://127.0.0.1:"),
        ("DNS:other.example", true, "cannot reach https://127.0.0.1:"),
    ] {
        let (laptop, dir) = (Laptop::new(), scratch());
        let (cert, key) = certificate(dir.path(), name);
        let (port, thread) = serve_once(&cert, &key);
        let url = format!("https://127.0.0.1:{port}");
        let mut args = vec!["login", &url, "--no-browser"];
        if trusted {
            args.extend(["--ca-file", cert.to_str().unwrap()]);
        }
        let said = caponier(&laptop, &args).ended(1).errors();
        assert!(said.contains(expect), "{name} {trusted}: {said}");
        thread.join().unwrap();
        assert!(files(&laptop).is_empty());
    }
}

#[test]
fn a_ca_file_without_certificates_is_refused() {
    let (laptop, dir) = (Laptop::new(), scratch());
    let file = dir.path().join("ca.pem");
    let login = |file: &Path| {
        let args = ["login", "https://127.0.0.1:1", "--ca-file", file.to_str().unwrap()];
        caponier(&laptop, &args).ended(1).errors()
    };
    assert!(login(&file).contains("--ca-file"));
    fs::write(&file, "no certificate\n").unwrap();
    assert!(login(&file).contains("TLS cannot be set up"));
}
