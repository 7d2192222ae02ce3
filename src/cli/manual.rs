//! `segno man` and `segno completions`: manual pages and shell completions, made from the arguments themselves.
//!
//! In: which page, or for which shell. Out: the text on standard output, or all pages as files in a folder.
//! Law: both are made from what the program parses its arguments with, so they cannot name a flag that is not there.

use std::io::Write;
use std::path::Path;

use clap::Command;
use clap_mangen::Man;

use super::Stop;
use super::args::{self, CompletionsArgs, ManArgs};
use super::say::print;

/// Prints a manual page, or writes all of them.
pub(super) fn man(args: &ManArgs, out: impl Write) -> Result<(), Stop> {
    // A page for each `help COMMAND` would tell nothing.
    let mut program = args::command().disable_help_subcommand(true);
    program.build();
    match (&args.dir, &args.command) {
        (Some(dir), _) => write_all(program, dir),
        (None, None) => print(&page(program)?, out),
        (None, Some(name)) => {
            let known = program.find_subcommand(name).cloned().ok_or_else(|| unknown(name, &program))?;
            print(&page(known)?, out)
        }
    }
}

/// Prints the completions for a shell.
pub(super) fn completions(args: &CompletionsArgs, out: impl Write) -> Result<(), Stop> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut args::command(), "segno", &mut text);
    print(&String::from_utf8_lossy(&text), out)
}

fn page(command: Command) -> Result<String, Stop> {
    let mut text = Vec::new();
    Man::new(command).render(&mut text).map_err(|error| Stop::failed("making the page", error))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn write_all(program: Command, dir: &Path) -> Result<(), Stop> {
    clap_mangen::generate_to(program, dir)
        .map_err(|error| Stop::failed(&format!("cannot write the pages to {}", dir.display()), error))
}

fn unknown(name: &str, program: &Command) -> Stop {
    let names: Vec<&str> = program.get_subcommands().map(Command::get_name).collect();
    Stop::Usage(format!("there is no command `{name}`; there are {}", names.join(", ")))
}

#[cfg(test)]
mod tests;
