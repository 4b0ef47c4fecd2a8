//! demo
pub mod target;
