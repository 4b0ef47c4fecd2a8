//! Requests and what becomes of them: pure values and the one function that changes them ([`step()`]).
//!
//! A [`Case`] is one request with its history. An approved one opens a [`Grant`], which `policy::decide` asks for where
//! a role is by request. A [`Lock`] takes everything away, whatever is granted. Who may ask for what, and who
//! approves it, the policy says (`policy::request`); rows are `store`'s, recipes `flow`'s.

pub mod case;
pub mod grant;
pub mod lock;
pub mod people;
pub mod step;

pub use case::{Approval, Case, Close, Once, Review, Scope, Stage, State};
pub use grant::Grant;
pub use lock::{Lock, LockOn};
pub use people::{Approvers, Party};
pub use step::{Denied, Effect, Event, Narrowing, Step, due, gives_up, step};
