//! Log lines on standard error, as text or as JSON.
//!
//! In: events of `tracing`. Out: log lines. The variable `SEGNO_LOG` chooses the level (`warn`, `info`, `debug`); the
//! default is `info`.
//! Laws: a level that is none ends the program, for a fault that goes unlogged is a fault that nobody sees; whoever
//! must not wait for standard error says its lines through the journal.

mod json;

use super::Stop;
use super::say::say;
use crate::config::LogFormat;
use crate::config::file::Problem;
use std::env::{self, VarError};
use std::io::{self, IsTerminal};
use tracing_subscriber::EnvFilter;

const VARIABLE: &str = "SEGNO_LOG";
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Starts logging.
///
/// # Errors
/// [`Stop`], when `SEGNO_LOG` is not a level.
pub(super) fn start(format: LogFormat) -> Result<(), Stop> {
    let chosen = match env::var(VARIABLE) {
        Ok(text) => filter(&text),
        Err(VarError::NotPresent) => filter(""),
        Err(VarError::NotUnicode(_)) => Err("it is not UTF-8".to_owned()),
    };
    let filter = chosen.map_err(|why| {
        let what = format!("`{VARIABLE}`: {why}: write one of {}", LEVELS.join(", "));
        Stop::Problems { file: None, list: vec![Problem::anywhere(what)] }
    })?;
    let colour = io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let lines =
        tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(colour).with_target(false).with_env_filter(filter);
    // A second start in one process keeps the first one's writer.
    let _ = match format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.with_ansi(false).event_format(json::Json).try_init(),
    };
    Ok(())
}

/// Says something that is shown at every level.
pub(super) fn announce(format: LogFormat, level: &str, what: &str) {
    match format {
        LogFormat::Text => say(format!("segno: {what}\n")),
        LogFormat::Json => say(json::line(level, what)),
    }
}

/// Reads a level, or a list of levels for parts of the program such as `segno=debug`.
fn filter(text: &str) -> Result<EnvFilter, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(EnvFilter::new("info"));
    }
    let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    // A word that is no level would be taken for a part of the program, and every other part would say nothing.
    match text.split(',').map(str::trim).find(|part| !is_level(part.rsplit('=').next().unwrap_or_default())) {
        Some(part) => Err(format!("`{}` is not a level", part.escape_debug())),
        None => EnvFilter::try_new(text).map_err(|e| e.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_and_words_that_are_none_are_named() {
        for good in ["", " ", "warn", "INFO", "off", "segno=debug", "warn,segno::journal=trace"] {
            assert!(filter(good).is_ok(), "{good}");
        }
        for (bad, named) in [("wran", "wran"), ("segno", "segno"), ("segno=loud", "segno=loud"), ("warn,", "``")] {
            assert!(filter(bad).unwrap_err().contains(named), "{bad}");
        }
    }
}
