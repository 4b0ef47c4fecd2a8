//! The demo: the main job on embedded parts, on loopback.

pub mod target;
