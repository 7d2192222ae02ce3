//! A connection to the server: made, used, and given up when it fails.
//!
//! In: an address; commands. Out: an answer to each of them, in one round trip.
//! Laws: every connection and every call has the address's time-out, on a Cluster every command of a call; Sentinels are
//! asked at each connection, and a server is written to only while it says that it is a master.

use super::address::{Address, Credentials, Kind};
use super::fault::{denied, of, server};
use crate::store::error::{ServerFault, StoreError};
use ::redis::cluster::{ClusterClientBuilder, ClusterConnection, ClusterPipeline};
use ::redis::{
    Client, Cmd, Connection, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, RedisError,
    RedisResult, Value, cmd,
};

/// How often a command of a Cluster is tried, and how long it is waited in between, in milliseconds. The persister has
/// the longer waits.
const RETRIES: u32 = 2;
const WAITS: (u64, u64) = (20, 100);

/// The longest password in a file, in bytes.
const LONGEST_PASSWORD: usize = 4 << 10;

/// A connection.
pub(super) enum Link {
    /// To one server.
    One(Box<Connection>),
    /// To the nodes of a Cluster.
    Many(Box<ClusterConnection>),
}

/// The answers to several commands.
pub(super) type Answers = Vec<Result<Value, RedisError>>;

impl Link {
    /// Connects.
    pub(super) fn connect(address: &Address) -> Result<Self, StoreError> {
        if address.tls && !cfg!(feature = "tls") {
            return Err(StoreError::NotBuilt { store: address.to_string().into() });
        }
        let password = password(address)?;
        let who = Credentials { user: address.credentials.user.clone(), password };
        match &address.kind {
            Kind::Cluster => connect_cluster(address, &who),
            Kind::Sentinel { master } => connect_master(address, &who, master),
            Kind::Single | Kind::Unix { .. } => {
                let place = address.hosts.first().map(|(host, port)| (host.as_str(), *port));
                let link = connect_one(address, place, settings(&who, address.database));
                Ok(Self::One(Box::new(link.map_err(|e| of(address, &e))?)))
            }
        }
    }

    /// Sends commands, and returns an answer for each. The outer error means that nothing is known of any.
    pub(super) fn run(&mut self, commands: &[Cmd]) -> Result<Answers, RedisError> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let value: Value = match self {
            Self::One(one) => return one_by_one(one, commands),
            Self::Many(many) => {
                let mut all = ClusterPipeline::with_capacity(commands.len());
                commands.iter().for_each(|command| _ = all.add_command(command.clone()));
                // One error stands for all.
                all.query(many)?
            }
        };
        match value {
            Value::Array(values) if values.len() == commands.len() => {
                Ok(values.into_iter().map(Value::extract_error).collect())
            }
            _ => Err((::redis::ErrorKind::UnexpectedReturnType, "an answer is missing").into()),
        }
    }

    /// Loads a script on every server that is written to, and returns its name.
    pub(super) fn load(&mut self, text: &str) -> Result<String, RedisError> {
        let mut load = cmd("SCRIPT");
        load.arg("LOAD").arg(text);
        match self {
            Self::One(one) => load.query(&mut **one),
            Self::Many(many) => load.query(&mut **many),
        }
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Many(_))
    }
}

