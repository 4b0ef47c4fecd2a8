//! Access by request as connections see it: real ssh, scp and sftp through a bastion in this process to a real sshd.

mod attacks;
mod cut;
mod questions;
mod waiting;
mod warned;

use std::time::{Duration, Instant};

use caponier::access::{Case, Narrowing, State};
use caponier::app::App;
use caponier::flow::Caller;
use caponier::flow::answer::{By, Wanted, answer};
use caponier::flow::ask::ask_here;
use caponier::ids::CaseId;
use caponier::policy::request::{TargetWish, Wish};
use caponier::store::CaseFilter;
use caponier::time::Clock;

use crate::world::keys::Key;
use crate::world::local::{Change, Local, person};
use crate::world::ssh::Ssh;
use crate::world::{PATIENCE, me, wait_for};

/// How long anything may go on that is not allowed any more.
const SOON: Duration = Duration::from_secs(2);

/// One target, reached by request; MORE is for the role's `[role.request]`. Somebody else has it without asking.
const POLICY: &str = r#"
[[target]]
name = "web1"
address = "127.0.0.1:PORT"
host_key = { ca = true }

[[target]]
name = "web2"
address = "127.0.0.1:PORT"
host_key = { ca = true }

[[role]]
name = "ops"
members = { groups = ["corp:engineers"] }
targets = { names = ["web1", "web2"] }
logins = ["ME", "nobody"]
channels = ["shell", "exec", "sftp"]
forwards = { local = ["127.0.0.1:1024-65535"] }
[role.request]
max = "2h"
MORE
[[role.request.stage]]
groups = ["corp:leads"]

[[role]]
name = "others"
members = { groups = ["corp:others"] }
targets = { names = ["web1"] }
logins = ["ME"]
channels = ["shell", "exec"]
standing = true
"#;

/// The policy with these lines for requests.
fn policy(more: &str) -> String {
    POLICY.replace("MORE", more).replace("\"ME\"", &format!("\"{}\"", me()))
}

/// The stage: who asks, who decides, and who has nothing to do with it.
struct Yard {
    local: Local,
    erin: Key,
    lead: Key,
    other: Key,
}

impl Yard {
    #[track_caller]
    fn with(more: &str) -> Self {
        Self::on(more, None, None)
    }

    #[track_caller]
    fn on(more: &str, store: Option<String>, clock: Option<Clock>) -> Self {
        let local = Local::start_with(Change { policy: Some(&policy(more)), store, clock });
        let key = |name: &str, groups: &[&str]| {
            let key = Key::make(local.dir(), name);
            let sign_in = local.sign_in_as(&key, person(name, name, groups));
            local.certify(&key, &sign_in);
            key
        };
        let erin = key("erin", &["corp:engineers"]);
        let lead = key("lead", &["corp:leads"]);
        let other = key("other", &["corp:others"]);
        Self { local, erin, lead, other }
    }

    /// `ssh` of Erin.
    fn ssh(&self, args: &[&str]) -> Ssh {
        self.local.ssh(&self.erin).args(args)
    }

    /// `ssh bastion` of somebody.
    fn question(&self, who: &Key, words: &str) -> Ssh {
        self.local.ssh(who).args(["bastion", words])
    }

    fn run<T>(&self, what: impl Future<Output = T>) -> T {
        self.local.runtime.block_on(what)
    }

    fn caller(&self, app: &App, key: &Key) -> Caller {
        self.local.caller(app, key)
    }

    /// What Erin asks for, decided by nobody yet.
    #[track_caller]
    fn asked(&self, wish: &Wish) -> Case {
        let app = &self.local.app;
        self.run(ask_here(app, &self.caller(app, &self.erin), wish)).unwrap().case
    }

    /// Says yes at this bastion.
    #[track_caller]
    fn approve(&self, app: &App, id: &CaseId) -> Case {
        let wanted = Wanted::Approve { narrow: Narrowing::default(), note: String::new() };
        self.act(app, &self.lead, id, wanted)
    }

    #[track_caller]
    fn act(&self, app: &App, who: &Key, id: &CaseId, wanted: Wanted) -> Case {
        let caller = self.caller(app, who);
        self.run(answer(app, By::Here(&caller), id, wanted)).unwrap()
    }

    /// What Erin asks for, and gets.
    #[track_caller]
    fn granted(&self, wish: &Wish) -> Case {
        let case = self.asked(wish);
        let case = self.approve(&self.local.app, &case.id);
        assert!(matches!(case.state, State::Granted { .. }), "{case:?}");
        case
    }

    /// The one request that waits.
    #[track_caller]
    fn waiting(&self) -> Case {
        wait_for("a request", PATIENCE, || {
            let filter = CaseFilter { word: Some("waiting"), ..CaseFilter::default() };
            let mut cases = self.run(self.local.app.store.cases(&filter, 10)).unwrap();
            assert!(cases.len() < 2, "{cases:#?}");
            cases.pop()
        })
    }

    fn case(&self, id: &CaseId) -> Case {
        self.run(self.local.app.store.case(id)).unwrap().unwrap()
    }

    /// TCP connections that `web1` has open now.
    fn connections_of_web1(&self) -> usize {
        let port = format!(":{:04X}", self.local.web1.port);
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let established = table.lines().filter(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            columns.get(1).is_some_and(|local| local.ends_with(&port)) && columns.get(3) == Some(&"01")
        });
        established.count()
    }

    /// How many times somebody got into `web1`.
    fn logins_at_web1(&self) -> usize {
        self.local.web1.log().matches("Accepted publickey").count()
    }
}

/// Erin's usual wish.
fn wish(length: Duration) -> Wish {
    Wish {
        targets: vec![TargetWish::Name("web1".parse().unwrap())],
        logins: [me().parse().unwrap()].into(),
        length: Some(length),
        reason: "rotate the certificate".into(),
        ..Wish::default()
    }
}

fn hour() -> Wish {
    wish(Duration::from_secs(3600))
}

/// Waits, and says how long that took.
#[track_caller]
fn until<T>(what: &str, since: Instant, condition: impl FnMut() -> Option<T>) -> (T, Duration) {
    let value = wait_for(what, PATIENCE, condition);
    (value, since.elapsed())
}
