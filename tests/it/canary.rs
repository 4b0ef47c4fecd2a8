//! Secrets that pass through leave no trace: what is typed while the terminal does not show it, the client secret, and
//! the passphrase of the authorities are in no log, recording, audit entry or output, nor anywhere else on our disk.

use std::path::Path;

use crate::world::PATIENCE;
use crate::world::stage::{Plan, Stage};

const TYPED: &str = "canary-typed-5c1f0e";
const PASSPHRASE: &str = "canary-passphrase-77ab21";
const CLIENT_SECRET: &str = "a-secret-for-tests-only";

/// Every file below `dir` that contains `text`.
pub(crate) fn files_with(dir: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
            continue;
        }
        match std::fs::read(&path) {
            Ok(bytes) => {
                if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                    found.push(path.file_name().unwrap().to_str().unwrap().to_owned());
                }
            }
            // SQLite takes its side files away when the last one who has it open leaves.
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{}", path.display()),
        }
    }
    found
}

#[test]
fn secrets_that_pass_through_leave_no_trace() {
    let mut stage = Stage::set_to(Plan {
        real: Some("RS256"),
        edits: &[
            ("plain = true", "passphrase_file = \"ca-passphrase\""),
            ("dir = \"recordings\"", "dir = \"recordings\"\ninput = true"),
        ],
        files: &[("ca-passphrase", PASSPHRASE)],
        ..Plan::default()
    });
    let terminal = stage.ssh(&["-tt", "web1"]).terminal(80, 24);
    terminal.type_in("PS1='at''-prompt> '; read -rsp 'ask''-now: ' x; echo got-${#x}\n");
    terminal.wait_for("ask-now: ");
    terminal.type_in(&format!("{TYPED}\n"));
    // What is typed before the shell echoes again is not told from a password.
    let got = terminal.wait_for(&format!("got-{}", TYPED.len()));
    terminal.wait_for_after(got, "at-prompt> ");
    terminal.type_in("echo typed-in-the-open-$((40+2))\n");
    terminal.wait_for("typed-in-the-open-42");
    terminal.type_in("exit\n");
    terminal.finish(PATIENCE);

    let path = stage.recording("\"shell\"");
    let cast = std::fs::read_to_string(&path).unwrap();
    let typed: String = cast
        .lines()
        .skip(1)
        .map(|line| serde_json::from_str::<(f64, String, String)>(line).unwrap())
        .filter_map(|(_, kind, text)| (kind == "i").then_some(text))
        .collect();
    assert!(typed.contains("typed-in-the-open"), "input is recorded here: {cast}");

    let outputs: Vec<String> = [
        &["config", "show"][..],
        &["config", "show", "--json"],
        &["config", "check"],
        &["ca", "show"],
        &["sessions", "--json"],
        &["sign-ins", "ls", "--json"],
    ]
    .iter()
    .map(|args| {
        let said = stage.bastion.admin(args);
        said.ok() + &said.errors()
    })
    .collect();
    assert!(outputs[0].contains("ca-passphrase"), "it shows where the secret is: {}", outputs[0]);
    // The database's journal is on disk, too, while the server runs and after it.
    for running in [true, false] {
        if !running {
            stage.bastion.stop();
        }
        for (secret, its_file) in
            [(TYPED, None), (PASSPHRASE, Some("ca-passphrase")), (CLIENT_SECRET, Some("client_secret"))]
        {
            let found = files_with(stage.bastion.dir(), secret);
            assert_eq!(found, its_file.into_iter().collect::<Vec<_>>(), "{secret}");
            assert!(!outputs.iter().any(|said| said.contains(secret)), "{secret} in {outputs:?}");
            let audit = stage.audit();
            assert!(!audit.iter().any(|(_, json)| json.contains(secret)), "{secret} in {audit:?}");
        }
    }
    assert!(!stage.web1.log().contains(TYPED));
}
