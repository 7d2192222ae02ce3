//! `segno check FILE`: checks a configuration file.
//!
//! In: a file, or `-` for standard input; with `--env` the variables of the environment. Out: `FILE: ok, N routes` on standard output, where one setting makes
//! another one useless, and how long certificates are good; or each problem with its place on standard error, and exit code 2.
//! Laws: what `proxy --config FILE` refuses, the command names, and all of it at once; it looks at the files that the
//! configuration names, changes nothing, and connects to nothing.

use std::env;
use std::io::Write;

use super::args::{CheckArgs, default_store};
use super::{Stop, load};
use crate::config::Route;
use crate::config::file::Flags;
use crate::engine;

/// Reads the file and reports what is wrong with it, or the number of its routes.
pub(super) fn run(args: &CheckArgs, mut out: impl Write) -> Result<(), Stop> {
    let mut variables = Flags::default();
    let warnings = variables.variables(env::vars_os());
    let ignored = if args.env { Vec::new() } else { variables.names() };
    let flags = if args.env { variables } else { Flags::default() }.or_store(default_store());
    let config = load::effective(Some(&args.file), &flags)?.config;
    let (file, routes) = (load::name_of(&args.file), config.routes.len());
    let noun = if routes == 1 { "route" } else { "routes" };
    // If standard output is closed, the exit code still shows the result.
    let _ = writeln!(out, "{file}: ok, {routes} {noun}");
    for route in config.routes.iter() {
        for caution in cautions(route) {
            let _ = writeln!(out, "{file}: note: route `{}`: {caution}", route.name);
        }
    }
    if !ignored.is_empty() {
        let (names, verb) = (ignored.join(", "), if ignored.len() == 1 { "was" } else { "were" });
        let _ = writeln!(out, "{file}: note: {names} {verb} not looked at: `segno check --env` reads variables too");
    }
    for warning in warnings.iter().filter(|_| args.env) {
        let _ = writeln!(out, "{file}: note: {warning}");
    }
    for remark in engine::remarks(&config) {
        let _ = writeln!(out, "{file}: note: {remark}");
    }
    Ok(())
}

/// Where one setting of a route keeps another one from doing what it says.
fn cautions(route: &Route) -> Vec<String> {
    let mut found = Vec::new();
    let usual = Route::new(route.upstream.clone()).linger_post;
    let times = [("linger", route.linger), ("linger_post", route.linger_post)];
    for (key, time) in times.into_iter().filter(|(_, time)| *time > route.replay_age) {
        let age = route.replay_age;
        found.push(format!("`{key}` is {time}, but events older than `replay_age` ({age}) are gone before that"));
    }
    if route.linger.is_zero() && route.linger_post != usual && !route.linger_post.is_zero() {
        found.push(format!("`linger_post` is {}, but nothing lingers with `linger = \"0s\"`", route.linger_post));
    }
    if route.cancel_on_disconnect && route.linger_post != usual {
        found.push("`linger_post` is set, but nothing lingers with `cancel_on_disconnect = true`".to_owned());
    }
    if route.idempotent && (route.cancel_on_disconnect || route.linger.is_zero() || route.linger_post.is_zero()) {
        let why = match (route.cancel_on_disconnect, route.linger.is_zero()) {
            (true, _) => "cancel_on_disconnect = true",
            (_, true) => "linger = \"0s\"",
            _ => "linger_post = \"0s\"",
        };
        found.push(format!("`idempotent` is set, but with `{why}` a retry finds only what its client still reads"));
    }
    found
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
    fn a_setting_that_another_one_cuts_short_is_noted() {
        let route = |lines: &str| format!("[[route]]\nupstream = \"http://h\"\n{lines}\n");
        for (lines, notes) in [
            ("linger_post = \"60s\"", vec![]),
            ("linger = \"0s\"", vec![]),
            ("linger_post = \"10m\"", vec!["`replay_age`"]),
            ("linger = \"10m\"\nlinger_post = \"10m\"", vec!["`linger` is", "`linger_post` is"]),
            ("linger = \"0s\"\nlinger_post = \"60s\"", vec!["nothing lingers with `linger"]),
            ("idempotent = true", vec![]),
            ("idempotent = true\nlinger_post = \"0s\"", vec!["`idempotent` is set, but with `linger_post"]),
            ("idempotent = true\nlinger = \"0s\"", vec!["`idempotent` is set, but with `linger = "]),
            ("idempotent = true\ncancel_on_disconnect = true", vec!["`idempotent` is set, but with `cancel"]),
            ("cancel_on_disconnect = true\nlinger_post = \"60s\"", vec!["`cancel_on_disconnect"]),
        ] {
            let path = file("notes", &route(lines));
            let mut out = Vec::new();
            run(&CheckArgs { file: path.clone(), env: false }, &mut out).unwrap();
            let out = String::from_utf8(out).unwrap();
            assert_eq!(out.lines().count(), 1 + notes.len(), "{lines}: {out}");
            assert!(notes.iter().all(|note| out.contains(note)), "{lines}: {out}");
            std::fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn a_sound_file_is_ok_and_a_faulty_one_is_reported() {
        let path = file("sound", "[[route]]\nupstream = \"http://h\"\n");
        let mut out = Vec::new();
        run(&CheckArgs { file: path.clone(), env: false }, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), format!("{}: ok, 1 route\n", path.display()));

        std::fs::write(&path, "[[route]]\nupstream = \"http://h\"\nlingre = \"1s\"\n").unwrap();
        let mut out = Vec::new();
        let stop = run(&CheckArgs { file: path.clone(), env: false }, &mut out).unwrap_err();
        let told = format!("{}:3:1: unknown key `lingre`: did you mean `linger`?\n", path.display());
        assert_eq!((stop.code(), stop.to_string(), out), (2, told, Vec::new()));
        std::fs::remove_file(path).unwrap();
    }
}
