//! One connection that stays open while its person changes: what they may decide over it is judged anew each time.

use caponier::access::{Case, State};
use caponier::demo::provider::Tamper;
use serde_json::{Value, json};

use crate::world::bastion::Laptop;
use crate::world::process::{Finished, run};
use crate::world::stage::{Plan, Stage, policy};
use crate::world::{PATIENCE, me, wait_for};

/// One stage of approval, by the group that `reviewer` is in.
const BY_REVIEWERS: &str =
    "[role.request]\nmax = \"1h\"\n[[role.request.stage]]\ngroups = [\"corp:reviewers\"]\n";

/// A role that whoever decides has in any case: without one there is no certificate.
const OTHER: &str = r#"
[[role]]
name = "deciders"
members = { groups = ["corp:reviewers", "corp:others"] }
targets = { names = ["other1"] }
logins = ["nobody"]
channels = ["exec"]
standing = true
"#;

/// The connection of whoever decides.
struct Master<'a> {
    stage: &'a Stage,
    socket: String,
}

impl<'a> Master<'a> {
    #[track_caller]
    fn open(stage: &'a Stage) -> Self {
        let socket = stage.dir().join("mux").display().to_string();
        let args =
            ["-o", "ControlMaster=yes", "-o", "ControlPersist=60", "-S", &socket, "127.0.0.1", "whoami"];
        stage.ssh(&args).run().ok();
        Self { stage, socket }
    }

    fn asks(&self, words: &str) -> Finished {
        self.stage.ssh(&["-S", &self.socket, "127.0.0.1", words]).run()
    }
}

impl Drop for Master<'_> {
    fn drop(&mut self) {
        drop(self.stage.ssh(&["-S", &self.socket, "-O", "exit", "127.0.0.1"]).run());
    }
}

#[track_caller]
fn ask(laptop: &Laptop) -> String {
    let me = me();
    let args = ["request", "web1", "--as", &me, "--reason", "look at it", "--json"];
    let done = wait_for("the policy by which one asks", PATIENCE, || {
        let done = run(&mut laptop.caponier(&args), b"", PATIENCE);
        (done.status == Some(75)).then_some(done)
    });
    let case: Value = serde_json::from_str(&done.text()).unwrap();
    case["id"].as_str().unwrap().to_owned()
}

fn case(stage: &Stage, id: &str) -> Case {
    let id = id.parse().unwrap();
    stage.ask_store(async |store| store.case(&id).await.unwrap().unwrap())
}

/// The serial of the newest certificate of somebody.
fn serial_of(stage: &Stage, who: &str) -> String {
    let all = stage.audit();
    let of = |(kind, json): &&(String, String)| {
        kind == "certificate_issued" && json.contains(&format!("\"key_id\":\"{who}/"))
    };
    let newest: Value = serde_json::from_str(&all.iter().rev().find(of).unwrap().1).unwrap();
    newest["serial"].to_string().trim_matches('"').to_owned()
}

#[test]
fn an_open_connection_decides_with_the_groups_and_the_certificate_of_now() {
    let config = "[sign_in]\ncheck_every = \"1s\"\n";
    let mut stage = Stage::set_to(Plan { config, ..Plan::default() });
    let text = policy(stage.web1.port, "").replace("standing = true", BY_REVIEWERS);
    stage.bastion.write_policy(&format!("{text}{OTHER}"));
    let id = ask(&stage.laptop);
    let engineer = stage.another_laptop();
    stage.login("reviewer");
    let stage = stage;
    let lead = Master::open(&stage);
    let approve = format!("approve {id}");
    assert!(lead.asks("inbox").ok().contains(&id));

    // Out of the group, on the same connection.
    stage.demo_provider().tamper(Tamper::Claim("groups", json!(["others"])));
    stage.wait_for_audit("groups_changed", "\"before\":[\"corp:reviewers\"]");
    let said = lead.asks(&approve);
    said.ended(126);
    assert!(said.errors().contains("no such request that you may see"), "{}", said.errors());
    assert!(matches!(case(&stage, &id).state, State::Waiting { .. }));
    assert!(lead.asks("inbox").ok().contains("Nothing waits for you."));

    // And in it again.
    stage.demo_provider().tamper(Tamper::Nothing);
    stage.wait_for_audit("groups_changed", "\"groups\":[\"corp:reviewers\"]");
    assert!(lead.asks("inbox").ok().contains(&id));

    // The certificate that opened the connection is revoked; the sign-in lives on.
    let serial = serial_of(&stage, "corp:reviewer");
    stage.bastion.admin(&["revoke", "--on-server", "--serial", &serial, "--reason", "stolen"]).ok();
    for words in [approve.as_str(), "inbox", &format!("deny {id} no"), "request web1 nobody 30m look at it"] {
        let said = lead.asks(words);
        said.ended(126);
        assert!(said.errors().contains("your certificate was revoked"), "{words}: {}", said.errors());
    }
    assert!(matches!(case(&stage, &id).state, State::Waiting { .. }));
    drop(engineer);
}
