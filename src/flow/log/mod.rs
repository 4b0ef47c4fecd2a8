//! The audit log as a whole: that nothing in it was altered (`verify`). What an entry says is `audit`'s, what its hash is
//! `audit::chain`'s.

pub mod verify;
