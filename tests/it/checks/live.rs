//! The real provider, our real binary and a real ssh: somebody is switched off, leaves a group or is logged out there, and
//! what is open at that moment is closed; the provider dies; two bastions share one database.

use std::time::{Duration, Instant};

use caponier::random::Random;
use caponier::time::Clock;
use serde_json::json;

use crate::canary::files_with;
use crate::ending::sign_ins;
use crate::postgres;
use crate::world::process::run;
use crate::world::stage::{Plan, Stage};
use crate::world::{PATIENCE, scratch, wait_for};

/// How long what is open may go on after the check.
const SOON: Duration = Duration::from_secs(2);
/// Every sign-in is checked each second.
const OFTEN: &str = "[sign_in]\ncheck_every = \"1s\"\n";

fn stage(config: &str) -> Stage {
    Stage::set_to(Plan { real: Some("RS256"), provider: json!({"refresh": true}), config, ..Plan::default() })
}

/// Waits for the entry, then for the end of the terminal; prints and answers what the terminal showed at last.
#[track_caller]
#[expect(clippy::print_stdout, reason = "a measurement to print")]
fn closed_after(stage: &Stage, kind: &str, text: &str, act: impl FnOnce()) -> String {
    let terminal = stage.live_terminal();
    let began = Instant::now();
    act();
    stage.wait_for_audit(kind, text);
    let checked = Instant::now();
    let (status, shown) = terminal.finish(PATIENCE);
    let took = checked.elapsed();
    println!("{kind}: {:.2?} from the order, {took:.2?} from the check", began.elapsed());
    assert!(took < SOON, "{took:?}");
    assert_eq!(status, Some(255));
    shown
}

/// How often the provider has said yes about the one sign-in.
fn checked(stage: &Stage) -> caponier::time::Timestamp {
    let id = sign_ins(&stage.bastion)[0]["id"].as_str().unwrap().parse().unwrap();
    stage.ask_store(async |store| store.check_of(&id).await.unwrap().unwrap().checked)
}

#[test]
fn somebody_switched_off_at_the_provider_is_cut_off() {
    let stage = stage(OFTEN);
    let others = json!({"auditor": {"name": "Ash", "email": "a@example.test", "groups": ["auditors"]}});
    let shown = closed_after(&stage, "sign_in_ended", "invalid_grant", || {
        stage.real_provider().order(&json!({"do": "people", "people": others}));
    });
    assert!(shown.contains("your sign-in has ended"), "{shown}");
    assert!(sign_ins(&stage.bastion).is_empty());
    stage.ssh(&["web1", "true"]).run().ended(255);
}

#[test]
fn a_group_left_at_the_provider_takes_its_role_away() {
    let stage = stage(OFTEN);
    let person = |groups: &[&str]| {
        json!({"do": "people", "people": {"engineer":
               {"name": "Erin Engineer", "email": "engineer@example.test", "groups": groups}}})
    };
    // One connection that many sessions share: what was recognised when it began does not count for ever.
    let shared = crate::world::stage::Multiplexed::over(&stage);
    shared.ssh("true").run().ok();
    let shown = closed_after(&stage, "groups_changed", "\"groups\":[\"corp:others\"]", || {
        stage.real_provider().order(&person(&["others"]));
    });
    assert!(shown.contains("session closed: no access to web1") && shown.contains("[no-access]"), "{shown}");
    assert!(shared.ssh("true").run().errors().contains("[no-access]"));
    assert_eq!(sign_ins(&stage.bastion)[0]["groups"], json!(["corp:others"]));
    // And back: the same sign-in opens it again.
    stage.real_provider().order(&person(&["engineers"]));
    stage.wait_for_audit("groups_changed", "\"groups\":[\"corp:engineers\"]");
    shared.ssh("true").run().ok();
}

#[test]
fn a_logout_at_the_provider_cuts_off() {
    // No check comes in between.
    let stage = stage("");
    let shown = closed_after(&stage, "provider_logged_out", "\"sid\":\"", || {
        stage.real_provider().order(&json!({"do": "logout", "person": "engineer"}));
    });
    assert!(shown.contains("your sign-in has ended"), "{shown}");
    stage.wait_for_audit("sign_in_ended", "logged out at the provider");
}

#[test]
fn a_dead_provider_keeps_who_is_in_and_renews_nothing() {
    let stage = stage(&format!("{OFTEN}provider_outage_max = \"2s\"\n"));
    let terminal = stage.live_terminal();
    let last = checked(&stage);
    wait_for("some checks that succeed", PATIENCE, || (checked(&stage) > last).then_some(()));
    stage.real_provider().stop();
    stage.wait_for_audit("provider_silent", "corp");
    let certificate = stage.laptop.home().join(".caponier/id-cert.pub");
    let refused = wait_for("a renewal that is refused", PATIENCE, || {
        // The first may still be in time.
        if certificate.exists() {
            std::fs::remove_file(&certificate).unwrap();
        }
        let said = run(&mut stage.laptop.caponier(&["ensure"]), b"", PATIENCE);
        said.errors().contains("has not confirmed since").then_some(said)
    });
    assert!(refused.errors().contains("corp"), "{}", refused.errors());
    terminal.type_in("echo still-$((1+1))\n");
    terminal.wait_for("still-2");
    assert_eq!(sign_ins(&stage.bastion).len(), 1);
}

