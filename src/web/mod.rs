//! The HTTP door: pages for signing in, and the API under `/v1`. It reads requests, calls flows and shows answers; it
//! decides nothing about people. Axum lives in this folder only.
//!
//! `listen` serves connections (TLS, deadlines, caps) · `pages` are the pages, `html` how they are written, `cookie` how a browser is
//! known again · `table` is the API, one row for each endpoint: `endpoint` is what a row is, `shape` what requests bring and answers
//! hold, `api` the wire types, `error` what is answered when something does not succeed, `v1` what endpoints do, `openapi` the
//! description · `logout` is where providers speak, `webhook` where platforms do · `address` says where a client is.

mod address;
pub mod api;
mod cookie;
pub mod endpoint;
pub mod error;
mod html;
mod listen;
mod logout;
pub mod openapi;
mod pages;
pub mod shape;
pub mod table;
pub mod v1;
mod webhook;

pub use listen::{ServeError, serve};
