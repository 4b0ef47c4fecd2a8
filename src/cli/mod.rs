//! The commands of a person at a shell; one file each.

pub mod config;
