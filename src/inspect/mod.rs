//! What passes through a channel, read: command lines, file transfers, SFTP packets. Pure: feed bytes, get values and
//! verdicts. Which of them are allowed is `policy`'s; carrying them is the gateway's.

pub mod command;
pub mod sftp;
pub mod transfer;
