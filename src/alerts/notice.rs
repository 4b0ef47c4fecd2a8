//! A notice: what is told, to whom it matters, in words that stay. Pure. A flow makes one in the transaction of the
//! act it tells of (`Tx::enqueue`). Text in it may come from users and is kept as it came; each medium makes it harmless
//! where it is shown (`plain`).

use std::collections::BTreeSet;

use crate::ids::{CaseId, NoticeId};

/// What a notice is about. The words are a promise to receivers: new ones may come, none changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoticeKind {
    /// A request waits for approvers.
    RequestPending,
    /// It still waits.
    RequestReminded,
    /// It waits for others now.
    RequestEscalated,
    /// It was approved.
    RequestApproved,
    /// It was denied.
    RequestDenied,
    /// Nobody decided in time.
    RequestExpired,
    /// Whoever asked took it back.
    RequestCancelled,
    /// Access exists.
    GrantOpened,
    /// Access is over.
    GrantEnded,
    /// Somebody opened access without asking first.
    BreakGlassOpened,
    /// Somebody else has looked at that.
    BreakGlassReviewed,
    /// A rule found something in the audit log.
    AlertRaised,
}

impl NoticeKind {
    /// Every kind, in the order of a request's life.
    pub const ALL: [Self; 12] = [
        Self::RequestPending,
        Self::RequestReminded,
        Self::RequestEscalated,
        Self::RequestApproved,
        Self::RequestDenied,
        Self::RequestExpired,
        Self::RequestCancelled,
        Self::GrantOpened,
        Self::GrantEnded,
        Self::BreakGlassOpened,
        Self::BreakGlassReviewed,
        Self::AlertRaised,
    ];

    /// The stable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::RequestPending => "request.pending",
            Self::RequestReminded => "request.reminded",
            Self::RequestEscalated => "request.escalated",
            Self::RequestApproved => "request.approved",
            Self::RequestDenied => "request.denied",
            Self::RequestExpired => "request.expired",
            Self::RequestCancelled => "request.cancelled",
            Self::GrantOpened => "grant.opened",
            Self::GrantEnded => "grant.ended",
            Self::BreakGlassOpened => "break-glass.opened",
            Self::BreakGlassReviewed => "break-glass.reviewed",
            Self::AlertRaised => "alert.raised",
        }
    }

    /// The kind that a word names.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

impl std::fmt::Display for NoticeKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// Somebody whom a notice concerns. A group and a person may be called the same: providers let people choose names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Concerned {
    /// `provider:group`.
    Group(String),
    /// `provider:subject`.
    Person(String),
}

impl Concerned {
    /// The name, which does not say of what kind it is.
    pub fn name(&self) -> &str {
        match self {
            Self::Group(name) | Self::Person(name) => name,
        }
    }
}

/// What is told. Made with [`Notice::new`] and the methods beside it:
///
/// ```
/// use caponier::alerts::{Concerned, Notice, NoticeKind};
/// use caponier::ids::{CaseId, NoticeId};
/// use caponier::random::Random;
///
/// let random = Random::System;
/// let case = CaseId::random(&random);
/// let notice = Notice::new(NoticeId::random(&random), NoticeKind::RequestPending, "Ann asks for root on web1")
///     .about(&case)
///     .to([Concerned::Group("corp:approvers".to_owned())])
///     .with("target", "web1")
///     .with("reason", "OPS-123 rotate cert");
/// assert_eq!(notice.kind.word(), "request.pending");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Its id, by which receivers know it again.
    pub id: NoticeId,
    /// What it is about.
    pub kind: NoticeKind,
    /// The request it belongs to. Notices of one request reach each receiver in the order they were enqueued.
    pub case: Option<CaseId>,
    /// Who is concerned: groups (`provider:group`) and people (`provider:subject`). Mail goes to the addresses that the
    /// configuration gives for them.
    pub audience: BTreeSet<Concerned>,
    /// What happened, in one line.
    pub title: String,
    /// More, as names and texts in the order they are shown.
    pub fields: Vec<(String, String)>,
}

impl Notice {
    /// A notice with a title, about nothing else yet.
    pub fn new(id: NoticeId, kind: NoticeKind, title: impl Into<String>) -> Self {
        Self { id, kind, case: None, audience: BTreeSet::new(), title: title.into(), fields: Vec::new() }
    }

    /// Of this request.
    #[must_use]
    pub fn about(mut self, case: &CaseId) -> Self {
        self.case = Some(case.clone());
        self
    }

    /// These are concerned too.
    #[must_use]
    pub fn to(mut self, audience: impl IntoIterator<Item = Concerned>) -> Self {
        self.audience.extend(audience);
        self
    }

    /// One more field. The name is one of ours, the value may be anybody's text.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.fields.push((name.to_owned(), value.into()));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_stable_and_read_back() {
        let words: Vec<&str> = NoticeKind::ALL.iter().map(|kind| kind.word()).collect();
        assert_eq!(
            words,
            [
                "request.pending",
                "request.reminded",
                "request.escalated",
                "request.approved",
                "request.denied",
                "request.expired",
                "request.cancelled",
                "grant.opened",
                "grant.ended",
                "break-glass.opened",
                "break-glass.reviewed",
                "alert.raised",
            ]
        );
        assert_eq!(words, crate::config::NOTICE_KINDS);
        for kind in NoticeKind::ALL {
            assert_eq!(NoticeKind::of(kind.word()), Some(kind));
        }
        assert_eq!(NoticeKind::of("request"), None);
    }
}
