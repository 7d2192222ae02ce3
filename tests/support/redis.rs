//! Real Redis servers on free loopback ports: one, a replica with Sentinels, a Cluster.
//!
//! In: `redis-server` or `valkey-server` on the PATH, with its `-cli`. Out: servers that are killed when they are
//! dropped.
//! Law: where no server is installed, that is said, and `SEGNO_REQUIRE_REDIS=1` makes it a failure.

use super::until;
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A running server.
pub struct Server {
    child: Child,
    pub port: u16,
    folder: PathBuf,
    arguments: Vec<String>,
    /// The password of `redis-cli`, where the server asks for one.
    pub password: Option<String>,
}

/// `redis-server` or `valkey-server`. `None`: neither is installed, which was said.
pub fn installed() -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let found = ["redis-server", "valkey-server"]
        .iter()
        .find_map(|name| path.split(':').map(|folder| Path::new(folder).join(name)).find(|file| file.is_file()));
    if found.is_none() {
        let required = std::env::var("SEGNO_REQUIRE_REDIS").is_ok_and(|value| value == "1");
        assert!(!required, "no redis-server is installed, and SEGNO_REQUIRE_REDIS is set");
        let _ = writeln!(io::stderr(), "SKIPPED: neither redis-server nor valkey-server is installed");
    }
    found
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

static COUNT: AtomicU32 = AtomicU32::new(0);

fn folder() -> PathBuf {
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("segno-redis-{}-{n}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

impl Server {
    /// Starts a server with these settings besides. `None`: skipped.
    pub fn start(settings: &[&str]) -> Option<Self> {
        let (port, folder) = (free_port(), folder());
        let own = ["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir", folder.to_str().unwrap()];
        let arguments = own.iter().chain(settings).map(|word| (*word).to_owned()).collect();
        Self::run(port, folder, arguments)
    }

    /// Starts a Sentinel that watches a master.
    pub fn sentinel(master: u16, quorum: u16) -> Option<Self> {
        let (port, folder) = (free_port(), folder());
        let file = folder.join("sentinel.conf");
        let settings = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor main 127.0.0.1 {master} {quorum}\n\
             sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n",
            folder.display()
        );
        std::fs::write(&file, settings).unwrap();
        Self::run(port, folder, vec![file.to_str().unwrap().to_owned(), "--sentinel".to_owned()])
    }

    fn run(port: u16, folder: PathBuf, arguments: Vec<String>) -> Option<Self> {
        let program = installed()?;
        let mut command = Command::new(program);
        let child = command.args(&arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Self { child: child.spawn().unwrap(), port, folder, arguments, password: None };
        server.until_it_answers();
        Some(server)
    }

    fn until_it_answers(&self) {
        until("the server listens", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops the process for a while, without ending it.
    pub fn signal(&self, name: &str) {
        let done = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(done.success());
    }

    /// Starts it again after [`Server::kill`], at the same port and with the same files.
    pub fn again(&mut self) {
        let mut command = Command::new(installed().unwrap());
        let child = command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = child.spawn().unwrap();
        self.until_it_answers();
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What `redis-cli` says to a command.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let program = installed().unwrap();
        let cli = program.to_str().unwrap().replace("-server", "-cli");
        let mut command = Command::new(cli);
        command.args(["-p", &self.port.to_string(), "--raw"]);
        if let Some(password) = &self.password {
            command.args(["--no-auth-warning", "-a", password]);
        }
        let out = command.args(arguments).stdin(Stdio::null()).output().unwrap();
        String::from_utf8_lossy(&out.stdout).trim_end().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A node of a Cluster that nobody knows yet.
fn node(settings: &[&str]) -> Option<Server> {
    let bus = free_port().to_string();
    let own = ["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", "2000"];
    Server::start(&[&own[..], settings].concat())
}

impl Server {
    /// Makes another node known to this one's Cluster.
    fn meet(&self, node: &Server) {
        let bus = &node.arguments[node.arguments.iter().position(|word| word == "--cluster-port").unwrap() + 1];
        assert_eq!(self.cli(&["CLUSTER", "MEET", "127.0.0.1", &node.port.to_string(), bus]), "OK");
    }

    /// The name that this node has in its Cluster.
    pub fn id(&self) -> String {
        self.cli(&["CLUSTER", "MYID"])
    }

    /// A replica of this master of a Cluster, which has all that the master has.
    pub fn replica(&self, settings: &[&str]) -> Server {
        let replica = node(settings).unwrap();
        self.meet(&replica);
        until("the replica knows its master", || replica.cli(&["CLUSTER", "REPLICATE", &self.id()]) == "OK");
        until("it is linked", || replica.cli(&["INFO", "replication"]).contains("master_link_status:up"));
        until("the master knows it", || self.cli(&["CLUSTER", "REPLICAS", &self.id()]).contains(&replica.id()));
        replica
    }
}

/// A Cluster of three masters. `None`: skipped.
pub fn cluster() -> Option<Vec<Server>> {
    cluster_with(&[])
}

/// The same, with these settings besides. `None`: skipped.
pub fn cluster_with(settings: &[&str]) -> Option<Vec<Server>> {
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(node(settings)?);
    }
    for (n, node) in nodes.iter().enumerate() {
        let (first, last) = (n * 16_384 / 3, (n + 1) * 16_384 / 3 - 1);
        assert_eq!(node.cli(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]), "OK");
        assert_eq!(node.cli(&["CLUSTER", "SET-CONFIG-EPOCH", &(n + 1).to_string()]), "OK");
    }
    for node in &nodes[1..] {
        nodes[0].meet(node);
    }
    for node in &nodes {
        until("the cluster is whole", || {
            let info = node.cli(&["CLUSTER", "INFO"]);
            info.contains("cluster_state:ok")
                && info.contains("cluster_known_nodes:3")
                && info.contains("cluster_slots_ok:16384")
        });
    }
    Some(nodes)
}
