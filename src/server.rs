//! Life of the server process: start, doors, jobs, drain.
