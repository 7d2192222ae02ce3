//! Where a store on Redis is, as a URL says it.
//!
//! In: a URL. Out: an [`Address`], or what is wrong with the URL.
//! Laws: nothing is connected to; a password is in no message and in no text that is made of an address.
//!
//! The parts are taken apart here, since the URL of a Cluster or of Sentinels names several hosts, which no URL has by
//! the standard.

use crate::store::StoreError;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// What the server is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// One server.
    Single,
    /// Sentinels, which name the present master of this name.
    Sentinel {
        /// The name that the Sentinels know the master by.
        master: Box<str>,
    },
    /// A Cluster, of which some nodes are named.
    Cluster,
    /// One server at a Unix socket.
    Unix {
        /// The socket.
        path: PathBuf,
    },
}

/// A user and a password, each of them perhaps missing.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Credentials {
    /// The user. `None`: the server's default user.
    pub user: Option<String>,
    /// The password.
    pub password: Option<String>,
}

/// Where a store on Redis is.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// What the server is.
    pub kind: Kind,
    /// Hosts and ports, of the server, of Sentinels, or of nodes of the Cluster. None for a Unix socket.
    pub hosts: Vec<(String, u16)>,
    /// Who connects.
    pub credentials: Credentials,
    /// A file with the password, read at each connection.
    pub password_file: Option<PathBuf>,
    /// Who connects to Sentinels.
    pub sentinel: Credentials,
    /// The number of the database.
    pub database: u32,
    /// Whether connections are encrypted.
    pub tls: bool,
    /// A file with the certificates that the server's is signed by, in place of the system's.
    pub ca: Option<PathBuf>,
    /// Files with a client certificate and with its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// What all keys begin with.
    pub prefix: String,
    /// How long a connection, and a call, may take.
    pub timeout: Duration,
}

/// The forms of a URL, for messages.
const FORMS: &str = "write `redis://HOST:PORT/DB`, `rediss://…` for TLS, `redis+unix:///PATH`, \
                     `redis+sentinel://HOST:PORT,HOST:PORT/MASTER/DB` or `redis+cluster://HOST:PORT,HOST:PORT`";

/// The settings behind the `?`, for messages.
const SETTINGS: &str = "`prefix`, `timeout`, `user`, `password_file`, `db`, `ca`, `cert`, `key`, `sentinel_user` or \
                        `sentinel_password`";

const PREFIX: &str = "segno";
const TIMEOUT: Duration = Duration::from_secs(1);
/// The least and the longest time-out.
const TIMEOUTS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(60));
/// The ports of servers and of Sentinels.
const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
/// The most hosts of one URL, and the longest prefix.
const MOST_HOSTS: usize = 64;
const LONGEST_PREFIX: usize = 64;

