//! The flags that stand for keys of the configuration file, made from the table of keys.
//!
//! In: the table, and what `clap` matched. Out: each flag that was given, with its value as text.
//! Law: a value that does not fit its key is refused by `clap`, as any wrong argument is.

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};

use crate::config::file::{self, Flags, Form, KeyHelp};

/// The flags that were given, by their keys.
#[derive(Clone, Default, Debug)]
pub(crate) struct KeyArgs {
    given: Vec<(&'static str, String)>,
}

impl KeyArgs {
    /// As the reader of the configuration takes them.
    pub(crate) fn flags(&self) -> Flags {
        self.given.iter().fold(Flags::default(), |flags, (key, text)| flags.with(key, text))
    }
}

impl FromArgMatches for KeyArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let given = |key: KeyHelp| {
            let values: Vec<&str> = matches.get_many::<String>(key.name)?.map(String::as_str).collect();
            Some((key.name, values.join(",")))
        };
        Ok(Self { given: file::keys().into_iter().filter_map(given).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.given.extend(Self::from_arg_matches(matches)?.given);
        Ok(())
    }
}

impl Args for KeyArgs {
    fn augment_args(command: Command) -> Command {
        command.args(file::keys().into_iter().map(arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn arg(key: KeyHelp) -> Arg {
    let name = key.name;
    let fits = move |text: &str| file::check(name, text).map(|()| text.to_owned());
    let told = match &key.default {
        Some(default) => format!("[default: {default}] [env: {}]", key.variable),
        None => format!("[env: {}]", key.variable),
    };
    let arg = Arg::new(name)
        .long(key.flag)
        .value_name(key.place)
        .value_parser(ValueParser::new(fits))
        .help(format!("{}. {} {told}", key.what, key.trades))
        .hide_short_help(!key.is_common);
    let arg = match key.heading {
        Some(heading) => arg.help_heading(heading),
        None => arg,
    };
    match key.form {
        Form::Text | Form::Count => arg,
        Form::List => arg.action(ArgAction::Append),
        // Without a value, the switch is on.
        Form::Switch | Form::SwitchOrText => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
    }
}
