//! Reads and checks the policy file.

use std::path::Path;

use super::Policy;
use crate::config::Problem;

/// Reads the file at `path`; every problem found is reported, not only the first.
pub fn load(path: &Path) -> Result<Policy, Vec<Problem>> {
    let _ = path;
    unimplemented!()
}
