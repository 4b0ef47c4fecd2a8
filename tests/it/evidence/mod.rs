//! Recordings as evidence, on a whole bastion: what an auditor finds of a session, and what becomes visible when root of the
//! bastion alters it afterwards. The files themselves are tested in `recording`.

mod cost;
mod full;
mod killed;
mod late;
mod missing;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use caponier::ids::SessionId;
use caponier::recording::key::RecordingKey;
use caponier::recording::recorder::Look;
use caponier::recording::{Closing, Recordings, Start};
use caponier::time::Timestamp;
use russh::keys::ssh_key::PrivateKey;
use serde_json::Value;

use crate::world::bastion::Bastion;
use crate::world::process::{Finished, run};
use crate::world::stage::{Plan, Stage};
use crate::world::{PATIENCE, wait_for};

/// All sessions, newest first.
pub(crate) fn sessions(bastion: &Bastion) -> Vec<Value> {
    serde_json::from_str(&bastion.admin(&["recordings", "ls", "--json", "--limit", "5000"]).ok()).unwrap()
}

/// The newest session of `kind`, once it is closed.
#[track_caller]
fn closed(stage: &Stage, kind: &str) -> (SessionId, PathBuf) {
    wait_for("a closed session", PATIENCE, || {
        let row = sessions(&stage.bastion).into_iter().find(|row| row["kind"] == kind)?;
        row["closed"].as_str()?;
        let folder = stage.bastion.admin(&["recordings", "path", "--folder", row["id"].as_str()?]).ok();
        Some((row["id"].as_str()?.parse().unwrap(), PathBuf::from(folder.trim())))
    })
}

fn verify(bastion: &Bastion, session: &SessionId) -> Finished {
    bastion.admin(&["recordings", "verify", session.as_str()])
}

fn events(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("events.ndjson")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Changes the database behind the bastion's back.
#[track_caller]
pub(crate) fn sql(bastion: &Bastion, statement: &str) {
    let script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], timeout=30); c.execute(sys.argv[2]); c.commit()";
    let database = bastion.dir().join("state/caponier.db");
    run(Command::new("python3").args(["-c", script]).arg(database).arg(statement), b"", PATIENCE).ok();
}

#[test]
fn an_auditor_finds_who_did_what_and_checks_it_with_ssh_keygen() {
    let stage = Stage::set();
    stage.ssh(&["web1", "printf 'a\\tb\\n'; exit 3"]).run().ended(3);
    let (id, folder) = closed(&stage, "exec");
    let document: Value =
        serde_json::from_str(&fs::read_to_string(folder.join("session.json")).unwrap()).unwrap();
    assert_eq!(document["session"], id.as_str());
    assert_eq!(document["who"], "corp:engineer");
    assert_eq!(document["target"], "web1");
    assert!(document["client"].as_str().unwrap().starts_with("SSH-2.0-OpenSSH_"), "{document:#}");
    for key in ["sign_in", "from", "client_serial", "target_serial", "policy", "roles", "node", "began"] {
        assert!(!document[key].is_null(), "{key} in {document:#}");
    }
    let said = events(&folder);
    assert_eq!(said[0]["event"], "command");
    assert_eq!(said[0]["command"], "printf 'a\\tb\\n'; exit 3");
    assert_eq!(said[0]["verdict"], "allow");
    assert_eq!((&said[0]["cast"], &said[0]["n"]), (&"0001.cast".into(), &1.into()));
    let stream = said.iter().find(|event| event["event"] == "stream").unwrap();
    assert_eq!((&stream["bytes"], &stream["kept"]), (&4.into(), &true.into()), "{said:#?}");
    let end = said.last().unwrap();
    assert_eq!((&end["event"], &end["exit_status"]), (&"closed".into(), &3.into()));
    let cast = fs::read_to_string(folder.join("0001.cast")).unwrap();
    assert!(cast.lines().nth(1).unwrap().contains("\"m\", \"printf 'a"), "a marker to jump to: {cast}");

    // What the README tells auditors to type.
    let signers = stage.dir().join("allowed_signers");
    fs::write(&signers, stage.bastion.admin(&["recordings", "signers"]).ok()).unwrap();
    let line = "sha256sum \"$1\"/*[nt] | ssh-keygen -Y verify -f \"$2\" -I recorder@caponier -n recording@caponier -s \"$1/seal.sig\"";
    let by_hand = |folder: &Path| {
        let mut bash = Command::new("bash");
        bash.args(["-c", line, "bash", id.as_str()]).arg(&signers).current_dir(folder.parent().unwrap());
        run(&mut bash, b"", PATIENCE)
    };
    assert!(by_hand(&folder).ok().contains("Good \"recording@caponier\" signature"));
    verify(&stage.bastion, &id).ok();
    stage
        .bastion
        .admin(&[
            "recordings",
            "verify",
            "--folder",
            folder.to_str().unwrap(),
            "--signers",
            signers.to_str().unwrap(),
        ])
        .ok();
    fs::write(folder.join("0001.cast"), cast.replace("\\tb", "\\tc")).unwrap();
    assert!(by_hand(&folder).status != Some(0));
    let said = verify(&stage.bastion, &id);
    assert!(
        said.ended(1).text().contains("0001.cast: is not what was sealed: the first wrong byte is one of"),
        "{}",
        said.text()
    );
    let said = stage.bastion.admin(&["recordings", "verify", "--all"]);
    assert!(said.ended(1).text().ends_with("0 as sealed, 1 not\n"), "{}", said.text());
}

