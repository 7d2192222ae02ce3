//! Pages and completions name what there is.

use super::*;
use crate::cli::args::{CompletionsArgs, ManArgs};
use clap_complete::Shell;

fn of(command: Option<&str>) -> Result<String, String> {
    let args = ManArgs { command: command.map(str::to_owned), dir: None };
    let mut out = Vec::new();
    man(&args, &mut out).map_err(|stop| stop.to_string())?;
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn a_page_has_every_flag_and_the_examples() {
    let page = of(Some("proxy")).unwrap().replace("\\-", "-");
    for key in crate::config::file::keys() {
        assert!(page.contains(&format!("--{}", key.flag)), "--{}", key.flag);
    }
    assert!(page.contains("segno proxy --upstream http://127.0.0.1:3000"), "{page}");
}

#[test]
fn the_page_of_the_program_lists_its_commands() {
    let page = of(None).unwrap().replace("\\-", "-");
    for name in ["segno-proxy(1)", "segno-tail(1)", "segno-man(1)"] {
        assert!(page.contains(name), "{name}: {page}");
    }
}

#[test]
fn an_unknown_command_is_named_with_those_that_are_there() {
    let told = of(Some("prxy")).unwrap_err();
    assert!(told.starts_with("segno: there is no command `prxy`; there are proxy, demo, "), "{told}");
}

#[test]
fn every_shell_gets_completions_with_the_commands() {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell, Shell::Elvish] {
        let mut out = Vec::new();
        completions(&CompletionsArgs { shell }, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("sessions") && text.contains("replay-bytes"), "{shell}");
    }
}
