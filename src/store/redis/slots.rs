//! Which node of a Cluster has which slot.
//!
//! In: what a node says of all slots, and where another one sends a command. Out: the node of a command.
//! Laws: nothing is connected to; whatever nodes say, the table has at most [`NODES`] nodes. Every key of the store has a
//! hash tag, and no argument before the first key of a command has a brace.

use ::redis::{Arg, Cmd, Value};
use crc::{CRC_16_XMODEM, Crc};
use std::fmt;

/// The slots of a Cluster, and the most nodes that are known of one.
const SLOTS: usize = 16_384;
const NODES: usize = 1_000;

/// Stands in the table for no node.
const NOBODY: u16 = u16::MAX;

/// Where a node is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) host: Box<str>,
    pub(super) port: u16,
}

impl Place {
    pub(super) fn new(host: &str, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// What a redirection names, as `HOST:PORT`. No host: that of the node that says it.
    pub(super) fn read(text: &str, said_by: &Self) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let host = if host.is_empty() { &said_by.host } else { host };
        Some(Self::new(host, port.parse().ok()?))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// The master of each slot.
pub(super) struct Table {
    places: Vec<Place>,
    /// The place of each slot's master among the places.
    slots: Box<[u16]>,
}

impl Table {
    /// The table that a node has told as its answer to `CLUSTER SLOTS`. `None`: it names no node.
    pub(super) fn read(told: &Value, by: &Place) -> Option<Self> {
        let mut table = Self { places: Vec::new(), slots: vec![NOBODY; SLOTS].into() };
        let Value::Array(ranges) = told else { return None };
        for range in ranges {
            let Value::Array(range) = range else { continue };
            let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = &**range else { continue };
            let (Ok(first), Ok(last)) = (usize::try_from(*first), usize::try_from(*last)) else { continue };
            let Some(place) = place(master, by) else { continue };
            let Some(number) = table.number(&place) else { continue };
            if let Some(slots) = table.slots.get_mut(first..=last.min(SLOTS - 1)) {
                slots.fill(number);
            }
        }
        (!table.places.is_empty()).then_some(table)
    }

    /// The master of a slot.
    pub(super) fn at(&self, slot: u16) -> Option<&Place> {
        self.slots.get(usize::from(slot)).and_then(|number| self.places.get(usize::from(*number)))
    }

    /// A slot has another master.
    pub(super) fn moved(&mut self, slot: u16, to: &Place) {
        if let Some(number) = self.number(to)
            && let Some(slot) = self.slots.get_mut(usize::from(slot))
        {
            *slot = number;
        }
    }

    /// Whether every slot has the same master in both.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        (0..).zip(&self.slots).all(|(slot, _)| self.at(slot) == other.at(slot))
    }

    /// All masters.
    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }

    fn number(&mut self, place: &Place) -> Option<u16> {
        if let Some(known) = self.places.iter().position(|known| known == place) {
            return u16::try_from(known).ok();
        }
        if self.places.len() >= NODES {
            return None;
        }
        self.places.push(place.clone());
        u16::try_from(self.places.len() - 1).ok()
    }
}

/// The place of a node, as one says it of another, or of itself.
fn place(node: &[Value], by: &Place) -> Option<Place> {
    let [host, Value::Int(port), ..] = node else { return None };
    let host = match host {
        Value::BulkString(host) => std::str::from_utf8(host).ok()?,
        Value::SimpleString(host) => host,
        Value::Nil => "",
        _ => return None,
    };
    let host = match host {
        // Of itself a node may not know where it is reached.
        "" | "0.0.0.0" | "::" => &by.host,
        "?" => return None,
        host => host,
    };
    Some(Place::new(host, u16::try_from(*port).ok()?))
}

/// The slot of a command's keys. `None`: it has none, and any node can take it.
pub(super) fn slot(command: &Cmd) -> Option<u16> {
    command.args_iter().find_map(|argument| match argument {
        Arg::Simple(bytes) => slot_of_tag(bytes),
        _ => None,
    })
}

/// The slot of a key by what stands in its first braces.
fn slot_of_tag(key: &[u8]) -> Option<u16> {
    let open = memchr::memchr(b'{', key)?;
    let rest = key.get(open + 1..)?;
    let tag = rest.get(..memchr::memchr(b'}', rest)?)?;
    Some(Crc::<u16>::new(&CRC_16_XMODEM).checksum(tag) % 16_384)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::redis::cmd;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(slot_of_tag(b"{123456789}"), Some(0x31c3), "the check value of the specification");
        // By `CLUSTER KEYSLOT`.
        assert_eq!(slot(cmd("GET").arg("segno:{meta}:key")), Some(10_453));
        assert_eq!(slot(cmd("EVALSHA").arg("0badf00d").arg(1).arg("segno:{2a}:log:61.1").arg("{no}")), Some(8_048));
        assert_eq!(slot(cmd("SCRIPT").arg("LOAD").arg("return 1")), None);
    }

    #[test]
    fn a_table_is_read_whatever_a_node_says() {
        let by = Place::new("10.0.0.1", 7);
        let node = |host: Value, port| Value::Array(vec![host, Value::Int(port), Value::BulkString(b"id".to_vec())]);
        let named = |host: &str, port| node(Value::BulkString(host.into()), port);
        let range = |first, last, master| Value::Array(vec![Value::Int(first), Value::Int(last), master]);
        let told = Value::Array(vec![
            range(0, 99, named("10.0.0.2", 1)),
            range(100, 199, named("", 2)),
            range(200, 299, node(Value::Nil, 3)),
            range(300, 399, named("?", 4)),
            range(-5, 9, named("10.0.0.3", 5)),
            range(400, 99_999, named("::1", 70_000)),
            range(500, 99_999, named("::1", 6)),
            Value::Int(3),
        ]);
        let mut table = Table::read(&told, &by).unwrap();
        let shown = |table: &Table, slot| table.at(slot).map(ToString::to_string);
        let found: Vec<_> = [0, 199, 200, 300, 400, 16_383, u16::MAX].map(|slot| shown(&table, slot)).into();
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(found, [is("10.0.0.2:1"), is("10.0.0.1:2"), is("10.0.0.1:3"), None, None, is("[::1]:6"), None]);
        table.moved(300, &Place::read(":9", &by).unwrap());
        table.moved(301, &Place::read("[::1]:6", &by).unwrap());
        assert_eq!((shown(&table, 300), shown(&table, 301)), (is("10.0.0.1:9"), is("[::1]:6")));
        for nonsense in [Value::Nil, Value::Array(Vec::new()), Value::Array(vec![Value::Nil])] {
            assert!(Table::read(&nonsense, &by).is_none());
        }
        assert_eq!((Place::read("h", &by), Place::read("h:x", &by)), (None, None));
    }
}
