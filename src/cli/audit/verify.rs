//! `caponier audit verify`: what is proven of the log in the store, or of a copy in a file.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use russh::keys::ssh_key::PublicKey;
use serde_json::json;

use super::doubt::Doubts;
use crate::audit::chain::{Broken, Head};
use crate::audit::checkpoint::Checkpoints;
use crate::audit::export::{Copy, CopyError};
use crate::cli::table::printable;
use crate::config::{Audit, Config};
use crate::flow::log::last_head;
use crate::flow::log::verify::{Known, Unproven, verify_to};
use crate::recording::key;
use crate::store::{AuditHead, AuditRow, RecordingKeyRow, Store};
use crate::time::{Clock, Timestamp};

/// What to verify, and against what.
#[derive(Debug, clap::Args)]
pub struct Verify {
    /// An entry that was written down: it must still have this hash
    #[arg(long, value_name = "SEQ:HASH")]
    head: Option<Head>,
    /// A copy of the log, or of a part: every entry in it must still be there, unaltered
    #[arg(long, value_name = "EXPORT")]
    against: Option<PathBuf>,
    /// Verify this copy instead of the log in the store; needs no server
    #[arg(long, value_name = "EXPORT")]
    file: Option<PathBuf>,
    /// Keys that may sign checkpoints, as `caponier recordings signers` prints them
    #[arg(long, value_name = "ALLOWED_SIGNERS")]
    signers: Option<PathBuf>,
    /// One JSON object instead of a sentence
    #[arg(long)]
    json: bool,
}

/// What was proven.
struct Proven {
    head: Head,
    /// Entries in the chain.
    links: u64,
    /// The first number that was there.
    first: u64,
    unhashed: u64,
    checkpoints: u64,
    /// The entry that the last checkpoint is about, and when that was signed.
    signed: Option<(u64, Timestamp)>,
    /// Whether signatures were judged.
    judged: bool,
    /// Why it is not believed all the same.
    doubts: Vec<String>,
}

impl Verify {
    /// Whether it needs no store.
    pub fn is_offline(&self) -> bool {
        self.file.is_some()
    }

    /// Verifies the log in the store.
    pub async fn run(self, store: &Store, config: &Config, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
        // Before the end of the log, which is not older then.
        let kept =
            last_head::kept(&config.state_dir).context("what this bastion has signed, in state_dir")?;
        // First: a bastion that signs for the first time has written its key before.
        let end = store.audit_head().await?;
        let signers = match self.signers()? {
            Some(signers) => signers,
            None => stored(store).await?,
        };
        let mut checkpoints = Checkpoints::new(Some(signers));
        let outcome =
            self.in_store(store, (end, kept), &mut checkpoints, config.audit.checkpoint_every).await;
        self.tell(outcome, out)
    }

    /// Verifies a copy.
    pub fn run_offline(self, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
        let checkpoints = Checkpoints::new(self.signers()?);
        let path = self.file.clone().unwrap_or_default();
        let outcome = self.in_copy(open(&path)?, checkpoints);
        self.tell(outcome, out)
    }

