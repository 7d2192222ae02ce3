//! Commands on their way to the nodes of a Cluster, each with an outcome of its own.
//!
//! In: commands. Out: an answer to each, from the node that has its keys, or why there is none.
//!
//! ```text
//! commands, by slot -> connect to who is new, all at once -> send to all -> read the answers of each
//!                        ^                                                        |
//!                        +-- moved, asked elsewhere, connection was closed -------+
//! ```
//!
//! # Laws
//! 1. Only the answer of a command's own node says that it was done.
//! 2. A node that does not answer takes one time-out of one call. Until it is back, what is meant for it fails at once,
//!    and other nodes are asked as if nothing were.
//! 3. A command goes to another node at most [`ROUNDS`] times, whatever nodes say.
//! 4. Where a key was said that the Cluster must have, the node that should have it is asked for it before anything else.
//! 5. Who has which slot is asked again where a node said that it has changed, and as long as a node is away: another
//!    one may have taken its place.

use super::address::Address;
use super::node::{Node, connecting, late};
use super::slots::{Place, Table, slot};
use crate::base::{Span, Tick};
use crate::clock::Clock;
use ::redis::{Cmd, Connection, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value, cmd};
use std::collections::HashSet;
use std::time::Duration;

/// How often a command is sent at most.
const ROUNDS: usize = 4;

/// How often it is asked who has which slot, while somebody is away.
const REFRESH: Span = Span::from_millis(500);

/// The most nodes at a time, those besides that others name.
const NODES: usize = 2_000;

type Answers = Vec<RedisResult<Value>>;

pub(super) struct Cluster {
    address: Address,
    clock: Clock,
    table: Table,
    nodes: Vec<Node>,
    /// A key of the store that the Cluster must have, and the bytes that it holds.
    must_have: Option<(String, Vec<u8>)>,
    /// What was away is back, or somebody has taken its place.
    has_recovered: bool,
    /// The node that should have the key has another one, or none.
    is_keyless: bool,
    /// Commands had no node that would take them.
    had_trouble: bool,
    /// When it is asked again at the earliest who has which slot.
    refresh_at: Tick,
}

/// Why a call has no answers at all.
pub(super) enum Failed {
    /// No node can be reached, or the first of the reasons for which none lets anybody in.
    Nobody(RedisError),
    /// The Cluster has come back without the key that it must have.
    Keyless,
}

/// A command on its way.
struct Task {
    /// Its place among the commands.
    at: usize,
    slot: Option<u16>,
    /// Where a node has sent it. `true`: only this once.
    to: Option<(Place, bool)>,
}

impl Cluster {
    /// Connects to the seed that answers first.
    pub(super) fn connect(address: &Address) -> RedisResult<Self> {
        let (place, connection, table) = first_seed(address)?;
        let nodes = vec![Node::open(place, connection)];
        let (clock, address) = (Clock::start(), address.clone());
        let (must_have, refresh_at) = (None, Tick::ZERO);
        let (has_recovered, is_keyless, had_trouble) = (false, false, false);
        Ok(Self { address, clock, table, nodes, must_have, has_recovered, is_keyless, had_trouble, refresh_at })
    }

    /// From now on the Cluster must have these bytes under this key.
    pub(super) fn must_have(&mut self, key: String, bytes: Vec<u8>) {
        self.must_have = Some((key, bytes));
    }

    /// Whether a part that was away has come back since the last call.
    pub(super) fn has_recovered(&mut self) -> bool {
        self.look();
        std::mem::take(&mut self.has_recovered)
    }

