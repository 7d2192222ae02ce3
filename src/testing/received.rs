//! What a process has read on each connection of an upstream that sends no ids, and what of that a client still lacks.
//!
//! In: the events that upstreams say, and how much of their bytes the machine was handed. Out: a panic if a client goes
//! on with another connection's events, and events that the process had read for it have neither come nor been stated
//! as a gap.
//! Laws: upstream says on which of its connections an event comes, in a field that event streams do not know, so that
//! clients tell streams apart even where an event has no id; a client that has all that was read may begin anew, but in
//! another process that cannot be known.

use super::world::World;
use std::collections::BTreeMap;

/// The field that names the connection.
pub(crate) const FIELD: &str = "connection: ";

/// Connections of one process. Those of the next process have higher numbers.
const PROCESS: u64 = 1 << 32;

/// All connections of upstreams without ids, over all processes of a run.
#[derive(Default)]
pub(crate) struct Received {
    process: u64,
    connections: BTreeMap<u64, Connection>,
}

#[derive(Default)]
struct Connection {
    /// The numbers of its events, and how many bytes had been said when each was whole.
    said: Vec<(usize, u64)>,
    /// How many bytes the machine was handed.
    heard: usize,
    /// Which client's request it answers.
    by: String,
}

impl Connection {
    /// The last event that the machine was handed whole.
    fn last(&self) -> Option<u64> {
        let read = self.said.partition_point(|(end, _)| *end <= self.heard);
        read.checked_sub(1).map(|at| self.said[at].1)
    }
}

/// Where a client is.
#[derive(Clone, Default, Debug)]
pub(crate) struct Place {
    /// The connection of its last event.
    connection: Option<u64>,
    /// Its requests since that event.
    asked: Vec<String>,
}

impl Received {
    /// The name of an upstream's connection.
    pub(crate) fn name(&self, up: usize) -> u64 {
        self.process * PROCESS + up as u64
    }

    /// A connection is about to be answered. `by`: the request of the client that it was opened for.
    pub(crate) fn open(&mut self, up: usize, by: &str) {
        self.connections.insert(self.name(up), Connection { by: by.to_owned(), ..Connection::default() });
    }

    /// Event `n` is about to be said, and is whole after this many more bytes.
    pub(crate) fn say(&mut self, w: &World, up: usize, n: u64, bytes: usize) {
        let name = self.name(up);
        let end = w.ends[up].heard + w.unread(up) + bytes;
        if let Some(connection) = self.connections.get_mut(&name) {
            connection.said.push((end, n));
        }
    }

    /// Takes over how much the machine was handed so far.
    pub(crate) fn refresh(&mut self, w: &World) {
        for (name, connection) in self.connections.range_mut(self.process * PROCESS..) {
            connection.heard = w.ends[(name % PROCESS) as usize].heard;
        }
    }

    /// The upstream's connection that has said nothing behind this event, if it is one of this process.
    pub(crate) fn that_ends_with(&self, block: &str, n: u64) -> Option<usize> {
        let name = name_in(block).filter(|name| name / PROCESS == self.process)?;
        let connection = self.connections.get(&name).filter(|connection| connection.last() == Some(n));
        connection.map(|_| (name % PROCESS) as usize)
    }

    /// The process has ended.
    pub(crate) fn begin_process(&mut self, old: &World) {
        self.refresh(old);
        self.process += 1;
    }
}

impl Place {
    /// The client asks again.
    pub(crate) fn ask(&mut self, request: &str) {
        self.asked.push(request.to_owned());
    }

    /// Event `n` has come behind event `last`. `told`: and a gap before it, or the client had asked for nothing in
    /// particular. Returns what is wrong with it.
    pub(crate) fn take(
        &mut self,
        received: &Received,
        block: &str,
        last: u64,
        n: u64,
        told: bool,
    ) -> Result<(), String> {
        let name = name_in(block).ok_or("an event of no connection")?;
        let (before, asked) = (self.connection.replace(name), std::mem::take(&mut self.asked));
        if told {
            return Ok(());
        }
        if before == Some(name) {
            return if n == last + 1 { Ok(()) } else { Err(format!("{n} after {last} on one connection")) };
        }
        if before.is_none_or(|before| before / PROCESS != name / PROCESS) {
            return Err("no process knows what another one had read".to_owned());
        }
        let of = |name: u64| received.connections.get(&name);
        if let Some(had) = before.and_then(of).and_then(Connection::last).filter(|had| *had != last) {
            return Err(format!("it begins anew behind {last}, and {had} had come"));
        }
        if let Some(first) = of(name).and_then(|anew| anew.said.first()).filter(|first| first.1 != n) {
            return Err(format!("it begins anew with {n}, and {} had come", first.1));
        }
        // Streams that were begun for the client in between, and of which it got nothing.
        let between = |(other, connection): &(&u64, &Connection)| {
            **other != name && Some(**other) != before && asked.contains(&connection.by) && connection.last().is_some()
        };
        match received.connections.iter().find(between) {
            Some((_, lost)) => Err(format!("{:?} had come for it in between", lost.last())),
            None => Ok(()),
        }
    }
}

/// The connection that an event names.
fn name_in(block: &str) -> Option<u64> {
    block.lines().find_map(|line| line.strip_prefix(FIELD)).and_then(|name| name.parse().ok())
}