#[test]
fn a_dead_provider_ends_sign_ins_where_that_is_wanted() {
    let stage = stage(&format!("{OFTEN}provider_outage = \"end\"\nprovider_outage_max = \"2s\"\n"));
    let shown = closed_after(&stage, "sign_in_ended", "\"by\":\"outage\"", || stage.real_provider().stop());
    assert!(shown.contains("your sign-in has ended"), "{shown}");
}

#[test]
fn refresh_tokens_leave_no_trace() {
    let mut stage = stage(OFTEN);
    let tokens = || -> Vec<String> {
        let answer = stage.real_provider().order(&json!({"do": "tokens"}));
        serde_json::from_value(answer["tokens"].clone()).unwrap()
    };
    wait_for("three refreshes", PATIENCE, || (tokens().len() > 3).then_some(()));
    assert_eq!(sign_ins(&stage.bastion).len(), 1, "each was used once");
    stage.ssh(&["web1", "true"]).run().ok();
    let tokens = tokens();
    let outputs = ["config show --json", "config check", "sign-ins ls --json"].map(|args| {
        let said = stage.bastion.admin(&args.split(' ').collect::<Vec<_>>());
        said.ok() + &said.errors()
    });
    let audit = stage.audit();
    for running in [true, false] {
        if !running {
            stage.bastion.stop();
        }
        for token in &tokens {
            let found = files_with(stage.bastion.dir(), token);
            assert!(found.is_empty(), "a refresh token lies open in {found:?}");
            assert!(!outputs.iter().any(|said| said.contains(token)), "{outputs:?}");
            assert!(!audit.iter().any(|(_, json)| json.contains(token)), "{audit:?}");
        }
    }
}

#[test]
fn two_bastions_share_the_keys_and_one_asks_at_a_time() {
    let postgres = postgres::start();
    let keys = scratch();
    let path = keys.path().join("keys");
    caponier::secret::Keyring::at(&path, &Random::System).unwrap();
    let config = format!("{OFTEN}key_file = \"{}\"\n", path.display());
    let stage =
        Stage::set_to(Plan { store: Some(postgres.fresh_database()), config: &config, ..Plan::default() });
    let second = stage.second_bastion();
    let mut last = checked(&stage);
    // The demo's provider takes each token once. Used twice, it would have ended the sign-in.
    for round in 0..6 {
        last = wait_for(&format!("check {round}"), PATIENCE, || {
            Some(checked(&stage)).filter(|checked| *checked > last)
        });
    }
    assert_eq!(stage.demo_provider().refresh_tokens().len(), 1);
    for bastion in [&stage.bastion, &second] {
        assert!(!bastion.log().contains("cannot be read"), "{}", bastion.log());
    }
}

#[test]
fn a_bastion_with_other_keys_says_so_and_ends_nothing() {
    let postgres = postgres::start();
    let mut stage =
        Stage::set_to(Plan { store: Some(postgres.fresh_database()), config: OFTEN, ..Plan::default() });
    let second = stage.second_bastion();
    // Of the two, one would ask; here the second has to.
    stage.bastion.stop();
    wait_for("the second bastion's complaint", PATIENCE, || {
        second.log().contains("need the same key file (sign_in.key_file)").then_some(())
    });
    let last = checked(&stage);
    stage.bastion.start();
    // The second goes on trying: the first must come before it once, which it does sooner or later.
    wait_for("a check by the first", 4 * PATIENCE, || (checked(&stage) > last).then_some(()));
    assert!(Clock::System.now().since(last) < 5 * PATIENCE);
    assert_eq!(sign_ins(&stage.bastion).len(), 1);
}

#[test]
fn what_one_bastion_hears_ends_a_session_at_another() {
    let postgres = postgres::start();
    let keys = scratch();
    let path = keys.path().join("keys");
    caponier::secret::Keyring::at(&path, &Random::System).unwrap();
    // The first, where the session is, asks nobody meanwhile; the second does.
    let stage = Stage::set_to(Plan {
        real: Some("RS256"),
        provider: json!({"refresh": true}),
        config: &format!("{OFTEN}key_file = \"{}\"\n", path.display()),
        edits: &[("check_every = \"1s\"", "check_every = \"1h\"")],
        store: Some(postgres.fresh_database()),
        ..Plan::default()
    });
    let second = stage.second_bastion();
    let others = json!({"do": "people", "people": {"engineer":
                        {"name": "Erin Engineer", "email": "engineer@example.test", "groups": ["others"]}}});
    let shown = closed_after(&stage, "groups_changed", "\"groups\":[\"corp:others\"]", || {
        stage.real_provider().order(&others);
    });
    assert!(shown.contains("[no-access]"), "{shown}");
    drop(second);
}
