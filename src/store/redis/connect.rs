//! Connections to servers: each with its time-outs, its user and its password.
//!
//! In: an address, the place of a server. Out: a connection to it.
//! Laws: every connection has the address's time-out, and so has every answer over it; a password file is read at each
//! connection.

use super::address::{Address, Credentials, Kind};
use super::fault::denied;
use crate::store::error::StoreError;
#[cfg(feature = "tls")]
use ::redis::RedisError;
use ::redis::{
    Client, Connection, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisConnectionInfo, RedisResult,
};

/// The longest password in a file, in bytes.
const LONGEST_PASSWORD: usize = 4 << 10;

/// The password: that of the address, or the first line of its file.
pub(super) fn password(address: &Address) -> Result<Option<String>, StoreError> {
    let Some(path) = &address.password_file else { return Ok(address.credentials.password.clone()) };
    let unusable =
        |why: String| denied(address, &format!("the password cannot be read from {}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|e| unusable(e.to_string()))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() && line.len() <= LONGEST_PASSWORD => Ok(Some(line.to_owned())),
        _ => Err(unusable("its first line is empty or too long".to_owned())),
    }
}

pub(super) fn settings(who: &Credentials, database: u32) -> RedisConnectionInfo {
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
pub(super) fn connect_one(
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
        (None, _) => return Err((ErrorKind::InvalidClientConfig, "there is no host").into()),
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
    let unusable = |what: &'static str, path: &std::path::Path, why: &str| {
        RedisError::from((ErrorKind::InvalidClientConfig, what, format!("{}: {why}", path.display())))
    };
    let read = |path: &std::path::Path| {
        std::fs::read(path).map_err(|e| unusable("a file for TLS cannot be read", path, &e.to_string()))
    };
    let read_certificates = |path: &std::path::Path| {
        let bytes = read(path)?;
        match String::from_utf8_lossy(&bytes).contains("-----BEGIN CERTIFICATE-----") {
            true => Ok(bytes),
            false => Err(unusable("a file for TLS cannot be used", path, "there is no certificate in it")),
        }
    };
    let client_tls = match &address.certificate {
        Some((cert, key)) => {
            Some(::redis::ClientTlsConfig { client_cert: read_certificates(cert)?, client_key: read(key)? })
        }
        None => None,
    };
    Ok(::redis::TlsCertificates { client_tls, root_cert: address.ca.as_deref().map(read_certificates).transpose()? })
}

#[cfg(not(feature = "tls"))]
fn client(_: &Address, info: ConnectionInfo) -> RedisResult<Client> {
    Client::open(info)
}

/// Connects to a node of a Cluster.
pub(super) fn connect_node(address: &Address, host: &str, port: u16) -> RedisResult<Connection> {
    let unusable = |e: StoreError| -> ::redis::RedisError {
        (ErrorKind::InvalidClientConfig, "the password cannot be had", e.to_string()).into()
    };
    let who = Credentials { user: address.credentials.user.clone(), password: password(address).map_err(unusable)? };
    connect_one(address, Some((host, port)), settings(&who, 0))
}
