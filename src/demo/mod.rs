//! The demo: everything on loopback, to try out.

pub mod browser;
pub mod provider;
