//! The hash chain of the audit log: what an entry's hash is, and whether a row of entries is the whole of it, unaltered. Pure.
//! Where entries come from (a database, a file) is left to the callers; writing them is `store`'s.
//!
//! The hash of an entry is the SHA-256, in hex, of six lines, each with its newline: the hash before it (empty for the first),
//! its number, its time in milliseconds since the epoch, its kind and its fields as they are stored. None of these can hold
//! a newline: kinds are words, and JSON writes one as `\n`. So each hash stands for all entries up to its own.
//!
//! What the chain alone does not show: that its end was cut off, or that somebody made it all anew. For that one compares it with
//! something from elsewhere: a number and hash that were written down, a copy, or a signed checkpoint (`audit::checkpoint`).

use std::fmt;

use sha2::{Digest as _, Sha256};

/// An entry as the chain sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link<'e> {
    /// Its number, from 1.
    pub seq: u64,
    /// When, in milliseconds since the epoch.
    pub at: u64,
    /// Its kind.
    pub kind: &'e str,
    /// Its fields, byte for byte as stored.
    pub json: &'e str,
}

/// The hash of an entry that comes after one with the hash `previous`; that is empty for the first.
pub fn hash(previous: &str, link: Link<'_>) -> String {
    let Link { seq, at, kind, json } = link;
    let mut digest = Sha256::new();
    digest.update(format!("{previous}\n{seq}\n{at}\n{kind}\n"));
    digest.update(json);
    digest.update("\n");
    let mut hex = String::with_capacity(64);
    for byte in digest.finalize() {
        hex.push_str(&format!("{byte:02x}"));
    }
    hex
}

/// The end of a chain: a number and its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The last entry; 0 when there is none.
    pub seq: u64,
    /// Its hash; empty while no entry has one.
    pub hash: String,
}

impl Head {
    /// Before the first entry.
    pub fn none() -> Self {
        Self { seq: 0, hash: String::new() }
    }
}

impl fmt::Display for Head {
    /// `SEQ:HASH`, as `caponier audit verify --head` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}

/// A text that is not `SEQ:HASH`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it must be SEQ:HASH, the number of an entry and its hash of 64 hexadecimal digits")]
pub struct BadHead;

impl std::str::FromStr for Head {
    type Err = BadHead;

    fn from_str(text: &str) -> Result<Self, BadHead> {
        let (seq, hash) = text.split_once(':').ok_or(BadHead)?;
        if !is_hash(hash) {
            return Err(BadHead);
        }
        Ok(Self { seq: seq.parse().map_err(|_| BadHead)?, hash: hash.to_owned() })
    }
}

/// Whether the text has the form of a hash.
pub fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The first thing that is wrong with a chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Numbers are left out.
    #[error("entry {seq} is missing: entry {found} comes next")]
    Missing {
        /// The first that is missing.
        seq: u64,
        /// What stands there instead.
        found: u64,
    },
    /// A number comes again, or one that is smaller.
    #[error("entry {seq} comes again, or out of order, after entry {after}")]
    Again {
        /// The number.
        seq: u64,
        /// What it comes after.
        after: u64,
    },
    /// No hash, where there must be one.
    #[error(
        "entry {seq} has no hash: it was altered, or written by a version of the program that knows no chain"
    )]
    NoHash {
        /// The entry.
        seq: u64,
    },
    /// A hash, where there cannot be one.
    #[error("entry {seq} has a hash, though the chain begins after it: it was altered")]
    TooEarly {
        /// The entry.
        seq: u64,
    },
    /// The hash is another.
    #[error(
        "the hash of entry {seq} is not that of its content and of the hash before it: it was altered, or what comes before it was"
    )]
    Hash {
        /// The entry.
        seq: u64,
    },
    /// It says itself that another stood before it.
    #[error(
        "entry {seq} does not follow the one before it here: one of the two was altered, or they are of different logs"
    )]
    Previous {
        /// The entry.
        seq: u64,
    },
    /// The log ends before its end.
    #[error("entry {seq} is missing: the log should go on to entry {end}")]
    Short {
        /// The first that is missing.
        seq: u64,
        /// Where it should end.
        end: u64,
    },
    /// There is more than there should be.
    #[error("entry {seq} is one too many: the log should end at entry {end}")]
    Long {
        /// The first that is too many.
        seq: u64,
        /// Where it should end.
        end: u64,
    },
    /// Something from elsewhere says that the hash was another.
    #[error("entry {seq} has another hash than {whose}: it was altered, or something before it was")]
    Differs {
        /// The entry.
        seq: u64,
        /// Which other knows better.
        whose: &'static str,
    },
    /// A signed checkpoint is no good.
    #[error("the checkpoint in entry {seq}: {why}")]
    Checkpoint {
        /// The entry.
        seq: u64,
        /// What is wrong with it.
        why: String,
    },
}

