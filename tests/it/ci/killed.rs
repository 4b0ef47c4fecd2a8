//! A runner that is killed in the middle of its work says nothing any more. What it leaves must be whole and closed all the same.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::agents_below;
use super::deploy::{HOOK_SECRET, Yard, reviewer, tag, waiting};
use crate::world::bastion::Laptop;
use crate::world::process::{Running, run};
use crate::world::ssh::Ssh;
use crate::world::{PATIENCE, me, wait_for};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// GitHub tells the bastion that the run is over; the answer's text.
fn completed(yard: &Yard) -> String {
    let body = json!({
        "action": "completed", "repository": { "id": 123_456 },
        "workflow_run": { "id": 987_654_321_u64, "run_attempt": 1, "conclusion": "cancelled" },
    })
    .to_string();
    let mac = Hmac::<Sha256>::new_from_slice(HOOK_SECRET.as_bytes()).unwrap().chain_update(&body);
    let signature = format!("sha256={}", hex(&mac.finalize().into_bytes()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = http
            .post(format!("{}/webhooks/github", yard.stage.bastion.url()))
            .header("x-github-event", "workflow_run")
            .header("x-github-delivery", "d-1")
            .header("x-hub-signature-256", signature);
        request.body(body).send().await.unwrap().text().await.unwrap()
    })
}

/// The state of a request, as an approver sees it.
fn state(laptop: &Laptop, id: &str) -> String {
    let shown = run(&mut laptop.caponier(&["request", "show", id, "--json"]), b"", PATIENCE).ok();
    serde_json::from_str::<Value>(&shown).unwrap()["state"].as_str().unwrap().to_owned()
}

#[test]
fn a_killed_runner_leaves_a_sealed_recording_and_its_grant_closed() {
    let yard = Yard::set();
    let laptop = reviewer(&yard);
    let runner = yard.runner(tag());
    let login = Running::start(&mut yard.login(&runner, &["--wait", "60s"]), b"");
    let id = waiting(&laptop)["id"].as_str().unwrap().to_owned();
    run(&mut laptop.caponier(&["approve", &id]), b"", PATIENCE).ok();
    login.finish(PATIENCE).ended(0);

    let config = runner.temp().join("caponier/ssh_config");
    let host = format!("{}@web1", me());
    let ssh = Ssh::new(&config).args([host.as_str(), "echo begun; exec sleep 600"]).start();
    ssh.wait_for_text("begun", PATIENCE);
    let opened = yard.stage.wait_for_audit("session_opened", "sleep 600");
    for agent in agents_below(&runner.temp()) {
        let killed = std::process::Command::new("kill").args(["-9", &agent.to_string()]).status().unwrap();
        assert!(killed.success());
    }
    ssh.signal("KILL");

    // The session is closed with its reason, and the recording is what was sealed.
    let opened: Value = serde_json::from_str(&opened).unwrap();
    let closed = yard.stage.wait_for_audit("session_closed", opened["session"].as_str().unwrap());
    let closed: Value = serde_json::from_str(&closed).unwrap();
    assert_eq!(closed["reason"], "client-gone", "{closed}");
    let path = yard.stage.bastion.dir().join("recordings").join(opened["recording"].as_str().unwrap());
    let verified =
        yard.stage.bastion.admin(&["recordings", "verify", opened["session"].as_str().unwrap(), "--json"]);
    let verified: Value = serde_json::from_str(&verified.ok()).unwrap();
    assert_eq!(verified["sha256"], closed["recording_sha256"]);
    let document = std::fs::read_to_string(path.join("session.json")).unwrap();
    let document: Value = serde_json::from_str(&document).unwrap();
    let address = "https://github.com/acme/shop/actions/runs/987654321/attempts/1";
    assert_eq!(document["run"]["url"], address, "{document:#}");
    let text = std::fs::read_to_string(path.join("0001.cast")).unwrap();
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let run_line = format!(
        "platform=github id=repository/123456 run=987654321 attempt=1 commit={commit} url=https://github.com/acme/shop"
    );
    assert!(text.lines().next().unwrap().contains(&run_line) && text.contains("begun"), "{text}");
    // The target's own log has the run, too.
    yard.stage.web1.wait_for_log(&format!(
        "ID github:repository/123456/run/987654321.1/commit/{commit}/https://github.com/acme/shop"
    ));

    // Nobody has said yet that the run is over; then its platform does.
    assert_eq!(state(&laptop, &id), "granted");
    assert_eq!(completed(&yard), "ended 1 sign-ins\n");
    wait_for("the end of what was granted", PATIENCE, || (state(&laptop, &id) == "finished").then_some(()));
    yard.stage.wait_for_audit("grant_ended", "finished");
    // The certificate that the runner leaves behind opens nothing.
    assert_ne!(Ssh::new(&config).args([host.as_str(), "true"]).run().status, Some(0));
}
