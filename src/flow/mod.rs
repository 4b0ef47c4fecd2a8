//! Recipes: the only place that judges and writes. Every door ends in one of these; `ls src/flow` lists what the
//! product does.

pub mod answer;
pub mod ask;
pub mod authorize;
mod caller;
pub mod cases;
pub mod change;
mod denials;
mod desk;
pub mod destination;
pub mod end_sign_in;
pub mod files;
pub mod forward;
mod held;
pub mod issue;
pub mod locks;
pub mod look;
mod notices;
pub mod permission;
pub mod recognise;
mod refusals;
pub mod reload;
pub mod session;
pub mod sign_in;
pub mod sweep;
pub mod tell;

pub use caller::Caller;
pub use desk::Desk;