impl Broken {
    /// The first entry that is wrong, or missing.
    pub fn seq(&self) -> u64 {
        match self {
            Self::Missing { seq, .. }
            | Self::Again { seq, .. }
            | Self::NoHash { seq }
            | Self::TooEarly { seq }
            | Self::Hash { seq }
            | Self::Previous { seq }
            | Self::Short { seq, .. }
            | Self::Long { seq, .. }
            | Self::Differs { seq, .. }
            | Self::Checkpoint { seq, .. } => *seq,
        }
    }
}

/// Goes along a chain, entry by entry.
#[derive(Clone, Debug)]
pub struct Walk {
    head: Head,
    /// The last entry that has no hash by right; unknown until the first hash when the chain comes without its store.
    unhashed: Option<u64>,
    /// How many entries of the chain were looked at.
    links: u64,
}

impl Walk {
    /// From the first entry on. `unhashed` is the last entry from before the chain, where it is known.
    pub fn new(unhashed: Option<u64>) -> Self {
        Self { head: Head::none(), unhashed, links: 0 }
    }

    /// From behind an entry on.
    pub fn after(head: Head, unhashed: Option<u64>) -> Self {
        Self { head, unhashed, links: 0 }
    }

    /// Where it stands.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// How many entries of the chain it has seen.
    pub fn links(&self) -> u64 {
        self.links
    }

    /// The next entry, with the hash that it claims. Where something is wrong the walk ends.
    pub fn step(&mut self, link: Link<'_>, claimed: Option<&str>) -> Result<(), Broken> {
        let (seq, last) = (link.seq, self.head.seq);
        if seq <= last {
            return Err(Broken::Again { seq, after: last });
        }
        if seq != last.saturating_add(1) {
            return Err(Broken::Missing { seq: last.saturating_add(1), found: seq });
        }
        let is_older = self.unhashed.map_or_else(|| self.head.hash.is_empty(), |unhashed| seq <= unhashed);
        let hash = match claimed {
            None if is_older => String::new(),
            None => return Err(Broken::NoHash { seq }),
            Some(_) if is_older && self.unhashed.is_some() => return Err(Broken::TooEarly { seq }),
            Some(claimed) => {
                if hash(&self.head.hash, link) != claimed {
                    return Err(Broken::Hash { seq });
                }
                self.links += 1;
                claimed.to_owned()
            }
        };
        self.head = Head { seq, hash };
        Ok(())
    }

