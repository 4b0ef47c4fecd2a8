//! Which request somebody means who writes only the beginning of its id. Looks through what they can see; a beginning that two
//! of them have is nobody's.

use anyhow::bail;

use super::super::signed::Signed;
use crate::cli::terminal::plain;
use crate::ids::CaseId;
use crate::web::api::requests::RequestAnswer;

/// Requests that are looked through.
const SEARCHED: usize = 1000;
/// Shortest beginning, without what all ids begin with: of what is one's own or looked at, and of what waits for one's
/// yes or no. Nobody files requests until one of them begins in the same eight characters.
const LEAST: usize = 3;
const LEAST_TO_DECIDE: usize = 8;

/// Where it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Among {
    /// One's own.
    Own,
    /// What waits for one.
    Inbox,
    /// Both.
    Seen,
}

/// The whole id.
pub(super) fn find(signed: &Signed, said: &str, among: Among) -> anyhow::Result<String> {
    if let Ok(id) = said.parse::<CaseId>() {
        return Ok(id.to_string());
    }
    let beginning = format!("{}{}", CaseId::PREFIX, said.strip_prefix(CaseId::PREFIX).unwrap_or(said));
    let least = if among == Among::Inbox { LEAST_TO_DECIDE } else { LEAST };
    if beginning.len() < CaseId::PREFIX.len() + least {
        bail!("{}: give the request's id, or at least {least} characters of it", plain(said, 64));
    }
    let mut seen: Vec<RequestAnswer> = Vec::new();
    if among != Among::Own {
        seen.extend(signed.list("/v1/inbox", &[], SEARCHED)?);
    }
    if among != Among::Inbox {
        seen.extend(signed.list("/v1/requests", &[], SEARCHED)?);
    }
    let ids: Vec<&str> = seen.iter().map(|one| one.id.as_str()).collect();
    pick(&ids, &beginning)
}

fn pick(ids: &[&str], beginning: &str) -> anyhow::Result<String> {
    let mut found: Vec<&str> = ids.iter().copied().filter(|id| id.starts_with(beginning)).collect();
    found.sort_unstable();
    found.dedup();
    match found.as_slice() {
        [one] => Ok((*one).to_owned()),
        [] => bail!(
            "no request of yours, and none that waits for you, begins with {}; give the whole id, or see: caponier requests",
            plain(beginning, 64)
        ),
        several => bail!("{} could be any of: {}", plain(beginning, 64), several.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_names_one_or_none() {
        let ids = ["req_abc1", "req_abc2", "req_abd1", "req_abd1"];
        for (beginning, expect) in [
            ("req_abd", Some("req_abd1")),
            ("req_abc", None),
            ("req_abc2", Some("req_abc2")),
            ("req_x", None),
        ] {
            assert_eq!(pick(&ids, beginning).ok().as_deref(), expect, "{beginning}");
        }
    }
}
