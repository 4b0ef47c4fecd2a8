//! What a crash left: cut to the last whole line, marked and sealed as interrupted.
