//! Reads a configuration file from disk.
//!
//! In: a path and flags. Out: a [`Config`] without faults, or a [`Stop`] that lists every problem.
//! Laws: a file is read up to a bound; a file that cannot be read counts as a problem of the configuration.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::Stop;
use crate::config::file::{self, Flags, Problem};
use crate::config::{Config, StoreConfig};
use crate::store::StoreError;

/// The largest configuration file. A thousand routes with every key take less.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// The configuration that the flags make, together with the file if there is one.
pub(super) fn config(path: Option<&Path>, flags: Flags) -> Result<Config, Stop> {
    let name = path.map(|path| path.display().to_string());
    let text = match path {
        Some(path) => text_of(path),
        None => Ok(String::new()),
    };
    let read = text.map_err(|problem| vec![problem]).and_then(|text| file::read(&text, flags));
    let config = read.and_then(|config| match not_built(&config) {
        list if list.is_empty() => Ok(config),
        list => Err(list),
    });
    config.map_err(|list| Stop::Problems { file: name, list })
}

/// Lists what the configuration asks for and this build lacks.
fn not_built(config: &Config) -> Vec<Problem> {
    let mut list = Vec::new();
    if let StoreConfig::Redis { .. } = config.store {
        let why = StoreError::NotBuilt { store: config.store.to_string().into() };
        list.push(Problem::anywhere(format!("`store`: {why}")));
    }
    list
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
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn not_utf8(error: &std::string::FromUtf8Error) -> Problem {
    let sound = &error.as_bytes()[..error.utf8_error().valid_up_to()];
    let line = sound.iter().filter(|b| **b == b'\n').count() + 1;
    let column = String::from_utf8_lossy(sound).rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    Problem { at: Some((line, column)), what: "this is not UTF-8: save the file as UTF-8".to_owned() }
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
        let stop = config(Some(Path::new("/nowhere/segno.toml")), Flags::default()).unwrap_err();
        assert_eq!(stop.code(), 2);
        assert!(stop.to_string().starts_with("/nowhere/segno.toml: this file cannot be read"), "{stop}");
    }
}