    /// Sends commands, and returns an answer for each.
    pub(super) fn run(&mut self, commands: &[Cmd]) -> Result<Answers, Failed> {
        self.look();
        if self.is_keyless {
            return Err(Failed::Keyless);
        }
        let mut tasks: Vec<Task> =
            commands.iter().enumerate().map(|(at, cmd)| Task { at, slot: slot(cmd), to: None }).collect();
        let mut answers = Answers::new();
        answers.resize_with(commands.len(), || Err(away("no node has answered")));
        let mut renewed = HashSet::new();
        let mut has_moved = false;
        for round in 0..ROUNDS {
            if tasks.is_empty() {
                break;
            }
            let is_last = round + 1 == ROUNDS;
            let groups = self.groups(std::mem::take(&mut tasks), &mut answers)?;
            let sent: Vec<_> =
                groups.into_iter().map(|(node, group)| (node, self.send(node, commands, &group), group)).collect();
            let until = self.clock.now() + self.address.timeout.into();
            for (node, sent, group) in sent {
                let mut lost = sent.err();
                for task in group {
                    let answer = match &lost {
                        Some(e) => Err(e.clone()),
                        None => self.receive(node, &task, until),
                    };
                    let answer = match answer {
                        Err(e) if lost.is_some() || is_of_connection(&e) => {
                            lost = Some(e.clone());
                            // What lies between closes connections that are idle.
                            let is_closed = is_closed(&e) && !is_last;
                            if is_closed && self.is_open(node) && renewed.insert(node) {
                                self.renew(node);
                            }
                            if is_closed && self.is_new(node) {
                                tasks.push(task);
                                continue;
                            }
                            self.fail(node, e)
                        }
                        Err(e) => match self.redirection(node, &e) {
                            Some(to) if !is_last => {
                                has_moved |= !to.1;
                                if let (Some(slot), (place, false)) = (task.slot, &to) {
                                    self.table.moved(slot, place);
                                }
                                tasks.push(Task { to: Some(to), ..task });
                                continue;
                            }
                            _ => Err(e),
                        },
                        answer => answer,
                    };
                    self.note(node, &answer);
                    if let Some(place) = answers.get_mut(task.at) {
                        *place = answer;
                    }
                }
            }
        }
        if has_moved {
            self.refresh();
        }
        self.had_trouble = answers.iter().any(|answer| answer.as_ref().is_err_and(|e| is_away(e) || is_state(e)));
        match answers.first() {
            Some(Err(e)) if self.table.places().iter().all(|place| self.is_place_away(place)) => {
                Err(Failed::Nobody(e.clone()))
            }
            _ => Ok(answers),
        }
    }

    /// Loads a script on every master that answers, and returns its name.
    pub(super) fn load(&mut self, text: &str) -> Result<String, Failed> {
        let mut load = cmd("SCRIPT");
        load.arg("LOAD").arg(text);
        let (commands, places) = ([load], self.table.places().to_vec());
        let nodes: Vec<usize> = places.iter().filter_map(|place| self.node(place)).collect();
        self.open_all(&nodes)?;
        let task = Task { at: 0, slot: None, to: None };
        let send = |node| (node, self.send(node, &commands, std::slice::from_ref(&task)));
        let sent: Vec<_> = nodes.into_iter().map(send).collect();
        let until = self.clock.now() + self.address.timeout.into();
        let (mut name, mut trouble) = (None, away("no node has answered"));
        for (node, sent) in sent {
            let answer = sent.and_then(|()| self.receive(node, &task, until));
            match answer {
                Ok(Value::BulkString(found)) => name = String::from_utf8(found).ok(),
                Ok(_) => {}
                Err(e) if is_closed(&e) && self.is_open(node) => {
                    self.renew(node);
                    trouble = e;
                }
                Err(e) if is_of_connection(&e) => {
                    let told: RedisResult<()> = self.fail(node, e);
                    trouble = told.err().unwrap_or(trouble);
                }
                Err(e) => trouble = e,
            }
        }
        name.ok_or(Failed::Nobody(trouble))
    }
}

