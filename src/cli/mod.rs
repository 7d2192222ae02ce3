//! The command line of the `segno` program.
//!
//! In: arguments, standard input. Out: results on standard output, progress and problems on standard error, an exit
//! code.
//! Laws: exit code 0 is success, 1 a failure, 2 bad arguments or a bad configuration; standard output carries nothing
//! but results; a closed standard output ends the program without an error; colours are only for terminals, and never
//! used when `NO_COLOR` is set.

mod alerts;
mod args;
mod check;
mod config;
mod demo;
mod files;
mod grafana;
mod handover;
mod load;
mod logging;
mod manual;
mod parse;
mod proxy;
mod reload;
mod say;
mod service;
mod sessions;
mod stop;
mod tail;
mod token;

use std::io;
use std::process::ExitCode;

use signal_hook::consts::SIGXFSZ;
use signal_hook::iterator::Signals;

use self::args::Command;
use self::stop::Stop;

/// Runs the program on the arguments of this process.
pub fn main() -> ExitCode {
    let args = match args::parse() {
        Ok(args) => args,
        Err(error) => return show(error),
    };
    let _files = survive_file_limits();
    match dispatch(args.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => {
            // If nobody sees this, the exit code still shows the failure.
            say::say(stop.to_string());
            ExitCode::from(stop.code())
        }
    }
}

/// Catches SIGXFSZ, by which the system ends a program that writes a file larger than `ulimit -f` allows. With the
/// signal caught, such a write fails as on a full disk, and the store handles that failure. Nothing needs to read the
/// signals.
fn survive_file_limits() -> Option<Signals> {
    // If the signal cannot be caught, such a write still ends the program.
    Signals::new([SIGXFSZ]).ok()
}

fn dispatch(command: Command) -> Result<(), Stop> {
    match command {
        Command::Proxy(args) => proxy::run(&args),
        Command::Demo(args) => demo::command(&args),
        Command::Tail(args) => tail::run(&args),
        Command::Sessions(args) => sessions::run(&args, io::stdout().lock()),
        Command::Parse(args) => parse::run(&args, io::stdin().lock(), io::stdout().lock(), io::stderr().lock()),
        Command::Check(args) => check::run(&args, io::stdout().lock()),
        Command::Reload(args) => reload::command::run(&args, io::stdout().lock()),
        Command::Alerts(args) => alerts::run(&args, io::stdout().lock()),
        Command::Grafana => grafana::run(io::stdout().lock()),
        Command::Config(args) => config::run(&args, io::stdout().lock()),
        Command::Man(args) => manual::man(&args, io::stdout().lock()),
        Command::Completions(args) => manual::completions(&args, io::stdout().lock()),
    }
}

/// Shows what `clap` found: help and version on standard output, a mistake on standard error.
fn show(error: clap::Error) -> ExitCode {
    let code = ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
    // If the output is closed, the exit code still shows the result.
    match error.use_stderr() {
        true => say::for_a_moment(move || drop(error.print())),
        false => drop(error.print()),
    }
    code
}
