//! The API as a whole: who may call what, that nothing is served beside the table, and that the description is what is
//! served.
//!
//! `CAPONIER_WRITE_SNAPSHOT=1 contrib/test api::` writes the table of permissions anew; read the difference before you
//! commit it.

mod beside;
mod description;
pub(crate) mod permissions;
mod schemathesis;
