//! cli

pub mod recordings;
