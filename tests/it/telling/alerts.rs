//! Alerts: what really happens at a bastion (real ssh, real sshd, real certificates) and what the rules make of it; that
//! nothing is told twice or missed, whoever reads; and what the command line shows.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use caponier::app::App;
use caponier::audit::{AuditEvent, TellingEvent};
use caponier::cli::alerts as command;
use caponier::config::{AlertRule, Config};
use caponier::flow::alert::{self, AckRefused, Watch};
use caponier::flow::ask::ask_here;
use caponier::flow::end_sign_in;
use caponier::flow::recognise::recognise_certificate;
use caponier::policy::{
    self,
    request::{TargetWish, Wish},
};
use caponier::store::{AlertFilter, AlertRow, Store};
use caponier::time::Clock;
use clap::Parser as _;
use russh::keys::ssh_key::Certificate;

use super::receiver::Receiver;
use super::{NOW, Outpost, until_all_told, webhook};
use crate::store::on_both;
use crate::world::keys::Key;
use crate::world::local::Local;
use crate::world::{me, stage};

const ALL: AlertFilter = AlertFilter { open: false, limit: 10_000, after: None };

/// A bastion whose rules are set as `extra` says, and its reader.
struct Guard {
    local: Local,
    app: App,
    watch: Watch,
}

impl Guard {
    fn start(extra: &str) -> Self {
        let local = Local::start();
        let path = local.dir().join("caponier.toml");
        let text = std::fs::read_to_string(&path).unwrap() + extra;
        std::fs::write(&path, text).unwrap();
        let config = Config::load(&path, &BTreeMap::new()).unwrap();
        let app = App { config: Arc::new(config), ..local.app.clone() };
        let mut guard = Self { local, app, watch: Watch::default() };
        assert_eq!(guard.alerts(), [""; 0]);
        guard
    }

    /// Reads on, and gives `rule subject` of every alert so far.
    fn alerts(&mut self) -> Vec<String> {
        let Self { local, app, watch } = self;
        local.runtime.block_on(async {
            while alert::look(app, watch).await.unwrap() > 0 {}
            let mut rows = app.store.alerts(&ALL).await.unwrap();
            rows.sort_by_key(|row| row.first_seq);
            rows.iter().map(|row| format!("{} {}", row.rule.word(), row.subject)).collect()
        })
    }

    /// What is new since `before`.
    fn fresh(&mut self, before: &mut Vec<String>) -> Vec<String> {
        let mut all = self.alerts();
        let known = before.clone();
        *before = all.clone();
        all.retain(|one| !known.contains(one));
        all
    }
}

#[test]
fn what_really_happens_is_found() {
    let mut guard = Guard::start(
        "[alerts.refused_access]\ncount = 3\n[alerts.refused_credentials]\ncount = 3\n[alerts.odd_hours]\non = true\ndays = []\n",
    );
    let mut seen = Vec::new();
    let key = Key::make(guard.local.dir(), "id");
    let sign_in = guard.local.sign_in(&key);
    guard.local.certify(&key, &sign_in);
    assert_eq!(guard.fresh(&mut seen), ["odd_hours corp:engineer"]);

    guard.local.ssh(&key).args(["web1", "true"]).run().ok();
    guard.local.wait_for_audit("session_closed", "finished");
    assert_eq!(guard.fresh(&mut seen), ["first_access_person corp:engineer"]);

    // From another network of loopback.
    let config = guard.local.ssh_config(&key, guard.local.port);
    let away = guard.local.dir().join("away");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&away, text.replace("Host bastion\n", "Host bastion\n    BindAddress 127.0.9.5\n"))
        .unwrap();
    crate::world::ssh::Ssh::new(&away).args(["web1", "true"]).run().ok();
    guard.local.wait_for_audit("session_opened", "127.0.9.5");
    assert_eq!(guard.fresh(&mut seen), ["new_network corp:engineer"]);

    // A target that shows another host key than the one that is pinned.
    guard.local.ssh(&key).args(["-J", "bastion", "pinned1", "true"]).run().ended(255);
    guard.local.wait_for_audit("session_closed", "host-key");
    assert_eq!(guard.fresh(&mut seen), ["host_key pinned1"]);

    // Recordings that cannot begin: their folder is a file.
    let recordings = guard.local.dir().join("recordings");
    std::fs::rename(&recordings, guard.local.dir().join("moved")).unwrap();
    std::fs::write(&recordings, "").unwrap();
    let said = guard.local.ssh(&key).args(["web1", "true"]).run();
    assert_ne!(said.status, Some(0), "{}", said.errors());
    guard.local.wait_for_audit("recorder_failed", "web1");
    assert_eq!(guard.fresh(&mut seen), ["recorder local:1"]);
    std::fs::remove_file(&recordings).unwrap();
    std::fs::rename(guard.local.dir().join("moved"), &recordings).unwrap();

    // Three times somewhere where one may not go.
    for _ in 0..3 {
        guard.local.ssh(&key).args(["-J", "bastion", "nowhere", "true"]).run().ended(255);
    }
    assert_eq!(guard.fresh(&mut seen), ["refused_access corp:engineer"]);

    // The sign-in ends, and its certificate is shown all the same.
    let ended = end_sign_in::end(&guard.app, &sign_in, "admin", "stolen");
    assert!(guard.local.runtime.block_on(ended).unwrap());
    guard.local.ssh(&key).args(["web1", "true"]).run().ended(255);
    guard.local.wait_for_audit("credential_refused", "sign-in-ended");
    let found = guard.fresh(&mut seen);
    assert!(
        found.len() == 1 && found[0].starts_with("revoked_certificate corp:engineer SHA256:"),
        "{found:?}"
    );
}

