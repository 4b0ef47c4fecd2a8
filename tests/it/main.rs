//! The integration tests: one binary.

#[cfg(test)]
mod parts;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod world;
