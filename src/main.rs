//! Parse, log, build, run, exit code.

fn main() {}
