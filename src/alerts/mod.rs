//! Telling people and programs.
//!
//! Pure: what is told ([`Notice`]), whom it reaches ([`route`]), how it is written for each of them ([`message`]) and
//! signed ([`sign`]), when it is tried again ([`pause()`]), and what in the audit log somebody should look at ([`rules`]). With the network: one attempt to
//! deliver ([`deliver`]). When it is told and tried again is decided by the flows; keeping it is `store`'s.

pub mod deliver;
pub mod message;
mod notice;
mod pause;
mod route;
pub mod rules;
pub mod sign;

pub use notice::{Concerned, Notice, NoticeKind};
pub use pause::pause;
pub use route::{Sink, lanes, route};
