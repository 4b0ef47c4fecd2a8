//! Recipes: the only place that judges and writes. Every door ends in one of these; `ls src/flow` lists what the
//! product does.

pub mod alert;
pub mod answer;
pub mod archive;
pub mod ask;
pub mod authorize;
pub mod back_channel;
mod caller;
pub mod cases;
pub mod change;
mod denials;
mod desk;
pub mod destination;
mod document;
pub mod end_sign_in;
pub mod evidence;
pub mod exchange;
pub mod files;
pub mod find;
pub mod finish;
pub mod forward;
pub mod hear;
mod held;
pub mod issue;
pub mod kill;
pub mod locks;
pub mod log;
pub mod look;
mod notices;
mod over;
pub mod permission;
pub mod present;
pub mod recheck;
pub mod recognise;
mod refusals;
pub mod reload;
pub mod revoke;
pub mod seen;
pub mod session;
pub mod sign_in;
pub mod sweep;
pub mod tell;
pub mod waiting;
pub mod watch;

pub use caller::Caller;
pub use desk::Desk;
