//! Webhooks, with receivers that are good, slow, broken, hostile or gone.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use caponier::alerts::{Notice, NoticeKind};
use caponier::ids::NoticeId;
use caponier::store::Store;
use caponier::time::Clock;
use serde_json::Value;

use super::receiver::{Answer, Receiver, Taken, assert_is_ours, wall};
use super::{Outpost, enqueue, run, until, until_all_told, webhook};
use crate::postgres;
use crate::world::stage::{Plan, Stage};
use crate::world::{PATIENCE, free_port, wait_for};

const LIFE: [NoticeKind; 5] = [
    NoticeKind::RequestPending,
    NoticeKind::RequestReminded,
    NoticeKind::RequestApproved,
    NoticeKind::GrantOpened,
    NoticeKind::GrantEnded,
];

/// Says 500 twice to every notice of this kind, then yes; yes to others.
fn twice_500(kind: NoticeKind) -> impl Fn(&[Taken], &Value) -> Answer {
    move |before: &[Taken], body: &Value| {
        let failed = before.iter().filter(|one| one.body["id"] == body["id"]).count();
        if body["kind"] == kind.word() && failed < 2 {
            Answer::Status(500, String::new())
        } else {
            Answer::ok()
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_notice_once_in_order_signed_also_after_two_500s() {
    let receiver = Receiver::start(twice_500(NoticeKind::RequestReminded));
    let desk = Outpost::open(&webhook("ops", &receiver.url(), ""), Clock::System).await;
    let cases: Vec<_> = (0..6).map(|_| desk.case()).collect();
    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let jobs = desk.run();
    for kind in LIFE {
        for case in &cases {
            let id = desk.tell(Some(case), kind, &format!("{kind} of {case}")).await;
            told.entry(case.to_string()).or_default().push(id.to_string());
        }
    }
    let alone = desk.tell(None, NoticeKind::AlertRaised, "of no case").await;
    until_all_told(&desk.app.store).await;
    drop(jobs);
    let taken = receiver.taken();
    taken.iter().for_each(|one| assert_is_ours(one, wall()));
    assert_eq!(taken.len(), 31 + 6 * 2, "each once, and two failures for each reminder");
    let mut heard: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for one in receiver.accepted() {
        let case = one.body["case"].as_str().unwrap_or("none").to_owned();
        heard.entry(case).or_default().push(one.id().to_owned());
    }
    assert_eq!(heard.remove("none"), Some(vec![alone.to_string()]));
    assert_eq!(heard, told);
    let problems = desk.app.store.overdue_deliveries((wall(), wall()), wall(), 10).await.unwrap();
    assert!(problems.is_empty(), "{problems:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_receiver_delays_nobody_and_leads_nowhere() {
    let good = Receiver::willing();
    let elsewhere = Receiver::willing();
    let to = format!("location: {}\r\n", elsewhere.url());
    let moved = Receiver::start(move |_, _| Answer::Status(307, to.clone()));
    let hangs = Receiver::start(|_, _| Answer::Hang);
    let half = Receiver::start(|_, _| Answer::Half);
    let endless = Receiver::start(|_, _| Answer::Gigabyte);
    let dead = format!("http://127.0.0.1:{}/hook", free_port());
    let short = "timeout = \"1s\"";
    let config = [
        webhook("hangs", &hangs.url(), short),
        webhook("half", &half.url(), short),
        webhook("moved", &moved.url(), short),
        webhook("dead", &dead, short),
        webhook("endless", &endless.url(), short),
        webhook("good", &good.url(), short),
    ];
    let desk = Outpost::open(&config.concat(), Clock::System).await;
    let _jobs = desk.run();
    // More than one lane could try at once, were they not apart.
    for n in 0..30 {
        desk.tell(None, NoticeKind::AlertRaised, &format!("alert {n}")).await;
    }
    let began = Instant::now();
    until("all at the good receiver", async || (good.accepted().len() == 30).then_some(())).await;
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    until("all at the endless receiver", async || (endless.accepted().len() == 30).then_some(())).await;
    let poured = endless.poured.load(std::sync::atomic::Ordering::Relaxed);
    assert!(poured < 30 * (16 << 20), "{poured} bytes of 30 GiB were taken");
    until("an attempt at each of the others", async || {
        let tried = [&hangs, &half, &moved].iter().all(|one| !one.taken().is_empty());
        let store = &desk.app.store;
        let failed =
            store.overdue_deliveries((wall(), wall()), wall().plus(Duration::from_secs(3600)), 1000).await;
        let problems: Vec<(String, String)> =
            failed.unwrap().into_iter().filter_map(|one| Some((one.sink.name, one.problem?))).collect();
        let said = |sink: &str, what: &str| problems.iter().any(|(s, p)| s == sink && p.contains(what));
        (tried
            && said("webhook:moved", "the receiver answered 307")
            && said("webhook:dead", "error")
            && said("webhook:hangs", "time")
            && said("webhook:half", "error"))
        .then_some(())
    })
    .await;
    assert_eq!(elsewhere.taken().len(), 0, "a redirect was followed");
    let listed =
        desk.app.store.overdue_deliveries((wall(), wall()), wall().plus(Duration::from_secs(3600)), 1000);
    for one in listed.await.unwrap() {
        let problem = one.problem.unwrap_or_default();
        assert!(
            !problem.contains("/hook") && !problem.contains("http://"),
            "a problem shows the URL: {problem}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kinds_formats_and_two_secrets() {
    let (json, slack) = (Receiver::willing(), Receiver::willing());
    let config = [
        webhook("json", &json.url(), "kinds = [\"request.*\"]\nold_secret_file = \"old-secret\""),
        format!(
            "[[notify.webhook]]\nname = \"slack\"\nurl = \"{}\"\nformat = \"slack\"\nkinds = [\"grant.opened\"]\n",
            slack.url()
        ),
    ];
    let desk = Outpost::open(&config.concat(), Clock::System).await;
    let _jobs = desk.run();
    let case = desk.case();
    for kind in [NoticeKind::RequestPending, NoticeKind::GrantOpened] {
        desk.tell(Some(&case), kind, "<!channel> root for Ann").await;
    }
    until_all_told(&desk.app.store).await;
    let [one] = &json.accepted()[..] else { panic!("{:?}", json.taken()) };
    assert!(one.is_signed(super::SECRET, wall()) && one.is_signed("the secret before", wall()), "{one:?}");
    assert_eq!(one.body["title"], "<!channel> root for Ann");
    assert_eq!(one.body["fields"]["reason"], "OPS-1");
    let [one] = &slack.accepted()[..] else { panic!("{:?}", slack.taken()) };
    assert_eq!(one.header("x-caponier-signature"), None);
    assert_eq!(one.body["text"], "[grant.opened] &lt;!channel&gt; root for Ann\nreason: OPS-1");
    assert_eq!(one.body["blocks"][0]["text"]["type"], "plain_text");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_this_machine_and_of_its_cloud_get_nothing() {
    let trap = Receiver::willing();
    // Names that lead to loopback without being configured as loopback, and a literal metadata address.
    let config = [
        webhook("metadata", "https://169.254.169.254/latest", "timeout = \"2s\""),
        webhook("zero", "https://0.0.0.0/x", "timeout = \"2s\""),
        webhook("mapped", "https://[::ffff:169.254.169.254]/x", "timeout = \"2s\""),
    ];
    let desk = Outpost::open(&config.concat(), Clock::System).await;
    let _jobs = desk.run();
    desk.tell(None, NoticeKind::AlertRaised, "x").await;
    until("three refusals", async || {
        let later = wall().plus(Duration::from_secs(3600));
        let failed = desk.app.store.overdue_deliveries((later, later), later, 10).await.unwrap();
        let refused = failed.iter().filter(|one| {
            one.problem.as_deref().is_some_and(|problem| problem.contains("nothing is sent there"))
        });
        (refused.count() == 3).then_some(())
    })
    .await;
    assert_eq!(trap.taken().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_bastions_on_one_postgresql_deliver_each_once() {
    let cluster = postgres::start();
    let url = cluster.fresh_database();
    let receiver = Receiver::start(twice_500(NoticeKind::GrantEnded));
    let config = webhook("ops", &receiver.url(), "");
    let one = Outpost::named("one", &url, &config, Clock::System).await;
    let two = Outpost::named("two", &url, &config, Clock::System).await;
    let _jobs = (one.run(), two.run());
    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let cases: Vec<_> = (0..20).map(|_| one.case()).collect();
    for (n, kind) in LIFE.into_iter().enumerate() {
        for case in &cases {
            // Acts of one case happen now at this bastion, now at the other.
            let desk = if n % 2 == 0 { &one } else { &two };
            let id = desk.tell(Some(case), kind, "x").await;
            told.entry(case.to_string()).or_default().push(id.to_string());
        }
    }
    until_all_told(&one.app.store).await;
    assert_eq!(receiver.taken().len(), 100 + 20 * 2, "each once, and two failures for each end");
    let mut heard: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for one in receiver.accepted() {
        heard.entry(one.body["case"].as_str().unwrap().to_owned()).or_default().push(one.id().to_owned());
    }
    assert_eq!(heard, told);
}

#[test]
fn a_killed_bastion_loses_nothing() {
    let receiver = Receiver::start(|before: &[Taken], _: &Value| {
        // The first bastion never hears the answer.
        if before.is_empty() { Answer::Hang } else { Answer::ok() }
    });
    let config = webhook("ops", &receiver.url(), "timeout = \"30s\"");
    let files = &[("hook-secret", super::SECRET)];
    let mut stage = Stage::set_to(Plan { nobody: true, config: &config, files, ..Plan::default() });
    let url = format!("sqlite:{}", stage.bastion.dir().join("state/caponier.db").display());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = runtime.block_on(Store::open(&url)).unwrap();
    let random = caponier::random::Random::System;
    let case = caponier::ids::CaseId::random(&random);
    let mut told = Vec::new();
    for kind in LIFE {
        let notice = Notice::new(NoticeId::random(&random), kind, "x").about(&case);
        runtime.block_on(enqueue(&store, &notice, wall()));
        told.push(notice.id.to_string());
    }
    wait_for("the first attempt", PATIENCE, || (!receiver.taken().is_empty()).then_some(()));
    stage.bastion.kill();
    assert_eq!(receiver.accepted().len(), 0);
    stage.bastion.start();
    wait_for("all five", PATIENCE, || (receiver.accepted().len() >= 5).then_some(()));
    let heard: Vec<String> = receiver.accepted().iter().map(|one| one.id().to_owned()).collect();
    assert_eq!(heard, told);
    receiver.taken().iter().for_each(|one| assert_is_ours(one, wall()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_comes_later_gets_no_history() {
    let (first, later) = (Receiver::willing(), Receiver::willing());
    let config = webhook("first", &first.url(), "");
    let desk = Outpost::open(&config, Clock::System).await;
    let jobs = desk.run();
    desk.tell(None, NoticeKind::AlertRaised, "before").await;
    until_all_told(&desk.app.store).await;
    drop(jobs);
    // Now the first is gone from the configuration, and another is there.
    let app = desk.reconfigured(&webhook("later", &later.url(), ""));
    let _jobs = run(&app);
    desk.tell(None, NoticeKind::AlertRaised, "after").await;
    until_all_told(&desk.app.store).await;
    let titles = |receiver: &Receiver| -> Vec<String> {
        receiver.accepted().iter().map(|one| one.body["title"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!((titles(&first), titles(&later)), (vec!["before".to_owned()], vec!["after".to_owned()]));
}
