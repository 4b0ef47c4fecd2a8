//! Rows of access: cases, grants, locks. `json` is how a case is written down; what may happen to one is `access`'s.

mod cases;
mod grants;
mod json;
mod locks;
mod seen;

pub use cases::CaseFilter;
pub use grants::GrantRow;
pub use seen::{GrantFilter, Whose};
