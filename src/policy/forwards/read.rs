//! Reads the `forwards` table of a role.

use std::fmt::Display;
use std::str::FromStr;

use super::{ForwardRules, Layer};
use crate::config::Section;

/// Reads the table, which may be absent: then nothing is allowed. Problems are noted in the document.
pub(in crate::policy) fn read(mut section: Section<'_>) -> ForwardRules {
    let layer = Layer {
        local: list(&mut section, "local"),
        remote: list(&mut section, "remote"),
        local_sockets: list(&mut section, "local_sockets"),
        remote_sockets: list(&mut section, "remote_sockets"),
        agent: section.flag("agent").is_some_and(|at| at.value),
        x11: section.flag("x11").is_some_and(|at| at.value),
    };
    section.finish();
    ForwardRules { layers: vec![layer] }
}

fn list<T: FromStr<Err: Display> + PartialEq + Display>(
    section: &mut Section<'_>,
    key: &'static str,
) -> Vec<T> {
    let Some(names) = section.names::<T>(key) else { return Vec::new() };
    if section.is_empty_array(key) {
        section.problem(names.place, format!("{key:?} is empty: leave it out, or say what it opens"));
    }
    names.value.into_iter().map(|at| at.value).collect()
}