impl Address {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`StoreError::BadAddress`], which says what is wrong and shows no password.
    pub fn parse(url: &str) -> Result<Self, StoreError> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| bad(format!("it is no URL; {FORMS}")))?;
        let (tls, form) = match scheme {
            "redis" => (false, "single"),
            "rediss" => (true, "single"),
            "redis+unix" => (false, "unix"),
            "redis+sentinel" => (false, "sentinel"),
            "rediss+sentinel" => (true, "sentinel"),
            "redis+cluster" => (false, "cluster"),
            "rediss+cluster" => (true, "cluster"),
            _ => return Err(bad(format!("`{}://` is none of its forms; {FORMS}", scheme.escape_debug()))),
        };
        if rest.contains('#') {
            return Err(bad("a `#` stands in it; in a password, write `%23`".to_owned()));
        }
        let (place, settings) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = place.split_once('/').map_or((place, ""), |(authority, path)| (authority, path));
        if path.contains('@') || settings.contains('@') {
            let how = "an `@` stands behind its first `/` or `?`; in a password, write `%2F` for `/` and `%3F` for `?`";
            return Err(bad(how.to_owned()));
        }
        let (credentials, hosts) = authority.rsplit_once('@').map_or(("", authority), |(who, hosts)| (who, hosts));
        let mut address = Self {
            kind: Kind::Single,
            hosts: Vec::new(),
            credentials: read_credentials(credentials)?,
            password_file: None,
            sentinel: Credentials::default(),
            database: 0,
            tls,
            ca: None,
            certificate: None,
            prefix: PREFIX.to_owned(),
            timeout: TIMEOUT,
        };
        let mut database = path;
        match form {
            "unix" if !hosts.is_empty() => {
                return Err(bad("the path of a socket is absolute: write `redis+unix:///PATH`".to_owned()));
            }
            "unix" if path.is_empty() => return Err(bad("the path of the socket is missing".to_owned())),
            "unix" => {
                address.kind = Kind::Unix { path: PathBuf::from(format!("/{}", decode(path, "the path")?)) };
                database = "";
            }
            "sentinel" => {
                let (master, behind) = path.split_once('/').unwrap_or((path, ""));
                if master.is_empty() {
                    return Err(bad(format!("the name that Sentinels know the master by is missing; {FORMS}")));
                }
                address.kind = Kind::Sentinel { master: decode(master, "the name of the master")?.into() };
                database = behind;
            }
            "cluster" => address.kind = Kind::Cluster,
            _ => {}
        }
        if form != "unix" {
            let port = if form == "sentinel" { SENTINEL_PORT } else { PORT };
            address.hosts = read_hosts(hosts, port)?;
        }
        if form == "single" && address.hosts.len() > 1 {
            return Err(bad("it names several hosts: write `redis+cluster://` or `redis+sentinel://`".to_owned()));
        }
        if !database.is_empty() {
            address.database = read_database(database)?;
        }
        for setting in settings.split('&').filter(|setting| !setting.is_empty()) {
            address.set(setting)?;
        }
        if address.kind == Kind::Cluster && address.database > 0 {
            return Err(bad("a Cluster has no database but 0".to_owned()));
        }
        address.check_files()?;
        Ok(address)
    }

    fn set(&mut self, setting: &str) -> Result<(), StoreError> {
        let (key, value) = setting.split_once('=').unwrap_or((setting, ""));
        let value = decode(value, "a setting")?;
        if value.is_empty() {
            let key = key.escape_debug();
            return Err(bad(format!("the setting `{key}` has no value; there are {SETTINGS}")));
        }
        let of_sentinels = matches!(self.kind, Kind::Sentinel { .. });
        match key {
            "prefix" => {
                let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '{' | '}');
                if value.len() > LONGEST_PREFIX || !value.chars().all(is_plain) {
                    return Err(bad(format!(
                        "`prefix` has at most {LONGEST_PREFIX} visible characters, and no braces"
                    )));
                }
                self.prefix = value;
            }
            "timeout" => self.timeout = read_timeout(&value)?,
            "user" => self.credentials.user = Some(value),
            "db" => self.database = read_database(&value)?,
            "password_file" => self.password_file = Some(value.into()),
            "ca" | "cert" | "key" if !self.tls => {
                return Err(bad(format!("`{key}` needs TLS: write `rediss` in place of `redis`")));
            }
            "ca" => self.ca = Some(value.into()),
            "cert" => self.certificate.get_or_insert_default().0 = value.into(),
            "key" => self.certificate.get_or_insert_default().1 = value.into(),
            "sentinel_user" if of_sentinels => self.sentinel.user = Some(value),
            "sentinel_password" if of_sentinels => self.sentinel.password = Some(value),
            "password" => {
                let how =
                    "a password stands before the host, as in `redis://USER:PASSWORD@HOST`, or in `password_file`";
                return Err(bad(how.to_owned()));
            }
            _ => return Err(bad(format!("`{}` is no setting of it; there are {SETTINGS}", key.escape_debug()))),
        }
        Ok(())
    }

    fn check_files(&self) -> Result<(), StoreError> {
        if let Some((certificate, key)) = &self.certificate
            && (certificate.as_os_str().is_empty() || key.as_os_str().is_empty())
        {
            return Err(bad("`cert` and `key` go together".to_owned()));
        }
        if self.password_file.is_some() && self.credentials.password.is_some() {
            return Err(bad("there is a password in it, and `password_file` besides".to_owned()));
        }
        Ok(())
    }
}

