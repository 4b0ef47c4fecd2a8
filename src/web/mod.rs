//! The HTTP door: pages for signing in, and the API under `/v1`.

pub mod api;
