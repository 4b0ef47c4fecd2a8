//! The demo: everything on loopback, to try out. Every part of it is real; only the identity provider asks nobody for a
//! password.

pub mod browser;
pub mod provider;
pub mod target;
