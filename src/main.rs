//! The `segno` program.

fn main() {}
