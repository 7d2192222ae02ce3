//! The `segno` program: hands its arguments to the library's command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    segno::cli::main()
}
