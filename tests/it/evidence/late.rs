//! What happens beside a session while it ends: it is in the recording or it is not, but it never breaks the seal.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use super::sessions;
use crate::world::stage::{Plan, Stage};
use crate::world::{PATIENCE, free_port, wait_for};

/// Connections through a forward that are open when their client dies.
const OPEN: usize = 12;

#[test]
fn forwards_that_end_with_their_session_do_not_break_its_seal() {
    let role = "forwards = { local = [\"127.0.0.1:1024-65535\"] }";
    let stage = Stage::set_to(Plan { role, ..Plan::default() });
    let echo = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = echo.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in echo.incoming().flatten() {
            std::thread::spawn(move || {
                let mut bytes = [0; 64];
                while let Ok(read @ 1..) = stream.read(&mut bytes) {
                    drop(stream.write_all(&bytes[..read]));
                }
            });
        }
    });
    for _round in 0..4 {
        let own = free_port();
        let forward = format!("{own}:127.0.0.1:{port}");
        let client = stage.ssh(&["-N", "-L", &forward, "web1"]).start();
        let mut streams: Vec<TcpStream> = Vec::new();
        while streams.len() < OPEN {
            let mut stream =
                wait_for("the forward", PATIENCE, || TcpStream::connect(("127.0.0.1", own)).ok());
            stream.write_all(b"x").unwrap();
            stream.read_exact(&mut [0]).unwrap();
            streams.push(stream);
        }
        client.signal("KILL");
        drop(client.finish(PATIENCE));
    }
    wait_for("the ends of all sessions", PATIENCE, || {
        let rows = sessions(&stage.bastion);
        (rows.len() >= 4 && rows.iter().all(|row| row["state"] != "open")).then_some(())
    });
    let said = stage.bastion.admin(&["recordings", "verify", "--all"]).ok();
    assert!(said.ends_with(" 0 not\n") || said.contains(", 0 not"), "{said}");
    for row in sessions(&stage.bastion) {
        assert_eq!(row["state"], "sealed", "{row:#}");
    }
}
