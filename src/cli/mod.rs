//! A person at a shell: the commands.

pub mod ca;
pub mod config;
pub mod recordings;
pub mod sessions;
pub mod sign_ins;
pub mod table;
