//! Commands and scripts for the server, over one connection that is made again when it was closed.
//!
//! In: commands; scripts, each with its keys and arguments. Out: answers.
//! Law: a connection that the server has closed meanwhile is made again once within a call, for servers and what lies
//! between close those that are idle; where a key was said that the server must have, only to one that has it; a script
//! that the server does not have is loaded, once within a call.

use super::address::Address;
use super::cluster::{Cluster, Failed};
use super::fault::{of, of_all, server};
use super::link::{Link, one_by_one};
use crate::store::error::{ServerFault, StoreError};
use ::redis::{Cmd, Connection, RedisError, RedisResult, ServerErrorKind, Value, cmd};

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

/// The answers to several commands.
pub(super) type Answers = Vec<RedisResult<Value>>;

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
        if let Link::Many(many) = &mut self.link {
            many.must_have(name.clone(), digits(key).into_bytes());
        }
        self.secret = Some((name, key));
    }

    /// Whether a part of the store that was away has come back since the last call.
    pub(super) fn has_recovered(&mut self) -> bool {
        match &mut self.link {
            Link::One(_) => false,
            Link::Many(many) => many.has_recovered(),
        }
    }

    /// Does something with the one connection, and does it again with a new one where the old one was closed.
    fn with_one<T>(&mut self, ask: impl Fn(&mut Connection) -> RedisResult<T>) -> Result<T, StoreError> {
        let Link::One(one) = &mut self.link else { return Err(self.fault(None)) };
        match ask(one) {
            Err(e) if e.is_connection_dropped() && !e.is_timeout() => {}
            answer => return answer.map_err(|e| of(&self.address, &e)),
        }
        self.link = Link::connect(&self.address)?;
        let Link::One(one) = &mut self.link else { return Err(self.fault(None)) };
        if let Some((name, key)) = &self.secret {
            let mut get = cmd("GET");
            get.arg(name);
            match one_by_one(one, &[get]).map_err(|e| of(&self.address, &e))?.pop() {
                Some(Ok(Value::BulkString(found))) if *found == *digits(*key).as_bytes() => {}
                _ => return Err(keyless(&self.address)),
            }
        }
        ask(one).map_err(|e| of(&self.address, &e))
    }

    fn with_many<T>(&mut self, ask: impl FnOnce(&mut Cluster) -> Result<T, Failed>) -> Result<T, StoreError> {
        let Link::Many(many) = &mut self.link else { return Err(self.fault(None)) };
        ask(many).map_err(|failed| match failed {
            // The next opening offers the key again.
            Failed::Keyless => keyless(&self.address),
            Failed::Nobody(e) => of_all(&self.address, &e),
        })
    }

    /// Sends one command.
    pub(super) fn one(&mut self, command: &Cmd) -> Result<Value, StoreError> {
        let answer = self.ask(std::slice::from_ref(command))?.pop();
        answer.unwrap_or_else(|| Err(missing())).map_err(|e| of(&self.address, &e))
    }

    /// Sends commands. The outer error means that nothing is known of any.
    pub(super) fn ask(&mut self, commands: &[Cmd]) -> Result<Answers, StoreError> {
        match self.link.is_cluster() {
            _ if commands.is_empty() => Ok(Vec::new()),
            true => self.with_many(|many| many.run(commands)),
            false => self.with_one(|one| one_by_one(one, commands)),
        }
    }

    /// Calls a script, so many times. What has run may run again: it must change nothing more then.
    pub(super) fn call(&mut self, script: usize, calls: &[Call]) -> Result<Answers, StoreError> {
        if self.names.get(script).is_none_or(String::is_empty) {
            self.load(script)?;
        }
        let mut answers = self.ask(&self.commands(script, calls.iter()))?;
        let is_unknown = |answer: &RedisResult<Value>| {
            let unknown = ::redis::ErrorKind::Server(ServerErrorKind::NoScript);
            answer.as_ref().is_err_and(|e| e.kind() == unknown)
        };
        let unknown: Vec<usize> = (0..answers.len()).filter(|at| answers.get(*at).is_some_and(is_unknown)).collect();
        if unknown.is_empty() {
            return Ok(answers);
        }
        self.load(script)?;
        let again = self.commands(script, unknown.iter().filter_map(|at| calls.get(*at)));
        for (at, answer) in unknown.into_iter().zip(self.ask(&again)?) {
            if let Some(place) = answers.get_mut(at) {
                *place = answer;
            }
        }
        Ok(answers)
    }

    fn commands<'c>(&self, script: usize, calls: impl Iterator<Item = &'c Call>) -> Vec<Cmd> {
        let name = self.names.get(script).map_or("", String::as_str);
        calls.map(|call| call.command(name)).collect()
    }

    fn load(&mut self, script: usize) -> Result<(), StoreError> {
        let text = self.texts.get(script).copied().unwrap_or_default();
        let name = match self.link.is_cluster() {
            true => self.with_many(|many| many.load(text))?,
            false => self.with_one(|one| cmd("SCRIPT").arg("LOAD").arg(text).query(one))?,
        };
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

/// The key of the store as the server has it.
fn digits(key: u128) -> String {
    format!("{key:032x}")
}

fn keyless(address: &Address) -> StoreError {
    server(address, ServerFault::Replaced, "it has come back without the key of the store")
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
