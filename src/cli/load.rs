//! Reads a configuration file, and looks at what it names.
//!
//! In: a path, or `-` for standard input; flags; environment variables. Out: an [`Effective`] configuration that the
//! proxy can start with, or a [`Stop`] that lists every problem.
//! Laws: `check` and `proxy` both come through here, so that the one names what the other refuses; a file is read up to
//! a bound; a file that cannot be read counts as a problem of the configuration.

use std::env;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::Stop;
use super::args::ProxyArgs;
use super::token::token;
use crate::config::file::{self, Effective, Flags, Problem};
use crate::config::{Config, Fault, Section};
use crate::engine;

/// The largest configuration file. A thousand routes with every key take less.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// The variable that names the file, where no flag does.
const VARIABLE: &str = "SEGNO_CONFIG";

/// What makes a configuration: the file, if there is one, and everything that is said beside it.
#[derive(Clone, Debug)]
pub(super) struct Sources {
    pub(super) path: Option<PathBuf>,
    pub(super) flags: Flags,
}

impl Sources {
    /// The arguments together with the environment of this process. Also a line for each variable of segno's that
    /// nothing reads.
    pub(super) fn of(args: &ProxyArgs) -> (Self, Vec<String>) {
        let mut flags = args.flags();
        let warnings = flags.variables(env::vars_os());
        let variable = || env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        (Self { path: args.config.clone().or_else(variable), flags }, warnings)
    }

    /// Reads everything.
    pub(super) fn read(&self) -> Result<Effective, Stop> {
        if self.path.is_none() && !["upstream", "upstreams"].iter().any(|key| self.flags.gives(key)) {
            let what = "nothing says where requests go: give `--upstream URL` or `--config FILE`, or set SEGNO_UPSTREAM \
                or SEGNO_CONFIG; see `segno proxy --help`";
            return Err(Stop::Usage(what.to_owned()));
        }
        effective(self.path.as_deref(), &self.flags)
    }

    /// The file as messages name it.
    pub(super) fn file(&self) -> Option<String> {
        self.path.as_deref().map(name_of)
    }
}

/// The configuration that the flags make, together with the file if there is one.
pub(super) fn effective(path: Option<&Path>, flags: &Flags) -> Result<Effective, Stop> {
    let name = path.map(name_of);
    let text = match path {
        Some(path) => text_of(path),
        None => Ok(String::new()),
    };
    let read = text.map_err(|problem| vec![problem]).and_then(|text| file::read_with(&text, flags, obstacles));
    read.map_err(|list| Stop::Problems { file: name, list })
}

/// The file as messages name it.
pub(super) fn name_of(path: &Path) -> String {
    if is_standard_input(path) { "<stdin>".to_owned() } else { path.display().to_string() }
}

fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// What keeps the proxy from starting, outside of the configuration.
fn obstacles(config: &Config) -> Vec<Fault> {
    let mut found = engine::obstacles(config);
    if config.admin.is_some()
        && let Err(why) = token(config.admin_token_file.as_deref())
    {
        found.push(Fault { section: Section::Top, key: "admin_token_file", other: None, what: why });
    }
    found
}

fn text_of(path: &Path) -> Result<String, Problem> {
    let bytes = bytes_of(path).map_err(|e| Problem::anywhere(format!("this file cannot be read: {e}")))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(Problem::anywhere("this file is larger than 4MiB: is it a configuration?".to_owned()));
    }
    String::from_utf8(bytes).map_err(|error| not_utf8(&error))
}

fn bytes_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match is_standard_input(path) {
        true => io::stdin().lock().take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?,
        false => File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?,
    };
    Ok(bytes)
}

fn not_utf8(error: &std::string::FromUtf8Error) -> Problem {
    let sound = &error.as_bytes()[..error.utf8_error().valid_up_to()];
    let line = sound.iter().filter(|b| **b == b'\n').count() + 1;
    let column = String::from_utf8_lossy(sound).rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    Problem { at: Some((line, column)), is_beside: false, what: "this is not UTF-8: save the file as UTF-8".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_not_utf8_are_reported_with_their_place() {
        let error = String::from_utf8(b"a = 1\n\xc3\xa4\xff".to_vec()).unwrap_err();
        assert_eq!(not_utf8(&error).at, Some((2, 2)));
    }

    #[test]
    fn a_missing_file_is_a_problem_of_the_configuration() {
        let stop = effective(Some(Path::new("/nowhere/segno.toml")), &Flags::default()).unwrap_err();
        assert_eq!(stop.code(), 2);
        assert!(stop.to_string().starts_with("/nowhere/segno.toml: this file cannot be read"), "{stop}");
    }
}