/// One round.
impl Cluster {
    /// The commands of each node, connected to. What can go to no node is answered so.
    fn groups(&mut self, tasks: Vec<Task>, answers: &mut Answers) -> Result<Vec<(usize, Vec<Task>)>, Failed> {
        let mut groups: Vec<(usize, Vec<Task>)> = Vec::new();
        for task in tasks {
            let to = task.to.as_ref().map(|(place, _)| place);
            let place =
                to.or_else(|| task.slot.map_or(self.table.places().first(), |slot| self.table.at(slot))).cloned();
            let Some(node) = place.and_then(|place| self.node(&place)) else {
                if let Some(answer) = answers.get_mut(task.at) {
                    *answer = Err(away("no node has its slot"));
                }
                continue;
            };
            match groups.iter_mut().find(|(known, _)| *known == node) {
                Some((_, group)) => group.push(task),
                None => groups.push((node, vec![task])),
            }
        }
        let nodes: Vec<usize> = groups.iter().map(|(node, _)| *node).collect();
        self.open_all(&nodes)?;
        Ok(groups)
    }

    /// Connects to those of these nodes that are new, all at once.
    fn open_all(&mut self, nodes: &[usize]) -> Result<(), Failed> {
        for node in nodes {
            if let Some(node) = self.nodes.get_mut(*node) {
                node.begin(&self.address);
            }
        }
        let until = self.clock.now() + self.address.timeout.into();
        for number in nodes.iter().copied() {
            let now = self.clock.now();
            let within = Duration::from(until.since(now)).max(AT_LEAST);
            let Some(node) = self.nodes.get_mut(number) else { continue };
            if node.finish(within, now) {
                self.check_key(number)?;
            }
        }
        Ok(())
    }

    /// Asks a node that was connected to just now for the key that the Cluster must have, if it should have it.
    fn check_key(&mut self, node: usize) -> Result<(), Failed> {
        let Some((key, bytes)) = &self.must_have else { return Ok(()) };
        let mut get = cmd("GET");
        get.arg(key);
        let home = slot(&get).and_then(|slot| self.table.at(slot));
        let Some(node) = self.nodes.get_mut(node).filter(|node| Some(&node.place) == home) else { return Ok(()) };
        let Some(connection) = node.connection() else { return Ok(()) };
        connection.set_read_timeout(Some(self.address.timeout)).map_err(Failed::Nobody)?;
        match get.query::<Value>(connection) {
            Ok(Value::BulkString(found)) if found == *bytes => Ok(()),
            Ok(_) => Err(Failed::Keyless),
            Err(e) if e.redirect_node().is_some() => Ok(()),
            // Without an answer nothing may be written there.
            Err(e) => {
                node.fail(e, self.clock.now());
                Ok(())
            }
        }
    }

    /// Sends a group of commands to its node.
    fn send(&mut self, node: usize, commands: &[Cmd], group: &[Task]) -> RedisResult<()> {
        let Some(node) = self.nodes.get_mut(node) else { return Err(away("the node is not known any more")) };
        if let Some(why) = node.why() {
            return Err(why.clone());
        }
        let Some(connection) = node.connection() else { return Err(away("the node is not connected to")) };
        let mut packed = Vec::new();
        for task in group {
            if task.is_asking() {
                packed.extend_from_slice(&cmd("ASKING").get_packed_command());
            }
            packed.extend(commands.get(task.at).map(Cmd::get_packed_command).unwrap_or_default());
        }
        connection.send_packed_command(&packed)
    }

    /// Reads the answer to a command.
    fn receive(&mut self, node: usize, task: &Task, until: Tick) -> RedisResult<Value> {
        let left = Duration::from(until.since(self.clock.now())).max(AT_LEAST);
        let connection = self.nodes.get_mut(node).and_then(Node::connection);
        let Some(connection) = connection else { return Err(away("the node is not connected to")) };
        connection.set_read_timeout(Some(left))?;
        if task.is_asking() {
            // Whether it may ask, the answer behind this one says.
            match connection.recv_response() {
                Err(e) if is_of_connection(&e) => return Err(e),
                _ => {}
            }
        }
        connection.recv_response().and_then(Value::extract_error)
    }

