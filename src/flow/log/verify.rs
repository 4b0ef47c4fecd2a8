//! Reads the whole audit log and judges its chain, beside what else is known of it: numbers and hashes that were written down, and
//! copies. Reads only; the server may go on writing meanwhile, and what it writes then is left for the next time.

use std::iter::Peekable;

use crate::audit::chain::{self, Broken, Head, Link, Walk};
use crate::store::{AuditHead, AuditRow, Store, StoreError};

/// Entries read at once.
const PAGE: u32 = 1000;

/// What else is known of the log.
pub struct Known<'k> {
    /// What it is, for people: `the copy`.
    whose: &'static str,
    heads: Peekable<Box<dyn Iterator<Item = Result<Head, Unproven>> + 'k>>,
}

impl<'k> Known<'k> {
    /// Hashes by rising numbers; the first that fails ends the verification with that.
    pub fn of(whose: &'static str, heads: impl Iterator<Item = Result<Head, Unproven>> + 'k) -> Self {
        let heads: Box<dyn Iterator<Item = Result<Head, Unproven>> + 'k> = Box::new(heads);
        Self { whose, heads: heads.peekable() }
    }

    /// One number and hash that somebody wrote down.
    pub fn one(head: Head) -> Self {
        Self::of("what was written down", std::iter::once(Ok(head)))
    }

    /// What stands for an entry where it is compared: its hash, and for one of before the chain the hash of its content alone.
    pub fn mark(link: Link<'_>, hash: Option<&str>) -> Head {
        let hash = hash.map_or_else(|| chain::hash("", link), str::to_owned);
        Head { seq: link.seq, hash }
    }

    /// Whether what is known of the entry `here` (as [`Self::mark`] has it) agrees, if anything is. What is known of an entry that
    /// was passed over proves nothing.
    pub fn meets(&mut self, here: &Head) -> Result<(), Unproven> {
        let due = |next: &Result<Head, Unproven>| next.as_ref().map_or(true, |head| head.seq <= here.seq);
        while let Some(next) = self.heads.next_if(due) {
            let known = next?;
            if known.seq < here.seq {
                let why = format!(
                    "entry {} is known from {}, and is not there to be compared: entry {} comes first",
                    known.seq, self.whose, here.seq
                );
                return Err(Unproven::Copy(why));
            }
            if known.hash != here.hash {
                return Err(Broken::Differs { seq: here.seq, whose: self.whose }.into());
            }
        }
        Ok(())
    }

    /// What this bastion has signed last.
    pub fn kept(head: Head) -> Self {
        Self::of("what this bastion has signed", std::iter::once(Ok(head)))
    }

    /// Whether nothing is known beyond the end of the log.
    pub fn ends_with(&mut self, end: &Head) -> Result<(), Unproven> {
        match self.heads.next() {
            None => Ok(()),
            Some(Err(error)) => Err(error),
            Some(Ok(beyond)) => Err(Broken::Short { seq: end.seq + 1, end: beyond.seq }.into()),
        }
    }
}

/// Why the log is not proven whole.
#[derive(Debug, thiserror::Error)]
pub enum Unproven {
    /// It is not.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// It cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A copy cannot be read.
    #[error("{0}")]
    Copy(String),
}

/// A log in which everything is as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sound {
    /// Its end.
    pub head: Head,
    /// The last entry from before the chain; 0 when all are in it.
    pub unhashed: u64,
    /// Entries in the chain.
    pub links: u64,
}

/// Goes through the whole log. `look` sees each entry behind the check of its hash, and may object.
pub async fn verify(
    store: &Store,
    known: &mut [Known<'_>],
    look: &mut dyn FnMut(&AuditRow) -> Result<(), Unproven>,
) -> Result<Sound, Unproven> {
    let end = store.audit_head().await?;
    verify_to(store, end, known, look).await
}

/// The same up to an end that was read before, for whoever must know something that is younger than it.
pub async fn verify_to(
    store: &Store,
    end: AuditHead,
    known: &mut [Known<'_>],
    look: &mut dyn FnMut(&AuditRow) -> Result<(), Unproven>,
) -> Result<Sound, Unproven> {
    let mut walk = Walk::new(Some(end.unhashed));
    while walk.head().seq < end.head.seq {
        let page = store.audit(walk.head().seq, PAGE).await?;
        if page.is_empty() {
            break;
        }
        for row in page.iter().take_while(|row| row.seq <= end.head.seq) {
            walk.step(row.link(), row.hash.as_deref())?;
            let here = Known::mark(row.link(), row.hash.as_deref());
            for known in known.iter_mut() {
                known.meets(&here)?;
            }
            look(row)?;
        }
        // A number beyond the end where the end should be.
        if page.iter().any(|row| row.seq > end.head.seq) {
            break;
        }
    }
    walk.ends_at(&end.head, "the end of the log says")?;
    // Entries beyond the end that nobody wrote through the head.
    if let Some(row) = store.audit(end.head.seq, 1).await?.first()
        && store.audit_head().await?.head == end.head
    {
        return Err(Broken::Long { seq: row.seq, end: end.head.seq }.into());
    }
    for known in known.iter_mut() {
        known.ends_with(&end.head)?;
    }
    Ok(Sound { head: end.head, unhashed: end.unhashed, links: walk.links() })
}