#[test]
fn certificates_of_ssh_keygen_that_are_refused_are_found() {
    let mut guard = Guard::start("[alerts.refused_credentials]\ncount = 3\n");
    let key = Key::make(guard.local.dir(), "id");
    let sign_in = guard.local.sign_in(&key);
    let mut seen = guard.alerts();
    let extension = format!("extension:sign-in@caponier={sign_in}");
    let show = |guard: &Guard, ca: &Key, window: &str| {
        ca.certify(
            &key,
            &["-I", "corp:engineer", "-n", &me(), "-V", window, "-O", "clear", "-O", &extension],
        );
        let before = guard.local.audit().len();
        guard.local.ssh(&key).args(["web1", "true"]).run().ended(255);
        crate::world::wait_for("the entry of a refusal", crate::world::PATIENCE, || {
            (guard.local.audit().len() > before).then_some(())
        });
    };
    let ours = guard.local.user_ca();
    for _ in 0..2 {
        show(&guard, &ours, "-10m:-5m");
        assert_eq!(guard.fresh(&mut seen), [""; 0], "once or twice happens to a laptop that wakes up");
    }
    show(&guard, &ours, "-10m:-5m");
    // The SSH library refuses them before anybody reads whose they are.
    assert_eq!(guard.fresh(&mut seen), ["expired_certificate 127.0.0.1"]);
    let other = Key::make(guard.local.dir(), "other_ca");
    for _ in 0..3 {
        show(&guard, &other, "-1m:+5m");
    }
    assert_eq!(guard.fresh(&mut seen), ["refused_credentials 127.0.0.1"]);
}

