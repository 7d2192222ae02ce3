//! The admin token, which opens the pages of the admin address.
//!
//! In: a file, else the variable `SEGNO_ADMIN_TOKEN`. Out: the token, or none where neither is given.
//! Laws: a file that cannot be read, and a token that nobody could send, stop the program: no page is open by mistake;
//! a token is never shown.

use crate::admin::Access;
use std::env::{self, VarError};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Where the token is when no file is named. An argument would be shown by `ps`.
const VARIABLE: &str = "SEGNO_ADMIN_TOKEN";

/// More than the longest token, and the white space around it.
const MAX_FILE_BYTES: u64 = 8 << 10;

/// The token in the file, else in the variable.
///
/// # Errors
/// A line that names where it should have been.
pub(super) fn token(file: Option<&Path>) -> Result<Option<String>, String> {
    let stop = |place: &str, why: &dyn std::fmt::Display| format!("the admin token in {place}: {why}");
    let (place, text) = match file {
        Some(path) => {
            let place = path.display().to_string();
            let mut text = String::new();
            let read = File::open(path).and_then(|file| file.take(MAX_FILE_BYTES).read_to_string(&mut text));
            read.map_err(|e| stop(&place, &e))?;
            (place, text)
        }
        None => match env::var(VARIABLE) {
            Ok(text) => (VARIABLE.to_owned(), text),
            Err(VarError::NotPresent) => return Ok(None),
            Err(VarError::NotUnicode(_)) => return Err(stop(VARIABLE, &"it is not UTF-8")),
        },
    };
    // What the server refuses, the client refuses too.
    Access::default().token(&text).map_err(|e| stop(&place, &e))?;
    Ok(Some(text.trim_ascii().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_token_stops_the_program_and_is_not_shown() {
        assert!(token(Some(Path::new("/nowhere/token"))).unwrap_err().contains("/nowhere/token"));
        let path = env::temp_dir().join(format!("segno-{}-token", std::process::id()));
        std::fs::write(&path, "hush-hush\n").unwrap();
        assert_eq!(token(Some(&path)).unwrap().as_deref(), Some("hush-hush"));
        std::fs::write(&path, "hush hush\n").unwrap();
        let told = token(Some(&path)).unwrap_err();
        assert!(told.contains("visible ASCII") && !told.contains("hush"), "{told}");
        std::fs::remove_file(path).unwrap();
    }
}
