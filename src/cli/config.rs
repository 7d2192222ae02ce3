//! `segno config`: prints the configuration that the proxy would run, and where each value comes from.
//!
//! In: the flags and variables of `proxy`, and its file. Out: TOML on standard output, each line with its origin as a
//! comment; or one JSON object. What is wrong goes to standard error, with exit code 2.
//! Laws: what is printed is a configuration that `proxy` takes, with the same values; a secret is left out.

use std::io::Write;

use serde_json::{Map, Value, json};

use super::args::ConfigArgs;
use super::load::Sources;
use super::{Stop, say};
use crate::config::file::{Effective, Origin, Shown, Table};

/// Prints the configuration.
pub(super) fn run(args: &ConfigArgs, mut out: impl Write) -> Result<(), Stop> {
    let (sources, warnings) = Sources::of(&args.proxy);
    let effective = sources.read()?;
    for warning in warnings {
        say::say(format!("segno: {warning}\n"));
    }
    let file = sources.file().unwrap_or_default();
    let text = match args.json {
        true => format!("{}\n", in_json(&effective, &file)),
        false => in_toml(&effective, &file),
    };
    // If standard output is closed, nobody wants the rest.
    let _ = out.write_all(text.as_bytes());
    Ok(())
}

/// TOML in which each line ends with the origin of its value. A key without a value is a comment.
fn in_toml(effective: &Effective, file: &str) -> String {
    let mut text = String::new();
    for Table { name, rows } in effective.tables() {
        match name {
            "" => {}
            "route" => text.push_str("\n[[route]]\n"),
            name => text.push_str(&format!("\n[{name}]\n")),
        }
        for (key, shown, origin) in rows {
            let origin = one_line(&origin.show(file));
            match shown.toml() {
                Some(value) => text.push_str(&format!("{key} = {value}  # {origin}\n")),
                None => text.push_str(&format!("# {key} is not set  # {origin}\n")),
            }
        }
    }
    text
}

/// A comment ends with its line, and holds no control characters.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// One object: each key with its `value` and its `origin`. The routes are a list.
fn in_json(effective: &Effective, file: &str) -> Value {
    let mut root = Map::new();
    let mut routes = Vec::new();
    for Table { name, rows } in effective.tables() {
        let rows = rows.into_iter().map(|(key, shown, origin)| (key.to_owned(), row(shown, &origin, file)));
        match name {
            "" => root.extend(rows),
            "route" => routes.push(Value::Object(rows.collect())),
            name => drop(root.insert(name.to_owned(), Value::Object(rows.collect()))),
        }
    }
    root.insert("route".to_owned(), Value::Array(routes));
    Value::Object(root)
}

fn row(shown: Shown, origin: &Origin, file: &str) -> Value {
    let value = match shown {
        Shown::Text(text) => Value::from(text),
        Shown::Number(n) => Value::from(n),
        Shown::Switch(on) => Value::from(on),
        Shown::List(items) => Value::from(items),
        Shown::Nothing => Value::Null,
    };
    json!({ "value": value, "origin": origin.show(file) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::{Flags, read, read_with};

    const FILE: &str = "store = \"redis://me:secret@h/0\"\naccess_log = true\n\n[defaults]\nlinger = \"7s\"\n\n\
        [[route]]\nupstream = \"http://h:1/b\"\nheal_for = \"2m\"\nsession_header = \"X-\\u0041\"\n";

    fn effective() -> Effective {
        let mut flags = Flags::default().with("stall", "9s").with("log_budget", "1GiB");
        let variables = [("SEGNO_WINDOW", "50"), ("SEGNO_STALL", "8s"), ("SEGNO_LISTEN", "127.0.0.1:1,[::1]:2")];
        assert_eq!(flags.variables(variables.map(|(name, text)| (name.into(), text.into()))), [""; 0]);
        read_with(FILE, &flags, |_| Vec::new()).unwrap()
    }

    #[test]
    fn every_value_is_printed_with_its_origin_and_reads_back_as_it_is() {
        let effective = effective();
        let text = in_toml(&effective, "s.toml");
        for line in [
            "listen = [\"127.0.0.1:1\", \"[::1]:2\"]  # SEGNO_LISTEN",
            "access_log = true  # s.toml:2:14",
            "# admin is not set  # default",
            "log_budget = \"1GiB\"  # --log-budget",
            "linger = \"7s\"  # s.toml:5:10",
            "upstream = \"http://h:1/b\"  # s.toml:8:12",
            "heal_for = \"120s\"  # s.toml:9:12",
            "stall = \"9s\"  # --stall",
            "window = 50  # SEGNO_WINDOW",
            "heartbeat = \"15s\"  # default",
            "share = false  # default",
        ] {
            assert!(text.lines().any(|printed| printed == line), "no `{line}` in\n{text}");
        }
        assert!(!text.contains("secret"), "{text}");
        let again = read(&text, &Flags::default()).unwrap();
        assert_eq!(again, crate::config::Config { store: again.store.clone(), ..effective.config });
    }

    #[test]
    fn the_same_in_json() {
        let shown = in_json(&effective(), "s.toml");
        assert_eq!(shown["limits"]["log_budget"], json!({ "value": "1GiB", "origin": "--log-budget" }));
        assert_eq!(shown["route"][0]["stall"], json!({ "value": "9s", "origin": "--stall" }));
        assert_eq!(shown["replay"]["durable"], json!({ "value": false, "origin": "default" }));
        assert_eq!(shown["admin"], json!({ "value": null, "origin": "default" }));
        assert!(!shown.to_string().contains("secret"), "{shown}");
    }
}