#[test]
fn requests_and_break_glass_are_found() {
    let mut guard = Guard::start("[alerts.repeated_requests]\ncount = 3\n");
    let text = stage::policy(guard.local.web1.port, "").replace(
        "standing = true",
        "[role.request]\nmax = \"2h\"\nbreak_glass = { groups = [\"corp:leads\"] }\n\
         [[role.request.stage]]\ngroups = [\"corp:leads\"]",
    );
    let file = guard.local.dir().join("asking.toml");
    std::fs::write(&file, text).unwrap();
    let policy = policy::file::load(&file).unwrap();
    guard.app.policy.send_replace(Arc::new(policy));
    let key = Key::make(guard.local.dir(), "id");
    let sign_in = guard.local.sign_in(&key);
    let shown = std::fs::read_to_string(guard.local.certify(&key, &sign_in)).unwrap();
    let shown = Certificate::from_openssh(&shown).unwrap();
    let from = "192.0.2.1".parse().unwrap();
    let caller = guard.local.runtime.block_on(recognise_certificate(&guard.app, &shown, from)).unwrap();
    let mut seen = guard.alerts();
    let ask = |guard: &Guard, target: &str, break_glass| {
        let wish = Wish {
            targets: vec![TargetWish::Name(target.parse().unwrap())],
            logins: [me().parse().unwrap()].into(),
            reason: "OPS-1 it burns".into(),
            break_glass,
            ..Wish::default()
        };
        guard.local.runtime.block_on(ask_here(&guard.app, &caller, &wish)).unwrap();
    };
    ask(&guard, "web1", true);
    let found = guard.fresh(&mut seen);
    assert!(found.len() == 1 && found[0].starts_with("break_glass grt_"), "{found:?}");
    ask(&guard, "other1", false);
    assert_eq!(guard.fresh(&mut seen), [""; 0]);
    ask(&guard, "pinned1", false);
    assert_eq!(guard.fresh(&mut seen), ["repeated_requests corp:engineer"]);
    let rows = guard.local.runtime.block_on(guard.app.store.alerts(&ALL)).unwrap();
    let glass = rows.iter().find(|row| row.rule == AlertRule::BreakGlass).unwrap();
    assert_eq!(glass.title, "corp:engineer broke the glass for web1");
}

/// An entry that is an alert of its own for each `node`.
fn failure(node: &str) -> AuditEvent {
    AuditEvent::Telling(TellingEvent::RecorderFailed {
        who: "corp:ann".into(),
        target: "web1".into(),
        login: "root".into(),
        node: node.into(),
        why: "disk full".into(),
    })
}

fn failed_sign_in() -> AuditEvent {
    AuditEvent::SignInFailed { provider: None, reason: "denied".into(), from: "192.0.2.1".into() }
}

async fn look_on(app: &App, watch: &mut Watch) {
    while alert::look(app, watch).await.unwrap() > 0 {}
}

async fn rows(store: &Store) -> Vec<AlertRow> {
    store.alerts(&ALL).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_told_twice_or_missed_by_two_bastions_that_come_and_go() {
    on_both("300 failures, two bastions", async |place| {
        let clock = Clock::fixed(NOW);
        let one = Outpost::named("one", &place.url, "", clock.clone()).await;
        let two = Outpost::named("two", &place.url, "", clock.clone()).await;
        let (mut first, mut second) = (Watch::default(), Watch::default());
        look_on(&one.app, &mut first).await;
        let write = async |range: std::ops::Range<usize>| {
            for n in range {
                one.app.store.note(clock.now(), failure(&format!("node{n:03}"))).await.unwrap();
            }
        };
        write(0..100).await;
        // Both look; only one has the log in hand.
        tokio::join!(look_on(&one.app, &mut first), look_on(&two.app, &mut second));
        assert_eq!(rows(&one.app.store).await.len(), 100);
        write(100..200).await;
        assert_eq!(alert::look(&two.app, &mut second).await.unwrap(), 0, "the first has it");
        // The first is killed: it says nothing any more, and after a while the second takes over where it was.
        drop(first);
        clock.advance(Duration::from_secs(20));
        look_on(&two.app, &mut second).await;
        assert_eq!(rows(&one.app.store).await.len(), 200);
        // The second leaves in order; the first, started anew, goes on at once.
        alert::leave(&two.app).await.unwrap();
        write(200..300).await;
        let mut first = Watch::default();
        look_on(&one.app, &mut first).await;
        look_on(&two.app, &mut second).await;
        let mut nodes: Vec<String> = rows(&one.app.store).await.into_iter().map(|row| row.subject).collect();
        nodes.sort();
        let expect: Vec<String> = (0..300).map(|n| format!("node{n:03}")).collect();
        assert_eq!(nodes, expect);
        assert_eq!(one.app.store.unspread(1000).await.unwrap().len(), 300, "and as many notices");
    })
    .await;
}

#[tokio::test]
async fn windows_and_what_was_seen_outlive_a_restart() {
    let clock = Clock::fixed(NOW);
    let desk = Outpost::open("", clock.clone()).await;
    let note = async |event: AuditEvent| desk.app.store.note(clock.now(), event).await.unwrap();
    // What was there before the rules came only teaches.
    for _ in 0..20 {
        note(failed_sign_in()).await;
    }
    let mut watch = Watch::default();
    look_on(&desk.app, &mut watch).await;
    assert!(rows(&desk.app.store).await.is_empty());
    clock.advance(Duration::from_secs(3600));
    for n in 0..5 {
        note(failed_sign_in()).await;
        clock.advance(Duration::from_secs(60));
        // A restart after each: the window is made again from the log.
        watch = Watch::default();
        look_on(&desk.app, &mut watch).await;
        assert_eq!(rows(&desk.app.store).await.len(), usize::from(n == 4), "{n}");
    }
    let alert = rows(&desk.app.store).await.remove(0);
    assert_eq!(
        (alert.rule, alert.subject.as_str(), alert.events),
        (AlertRule::FailedSignIns, "192.0.2.1", 5)
    );
    assert_eq!((alert.first_seq, alert.last_seq), (21, 25));
    assert_eq!(alert.raised.since(alert.happened).as_secs(), 60);
    // More of the same within the window is the same alert, and after it another.
    note(failed_sign_in()).await;
    look_on(&desk.app, &mut watch).await;
    let alert = rows(&desk.app.store).await.remove(0);
    assert_eq!((alert.events, alert.last_seq), (6, 27), "26 is the entry about the alert");
    clock.advance(Duration::from_secs(600));
    for _ in 0..5 {
        note(failed_sign_in()).await;
    }
    look_on(&desk.app, &mut watch).await;
    assert_eq!(rows(&desk.app.store).await.len(), 2);
    let raised = desk.audit().await.into_iter().filter(|entry| entry.starts_with("alerts_raised")).count();
    assert_eq!(raised, 2);
}

#[tokio::test]
async fn a_rule_that_is_off_says_nothing() {
    let off: String =
        AlertRule::ALL.iter().map(|rule| format!("[alerts.{}]\non = false\n", rule.word())).collect();
    let desk = Outpost::open(&off, Clock::fixed(NOW)).await;
    let mut watch = Watch::default();
    look_on(&desk.app, &mut watch).await;
    for n in 0..30 {
        desk.app.store.note(NOW, failed_sign_in()).await.unwrap();
        desk.app.store.note(NOW, failure(&n.to_string())).await.unwrap();
    }
    look_on(&desk.app, &mut watch).await;
    assert!(rows(&desk.app.store).await.is_empty());
}

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    alerts: command::Alerts,
}

