//! A command line in the strict literal grammar: what we read is exactly what a POSIX shell would run, or it is opaque.
