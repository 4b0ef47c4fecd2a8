//! A second SSH client: asyncssh behind `tests/clients/second_client.py`.

use std::process::Command;

use serde_json::Value;

use super::process::run;
use super::{PATIENCE, part};

/// Does what `wish` says (see `second_client.py`); answers its answer, `ok` false with an `error` included.
#[track_caller]
pub(crate) fn second_client(wish: &Value) -> Value {
    let mut python = Command::new(part("target/test-parts/clients/bin/python"));
    python.arg(part("tests/clients/second_client.py"));
    let said = run(&mut python, wish.to_string().as_bytes(), 2 * PATIENCE).ok();
    serde_json::from_str(&said).unwrap()
}
