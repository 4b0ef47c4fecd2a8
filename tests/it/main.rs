//! The integration tests: one binary.

#![expect(
    clippy::unwrap_used,
    reason = "all of this binary is tests; clippy.toml frees only functions marked #[test]"
)]

mod ca;
mod keygen;
