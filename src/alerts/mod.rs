//! Telling people and programs: what is told ([`Notice`]), pure. How it is delivered and which alerts the audit log
//! raises stand in the files beside it; when it is told is decided by the flows, and keeping it until it is delivered
//! is `store`'s.

mod notice;

pub use notice::{Notice, NoticeKind};
