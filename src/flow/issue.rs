//! A certificate for somebody who is signed in.
