//! Commands and scripts for the server, over one connection that is made again when it was closed.
//!
//! In: commands; scripts, each with its keys and arguments. Out: answers.
//! Law: a connection that the server has closed meanwhile is made again once within a call, for servers and what lies
//! between close those that are idle; where a key was said that the server must have, only to one that has it; a script
//! that the server does not have is loaded, once within a call.

use super::address::Address;
use super::fault::{of, server};
use super::link::{Answers, Link};
use crate::store::error::{ServerFault, StoreError};
use ::redis::{Cmd, RedisError, ServerErrorKind, Value, cmd};

/// A connection, and the scripts that were loaded over it.
pub(super) struct Caller {
    pub(super) address: Address,
    link: Link,
    texts: &'static [&'static str],
    /// The names of the scripts on the server. Empty: not loaded.
    names: Vec<String>,
    /// What the server has, by its name there: one without it is another one.
    secret: Option<(String, u128)>,
}

/// The keys and arguments of a call of a script.
#[derive(Default)]
pub(super) struct Call {
    pub(super) keys: Vec<String>,
    pub(super) arguments: Vec<Vec<u8>>,
}

impl Caller {
    pub(super) fn connect(address: &Address, texts: &'static [&'static str]) -> Result<Self, StoreError> {
        let (link, names) = (Link::connect(address)?, vec![String::new(); texts.len()]);
        Ok(Self { address: address.clone(), link, texts, names, secret: None })
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.link.is_cluster()
    }

    /// From now on a server that is connected to again must have this key under this name.
    pub(super) fn must_have(&mut self, name: String, key: u128) {
        self.secret = Some((name, key));
    }

    fn reconnect(&mut self) -> Result<(), StoreError> {
        self.link = Link::connect(&self.address)?;
        let Some((name, key)) = &self.secret else { return Ok(()) };
        let mut get = cmd("GET");
        get.arg(name);
        let answers = self.link.run(&[get]).map_err(|e| of(&self.address, &e))?;
        let found = answers.into_iter().next().and_then(Result::ok);
        let digits = found.as_ref().and_then(bytes).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u128::from_str_radix(digits, 16).ok()) {
            Some(found) if found == *key => Ok(()),
            // The next opening offers the key again.
            _ => Err(server(&self.address, ServerFault::Replaced, "it has come back without the key of the store")),
        }
    }

    /// Sends one command.
    pub(super) fn one(&mut self, command: &Cmd) -> Result<Value, StoreError> {
        let answer = self.ask(std::slice::from_ref(command))?.pop();
        answer.unwrap_or_else(|| Err(missing())).map_err(|e| of(&self.address, &e))
    }

    /// Sends commands. The outer error means that nothing is known of any.
    pub(super) fn ask(&mut self, commands: &[Cmd]) -> Result<Answers, StoreError> {
        match self.link.run(commands) {
            Ok(answers) => Ok(answers),
            Err(e) if e.is_connection_dropped() && !e.is_timeout() => {
                self.reconnect()?;
                self.link.run(commands).map_err(|e| of(&self.address, &e))
            }
            Err(e) => Err(of(&self.address, &e)),
        }
    }

    /// Calls a script, so many times. What has run may run again: it must change nothing more then.
    pub(super) fn call(&mut self, script: usize, calls: &[Call]) -> Result<Answers, StoreError> {
        let mut is_loaded = false;
        loop {
            if self.names.get(script).is_none_or(String::is_empty) {
                self.load(script)?;
                is_loaded = true;
            }
            let name = self.names.get(script).map_or("", String::as_str);
            let commands: Vec<Cmd> = calls.iter().map(|call| call.command(name)).collect();
            let answers = self.ask(&commands);
            let unknown = |e: &RedisError| e.kind() == ::redis::ErrorKind::Server(ServerErrorKind::NoScript);
            let is_unknown = match &answers {
                Ok(answers) => answers.iter().any(|answer| answer.as_ref().is_err_and(unknown)),
                // A Cluster tells one error for all commands.
                Err(StoreError::Server { why, .. }) => why.contains("NOSCRIPT") || why.contains("No matching script"),
                Err(_) => false,
            };
            if !is_unknown || is_loaded {
                return answers;
            }
            if let Some(name) = self.names.get_mut(script) {
                name.clear();
            }
        }
    }

    fn load(&mut self, script: usize) -> Result<(), StoreError> {
        let text = self.texts.get(script).copied().unwrap_or_default();
        let loaded = match self.link.load(text) {
            Err(e) if e.is_connection_dropped() && !e.is_timeout() => {
                self.reconnect()?;
                self.link.load(text)
            }
            loaded => loaded,
        };
        let name = loaded.map_err(|e| of(&self.address, &e))?;
        if let Some(place) = self.names.get_mut(script) {
            *place = name;
        }
        Ok(())
    }

    /// What an error means, or an answer that says nothing.
    pub(super) fn fault(&self, error: Option<&RedisError>) -> StoreError {
        error.map_or_else(|| of(&self.address, &missing()), |e| of(&self.address, e))
    }
}

impl Call {
    fn command(&self, script: &str) -> Cmd {
        let mut command = cmd("EVALSHA");
        command.arg(script).arg(self.keys.len()).arg(&self.keys).arg(&self.arguments);
        command
    }
}

/// An answer that is none.
pub(super) fn missing() -> RedisError {
    (::redis::ErrorKind::UnexpectedReturnType, "the server's answer is none that was expected").into()
}

/// The bytes of an answer. `None`: it is something else.
pub(super) fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.as_bytes()),
        _ => None,
    }
}

/// The number that an answer has in digits.
pub(super) fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Int(n) => u64::try_from(*n).ok(),
        other => std::str::from_utf8(bytes(other)?).ok()?.parse().ok(),
    }
}

/// The parts of an answer.
pub(super) fn parts(value: &Value) -> &[Value] {
    match value {
        Value::Array(values) => values,
        _ => &[],
    }
}
