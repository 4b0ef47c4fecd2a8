//! Tests of the guard between a client that the test plays and a target that is modelled: what reaches the target, what
//! the client gets, what is noted; hostile packets of both sides; chance.

mod chance;
mod hostile;
mod model;
mod moves;
mod play;
mod rows;
