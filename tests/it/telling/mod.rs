//! Notices on their way to real receivers: web servers and mail servers on loopback that answer as they please. Here
//! is what the files beside share: bastions in this process, over any store, with or without their jobs.

mod alerts;
mod api;
mod mail;
mod outbox;
pub(crate) mod receiver;
mod smtp;
mod webhooks;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use caponier::alerts::{Notice, NoticeKind};
use caponier::app::App;
use caponier::audit::AuditEvent;
use caponier::ca::{Signer, init};
use caponier::config::Config;
use caponier::flow::Desk;
use caponier::ids::{CaseId, NoticeId};
use caponier::random::Random;
use caponier::store::Store;
use caponier::time::{Clock, Timestamp};
use caponier::{jobs, policy};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::world::{recordings, scratch};

/// When the fixed clock stands still.
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_900_000_000);
/// What webhooks are signed with here.
pub(crate) const SECRET: &str = "the secret of the tests";

/// A bastion without doors.
pub(crate) struct Outpost {
    pub(crate) app: App,
    dir: tempfile::TempDir,
}

impl Outpost {
    /// With this configuration beside the least that is needed, SQLite and this clock.
    pub(crate) async fn open(extra: &str, clock: Clock) -> Self {
        let dir = scratch();
        let url = format!("sqlite:{}", dir.path().join("caponier.db").display());
        Self::over(dir, &url, "one", extra, clock).await
    }

    /// One of several over one store.
    pub(crate) async fn named(node: &str, url: &str, extra: &str, clock: Clock) -> Self {
        Self::over(scratch(), url, node, extra, clock).await
    }

    async fn over(dir: tempfile::TempDir, url: &str, node: &str, extra: &str, clock: Clock) -> Self {
        let config = load(dir.path(), extra);
        let random = Random::System;
        init::init(&config.ca.dir, None, &random).unwrap();
        let recordings = recordings(&config, &random, node);
        let app = App {
            recordings,
            policy: Arc::new(watch::Sender::new(Arc::new(policy::file::load(&config.policy_file).unwrap()))),
            store: Store::open(url).await.unwrap(),
            signer: Signer::open(&config.ca).await.unwrap(),
            config: Arc::new(config),
            clock,
            random,
            desk: Arc::new(Desk::default()),
            node: node.into(),
        };
        Self { app, dir }
    }

    /// The same bastion with another configuration, as after a restart.
    pub(crate) fn reconfigured(&self, extra: &str) -> App {
        App { config: Arc::new(load(self.dir.path(), extra)), ..self.app.clone() }
    }

    /// Runs its jobs until the guard is dropped.
    pub(crate) fn run(&self) -> DropGuard {
        run(&self.app)
    }

    /// A new case.
    pub(crate) fn case(&self) -> CaseId {
        CaseId::random(&self.app.random)
    }

    /// Puts a notice about `case` into the outbox, in a transaction of its own.
    pub(crate) async fn tell(&self, case: Option<&CaseId>, kind: NoticeKind, title: &str) -> NoticeId {
        let mut notice = Notice::new(NoticeId::random(&self.app.random), kind, title).with("reason", "OPS-1");
        if let Some(case) = case {
            notice = notice.about(case);
        }
        self.enqueue(&notice).await;
        notice.id
    }

    pub(crate) async fn enqueue(&self, notice: &Notice) {
        enqueue(&self.app.store, notice, self.app.clock.now()).await;
    }

    /// The audit log as `kind json`.
    pub(crate) async fn audit(&self) -> Vec<String> {
        let rows = self.app.store.audit(0, 10_000).await.unwrap();
        rows.into_iter().map(|row| format!("{} {}", row.kind, row.json)).collect()
    }
}

/// Runs the jobs of a bastion until the guard is dropped.
pub(crate) fn run(app: &App) -> DropGuard {
    let stop = CancellationToken::new();
    let (app, until) = (app.clone(), stop.clone());
    tokio::spawn(async move {
        let seen = caponier::flow::change::end_of_log(&app).await.unwrap();
        jobs::run(app, seen, until).await;
    });
    stop.drop_guard()
}

pub(crate) async fn enqueue(store: &Store, notice: &Notice, now: Timestamp) {
    let mut tx = store.begin().await.unwrap();
    tx.enqueue(notice, now).await.unwrap();
    tx.commit(now, AuditEvent::ServerStarted { version: "test".into(), interrupted: 0 }).await.unwrap();
}

pub(crate) use crate::world::until;

/// Waits until nothing in the outbox waits any more.
pub(crate) async fn until_all_told(store: &Store) {
    until("an empty outbox", async || {
        let idle =
            store.unspread(1).await.unwrap().is_empty() && store.deliveries_waiting().await.unwrap() == 0;
        idle.then_some(())
    })
    .await;
}

/// One webhook as the configuration has it.
pub(crate) fn webhook(name: &str, url: &str, more: &str) -> String {
    format!("[[notify.webhook]]\nname = \"{name}\"\nurl = \"{url}\"\nsecret_file = \"hook-secret\"\n{more}\n")
}

fn load(dir: &Path, extra: &str) -> Config {
    let text = format!(
        "state_dir = \".\"\n[ssh]\nhost_names = [\"bastion.example\"]\n[web]\npublic_url = \"http://127.0.0.1:1\"\n\
         [ca]\nplain = true\n[[provider]]\nname = \"corp\"\nissuer = \"http://127.0.0.1:1\"\nclient_id = \"x\"\n{extra}"
    );
    let file = dir.join("caponier.toml");
    std::fs::write(&file, text).unwrap();
    std::fs::write(dir.join("policy.toml"), "").unwrap();
    for (name, secret) in
        [("hook-secret", SECRET), ("old-secret", "the secret before"), ("password", "hunter2 mail")]
    {
        std::fs::write(dir.join(name), secret).unwrap();
        std::fs::set_permissions(dir.join(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    Config::load(&file, &BTreeMap::new()).unwrap()
}
