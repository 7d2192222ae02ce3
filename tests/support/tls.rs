//! TLS for tests: authorities that sign certificates into files, upstreams and clients that speak it.
//!
//! In: names. Out: files, configurations, connections.
//! Law: each authority is new, and so are its keys; its files go with it.

use super::client::Wire;
use super::{Client, Door, PATIENCE, Proxy};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, pem::PemObject};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use segno::config::{Config, Route, Upstream};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A certificate authority, and a folder that holds its certificate and those that it has signed.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// Its own certificate.
    pub file: PathBuf,
    folder: PathBuf,
}

/// The files of a certificate and its key.
#[derive(Clone)]
pub struct Pair {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let n = MADE.fetch_add(1, Ordering::Relaxed);
        params.distinguished_name.push(DnType::CommonName, format!("segno tests {n}"));
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = std::env::temp_dir().join(format!("segno-tls-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("authority.pem");
        std::fs::write(&file, issuer.pem()).unwrap();
        Self { issuer, file, folder }
    }

    /// A place for a file that goes with the authority.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Signs a certificate for these names, for servers and clients, and writes it and its key under `file`.
    pub fn sign(&self, file: &str, names: &[&str]) -> Pair {
        let params = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap();
        self.sign_with(file, params)
    }

    /// The same with whatever else the certificate shall say.
    pub fn sign_with(&self, file: &str, mut params: CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let pair = Pair { cert: self.path(&format!("{file}.pem")), key: self.path(&format!("{file}.key")) };
        std::fs::write(&pair.cert, certificate.pem()).unwrap();
        std::fs::write(&pair.key, key.serialize_pem()).unwrap();
        close_to_others(&pair.key);
        pair
    }

    /// The configuration of a server with this name.
    pub fn server(&self, name: &str) -> Arc<ServerConfig> {
        let (chain, key) = self.sign(&format!("server-{name}"), &[name]).read();
        let config = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap())
    }

    /// The same for a server that wants certificates of clients.
    pub fn strict_server(&self, name: &str) -> Arc<ServerConfig> {
        self.strict_server_trusting(name, self)
    }

    /// The same where another authority vouches for clients.
    pub fn strict_server_trusting(&self, name: &str, other: &Self) -> Arc<ServerConfig> {
        let (chain, key) = self.sign(&format!("server-{name}"), &[name]).read();
        let config = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(other.roots()), provider()).build().unwrap();
        Arc::new(config.with_client_cert_verifier(verifier).with_single_cert(chain, key).unwrap())
    }

    /// A proxy to `https://host:port` that trusts this authority alone.
    pub fn proxy_to(&self, host: &str, port: u16) -> Proxy {
        Proxy::of(self.route_to(host, port))
    }

    /// A route to `https://host:port` that trusts this authority alone.
    pub fn route_to(&self, host: &str, port: u16) -> Route {
        let mut route = Route::new(Upstream::parse(&format!("https://{host}:{port}")).unwrap());
        route.upstream_ca = Some(self.file.clone());
        route
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        roots
    }

    /// A client that trusts this authority alone.
    pub fn client_config(&self, own: Option<&Pair>) -> ClientConfig {
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(self.roots()), provider()).build().unwrap();
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_webpki_verifier(verifier);
        match own {
            None => config.with_no_client_auth(),
            Some(pair) => {
                let (chain, key) = pair.read();
                config.with_client_auth_cert(chain, key).unwrap()
            }
        }
    }

    /// Connects to a listener with TLS, by this name. The handshake goes with the first bytes.
    pub fn client(&self, to: SocketAddr, name: &str) -> Client {
        tls_client(self.client_config(None), to, name)
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Pair {
    pub fn read(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = CertificateDer::pem_file_iter(&self.cert).unwrap().map(Result::unwrap).collect();
        (chain, PrivateKeyDer::from_pem_file(&self.key).unwrap())
    }

    /// A configuration whose listeners speak TLS by this certificate.
    pub fn config(&self, route: Route) -> Config {
        let (tls_cert, tls_key) = (vec![self.cert.clone()], vec![self.key.clone()]);
        Config { tls_cert, tls_key, routes: vec![route].into(), ..Config::default() }
    }

    /// Puts the files of another certificate in the place of these.
    pub fn replace_by(&self, other: &Self) {
        std::fs::rename(&other.cert, &self.cert).unwrap();
        std::fs::rename(&other.key, &self.key).unwrap();
    }
}

#[cfg(unix)]
fn close_to_others(file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[cfg(not(unix))]
fn close_to_others(_: &Path) {}

pub fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A key by itself, in DER.
pub fn new_key() -> PrivateKeyDer<'static> {
    PrivateKeyDer::from(PrivatePkcs8KeyDer::from(KeyPair::generate().unwrap().serialize_der()))
}

/// A client's side of TLS over a socket.
pub type TlsWire = StreamOwned<ClientConnection, TcpStream>;

impl Wire for TlsWire {
    fn socket(&self) -> &TcpStream {
        &self.sock
    }
}

/// Connects to a listener with TLS, by this name. The handshake goes with the first bytes.
pub fn tls_wire(config: ClientConfig, to: SocketAddr, name: &str) -> TlsWire {
    tls_over(config, TcpStream::connect(to).unwrap(), name)
}

/// Begins TLS over a socket.
pub fn tls_over(config: ClientConfig, stream: TcpStream, name: &str) -> TlsWire {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let session = ClientConnection::new(Arc::new(config), name).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    StreamOwned::new(session, stream)
}

pub fn tls_client(config: ClientConfig, to: SocketAddr, name: &str) -> Client {
    Client::over(tls_wire(config, to, name))
}

/// The proxy's end of a TLS connection, seen from upstream. Dropped, it closes without `close_notify`.
pub struct TlsPeer(pub BufReader<StreamOwned<ServerConnection, TcpStream>>);

impl TlsPeer {
    pub fn accept(door: &mut Door, config: &Arc<ServerConfig>) -> Self {
        let stream = door.accept_raw();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let session = ServerConnection::new(Arc::clone(config)).unwrap();
        Self(BufReader::new(StreamOwned::new(session, stream)))
    }

    pub fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(self.0.read_line(&mut head).unwrap(), 0, "the connection ends inside {head:?}");
        }
        head
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).unwrap();
        self.0.get_mut().flush().unwrap();
    }

    pub fn begin_stream(&mut self) {
        self.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    }

    pub fn send_chunk(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.send([format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat());
    }

    /// Ends the TLS connection properly, with `close_notify`.
    pub fn notify_and_close(mut self) {
        self.0.get_mut().conn.send_close_notify();
        self.0.get_mut().flush().unwrap();
    }
}