    fn signers(&self) -> anyhow::Result<Option<Vec<PublicKey>>> {
        let Some(path) = &self.signers else { return Ok(None) };
        let shown = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("{shown}"))?;
        let keys = key::read_allowed_signers(&text, key::AUDIT)
            .map_err(|error| anyhow::anyhow!("{shown}: {error}"))?;
        anyhow::ensure!(!keys.is_empty(), "{shown} names no key that may sign for {}", key::AUDIT);
        Ok(Some(keys))
    }

    /// What is known beside the log itself.
    fn known(&self) -> Result<Vec<Known<'static>>, Unproven> {
        let mut known = Vec::new();
        known.extend(self.head.clone().map(Known::one));
        if let Some(path) = &self.against {
            let shown = path.display().to_string();
            let copy = Copy::new(open(path).map_err(|error| Unproven::Copy(format!("{error:#}")))?);
            let heads = copy.map(move |line| match line {
                Ok(line) => Ok(Known::mark(line.link(), line.hash.as_deref())),
                Err(error) => Err(Unproven::Copy(format!("{shown}: {error}"))),
            });
            known.push(Known::of("the copy", heads));
        }
        Ok(known)
    }

    async fn in_store(
        &self,
        store: &Store,
        (end, kept): (AuditHead, Option<Head>),
        checkpoints: &mut Checkpoints,
        every: Duration,
    ) -> Result<Proven, Unproven> {
        let mut known = self.known()?;
        known.extend(kept.map(Known::kept));
        let mut doubts = Doubts::default();
        let mut look = |row: &AuditRow| {
            doubts.look(row.link());
            Ok(checkpoints.look(row.link(), row.hash.as_deref())?)
        };
        let sound = verify_to(store, end, &mut known, &mut look).await?;
        Ok(Proven {
            head: sound.head,
            links: sound.links,
            first: 1,
            unhashed: sound.unhashed,
            checkpoints: checkpoints.count(),
            signed: checkpoints.last(),
            judged: checkpoints.are_judged(),
            doubts: doubts.all(checkpoints.count(), every, Some(Clock::System.now())),
        })
    }

    fn in_copy(&self, file: BufReader<File>, mut checkpoints: Checkpoints) -> Result<Proven, Unproven> {
        let mut known = self.known()?;
        let mut doubts = Doubts::default();
        let mut copy = Copy::new(file);
        let (mut first, mut links, mut unhashed, mut head) = (0, 0, 0, Head::none());
        for line in copy.by_ref() {
            let line = line.map_err(|error| match error {
                CopyError::Broken(broken) => Unproven::Broken(broken),
                CopyError::Unreadable { .. } => Unproven::Copy(error.to_string()),
            })?;
            if first == 0 {
                first = line.seq;
            }
            match &line.hash {
                Some(_) => links += 1,
                None => unhashed = line.seq,
            }
            checkpoints.look(line.link(), line.hash.as_deref())?;
            doubts.look(line.link());
            let here = Known::mark(line.link(), line.hash.as_deref());
            for known in &mut known {
                known.meets(&here)?;
            }
            head = Head { seq: line.seq, hash: line.hash.unwrap_or_default() };
        }
        if first == 0 {
            return Err(Unproven::Copy("there is no entry in it".into()));
        }
        for known in &mut known {
            known.ends_with(&head)?;
        }
        let (checkpoints, signed, judged) =
            (checkpoints.count(), checkpoints.last(), checkpoints.are_judged());
        let mut doubts = doubts.all(checkpoints, Audit::CHECKPOINT_EVERY_MAX, None);
        if !judged {
            // Without keys nothing is judged by what bastions say.
            doubts.clear();
        }
        Ok(Proven { head, links, first, unhashed, checkpoints, signed, judged, doubts })
    }

    fn tell(&self, outcome: Result<Proven, Unproven>, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
        let broken = match outcome {
            Ok(proven) => {
                out.write_all(if self.json { proven.json() } else { proven.text() }.as_bytes())?;
                return Ok(if proven.doubts.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
            Err(Unproven::Broken(broken)) => broken,
            Err(other @ (Unproven::Store(_) | Unproven::Copy(_))) => return Err(other.into()),
        };
        out.write_all(
            if self.json { broken_json(&broken) } else { format!("BROKEN: {broken}\n") }.as_bytes(),
        )?;
        Ok(ExitCode::FAILURE)
    }
}

fn broken_json(broken: &Broken) -> String {
    json!({ "whole": false, "first_bad": broken.seq(), "why": broken.to_string() }).to_string() + "\n"
}

impl Proven {
    fn json(&self) -> String {
        let value = json!({
            "whole": true, "first": self.first, "seq": self.head.seq, "hash": self.head.hash, "entries": self.links,
            "older_than_the_chain": self.unhashed, "checkpoints": self.checkpoints,
            "signatures_judged": self.judged, "signed_to": self.signed.map(|(seq, _)| seq),
            "signed_at": self.signed.map(|(_, at)| at.to_string()), "under_no_checkpoint": self.unsigned(), "doubts": self.doubts,
        });
        value.to_string() + "\n"
    }

    /// How many entries at the end no checkpoint is about.
    fn unsigned(&self) -> u64 {
        self.head.seq.saturating_sub(self.signed.map_or_else(|| self.first.saturating_sub(1), |(seq, _)| seq))
    }

    fn text(&self) -> String {
        let mut text =
            format!("whole: entries {} to {}, {} in the chain\n", self.first, self.head.seq, self.links);
        if self.unhashed > 0 {
            text.push_str(&format!(
                "entries up to {} are older than the chain: nothing proves them\n",
                self.unhashed
            ));
        }
        match self.signed {
            Some((seq, at)) => {
                let signatures = if self.judged { "good" } else { "not judged (give --signers)" };
                text.push_str(&format!(
                    "checkpoints: {}, signatures {signatures}; the last, of {at}, is about entry {seq}: {} later entries stand \
                     under none\n",
                    self.checkpoints,
                    self.unsigned()
                ));
            }
            None => text.push_str("checkpoints: none: no entry is signed\n"),
        }
        for doubt in &self.doubts {
            text.push_str(&format!("NOT TO BE BELIEVED: {doubt}\n"));
        }
        text.push_str(&format!(
            "write down for the next time: --head {}\n",
            printable(&self.head.to_string())
        ));
        text
    }
}

/// The keys of the bastions that share the store.
async fn stored(store: &Store) -> anyhow::Result<Vec<PublicKey>> {
    let rows = store.recording_keys().await?;
    let key = |row: &RecordingKeyRow| {
        PublicKey::from_openssh(&row.key).with_context(|| format!("the recording key of {}", row.node))
    };
    rows.iter().map(key).collect()
}

fn open(path: &Path) -> anyhow::Result<BufReader<File>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(BufReader::with_capacity(256 * 1024, file))
}
