//! Certificates per second over HTTP, durable: `contrib/bench`. A real `caponier serve` on SQLite, clients that sign each
//! request, and at the end a look into the database: exactly what was acknowledged must be there. Decides the order of
//! things and what counts as passed; the server's surroundings are `site`'s, the clients `load`'s, the sums `report`'s.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program at a shell")]

#[path = "../../tests/it/world/issuer.rs"]
#[expect(dead_code, clippy::unwrap_used, reason = "it is one of the tests' parts")]
mod issuer;
mod load;
mod report;
mod site;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use caponier::random::Random;
use tokio::task::JoinHandle;

use self::load::Load;
use self::report::Report;
use self::site::Site;

const USAGE: &str = "\
Certificates per second over HTTP, each committed with its audit entry and synced to the disk before it is answered.

  --exchange N     N jobs that each exchange a token (RS256) once, with a key of its own, instead of renewals
  --clients N      clients at once, each with its own key and connection (64)
  --seconds N      how long is counted (10)
  --warm-up N      seconds before that (2)
  --in FOLDER      where the database is made, on the disk that is meant (target/tmp)
  --at-least N     fail when there are fewer certificates per second
  --json           one line of JSON instead of text
";

/// What was asked for.
struct Plan {
    exchange: Option<usize>,
    clients: usize,
    seconds: u64,
    warm_up: u64,
    folder: PathBuf,
    at_least: Option<u64>,
    json: bool,
}

impl Plan {
    fn read(mut words: impl Iterator<Item = String>) -> anyhow::Result<Option<Self>> {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let mut plan = Self {
            exchange: None,
            clients: 64,
            seconds: 10,
            warm_up: 2,
            folder,
            at_least: None,
            json: false,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} needs a value"));
            match word.as_str() {
                "--exchange" => plan.exchange = Some(value()?.parse()?),
                "--clients" => plan.clients = value()?.parse()?,
                "--seconds" => plan.seconds = value()?.parse()?,
                "--warm-up" => plan.warm_up = value()?.parse()?,
                "--in" => plan.folder = value()?.into(),
                "--at-least" => plan.at_least = Some(value()?.parse()?),
                "--json" => plan.json = true,
                // Cargo says this to every benchmark.
                "--bench" => {}
                "-h" | "--help" => return Ok(None),
                _ => bail!("unknown option {word} (try --help)"),
            }
        }
        ensure!(
            (1..=64).contains(&plan.clients),
            "1 to 64 clients: the server takes no more from one address"
        );
        ensure!(
            (1..=600).contains(&plan.seconds) && plan.warm_up <= 60,
            "1 to 600 seconds, after at most 60"
        );
        Ok(Some(plan))
    }
}

fn main() -> ExitCode {
    match Plan::read(std::env::args().skip(1)) {
        Ok(Some(plan)) => match run(&plan) {
            Ok(passed) => ExitCode::from(u8::from(!passed)),
            Err(error) => {
                eprintln!("bench: {error:#}");
                ExitCode::FAILURE
            }
        },
        Ok(None) => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::from(2)
        }
    }
}

#[tokio::main(worker_threads = 2)]
async fn run(plan: &Plan) -> anyhow::Result<bool> {
    let random = Random::System;
    let synced = site::sync_time(&plan.folder).context("syncing a file")?;
    let (ssh, web) = (site::free_port()?, site::free_port()?);
    let (work, issuer) = match plan.exchange {
        None => (work::renew(plan.clients, &random)?, None),
        Some(count) => {
            let issuer = issuer::JobIssuer::start();
            (work::exchange(count, &issuer, web, &random)?, Some(issuer))
        }
    };
    let work = Arc::new(work);
    let mut site = Site::set(&plan.folder, (ssh, web), &work, issuer.as_ref(), &random).await?;
    let load = Load::new(site.address(), Arc::clone(&work));
    let clients = load.start(plan.clients);
    tokio::time::sleep(Duration::from_secs(plan.warm_up)).await;
    let begin = site.mark()?;
    load.count(true);
    let until = Instant::now() + Duration::from_secs(plan.seconds);
    while Instant::now() < until && !load.is_exhausted() && !clients.iter().any(JoinHandle::is_finished) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    load.count(false);
    let end = site.mark()?;
    load.stop();
    let mut answers = Vec::new();
    for client in clients {
        answers.push(
            client.await?.with_context(|| format!("a client failed; the server said: {}", site.log()))?,
        );
    }
    // Killed, not stopped: what is in the database now was there when it was acknowledged.
    site.kill()?;
    let checked = site.check(&answers, &work).await?;
    let report = Report::of(plan, work.name(), &answers, (&begin, &end), synced, checked);
    if plan.json {
        println!("{}", report.json());
    } else {
        println!("{report}");
    }
    Ok(plan.at_least.is_none_or(|least| report.per_second() >= least))
}

/// A folder for what the issuer makes its keys in.
#[expect(clippy::unwrap_used, reason = "it is one of the tests' parts")]
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}
