//! Caponier: an SSH bastion and SSH certificate authority in one binary.

pub mod app;
pub mod audit;
pub mod ca;
pub mod cli;
pub mod config;
pub mod demo;
pub mod flow;
pub mod gateway;
pub mod identity;
pub mod ids;
pub mod jobs;
pub mod names;
pub mod policy;
pub mod random;
pub mod recording;
pub mod secret;
pub mod server;
pub mod store;
pub mod time;
pub mod web;