/// `caponier alerts ARGS`.
async fn run(store: &Store, clock: &Clock, args: &[&str]) -> Result<String, String> {
    let cli = Cli::try_parse_from(std::iter::once(&"alerts").chain(args)).map_err(|e| e.to_string())?;
    let mut out = Vec::new();
    let code = command::run(cli.alerts, store, clock, &mut out).await.map_err(|e| e.to_string())?;
    assert_eq!(code, ExitCode::SUCCESS);
    Ok(String::from_utf8(out).unwrap())
}

#[tokio::test]
async fn alerts_are_listed_acknowledged_and_measured() {
    let clock = Clock::fixed(NOW);
    let desk = Outpost::open("", clock.clone()).await;
    let (store, mut watch) = (&desk.app.store, Watch::default());
    look_on(&desk.app, &mut watch).await;
    assert_eq!(run(store, &clock, &[]).await.unwrap(), "no open alerts\n");
    for node in ["=cmd|'/c calc'!A1", "\u{1b}[2Jb2\u{202e}"] {
        store.note(clock.now(), failure(node)).await.unwrap();
    }
    clock.advance(Duration::from_secs(4));
    look_on(&desk.app, &mut watch).await;
    let listed = run(store, &clock, &["--open"]).await.unwrap();
    assert!(listed.contains("recorder") && !listed.contains(['\u{1b}', '\u{202e}']), "{listed}");
    assert!(listed.ends_with("2 listed, 2 open; mean time to detect 4 s, to acknowledge -\n"), "{listed}");
    let csv = run(store, &clock, &["--csv"]).await.unwrap();
    assert!(csv.contains("\"'=cmd|'/c calc'!A1\"") && csv.starts_with("\"id\",\"rule\","), "{csv}");
    assert_eq!(csv.lines().count(), 3);

    let id = rows(store).await[0].id.to_string();
    clock.advance(Duration::from_secs(60));
    let said = run(store, &clock, &["ack", &id, "--note", "disk is larger now"]).await.unwrap();
    assert_eq!(said, format!("{id} is acknowledged, 1 min 0 s after it was raised\n"));
    let again = run(store, &clock, &["ack", &id, "--note", "me too"]).await.unwrap_err();
    assert!(again.starts_with("admin acknowledged it at "), "{again}");
    assert!(run(store, &clock, &["ack", &id, "--note", "  "]).await.unwrap_err().contains("say on one line"));
    let none = "alr_00000000000000000000000000";
    assert!(run(store, &clock, &["ack", none, "--note", "x"]).await.unwrap_err().contains("no such alert"));
    assert!(run(store, &clock, &["ack", "alr_x", "--note", "x"]).await.is_err());
    let open = run(store, &clock, &[]).await.unwrap();
    assert!(open.contains("1 listed, 1 open") && !open.contains(&id), "{open}");
    let json: serde_json::Value =
        serde_json::from_str(&run(store, &clock, &["--all", "--json"]).await.unwrap()).unwrap();
    assert_eq!(json["summary"]["mean_secs_to_detect"], 4.0);
    assert_eq!(json["summary"]["mean_secs_to_acknowledge"], 60.0);
    let one = json["alerts"].as_array().unwrap().iter().find(|one| one["id"] == id.as_str()).unwrap();
    assert_eq!((&one["acknowledged_by"], &one["note"]), (&"admin".into(), &"disk is larger now".into()));
    let audit = desk.audit().await;
    assert!(
        audit.iter().any(|e| e.starts_with("alert_acknowledged") && e.contains("disk is larger")),
        "{audit:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_acknowledge_one_does() {
    on_both("20 who acknowledge", async |place| {
        let desk = Outpost::named("one", &place.url, "", Clock::fixed(NOW)).await;
        let mut watch = Watch::default();
        look_on(&desk.app, &mut watch).await;
        desk.app.store.note(NOW, failure("n")).await.unwrap();
        look_on(&desk.app, &mut watch).await;
        let id = rows(&desk.app.store).await[0].id.clone();
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..20 {
            let (store, id) = (desk.app.store.clone(), id.clone());
            tasks.spawn(async move {
                match alert::acknowledge(&store, &id, &format!("corp:{n}"), "x", NOW).await {
                    Ok(row) => Some(row.acknowledged_by.unwrap()),
                    Err(AckRefused::Already { .. }) => None,
                    Err(other) => panic!("{other}"),
                }
            });
        }
        let won: Vec<String> = tasks.join_all().await.into_iter().flatten().collect();
        assert_eq!(won.len(), 1);
        let row = rows(&desk.app.store).await.remove(0);
        assert_eq!(row.acknowledged_by.as_ref(), Some(&won[0]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_and_a_notice_that_reaches_nobody_are_told() {
    let clock = Clock::fixed(NOW);
    let (good, dead) = (Receiver::willing(), crate::world::free_port());
    let config = [
        webhook("good", &good.url(), "kinds = [\"alert.raised\"]"),
        webhook("dead", &format!("http://127.0.0.1:{dead}/x"), "kinds = [\"grant.ended\"]"),
    ];
    let desk = Outpost::open(&config.concat(), clock.clone()).await;
    let jobs = desk.run();
    desk.tell(None, caponier::alerts::NoticeKind::GrantEnded, "x").await;
    super::until("an attempt", async || {
        let failed = desk.app.store.overdue_deliveries((NOW, NOW), NOW, 1).await.unwrap();
        failed.iter().any(|one| one.problem.is_some()).then_some(())
    })
    .await;
    clock.advance(Duration::from_secs(25 * 3600));
    until_all_told(&desk.app.store).await;
    super::until("the alert at the good receiver", async || (!good.accepted().is_empty()).then_some(()))
        .await;
    drop(jobs);
    let body = &good.accepted()[0].body;
    assert_eq!(body["kind"], "alert.raised");
    assert_eq!(body["title"], "a notice did not reach webhook:dead");
    assert_eq!(body["fields"]["rule"], "undelivered");
    assert!(
        body["fields"]["acknowledge"].as_str().unwrap().starts_with("caponier alerts ack alr_"),
        "{body}"
    );
}
