//! Examples for the help of each subcommand.
//!
//! In: a subcommand's name. Out: the text that its help ends with.
//! Laws: every subcommand has an example; each is a line that a shell takes, and a test reads its arguments as the
//! program would.

use clap::Command;

/// A line to type, and what it does.
type Example = (&'static str, &'static str);

/// By subcommand.
pub(super) const EXAMPLES: &[(&str, &[Example])] = &[
    (
        "proxy",
        &[
            (
                "segno proxy --upstream http://127.0.0.1:3000",
                "Listen on 127.0.0.1:8080, and keep cursors in segno.redb in this folder",
            ),
            (
                "segno proxy --config /etc/segno/segno.toml --admin 127.0.0.1:9090",
                "Serve the routes of a file, and metrics and a dashboard on a port of their own",
            ),
            (
                "segno proxy --tls-cert cert.pem --tls-key key.pem --upstream https://api.example.com",
                "Speak TLS on both sides",
            ),
        ],
    ),
    (
        "demo",
        &[
            ("segno demo", "Cut streams for 20 seconds, and count what clients lost with segno and without"),
            ("segno demo --listen 127.0.0.1:3000", "Serve the flaky upstream alone, to try a proxy of your own on it"),
        ],
    ),
    (
        "tail",
        &[
            (
                "segno tail https://example.com/feed --cursor feed",
                "Print events as they come, and go on after the last one when started again",
            ),
            (
                "segno tail http://127.0.0.1:8080/answer --data @ask.json -H 'Authorization: Bearer abc' --json",
                "Send a POST, and print each event of the answer as a JSON line",
            ),
        ],
    ),
    (
        "sessions",
        &[
            ("segno sessions", "List what segno.redb in this folder holds, while no proxy has it open"),
            ("segno sessions --admin 127.0.0.1:9090 --json", "Ask the proxy that has it open"),
        ],
    ),
    ("parse", &[("curl -sN https://example.com/feed | segno parse", "Show what a browser would see of a stream")]),
    (
        "check",
        &[
            ("segno check /etc/segno/segno.toml", "Say all that is wrong with a file, each with its line"),
            ("segno config | segno check -", "Check what the flags and variables of this shell make"),
        ],
    ),
    ("alerts", &[("segno alerts > segno-rules.yml", "Rules for `rule_files` of Prometheus")]),
    ("grafana", &[("segno grafana > segno-dashboard.json", "A dashboard to import")]),
    (
        "config",
        &[("segno config --config segno.toml", "Every key with its value, and whether file, flag or variable set it")],
    ),
    ("reload", &[("segno reload --admin 127.0.0.1:9090", "Have the proxy read its file and certificates again")]),
    (
        "man",
        &[("segno man proxy | man -l -", "Read a page"), ("segno man --dir /usr/local/share/man/man1", "Install them")],
    ),
    (
        "completions",
        &[
            ("segno completions bash > /etc/bash_completion.d/segno", "For all users of bash"),
            ("segno completions zsh > ~/.zfunc/_segno", "For one user of zsh, with that folder in `fpath`"),
        ],
    ),
];

/// The command with the examples of each subcommand behind its help.
pub(super) fn with_examples(command: Command) -> Command {
    EXAMPLES.iter().fold(command, |command, (name, examples)| {
        command.mut_subcommand(name, |subcommand| subcommand.after_help(text(examples)))
    })
}

fn text(examples: &[Example]) -> String {
    let lines = examples.iter().map(|(line, what)| format!("\n  {line}\n      {what}"));
    format!("Examples:{}", lines.collect::<String>())
}