impl fmt::Display for Address {
    /// Where it is, without a user or a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.tls { "s" } else { "" };
        match &self.kind {
            Kind::Unix { path } => return write!(f, "redis+unix://{}", path.display()),
            Kind::Single => write!(f, "redis{s}://")?,
            Kind::Sentinel { .. } => write!(f, "redis{s}+sentinel://")?,
            Kind::Cluster => write!(f, "redis{s}+cluster://")?,
        }
        for (n, (host, port)) in self.hosts.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            match host.contains(':') {
                true => write!(f, "{comma}[{host}]:{port}")?,
                false => write!(f, "{comma}{host}:{port}")?,
            }
        }
        match &self.kind {
            Kind::Sentinel { master } => write!(f, "/{master}"),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

fn bad(why: String) -> StoreError {
    StoreError::BadAddress { why: why.into() }
}

fn read_credentials(text: &str) -> Result<Credentials, StoreError> {
    let (user, password) = text.split_once(':').map_or((text, None), |(user, password)| (user, Some(password)));
    let given = |text: &str, what| decode(text, what).map(|text| Some(text).filter(|text| !text.is_empty()));
    Ok(Credentials {
        user: given(user, "the user")?,
        password: password.map(|text| given(text, "the password")).transpose()?.flatten(),
    })
}

fn read_hosts(text: &str, port: u16) -> Result<Vec<(String, u16)>, StoreError> {
    let hosts: Vec<_> = text.split(',').map(|host| read_host(host, port)).collect::<Result<_, _>>()?;
    if hosts.len() > MOST_HOSTS {
        return Err(bad(format!("it names {} hosts, and {MOST_HOSTS} are the most", hosts.len())));
    }
    Ok(hosts)
}

fn read_host(text: &str, default: u16) -> Result<(String, u16), StoreError> {
    let shown = text.escape_debug();
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, behind) = rest.split_once(']').ok_or_else(|| bad(format!("`{shown}` has no `]`")))?;
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(bad(format!("`{shown}` is no address of IPv6")));
            }
            (host, if behind.is_empty() { None } else { Some(behind.strip_prefix(':').unwrap_or("")) })
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err(bad(format!("a host is missing; {FORMS}")));
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if !host.chars().all(is_plain) {
        return Err(bad(format!("`{shown}` is no host")));
    }
    let port = match port {
        None => default,
        Some(port) => match port.parse() {
            Ok(port) if port > 0 => port,
            // It may be a password whose host was forgotten, so it is not shown.
            _ => return Err(bad(format!("what stands behind `{host}:` is no port"))),
        },
    };
    Ok((host.to_owned(), port))
}

fn read_database(text: &str) -> Result<u32, StoreError> {
    let shown = text.escape_debug();
    text.parse().map_err(|_| bad(format!("`{shown}` is no number of a database")))
}

fn read_timeout(text: &str) -> Result<Duration, StoreError> {
    let shown = text.escape_debug();
    let (least, most) = TIMEOUTS;
    let parsed = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => number.parse().ok().map(Duration::from_millis),
        (None, Some(number)) => number.parse().ok().map(Duration::from_secs),
        (None, None) => None,
    };
    match parsed {
        Some(time) if (least..=most).contains(&time) => Ok(time),
        _ => Err(bad(format!("the timeout `{shown}` is none from `10ms` to `60s`"))),
    }
}

/// Takes percent signs out. `what` names the text, which may be a password and so is not shown.
fn decode(text: &str, what: &str) -> Result<String, StoreError> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first != b'%' {
            out.push(*first);
            continue;
        }
        let digits = behind.get(..2).and_then(|digits| str::from_utf8(digits).ok());
        let byte = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let byte = byte.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(byte.ok_or_else(|| bad(format!("a `%` in {what} is not followed by two hexadecimal digits")))?);
        rest = behind.get(2..).unwrap_or_default();
    }
    String::from_utf8(out).map_err(|_| bad(format!("{what} is no text of UTF-8")))
}
