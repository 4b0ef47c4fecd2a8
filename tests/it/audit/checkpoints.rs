//! Checkpoints: what a bastion signs of the log, that OpenSSH's own tool believes it, and that a bastion notices when what it has
//! seen is not there any more.

use std::process::Command;

use caponier::audit::chain::{Broken, Head};
use caponier::audit::checkpoint::{Checkpoints, head_in};
use caponier::audit::{AuditEvent, LogEvent};
use caponier::flow::log::checkpoint::{Keeper, Kept, last};
use caponier::flow::log::verify::{Unproven, verify};
use caponier::recording::key::allowed_signers_line;
use caponier::store::Store;
use caponier::time::Clock;
use serde_json::Value;

use super::cli::tamper;
use super::write;
use crate::store::{Place, on_both};
use crate::telling::{NOW, Outpost};
use crate::world::process::run;
use crate::world::stage::{Plan, Stage};
use crate::world::{PATIENCE, scratch, until};

async fn outpost(place: &Place, node: &str) -> Outpost {
    Outpost::named(node, &place.url, "", Clock::fixed(NOW)).await
}

async fn kinds(store: &Store) -> Vec<String> {
    store.audit(0, 10_000).await.unwrap().into_iter().map(|row| row.kind).collect()
}

#[tokio::test]
async fn what_is_new_is_signed_and_nothing_else() {
    on_both("two bastions", async |place| {
        let (one, two) = (outpost(place, "one").await, outpost(place, "two").await);
        let (mut first, mut second) = (Keeper::default(), Keeper::default());
        write(&one.app.store, 3).await;
        let Kept::Signed(head) = first.keep(&one.app).await.unwrap() else { panic!("not signed") };
        assert_eq!(head.seq, 3);
        // Its own entry is no news to it, nor to others.
        assert_eq!(first.keep(&one.app).await.unwrap(), Kept::Nothing);
        assert!(matches!(second.keep(&two.app).await.unwrap(), Kept::Signed(Head { seq: 4, .. })));
        for _ in 0..3 {
            assert_eq!(first.keep(&one.app).await.unwrap(), Kept::Nothing);
            assert_eq!(second.keep(&two.app).await.unwrap(), Kept::Nothing);
        }
        write(&one.app.store, 1).await;
        assert!(matches!(last(&one.app).await.unwrap(), Kept::Signed(Head { seq: 6, .. })));
        assert_eq!(last(&one.app).await.unwrap(), Kept::Nothing, "nothing has come since");

        let keys = vec![one.app.recordings.public_key().clone(), two.app.recordings.public_key().clone()];
        let count = async |keys| {
            let mut all = Checkpoints::new(Some(keys));
            let judged =
                verify(&one.app.store, &mut [], &mut |row| Ok(all.look(row.link(), row.hash.as_deref())?))
                    .await;
            judged.map(|_| all.count())
        };
        assert_eq!(count(keys.clone()).await.unwrap(), 3);
        let Err(Unproven::Broken(broken)) = count(keys[..1].to_vec()).await else { panic!("a stranger's") };
        assert_eq!(broken.seq(), 5, "{broken}");
        for outpost in [&one, &two] {
            outpost.app.store.close().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_bastion_misses_what_it_has_seen() {
    on_both("a log altered behind a bastion", async |place| {
        let one = outpost(place, "one").await;
        let store = &one.app.store;
        let mut keeper = Keeper::default();
        let cut = "UPDATE audit_head SET seq = 3, hash = (SELECT hash FROM audit WHERE seq = 3)";
        for (what, attack, seq) in [
            ("the end cut off", vec!["DELETE FROM audit WHERE seq > 3", cut], 4),
            (
                "an entry edited that it has seen",
                vec!["UPDATE audit SET hash = NULL WHERE seq = (SELECT seq FROM audit_head)"],
                0,
            ),
        ] {
            write(store, 5).await;
            let Kept::Signed(head) = keeper.keep(&one.app).await.unwrap() else { panic!("{what}") };
            // Up to its own checkpoint.
            assert_eq!(keeper.keep(&one.app).await.unwrap(), Kept::Nothing);
            for sql in attack {
                place.run(sql).await;
            }
            let Kept::Altered(broken) = keeper.keep(&one.app).await.unwrap() else { panic!("{what}") };
            assert_eq!(broken.seq(), if seq == 0 { head.seq + 1 } else { seq }, "{what}: {broken}");
            assert_eq!(kinds(store).await.last().unwrap(), "audit_altered", "{what}");
            // Said once, and signed from there on.
            assert!(matches!(keeper.keep(&one.app).await.unwrap(), Kept::Signed(_)), "{what}");
            assert_eq!(keeper.keep(&one.app).await.unwrap(), Kept::Nothing, "{what}");
        }
        // Cut off and written on: as long as before, but another log.
        write(store, 2).await;
        keeper.keep(&one.app).await.unwrap();
        place.run("DELETE FROM audit WHERE seq > 3").await;
        place.run(cut).await;
        write(store, 30).await;
        let Kept::Altered(Broken::Differs { .. }) = keeper.keep(&one.app).await.unwrap() else { panic!() };
        store.close().await;
    })
    .await;
}

/// A bastion that was away knows by its last checkpoint.
#[tokio::test]
async fn a_bastion_that_comes_back_looks_from_its_last_checkpoint_on() {
    on_both("altered while it was away", async |place| {
        let one = outpost(place, "one").await;
        write(&one.app.store, 5).await;
        assert!(matches!(last(&one.app).await.unwrap(), Kept::Signed(_)));
        write(&one.app.store, 5).await;
        place.run("UPDATE audit SET at = at + 1 WHERE seq = 8").await;
        let Kept::Altered(broken) = last(&one.app).await.unwrap() else { panic!("not noticed") };
        assert_eq!(broken, Broken::Hash { seq: 8 });
        one.app.store.close().await;
    })
    .await;
}

/// Somebody without a key takes all checkpoints out and makes the chain anew: what a bastion has kept on its disk is not in it.
#[tokio::test]
async fn a_bastion_that_comes_back_misses_what_it_has_signed() {
    on_both("made anew while it was away", async |place| {
        let one = outpost(place, "one").await;
        let store = &one.app.store;
        write(store, 5).await;
        assert!(matches!(last(&one.app).await.unwrap(), Kept::Signed(_)));
        place.run("DELETE FROM audit WHERE kind = 'checkpoint'").await;
        place.run("UPDATE audit SET json = '{}' WHERE seq = 3").await;
        let mut previous = String::new();
        for row in store.audit(0, 100).await.unwrap() {
            previous = caponier::audit::chain::hash(&previous, row.link());
            place.run(&format!("UPDATE audit SET hash = '{previous}' WHERE seq = {}", row.seq)).await;
        }
        place.run(&format!("UPDATE audit_head SET seq = 5, hash = '{previous}'")).await;
        super::judge(store, &mut []).await.unwrap();
        let Kept::Altered(Broken::Differs { seq: 5, .. }) = last(&one.app).await.unwrap() else {
            panic!("not noticed")
        };
        assert_eq!(kinds(store).await.last().unwrap(), "audit_altered");
        assert!(matches!(last(&one.app).await.unwrap(), Kept::Altered(_)), "again, until it has signed");
        let mut keeper = Keeper::default();
        assert!(matches!(keeper.keep(&one.app).await.unwrap(), Kept::Altered(_)));
        assert!(matches!(keeper.keep(&one.app).await.unwrap(), Kept::Signed(_)));
        assert_eq!(last(&one.app).await.unwrap(), Kept::Nothing);
        // Cut off before what it has kept.
        place.run("DELETE FROM audit WHERE seq > 2").await;
        place.run("UPDATE audit_head SET seq = 2, hash = (SELECT hash FROM audit WHERE seq = 2)").await;
        assert!(matches!(last(&one.app).await.unwrap(), Kept::Altered(Broken::Short { seq: 3, .. })));
        store.close().await;
    })
    .await;
}

/// Its own checkpoint is found behind any number of others.
#[tokio::test]
async fn a_bastion_without_its_file_finds_its_own_checkpoint() {
    on_both("many checkpoints of others", async |place| {
        let one = outpost(place, "one").await;
        let store = &one.app.store;
        write(store, 5).await;
        assert!(matches!(last(&one.app).await.unwrap(), Kept::Signed(_)));
        write(store, 2).await;
        let strange = |node: &str| {
            AuditEvent::Log(LogEvent::Checkpoint {
                node: node.to_owned(),
                head: Head { seq: 1, hash: String::new() },
                key: String::new(),
                signature: "no signature".to_owned(),
            })
        };
        for _ in 0..120 {
            store.note(NOW, strange("two")).await.unwrap();
            store.note(NOW, strange("one")).await.unwrap();
        }
        place.run("UPDATE audit SET at = at + 1 WHERE seq = 8").await;
        std::fs::remove_file(one.app.config.state_dir.join("audit_head")).unwrap();
        assert_eq!(last(&one.app).await.unwrap(), Kept::Altered(Broken::Hash { seq: 8 }));
        store.close().await;
    })
    .await;
}

/// Jobs sign without being asked, and raise the alert.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_altered_log_is_an_alert() {
    let place = Place::sqlite();
    let one = Outpost::named("one", &place.url, "[audit]\ncheckpoint_every = \"1s\"", Clock::System).await;
    write(&one.app.store, 5).await;
    let _jobs = one.run();
    until("a checkpoint", async || {
        kinds(&one.app.store).await.contains(&"checkpoint".to_owned()).then_some(())
    })
    .await;
    place.run("UPDATE audit_head SET hash = 'x'").await;
    until("an alert", async || {
        let rows = one.app.store.audit(0, 10_000).await.unwrap();
        rows.iter().find(|row| row.kind == "alerts_raised" && row.json.contains("audit_altered")).map(|_| ())
    })
    .await;
}

/// OpenSSH's own tool believes a checkpoint of the real server, and `audit verify` judges by the same file.
#[test]
fn ssh_keygen_believes_it_and_a_log_made_anew_does_not_pass() {
    let config = "[audit]\ncheckpoint_every = \"1s\"";
    let mut stage = Stage::set_to(Plan { config, ..Plan::default() });
    stage.ssh(&["web1", "true"]).run().ok();
    stage.wait_for_audit("session_closed", "finished");
    assert!(stage.bastion.stop().success());
    let audit = stage.audit();
    assert_eq!(audit.last().unwrap().0, "checkpoint", "the last word at the end: {audit:?}");
    let (head, signature) = head_in(&audit.last().unwrap().1).unwrap();
    assert_eq!(head.seq, audit.len() as u64 - 1);

    let dir = scratch();
    let file = |name: &str| dir.path().join(name);
    let public = std::fs::read_to_string(stage.bastion.dir().join("state/recording_key"));
    let key = caponier_public(&public.unwrap());
    std::fs::write(file("signers"), allowed_signers_line(&key)).unwrap();
    std::fs::write(file("sig"), &signature).unwrap();
    let verify = |text: String| {
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-Y", "verify", "-I", "recorder@caponier", "-n", "audit@caponier", "-f"]);
        keygen.arg(file("signers")).arg("-s").arg(file("sig"));
        run(&mut keygen, text.as_bytes(), PATIENCE)
    };
    verify(format!("{head}\n")).ok();
    assert_ne!(verify(format!("{}:{}\n", head.seq + 1, head.hash)).status, Some(0));

    let signers = file("signers").display().to_string();
    let judged = |args: &[&str]| {
        let all = [&["audit", "verify", "--json", "--signers", &signers], args].concat();
        let said = stage.bastion.admin(&all);
        (said.status, serde_json::from_str::<Value>(&said.text()).unwrap_or_default())
    };
    let (status, said) = judged(&[]);
    assert_eq!((status, said["signed_to"].as_u64()), (Some(0), Some(head.seq)), "{said}");
    // Another key at the end of the log: with the file of signers it is a stranger's.
    let strange =
        signature.replace(&signature[60..64], if &signature[60..64] == "AAAA" { "BBBB" } else { "AAAA" });
    tamper(
        &stage.bastion,
        &format!(
            "UPDATE audit SET json = REPLACE(json, '{}', '{}')",
            json_text(&signature),
            json_text(&strange)
        ),
    );
    rechain(&stage);
    let (status, said) = judged(&[]);
    assert_eq!((status, said["first_bad"].as_u64()), (Some(1), Some(audit.len() as u64)), "{said}");
    assert!(said["why"].as_str().unwrap().contains("checkpoint"), "{said}");
    // Without the file the keys in the database are believed; without a database nobody says whose they are.
    stage.bastion.admin(&["audit", "verify"]).ended(1);
    let copy = file("copy").display().to_string();
    stage.bastion.admin(&["audit", "export", "-o", &copy]).ok();
    let offline =
        |args: &[&str]| stage.bastion.admin(&[&["audit", "verify", "--file", &copy], args].concat());
    let said = offline(&[]).ok();
    assert!(said.contains("not judged (give --signers)"), "{said}");
    offline(&["--signers", &signers]).ended(1);
}

/// All checkpoints taken out, the rest numbered and chained anew: whole in itself, and not believed.
#[test]
fn a_log_made_anew_without_a_key_is_not_believed() {
    let config = "[audit]\ncheckpoint_every = \"1s\"";
    let mut stage = Stage::set_to(Plan { config, ..Plan::default() });
    stage.ssh(&["web1", "true"]).run().ok();
    stage.wait_for_audit("session_closed", "finished");
    assert!(stage.bastion.stop().success());
    let said = stage.bastion.admin(&["audit", "verify", "--json"]).ok();
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["under_no_checkpoint"], &said["doubts"]), (&1.into(), &Value::Array(Vec::new())));
    tamper(
        &stage.bastion,
        "DELETE FROM audit WHERE kind = 'checkpoint'; \
         UPDATE audit SET at = at - 60000, seq = (SELECT COUNT(*) FROM audit older WHERE older.seq <= audit.seq); \
         UPDATE audit_head SET seq = (SELECT MAX(seq) FROM audit)",
    );
    rechain(&stage);
    let verify = || stage.bastion.admin(&["audit", "verify"]);
    let said = verify();
    assert!(said.ended(1).text().contains("BROKEN: entry "), "{}", said.text());
    // Where that bastion's disk is not at hand.
    let kept = stage.bastion.dir().join("state/audit_head");
    let head = std::fs::read(&kept).unwrap();
    std::fs::remove_file(&kept).unwrap();
    let said = verify();
    assert!(said.ended(1).text().contains("NOT TO BE BELIEVED: no checkpoint is in it"), "{}", said.text());
    assert!(said.text().contains("checkpoints: none: no entry is signed"), "{}", said.text());
    // The bastion comes back, and finds nothing of what it signed: that stays said.
    std::fs::write(&kept, head).unwrap();
    stage.bastion.start();
    stage.wait_for_audit("audit_altered", "\"node\"");
    let said = crate::world::wait_for("a signed log", PATIENCE, || {
        let said = stage.bastion.admin(&["audit", "verify"]);
        said.text().starts_with("whole").then_some(said)
    });
    let why = said.ended(1).text();
    assert!(why.contains("NOT TO BE BELIEVED: entry ") && why.contains(" found: entry "), "{why}");
}

/// A text within JSON.
fn json_text(text: &str) -> String {
    Value::from(text).to_string().trim_matches('"').to_owned()
}

/// The public half of a private key in OpenSSH's form.
fn caponier_public(private: &str) -> String {
    russh::keys::ssh_key::PrivateKey::from_openssh(private).unwrap().public_key().to_openssh().unwrap()
}

/// Makes the whole chain anew, as somebody with all rights in the database could.
fn rechain(stage: &Stage) {
    use caponier::audit::chain;
    let mut sql = String::new();
    let rows = stage.ask_store(async |store| store.audit(0, 10_000).await.unwrap());
    let mut previous = String::new();
    for row in rows {
        previous = chain::hash(&previous, row.link());
        sql.push_str(&format!("UPDATE audit SET hash = '{previous}' WHERE seq = {};", row.seq));
    }
    sql.push_str(&format!("UPDATE audit_head SET hash = '{previous}';"));
    tamper(&stage.bastion, &sql);
}
