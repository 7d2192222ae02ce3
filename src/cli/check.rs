//! `segno check FILE`: checks a configuration file.
//!
//! In: a file, or `-` for standard input. Out: `FILE: ok, N routes` on standard output; or each problem with its place
//! on standard error, and exit code 2.
//! Laws: what `proxy --config FILE` refuses, the command names, and all of it at once; it looks at the files that the
//! configuration names, changes nothing, and connects to nothing.

use std::io::Write;

use super::args::{CheckArgs, default_store};
use super::{Stop, load};
use crate::config::file::Flags;

/// Reads the file and reports what is wrong with it, or the number of its routes.
pub(super) fn run(args: &CheckArgs, mut out: impl Write) -> Result<(), Stop> {
    let flags = Flags { default_store: Some(default_store()), ..Flags::default() };
    let config = load::config(Some(&args.file), flags)?;
    let (file, routes) = (load::name_of(&args.file), config.routes.len());
    let noun = if routes == 1 { "route" } else { "routes" };
    // If standard output is closed, the exit code still shows the result.
    let _ = writeln!(out, "{file}: ok, {routes} {noun}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn file(name: &str, text: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("segno-{}-{name}.toml", std::process::id()));
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn a_sound_file_is_ok_and_a_faulty_one_is_reported() {
        let path = file("sound", "[[route]]\nupstream = \"http://h\"\n");
        let mut out = Vec::new();
        run(&CheckArgs { file: path.clone() }, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), format!("{}: ok, 1 route\n", path.display()));

        std::fs::write(&path, "[[route]]\nupstream = \"http://h\"\nlingre = \"1s\"\n").unwrap();
        let mut out = Vec::new();
        let stop = run(&CheckArgs { file: path.clone() }, &mut out).unwrap_err();
        let told = format!("{}:3:1: unknown key `lingre`: did you mean `linger`?\n", path.display());
        assert_eq!((stop.code(), stop.to_string(), out), (2, told, Vec::new()));
        std::fs::remove_file(path).unwrap();
    }
}