#[test]
fn what_has_no_screen_is_recorded_too() {
    let role = "forwards = { local = [\"127.0.0.1:1024-65535\"] }";
    let stage = Stage::set_to(Plan { role, ..Plan::default() });
    let file = stage.dir().join("up");
    fs::write(&file, "some bytes\n").unwrap();
    let copied = stage.dir().join("copied");
    let through = stage.through();
    let sftp = crate::world::ssh::Ssh::sftp(&through).args(["web1"]);
    let batch = format!("put {} {}\nrm {}\n", file.display(), copied.display(), copied.display());
    stage.at_home(sftp).input(batch).run().ok();
    let (id, folder) = closed(&stage, "sftp");
    let said = events(&folder);
    let ops: Vec<&str> = said.iter().filter_map(|event| event["op"].as_str()).collect();
    assert!(ops.contains(&"remove"), "{said:#?}");
    let transfer = said.iter().find(|event| event["event"] == "transfer").unwrap();
    assert_eq!(transfer["bytes"], 11);
    assert_eq!(transfer["sha256"].as_str().unwrap().len(), 64, "{transfer}");
    verify(&stage.bastion, &id).ok();

    let port = stage.web1.port;
    let stdio = stage.ssh(&["-W", &format!("127.0.0.1:{port}"), "web1"]).input("SSH-2.0-nobody\r\n").run();
    assert!(stdio.text().starts_with("SSH-2.0-OpenSSH"), "{}", stdio.text());
    let (id, folder) = closed(&stage, "forward");
    let said = events(&folder);
    let opened = said.iter().find(|event| event["event"] == "forward_opened").unwrap();
    assert_eq!(opened["what"], format!("127.0.0.1:{port}"), "{said:#?}");
    let ended = said.iter().find(|event| event["event"] == "forward_closed").unwrap();
    assert_eq!(ended["bytes_in"], 16, "{said:#?}");
    assert!(ended["bytes_out"].as_u64().unwrap() > 16, "{said:#?}");
    verify(&stage.bastion, &id).ok();
}

/// Root of the bastion has the key that seals, and can write every file and every row. What was told elsewhere before remains.
#[test]
fn who_holds_the_key_still_contradicts_database_and_audit_log() {
    let stage = Stage::set();
    let terminal = stage.live_terminal();
    let told = stage.wait_for_audit("recording_checkpoint", "\"n\":");
    assert!(told.contains("\"sha256\""), "{told}");
    terminal.type_in("exit\n");
    assert_eq!(terminal.finish(PATIENCE).0, Some(0));
    let (id, folder) = closed(&stage, "shell");
    verify(&stage.bastion, &id).ok();
    let sealed = digest_of(&folder, &id);

    exchange(&stage, &id, &folder, "forged");
    let said = verify(&stage.bastion, &id);
    assert!(said.ended(1).text().contains("the database says"), "{}", said.text());
    let forged = digest_of(&folder, &id);
    let row = format!("UPDATE session SET recording_sha256 = '{forged}' WHERE id = '{id}'");
    sql(&stage.bastion, &row);
    let said = verify(&stage.bastion, &id);
    let digest = format!(") says {} of its seal, which is {forged}", sealed);
    assert!(said.ended(1).text().contains(&digest), "{}", said.text());
    // Without what the end of the session says, the checkpoints still do.
    let end = format!(
        "UPDATE audit SET json = REPLACE(json, '{}', '{forged}') WHERE kind = 'session_closed'",
        sealed
    );
    sql(&stage.bastion, &end);
    let said = verify(&stage.bastion, &id);
    assert!(said.ended(1).text().contains("in the audit log (entry "), "{}", said.text());
}

