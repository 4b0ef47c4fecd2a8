//! The integration tests: one binary.

#[cfg(test)]
mod parts;
#[cfg(test)]
mod world;
