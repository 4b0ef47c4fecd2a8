//! The HTTP door: pages for signing in, and the API under `/v1`. It reads requests, calls flows and shows answers; it
//! decides nothing about people. Axum lives in this folder only.
//!
//! `listen` serves connections (TLS, deadlines, caps) · `pages` are the pages, `html` how they are written, `cookie` how a browser is
//! known again · `v1` is the
//! API, `api` its wire shapes · `address` says where a client is.

mod address;
pub mod api;
mod cookie;
mod html;
mod listen;
mod pages;
mod v1;

pub use listen::{ServeError, serve};