/// A session so short that nothing was told of it while it ran: the digest at its end stands in the audit log.
#[test]
fn who_holds_the_key_cannot_exchange_a_short_session_by_its_row() {
    let stage = Stage::set();
    stage.ssh(&["web1", "true"]).run().ok();
    let (id, folder) = closed(&stage, "exec");
    verify(&stage.bastion, &id).ok();
    assert!(stage.audit().iter().all(|(kind, _)| kind != "recording_checkpoint"));
    let document = fs::read_to_string(folder.join("seal.json")).unwrap();
    let document: Value = serde_json::from_str(&document).unwrap();
    exchange(&stage, &id, &folder, document["node"].as_str().unwrap());
    // The row says what the new seal does, and that it was long ago, far from every entry of the log.
    let forged = digest_of(&folder, &id);
    let row = format!(
        "UPDATE session SET recording_sha256 = '{forged}', opened = 1000, closed = 2000 WHERE id = '{id}'"
    );
    sql(&stage.bastion, &row);
    for args in [["recordings", "verify", id.as_str()], ["recordings", "verify", "--all"]] {
        let said = stage.bastion.admin(&args);
        assert!(said.ended(1).text().contains("the audit log (entry "), "{}", said.text());
        assert!(said.text().contains(&format!(" of its seal, which is {forged}")), "{}", said.text());
    }
    // With that entry altered too, the log is broken; and with another node's name the seal is.
    let sealed = "SUBSTR(json, INSTR(json, '\"recording_sha256\":\"') + 20, 64)";
    sql(
        &stage.bastion,
        &format!("UPDATE audit SET json = REPLACE(json, {sealed}, '{forged}') WHERE kind = 'session_closed'"),
    );
    verify(&stage.bastion, &id).ok();
    stage.bastion.admin(&["audit", "verify"]).ended(1);
    sql(&stage.bastion, "UPDATE session SET node = 'elsewhere:22'");
    let said = verify(&stage.bastion, &id);
    assert!(said.ended(1).text().contains("that elsewhere:22 recorded it"), "{}", said.text());
}

/// Puts another recording of the session in its place, sealed with the bastion's own key by somebody who calls himself `node`.
fn exchange(stage: &Stage, id: &SessionId, folder: &Path, node: &str) {
    let key =
        PrivateKey::from_openssh(fs::read(stage.bastion.dir().join("state/recording_key")).unwrap()).unwrap();
    let forged = stage.dir().join("forged");
    let config = caponier::config::Recording {
        dir: forged.clone(),
        input: false,
        exec_output_max: 1,
        index: caponier::config::RecordingIndex::Nothing,
        part_max: 1 << 20,
        free_min: 0,
    };
    let recordings = Recordings::new(config, RecordingKey::new(key), node.into());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let at = Timestamp::from_secs(1_800_000_000);
    runtime.block_on(async {
        let look = Look {
            pty: Some((80, 24)),
            term: "xterm".into(),
            command: None,
            title: "forged".into(),
            input: false,
        };
        let document = serde_json::json!({ "session": id.as_str() });
        let start = Start { session: id.clone(), at, document, screen: Some(look), lossy: false };
        let recorder = recordings.begin(start, Default::default()).await.unwrap();
        recorder.output(b"nothing happened\r\n").unwrap();
        let closing =
            Closing { at, reason: "finished".into(), exit_status: Some(0), bytes_in: 0, bytes_out: 0 };
        recordings.seal(recorder, closing).await.unwrap();
    });
    fs::remove_dir_all(folder).unwrap();
    fs::rename(forged.join("2027/01/15").join(id.as_str()), folder).unwrap();
}

/// The digest of what the seal in `folder` is over.
fn digest_of(folder: &Path, id: &SessionId) -> String {
    let mut bash = Command::new("bash");
    bash.args(["-c", "sha256sum \"$1\"/*[nt] | sha256sum", "bash", id.as_str()]);
    let said = run(bash.current_dir(folder.parent().unwrap()), b"", PATIENCE).ok();
    said[..64].to_owned()
}

#[test]
fn a_key_that_is_not_in_the_database_seals_nothing_that_is_believed() {
    let stage = Stage::set();
    stage.ssh(&["web1", "true"]).run().ok();
    let (id, _) = closed(&stage, "exec");
    verify(&stage.bastion, &id).ok();
    sql(&stage.bastion, "DELETE FROM recording_key");
    let said = verify(&stage.bastion, &id);
    assert!(said.ended(1).text().contains("not among the signers"), "{}", said.text());
    let none = stage.bastion.admin(&["recordings", "signers"]);
    assert!(none.ended(1).errors().contains("no key has sealed anything"), "{}", none.errors());
}
