//! Signed checkpoints: an entry of the log in which a bastion says, signed, that some entry before it had some hash. Whoever can
//! write to the database but has no bastion's key cannot make the log anew up to there. Pure; when one is written is
//! `flow::log`'s.
//!
//! What is signed is `SEQ:HASH` and a newline, in OpenSSH's form (SSHSIG) for `audit@caponier`, so that `ssh-keygen -Y verify` checks
//! it without us.

use std::collections::VecDeque;

use russh::keys::ssh_key::PublicKey;
use serde_json::Value;

use super::chain::{Broken, Head, Link};
use crate::recording::key;
use crate::time::Timestamp;

/// The kind of entry that holds one.
pub const KIND: &str = "checkpoint";
/// How far before its entry what a checkpoint is about may lie. They are written within moments.
const BACK_MAX: usize = 65_536;

/// What a checkpoint about `head` signs.
pub fn message(head: &Head) -> String {
    format!("{head}\n")
}

/// Judges the checkpoints of a log, entry by entry behind the check of the chain.
pub struct Checkpoints {
    /// Who may sign; none when nobody said: then only what they say of hashes is judged.
    signers: Option<Vec<PublicKey>>,
    /// Hashes of the last entries.
    recent: VecDeque<String>,
    count: u64,
    last: Option<(u64, Timestamp)>,
}

impl Checkpoints {
    /// By these keys.
    pub fn new(signers: Option<Vec<PublicKey>>) -> Self {
        Self { signers, recent: VecDeque::new(), count: 0, last: None }
    }

    /// How many there were, all of them good.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The entry that the last one is about, and when it was signed.
    pub fn last(&self) -> Option<(u64, Timestamp)> {
        self.last
    }

    /// Whether signatures were judged.
    pub fn are_judged(&self) -> bool {
        self.signers.is_some()
    }

    /// The next entry of the log, of which the chain was checked.
    pub fn look(&mut self, link: Link<'_>, hash: Option<&str>) -> Result<(), Broken> {
        if link.kind == KIND {
            let wrong = |why: String| Broken::Checkpoint { seq: link.seq, why };
            let (head, signature) = head_in(link.json).ok_or_else(|| wrong("it cannot be read".into()))?;
            self.judge(link.seq, &head, &signature).map_err(wrong)?;
            self.count += 1;
            self.last = Some((head.seq, Timestamp::from_millis(link.at)));
        }
        self.recent.push_back(hash.unwrap_or_default().to_owned());
        if self.recent.len() > BACK_MAX {
            self.recent.pop_front();
        }
        Ok(())
    }

    fn judge(&self, seq: u64, head: &Head, signature: &str) -> Result<(), String> {
        if let Some(signers) = &self.signers {
            key::verify(signature, key::AUDIT, message(head).as_bytes(), signers)
                .map_err(|error| error.to_string())?;
        }
        // The last of `recent` is the entry before this one.
        let back = seq.checked_sub(head.seq).and_then(|back| usize::try_from(back).ok());
        let at = back.and_then(|back| self.recent.len().checked_sub(back)).filter(|_| head.seq < seq);
        match at.and_then(|at| self.recent.get(at)) {
            Some(hash) if *hash == head.hash => Ok(()),
            Some(_) => Err(format!("entry {} had another hash when it was signed", head.seq)),
            // Of a copy that begins in the middle, what it is about may be missing.
            None if self.recent.len() < BACK_MAX && head.seq < seq => Ok(()),
            None => Err(format!("it is about entry {}, which is not near it", head.seq)),
        }
    }
}

/// What the fields of a checkpoint say: about which entry, and the signature. None for what is no checkpoint's.
pub fn head_in(json: &str) -> Option<(Head, String)> {
    let fields: Value = serde_json::from_str(json).ok()?;
    let text = |name: &str| Some(fields.get(name)?.as_str()?.to_owned());
    let head = Head { seq: fields.get("seq")?.as_u64()?, hash: text("hash")? };
    Some((head, text("signature")?))
}

#[cfg(test)]
mod tests {
    use russh::keys::ssh_key::{Algorithm, PrivateKey};
    use serde_json::json;

    use super::super::chain;
    use super::*;
    use crate::random::Random;
    use crate::recording::key::RecordingKey;

    fn key(seed: u64) -> RecordingKey {
        let random = Random::seeded(seed);
        RecordingKey::new(random.with(|mut rng| PrivateKey::random(&mut rng, Algorithm::Ed25519)).unwrap())
    }

    /// Goes along `before` entries and a checkpoint with these fields.
    fn look(signers: Option<Vec<PublicKey>>, before: u64, fields: &Value) -> Result<Checkpoints, Broken> {
        let mut all = Checkpoints::new(signers);
        let mut previous = String::new();
        for seq in 1..=before + 1 {
            let text = if seq <= before { "{}".to_owned() } else { fields.to_string() };
            let kind = if seq <= before { "server_started" } else { KIND };
            let link = Link { seq, at: seq, kind, json: &text };
            previous = chain::hash(&previous, link);
            all.look(link, Some(&previous))?;
        }
        Ok(all)
    }

    fn hash_of(seq: u64) -> String {
        (1..=seq).fold(String::new(), |previous, seq| {
            chain::hash(&previous, Link { seq, at: seq, kind: "server_started", json: "{}" })
        })
    }

    fn checkpoint(key: &RecordingKey, namespace: &str, head: &Head) -> Value {
        let signature = key.sign(namespace, message(head).as_bytes()).unwrap();
        json!({ "node": "b1", "seq": head.seq, "hash": head.hash, "key": "x", "signature": signature })
    }

    #[test]
    fn only_what_was_signed_and_still_stands_there_passes() {
        let (ours, other) = (key(1), key(2));
        let signers = || Some(vec![ours.public().clone()]);
        let head = Head { seq: 4, hash: hash_of(4) };
        let good = checkpoint(&ours, key::AUDIT, &head);
        let seen = look(signers(), 5, &good).unwrap();
        assert_eq!((seen.count(), seen.last().map(|(seq, _)| seq), seen.are_judged()), (1, Some(4), true));
        assert!(look(None, 5, &good).is_ok_and(|seen| !seen.are_judged()));

        let altered = Head { seq: 4, hash: hash_of(3) };
        let beyond = Head { seq: 9, hash: hash_of(4) };
        let mut moved = good.clone();
        moved["seq"] = json!(3);
        let mut bare = good.clone();
        bare["signature"] = Value::Null;
        for (what, fields, judged_only) in [
            ("another hash", checkpoint(&ours, key::AUDIT, &altered), false),
            ("about the future", checkpoint(&ours, key::AUDIT, &beyond), false),
            ("another key", checkpoint(&other, key::AUDIT, &head), true),
            ("a seal of a recording", checkpoint(&ours, key::RECORDING, &head), true),
            ("a signature over something else", moved, false),
            ("no signature", bare, false),
            ("nothing", json!({}), false),
        ] {
            let outcome = look(signers(), 5, &fields).map(|_| ());
            assert!(matches!(outcome, Err(Broken::Checkpoint { seq: 6, .. })), "{what}: {outcome:?}");
            assert_eq!(look(None, 5, &fields).is_ok(), judged_only, "{what}");
        }
    }
}
