//! A connection to the store's server, or to all of its servers.
//!
//! In: an address; commands. Out: an answer to each of them, in one round trip.
//! Law: Sentinels are asked at each connection, and a server is written to only while it says that it is a master.

use super::address::{Address, Credentials, Kind};
use super::cluster::Cluster;
use super::connect::{connect_one, password, settings};
use super::fault::{of, of_opening, server};
use crate::store::error::{ServerFault, StoreError};
use ::redis::{Cmd, Connection, RedisResult, Value, cmd};

/// A connection.
pub(super) enum Link {
    /// To one server.
    One(Box<Connection>),
    /// To the nodes of a Cluster.
    Many(Box<Cluster>),
}

impl Link {
    /// Connects.
    pub(super) fn connect(address: &Address) -> Result<Self, StoreError> {
        if address.tls && !cfg!(feature = "tls") {
            return Err(StoreError::NotBuilt { store: address.to_string().into() });
        }
        let password = password(address)?;
        let who = Credentials { user: address.credentials.user.clone(), password };
        match &address.kind {
            Kind::Cluster => {
                Cluster::connect(address).map(|many| Self::Many(Box::new(many))).map_err(|e| of_opening(address, &e))
            }
            Kind::Sentinel { master } => connect_master(address, &who, master),
            Kind::Single | Kind::Unix { .. } => {
                let place = address.hosts.first().map(|(host, port)| (host.as_str(), *port));
                let link = connect_one(address, place, settings(&who, address.database));
                Ok(Self::One(Box::new(link.map_err(|e| of_opening(address, &e))?)))
            }
        }
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Many(_))
    }
}

/// Sends all commands at once, then reads an answer for each. The first answer that does not come ends the call, so that
/// a server that has fallen silent takes one time-out, and not one for each command.
pub(super) fn one_by_one(one: &mut Connection, commands: &[Cmd]) -> RedisResult<Vec<RedisResult<Value>>> {
    let packed: Vec<u8> = commands.iter().flat_map(Cmd::get_packed_command).collect();
    one.send_packed_command(&packed)?;
    let mut answers = Vec::with_capacity(commands.len());
    for _ in commands {
        match one.recv_response().and_then(Value::extract_error) {
            Err(e) if e.is_io_error() || e.is_timeout() || e.is_connection_dropped() => return Err(e),
            answer => answers.push(answer),
        }
    }
    Ok(answers)
}

/// Connects to the master that the first Sentinel names which answers.
fn connect_master(address: &Address, who: &Credentials, master: &str) -> Result<Link, StoreError> {
    let mut trouble = None;
    for (host, port) in &address.hosts {
        match named_by(address, (host, *port), master) {
            Ok(Some((host, port))) => {
                let mut one = connect_one(address, Some((&host, port)), settings(who, address.database))
                    .map_err(|e| of_opening(address, &e))?;
                let role: Vec<Value> = cmd("ROLE").query(&mut one).map_err(|e| of(address, &e))?;
                return match role.first() {
                    Some(Value::BulkString(role)) if **role == *b"master" => Ok(Link::One(Box::new(one))),
                    _ => {
                        let why = format!("{host}:{port}, which a Sentinel names, is no master");
                        Err(server(address, ServerFault::Replaced, &why))
                    }
                };
            }
            Ok(None) => {
                let why = format!("{host}:{port} knows no master `{master}`");
                trouble = Some(server(address, ServerFault::Misnamed, &why));
            }
            // What says more than that a Sentinel is away is kept.
            Err(e) => trouble = trouble.filter(StoreError::is_misconfigured).or(Some(of_opening(address, &e))),
        }
    }
    Err(trouble.unwrap_or_else(|| server(address, ServerFault::Misnamed, "there is no Sentinel")))
}

/// The host and port of the master, as one Sentinel says.
fn named_by(address: &Address, sentinel: (&str, u16), master: &str) -> RedisResult<Option<(String, u16)>> {
    let mut one = connect_one(address, Some(sentinel), settings(&address.sentinel, 0))?;
    cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master).query(&mut one)
}