/// Sends all commands at once, then reads an answer for each. The first answer that does not come ends the call, so that
/// a server that has fallen silent takes one time-out, and not one for each command.
fn one_by_one(one: &mut Connection, commands: &[Cmd]) -> Result<Answers, RedisError> {
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

/// The password: that of the address, or the first line of its file.
fn password(address: &Address) -> Result<Option<String>, StoreError> {
    let Some(path) = &address.password_file else { return Ok(address.credentials.password.clone()) };
    let unusable =
        |why: String| denied(address, &format!("the password cannot be read from {}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|e| unusable(e.to_string()))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() && line.len() <= LONGEST_PASSWORD => Ok(Some(line.to_owned())),
        _ => Err(unusable("its first line is empty or too long".to_owned())),
    }
}

fn settings(who: &Credentials, database: u32) -> RedisConnectionInfo {
    let settings = RedisConnectionInfo::default().set_db(i64::from(database)).set_lib_name("segno", VERSION);
    let settings = match &who.user {
        Some(user) => settings.set_username(user),
        None => settings,
    };
    match &who.password {
        Some(password) => settings.set_password(password),
        None => settings,
    }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Connects to the server at a host, or at the address's socket.
fn connect_one(
    address: &Address,
    place: Option<(&str, u16)>,
    settings: RedisConnectionInfo,
) -> RedisResult<Connection> {
    let client = client(address, info(address, place)?.set_redis_settings(settings))?;
    let connection = client.get_connection_with_timeout(address.timeout)?;
    connection.set_read_timeout(Some(address.timeout))?;
    connection.set_write_timeout(Some(address.timeout))?;
    Ok(connection)
}

fn info(address: &Address, place: Option<(&str, u16)>) -> RedisResult<ConnectionInfo> {
    let place = match (place, &address.kind) {
        (Some((host, port)), _) if address.tls => {
            ConnectionAddr::TcpTls { host: host.to_owned(), port, insecure: false, tls_params: None }
        }
        (Some((host, port)), _) => ConnectionAddr::Tcp(host.to_owned(), port),
        (None, Kind::Unix { path }) => ConnectionAddr::Unix(path.clone()),
        (None, _) => return Err((::redis::ErrorKind::InvalidClientConfig, "there is no host").into()),
    };
    place.into_connection_info()
}

#[cfg(feature = "tls")]
fn client(address: &Address, info: ConnectionInfo) -> RedisResult<Client> {
    if !address.tls || (address.ca.is_none() && address.certificate.is_none()) {
        return Client::open(info);
    }
    Client::build_with_tls(info, certificates(address)?)
}

#[cfg(feature = "tls")]
fn certificates(address: &Address) -> RedisResult<::redis::TlsCertificates> {
    let read = |path: &std::path::Path| {
        let unreadable = |e: std::io::Error| {
            let what = format!("{}: {e}", path.display());
            RedisError::from((::redis::ErrorKind::InvalidClientConfig, "a file for TLS cannot be read", what))
        };
        std::fs::read(path).map_err(unreadable)
    };
    let client_tls = match &address.certificate {
        Some((cert, key)) => Some(::redis::ClientTlsConfig { client_cert: read(cert)?, client_key: read(key)? }),
        None => None,
    };
    Ok(::redis::TlsCertificates { client_tls, root_cert: address.ca.as_deref().map(read).transpose()? })
}

#[cfg(not(feature = "tls"))]
fn client(_: &Address, info: ConnectionInfo) -> RedisResult<Client> {
    Client::open(info)
}

fn connect_cluster(address: &Address, who: &Credentials) -> Result<Link, StoreError> {
    let connect = || -> RedisResult<ClusterConnection> {
        let seeds: RedisResult<Vec<_>> =
            address.hosts.iter().map(|(host, port)| info(address, Some((host, *port)))).collect();
        let seeds: Vec<_> = seeds?.into_iter().map(|seed| seed.set_redis_settings(settings(who, 0))).collect();
        let builder = ClusterClientBuilder::new(seeds)
            .retries(RETRIES)
            .min_retry_wait(WAITS.0)
            .max_retry_wait(WAITS.1)
            .connection_timeout(address.timeout)
            .response_timeout(address.timeout);
        #[cfg(feature = "tls")]
        let builder = match address.tls && (address.ca.is_some() || address.certificate.is_some()) {
            true => builder.certs(certificates(address)?),
            false => builder,
        };
        let connection = builder.build()?.get_connection()?;
        connection.set_read_timeout(Some(address.timeout))?;
        connection.set_write_timeout(Some(address.timeout))?;
        Ok(connection)
    };
    connect().map(|many| Link::Many(Box::new(many))).map_err(|e| of(address, &e))
}

/// Connects to the master that the first Sentinel names which answers.
fn connect_master(address: &Address, who: &Credentials, master: &str) -> Result<Link, StoreError> {
    let mut trouble = None;
    for (host, port) in &address.hosts {
        match named_by(address, (host, *port), master) {
            Ok(Some((host, port))) => {
                let mut one = connect_one(address, Some((&host, port)), settings(who, address.database))
                    .map_err(|e| of(address, &e))?;
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
            Err(e) => trouble = trouble.filter(StoreError::is_misconfigured).or(Some(of(address, &e))),
        }
    }
    Err(trouble.unwrap_or_else(|| server(address, ServerFault::Misnamed, "there is no Sentinel")))
}

/// The host and port of the master, as one Sentinel says.
fn named_by(address: &Address, sentinel: (&str, u16), master: &str) -> RedisResult<Option<(String, u16)>> {
    let mut one = connect_one(address, Some(sentinel), settings(&address.sentinel, 0))?;
    cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master).query(&mut one)
}
