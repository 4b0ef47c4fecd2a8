//! What an editor's remote set-up does over ssh, step by step: one connection with `-T -D`, a script fed to `bash`
//! through standard input that unpacks a server, starts it in the background and tells where it listens, and then many
//! connections to it through the SOCKS door, while the first session stays open. (The editor itself cannot be had
//! from a registry; its server is played by a small program that the script brings along.)

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::world::stage::{Plan, Stage};
use crate::world::{PATIENCE, free_port, wait_for};

/// A role for editors: commands, file transfer, and connections to unprivileged ports of the target's own loopback.
const ROLE: &str = "forwards = { local = [\"127.0.0.1:1024-65535\", \"localhost:1024-65535\"] }";

/// Answers each line of a connection with its length, as long as the connection lasts.
const SERVER: &str = r#"
import os, socketserver, sys
class Answer(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(b"%d\n" % len(line))
server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answer)
server.daemon_threads = True
place = sys.argv[1]
with open(place + ".new", "w") as told:
    told.write(str(server.server_address[1]))
os.rename(place + ".new", place)
server.serve_forever()
"#;

/// The script that goes through standard input. `$PLACE` is a folder of the test.
const SCRIPT: &str = r#"
set -e
echo "marker: running"
echo "platform==$(uname -s)==$(uname -m)=="
mkdir -p "$PLACE/server"
cd "$PLACE/server"
cat >server.py <<'SERVER_END'
@SERVER@
SERVER_END
rm -f port
nohup python3 server.py "$PWD/port" >log 2>&1 </dev/null &
echo $! >pid
while [ ! -s port ]; do sleep 0.05; done
echo "listeningOn==$(cat port)=="
echo "marker: end"
while [ -e "$PLACE/keep" ]; do sleep 0.05; done
kill "$(cat pid)"
"#;

/// A connection through a SOCKS door (RFC 1928, no authentication) to `host`, which the far end resolves.
fn socks(door: u16, host: &str, port: u16) -> Result<TcpStream, u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", door)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&[5, 1, 0]).unwrap();
    let mut method = [0; 2];
    stream.read_exact(&mut method).unwrap();
    assert_eq!(method, [5, 0]);
    let mut ask = vec![5, 1, 0, 3, u8::try_from(host.len()).unwrap()];
    ask.extend(host.as_bytes());
    ask.extend(port.to_be_bytes());
    stream.write_all(&ask).unwrap();
    let mut answer = [0; 10];
    // ssh answers a refused channel by hanging up.
    match stream.read_exact(&mut answer) {
        Ok(()) if answer[1] == 0 => Ok(stream),
        Ok(()) => Err(answer[1]),
        Err(_) => Err(255),
    }
}

/// One line there, one line back.
fn exchange(stream: &mut TcpStream, length: usize) {
    let mut line = vec![b'x'; length - 1];
    line.push(b'\n');
    stream.write_all(&line).unwrap();
    let mut answer = Vec::new();
    while answer.last() != Some(&b'\n') {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    assert_eq!(String::from_utf8(answer).unwrap().trim(), length.to_string());
}

#[test]
fn the_remote_set_up_of_an_editor_works_for_a_role_meant_for_it() {
    let stage = Stage::set_to(Plan { role: ROLE, ..Plan::default() });
    let door = free_port();
    let place = stage.dir().join("home");
    std::fs::create_dir(&place).unwrap();
    let script = SCRIPT.replace("$PLACE", &place.display().to_string()).replace("@SERVER@", SERVER);
    let dynamic = format!("127.0.0.1:{door}");
    std::fs::write(place.join("keep"), "").unwrap();
    let options = ["-T", "-D", &dynamic, "-o", "ExitOnForwardFailure=yes", "web1", "bash"];
    let session = stage.ssh(&options).input(script).start();
    session.wait_for_text("marker: end", PATIENCE);
    let said = session.text();
    assert!(said.contains("platform==Linux=="), "{said}");
    let port: u16 = said.split("listeningOn==").nth(1).unwrap().split("==").next().unwrap().parse().unwrap();

    // The management connection, the extension host's, and short ones beside them, one after the other.
    let mut lasting: Vec<TcpStream> = (0..4).map(|_| socks(door, "127.0.0.1", port).unwrap()).collect();
    for round in 0..10 {
        lasting.iter_mut().for_each(|stream| exchange(stream, 1000 + round));
        exchange(&mut socks(door, "localhost", port).unwrap(), 7);
    }
    exchange(&mut lasting[0], 300_000);
    // What the role does not name is refused, and the rest goes on.
    assert!(socks(door, "127.0.0.1", 22).is_err(), "a port below the range was reached");
    assert!(socks(door, "169.254.169.254", 8080).is_err(), "another address was reached");
    lasting.iter_mut().for_each(|stream| exchange(stream, 10));
    drop(lasting);
    // The server ends with the session; everything is on record.
    std::fs::remove_file(place.join("keep")).unwrap();
    session.finish(PATIENCE).ended(0);
    stage.wait_for_audit("access_refused", "169.254.169.254");
    wait_for("the forwards to be closed", Duration::from_secs(10), || {
        let kinds: Vec<String> = stage.audit().into_iter().map(|(kind, _)| kind).collect();
        let count = |wanted: &str| kinds.iter().filter(|kind| *kind == wanted).count();
        (count("forward_opened") == 14 && count("forward_closed") == 14).then_some(())
    });
}
