//! The integration tests: one binary.

#[cfg(test)]
mod ca;
#[cfg(test)]
mod keygen;
#[cfg(test)]
mod parts;
#[cfg(test)]
mod recording;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod world;