    /// A node failed. What that means for a command that was meant for it.
    fn fail<T>(&mut self, node: usize, why: RedisError) -> RedisResult<T> {
        let now = self.clock.now();
        let Some(node) = self.nodes.get_mut(node) else { return Err(why) };
        if !node.is_away() {
            node.fail(why.clone(), now);
        }
        // Who is not let in at one node must hear why.
        match why.kind() {
            ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig => Err(why),
            _ if why.is_timeout() => Err(away(&format!("{} did not answer in time", node.place))),
            _ => Err(away(&format!("{}: {why}", node.place))),
        }
    }

    /// Notes whether a node that is there refuses for the state that the Cluster or a slot is in. That it takes a command
    /// again is told.
    fn note(&mut self, node: usize, answer: &RedisResult<Value>) {
        let Some(node) = self.nodes.get_mut(node) else { return };
        match answer {
            Ok(_) => self.has_recovered |= std::mem::take(&mut node.refuses),
            Err(e) => node.refuses |= is_state(e),
        }
    }

    /// Where a node sends a command, and whether only this once.
    fn redirection(&self, node: usize, e: &RedisError) -> Option<(Place, bool)> {
        let is_once = match e.kind() {
            ErrorKind::Server(ServerErrorKind::Ask) => true,
            ErrorKind::Server(ServerErrorKind::Moved) => false,
            _ => return None,
        };
        let said_by = &self.nodes.get(node)?.place;
        Some((Place::read(e.redirect_node()?.0, said_by)?, is_once))
    }
}

/// Nodes.
impl Cluster {
    /// The number of the node at a place. `None`: there are too many nodes.
    fn node(&mut self, place: &Place) -> Option<usize> {
        let known = self.nodes.iter().position(|node| node.place == *place);
        if known.is_none() && self.nodes.len() < NODES {
            self.nodes.push(Node::new(place.clone()));
            return Some(self.nodes.len() - 1);
        }
        known
    }

    fn is_place_away(&self, place: &Place) -> bool {
        self.nodes.iter().any(|node| node.place == *place && node.is_away())
    }

    fn is_open(&self, node: usize) -> bool {
        self.nodes.get(node).is_some_and(Node::is_open)
    }

    fn is_new(&self, node: usize) -> bool {
        self.nodes.get(node).is_some_and(|node| !node.is_open() && !node.is_away())
    }

    fn renew(&mut self, node: usize) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.renew();
        }
    }

    /// Looks after nodes that are away, and who has their slots.
    fn look(&mut self) {
        let now = self.clock.now();
        let is_troubled = self.had_trouble || self.nodes.iter().any(Node::is_away);
        if self.refresh_at <= now && (is_troubled || self.nodes.len() >= NODES) {
            self.refresh_at = now + REFRESH;
            self.refresh();
        }
        for number in 0..self.nodes.len() {
            let Some(node) = self.nodes.get_mut(number) else { continue };
            if node.look(&self.address, now) {
                self.is_keyless |= self.check_key(number).is_err();
                self.has_recovered |= self.is_open(number);
            }
        }
    }

    /// Asks who has which slot: nodes that have answered, one after the other, until one tells.
    fn refresh(&mut self) {
        let mut slots = cmd("CLUSTER");
        slots.arg("SLOTS");
        let until = self.clock.now() + self.address.timeout.into();
        for number in 0..self.nodes.len() {
            let now = self.clock.now();
            let left = Duration::from(until.since(now)).max(AT_LEAST);
            let Some(node) = self.nodes.get_mut(number) else { continue };
            let Some(connection) = node.connection() else { continue };
            let told = connection.set_read_timeout(Some(left)).and_then(|()| slots.query::<Value>(connection));
            match told {
                Ok(told) => {
                    let Some(table) = Table::read(&told, &node.place) else { continue };
                    self.has_recovered |= !table.is_like(&self.table);
                    self.table = table;
                    let places = self.table.places();
                    self.nodes.retain(|node| places.contains(&node.place));
                    return;
                }
                Err(e) if is_closed(&e) => node.renew(),
                Err(e) if is_of_connection(&e) => node.fail(e, now),
                Err(_) => {}
            }
        }
    }
}