    /// Whether this is where it should end.
    pub fn ends_at(&self, end: &Head, whose: &'static str) -> Result<(), Broken> {
        let here = &self.head;
        if here.seq < end.seq {
            return Err(Broken::Short { seq: here.seq + 1, end: end.seq });
        }
        if here.seq > end.seq {
            return Err(Broken::Long { seq: end.seq + 1, end: end.seq });
        }
        if here.hash == end.hash { Ok(()) } else { Err(Broken::Differs { seq: here.seq, whose }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries 1 to 9 with their hashes, the first `unhashed` without.
    fn log(unhashed: u64) -> Vec<(u64, u64, String, String, Option<String>)> {
        let mut rows = Vec::new();
        let mut previous = String::new();
        for seq in 1..=9 {
            let json = format!("{{\"n\":{seq},\"text\":\"a\\nb\"}}");
            let hash = (seq > unhashed)
                .then(|| hash(&previous, Link { seq, at: 1000 + seq, kind: "server_started", json: &json }));
            previous = hash.clone().unwrap_or_default();
            rows.push((seq, 1000 + seq, "server_started".to_owned(), json, hash));
        }
        rows
    }

    fn walk(
        unhashed: Option<u64>,
        rows: &[(u64, u64, String, String, Option<String>)],
    ) -> Result<Walk, Broken> {
        let mut walk = Walk::new(unhashed);
        for (seq, at, kind, json, claimed) in rows {
            walk.step(Link { seq: *seq, at: *at, kind, json }, claimed.as_deref())?;
        }
        Ok(walk)
    }

    #[test]
    fn known_answer() {
        // printf '\n1\n1000\nserver_started\n{}\n' | sha256sum
        let first = hash("", Link { seq: 1, at: 1000, kind: "server_started", json: "{}" });
        assert_eq!(first, "19ee29f3d8808d19e36f80cffa46e3bbab56f9a28532db35ec16ea02a7a1b40f");
    }

    #[test]
    fn a_whole_log_passes() {
        for (unhashed, told) in [(0, Some(0)), (0, None), (4, Some(4)), (4, None), (9, Some(9))] {
            let rows = log(unhashed);
            let walk = walk(told, &rows).unwrap();
            assert_eq!((walk.head().seq, walk.links()), (9, 9 - unhashed));
            let end = Head { seq: 9, hash: rows[8].4.clone().unwrap_or_default() };
            walk.ends_at(&end, "it").unwrap();
        }
    }

    #[test]
    fn whatever_is_done_to_a_row_is_seen() {
        type Row = (u64, u64, String, String, Option<String>);
        type Change = fn(&mut Vec<Row>);
        let rows: [(&str, Change, u64); 12] = [
            ("an edited text", |rows| rows[4].3 = rows[4].3.replace('5', "6"), 5),
            ("an edited kind", |rows| rows[4].2 = "signed_in".into(), 5),
            ("an edited time", |rows| rows[4].1 += 1, 5),
            ("an edited hash", |rows| rows[4].4 = Some("0".repeat(64)), 5),
            ("no hash", |rows| rows[4].4 = None, 5),
            ("a removed entry", |rows| drop(rows.remove(4)), 5),
            ("the first removed", |rows| drop(rows.remove(0)), 1),
            ("two that changed places", |rows| rows.swap(3, 4), 4),
            (
                "two that changed places and numbers",
                |rows| {
                    rows.swap(3, 4);
                    (rows[3].0, rows[4].0) = (4, 5);
                },
                4,
            ),
            ("one twice", |rows| rows.insert(5, rows[4].clone()), 5),
            (
                "removed, and the others moved up",
                |rows| {
                    rows.remove(4);
                    rows[4..].iter_mut().for_each(|row| row.0 -= 1);
                },
                5,
            ),
            (
                "edited, with a hash that fits it",
                |rows| {
                    rows[4].3 = "{}".into();
                    let link = Link { seq: 5, at: rows[4].1, kind: "server_started", json: "{}" };
                    rows[4].4 = Some(hash(rows[3].4.as_deref().unwrap(), link));
                },
                6,
            ),
        ];
        for (what, change, seq) in rows {
            let mut altered = log(0);
            change(&mut altered);
            for told in [Some(0), None] {
                let broken = walk(told, &altered).map(|walk| walk.head().clone()).unwrap_err();
                assert_eq!(broken.seq(), seq, "{what}: {broken}");
            }
        }
        // Older entries cannot be made of younger ones, nor the other way round.
        let mut stripped = log(0);
        stripped[..4].iter_mut().for_each(|row| row.4 = None);
        assert_eq!(walk(Some(0), &stripped).unwrap_err(), Broken::NoHash { seq: 1 });
        assert_eq!(walk(None, &stripped).unwrap_err(), Broken::Hash { seq: 5 });
        assert_eq!(walk(Some(3), &log(0)).unwrap_err(), Broken::TooEarly { seq: 1 });
    }

    #[test]
    fn where_a_log_should_end() {
        let rows = log(0);
        let whole = walk(Some(0), &rows).unwrap();
        let end = |seq: u64| Head { seq, hash: rows[seq as usize - 1].4.clone().unwrap() };
        let cut = walk(Some(0), &rows[..7]).unwrap();
        assert_eq!(cut.ends_at(&end(9), "it"), Err(Broken::Short { seq: 8, end: 9 }));
        assert_eq!(whole.ends_at(&end(7), "it"), Err(Broken::Long { seq: 8, end: 7 }));
        let other = Head { seq: 9, hash: end(8).hash };
        assert_eq!(whole.ends_at(&other, "it"), Err(Broken::Differs { seq: 9, whose: "it" }));
        let written = end(9).to_string();
        assert_eq!(written.parse::<Head>().unwrap(), end(9));
        for bad in ["", "9", "9:", "x:00", &written.to_uppercase(), &written[..written.len() - 1]] {
            assert_eq!(bad.parse::<Head>(), Err(BadHead), "{bad}");
        }
    }
}
