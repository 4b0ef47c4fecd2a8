//! Signing how far the audit log has come, and noticing that what was signed or seen before is not there any more. Each bastion does
//! both for itself: it reads on from where it stood, checks the chain up to the end, and signs that. When a checkpoint is due is
//! the job's matter.

use russh::keys::ssh_key::HashAlg;

use super::{hash_of, last_head};
use crate::app::App;
use crate::audit::chain::{Broken, Head, Walk};
use crate::audit::checkpoint::{KIND, head_in, message};
use crate::audit::{AuditEvent, LogEvent};
use crate::recording::key::{AUDIT, SignatureError, verify};
use crate::store::StoreError;

/// Entries read at once.
const PAGE: u32 = 1000;
/// Checkpoints read at once.
const CHECKPOINTS: u32 = 100;

/// What a bastion remembers of the log.
#[derive(Debug, Default)]
pub struct Keeper {
    /// The last entry that it has checked, with its hash; none before the first time.
    seen: Option<Head>,
    /// Whether an entry has come since the last checkpoint that says something else.
    news: bool,
}

/// What a look came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// There was nothing new to sign.
    Nothing,
    /// A checkpoint was written about this.
    Signed(Head),
    /// The log is not what it was.
    Altered(Broken),
}

/// Why no checkpoint was written.
#[derive(Debug, thiserror::Error)]
pub enum NotKept {
    /// The store is out of order.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It could not be signed.
    #[error(transparent)]
    Sign(#[from] SignatureError),
}

impl Keeper {
    /// Checks what has come since the last time, and signs it.
    pub async fn keep(&mut self, app: &App) -> Result<Kept, NotKept> {
        let seen = match &self.seen {
            Some(seen) => seen.clone(),
            None => self.begin(app).await?,
        };
        match self.read_on(app, &seen).await? {
            Ok(head) if self.news => {
                self.sign(app, &head).await?;
                self.news = false;
                self.seen = Some(head.clone());
                Ok(Kept::Signed(head))
            }
            Ok(head) => {
                self.seen = Some(head);
                Ok(Kept::Nothing)
            }
            Err(broken) => {
                tracing::error!(audit.seq = broken.seq(), "the audit log was altered: {broken}");
                let event = LogEvent::Altered {
                    node: app.node.to_string(),
                    seq: broken.seq(),
                    why: broken.to_string(),
                };
                app.store.note(app.clock.now(), AuditEvent::Log(event)).await?;
                // From behind that on anew: it is said once.
                self.seen = Some(app.store.audit_head().await?.head);
                self.news = true;
                Ok(Kept::Altered(broken))
            }
        }
    }

    /// Where this bastion left off in its last life: at what it has kept on its own disk, whatever the log says; without that at
    /// its last checkpoint in the log, if its signature is good.
    async fn begin(&mut self, app: &App) -> Result<Head, StoreError> {
        match last_head::kept(&app.config.state_dir) {
            Ok(Some(head)) => return Ok(head),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(%error, "what this bastion last signed of the audit log is unknown")
            }
        }
        let own = [app.recordings.public_key().clone()];
        let mut before = None;
        loop {
            let page = app.store.audit_checkpoints_of(&app.node, before, CHECKPOINTS).await?;
            let Some(oldest) = page.last() else { break };
            before = Some(oldest.seq);
            for row in &page {
                let Some((head, signature)) = head_in(&row.json) else { continue };
                if verify(&signature, AUDIT, message(&head).as_bytes(), &own).is_ok() {
                    return Ok(head);
                }
            }
        }
        self.news = true;
        Ok(app.store.audit_head().await?.head)
    }

    /// Whether `seen` still stands there, and the chain from there on.
    async fn read_on(&mut self, app: &App, seen: &Head) -> Result<Result<Head, Broken>, StoreError> {
        let end = app.store.audit_head().await?;
        if end.head.seq < seen.seq {
            return Ok(Err(Broken::Short { seq: end.head.seq + 1, end: seen.seq }));
        }
        if hash_of(&app.store, seen.seq).await? != seen.hash {
            return Ok(Err(Broken::Differs { seq: seen.seq, whose: "what this bastion has seen" }));
        }
        let mut walk = Walk::after(seen.clone(), Some(end.unhashed));
        while walk.head().seq < end.head.seq {
            let page = app.store.audit(walk.head().seq, PAGE).await?;
            if page.is_empty() {
                break;
            }
            for row in page.iter().take_while(|row| row.seq <= end.head.seq) {
                if let Err(broken) = walk.step(row.link(), row.hash.as_deref()) {
                    return Ok(Err(broken));
                }
                // Checkpoints alone are no reason for another: bastions would answer each other for ever.
                self.news = self.news || row.kind != KIND;
            }
        }
        Ok(walk.ends_at(&end.head, "the end of the log says").map(|()| end.head))
    }

    async fn sign(&self, app: &App, head: &Head) -> Result<(), NotKept> {
        let event = LogEvent::Checkpoint {
            node: app.node.to_string(),
            head: head.clone(),
            key: app.recordings.public_key().fingerprint(HashAlg::Sha256).to_string(),
            signature: app.recordings.key().sign(AUDIT, message(head).as_bytes())?,
        };
        app.store.note(app.clock.now(), AuditEvent::Log(event)).await?;
        let (dir, head) = (app.config.state_dir.clone(), head.clone());
        let kept = tokio::task::spawn_blocking(move || last_head::keep(&dir, &head)).await;
        // The checkpoint stands all the same.
        if let Err(error) = kept.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            tracing::error!(%error, "what was signed of the audit log cannot be kept in state_dir");
        }
        Ok(())
    }
}

/// The last checkpoint of this bastion's life, when everything else has been written.
pub async fn last(app: &App) -> Result<Kept, NotKept> {
    Keeper::default().keep(app).await
}
