//! The command line of the `segno` program.
//!
//! In: arguments, standard input. Out: results on standard output, progress and problems on standard error, an exit code.
//! Laws: 0 is success, 1 a failure, 2 bad arguments or configuration; standard output carries nothing but results; a
//! reader that goes away ends the program in peace; colour only for a terminal, and never with `NO_COLOR` set.

mod args;
mod check;
mod demo;
mod load;
mod logging;
mod parse;
mod proxy;
mod sessions;
mod stop;
mod tail;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use signal_hook::consts::SIGXFSZ;
use signal_hook::iterator::Signals;

use self::args::{Args, Command};
use self::stop::Stop;

/// Runs the program on the arguments of this process.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return refuse(&error),
    };
    let _files = survive_file_limits();
    match dispatch(args.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => {
            // Nobody is left to tell when standard error is gone; the code still says it.
            let _ = write!(io::stderr().lock(), "{stop}");
            ExitCode::from(stop.code())
        }
    }
}

/// Writing beyond the size that a file may have (`ulimit -f`) shall fail as it does on a full disk, which the store's
/// failures are made for; without this the system ends the program. Nobody need listen: being caught is enough.
fn survive_file_limits() -> Option<Signals> {
    // Where it cannot be caught, it is as it was.
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
    }
}

/// Shows what `clap` has to say: help and version on standard output, a mistake on standard error.
fn refuse(error: &clap::Error) -> ExitCode {
    // As above: with the stream gone only the code is left.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}
