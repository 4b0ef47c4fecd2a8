//! A person at a shell: the commands.

pub mod ca;
pub mod recordings;