impl Task {
    fn is_asking(&self) -> bool {
        self.to.as_ref().is_some_and(|(_, is_once)| *is_once)
    }
}

/// What is left of a time-out at least, for an answer that may be there already.
const AT_LEAST: Duration = Duration::from_millis(50);

/// The error of a command whose node is away, while others may be there.
fn away(why: &str) -> RedisError {
    (ErrorKind::ClusterConnectionNotFound, "a node of the Cluster is away", why.to_owned()).into()
}

fn is_away(e: &RedisError) -> bool {
    e.kind() == ErrorKind::ClusterConnectionNotFound
}

/// Whether a node refuses since slots move, or nobody has them, or the Cluster is not whole.
fn is_state(e: &RedisError) -> bool {
    let down = ErrorKind::Server(ServerErrorKind::ClusterDown);
    e.kind() == down || e.kind() == ErrorKind::Server(ServerErrorKind::TryAgain)
}

/// Whether the connection is of no use after this error.
fn is_of_connection(e: &RedisError) -> bool {
    is_away(e) || e.is_io_error() || e.is_timeout() || e.is_connection_dropped() || e.kind() == ErrorKind::Parse
}

/// Whether the other side has closed the connection.
fn is_closed(e: &RedisError) -> bool {
    e.is_connection_dropped() && !e.is_timeout() && !e.is_connection_refusal()
}

/// Connects to all seeds at once, and takes the first that knows the Cluster.
fn first_seed(address: &Address) -> RedisResult<(Place, Connection, Table)> {
    let seeds: Vec<Place> = address.hosts.iter().map(|(host, port)| Place::new(host, *port)).collect();
    let waiting: Vec<_> = seeds.iter().map(|place| connecting(address, place)).collect();
    let clock = Clock::start();
    let until = clock.now() + address.timeout.into();
    let mut trouble: Option<RedisError> = None;
    let mut note = |e: RedisError| {
        // What says more than that a seed is away is kept.
        let says_more = !is_of_connection(&e);
        if trouble.is_none() || says_more {
            trouble = Some(e);
        }
    };
    let mut waiting: Vec<_> = seeds.into_iter().zip(waiting).collect();
    while !waiting.is_empty() {
        let left = Duration::from(until.since(clock.now())).max(AT_LEAST);
        // In turn, for a short time each: one that is silent must not hide one that answers.
        let turn = left.min(TURN);
        let mut silent = Vec::new();
        for (place, connecting) in waiting {
            match connecting.recv_timeout(turn) {
                Ok(Ok(mut connection)) => match slots_of(&mut connection, &place, left) {
                    Ok(table) => return Ok((place, connection, table)),
                    Err(e) => note(e),
                },
                Ok(Err(e)) => note(e),
                Err(_) if until <= clock.now() => note(late()),
                Err(_) => silent.push((place, connecting)),
            }
        }
        waiting = silent;
    }
    Err(trouble.unwrap_or_else(|| (ErrorKind::InvalidClientConfig, "there is no host").into()))
}

/// How long one seed is waited for before the next one is looked at.
const TURN: Duration = Duration::from_millis(5);

fn slots_of(connection: &mut Connection, place: &Place, within: Duration) -> RedisResult<Table> {
    connection.set_read_timeout(Some(within))?;
    let told = cmd("CLUSTER").arg("SLOTS").query::<Value>(connection)?;
    let none = || (ErrorKind::UnexpectedReturnType, "it tells of no slots of a Cluster").into();
    Table::read(&told, place).ok_or_else(none)
}
