//! A real Prometheus on a free loopback port.
//!
//! In: what it scrapes and how often, rules. Out: what its interface answers.
//! Law: it ends with its handle.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of this one")]

use crate::support::{Client, until};
use serde_json::Value;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running Prometheus.
pub struct Prometheus {
    child: Child,
    address: SocketAddr,
}

/// An alert that is pending or firing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Alert {
    pub name: String,
    pub instance: String,
    pub is_firing: bool,
}

impl Prometheus {
    /// Scrapes the targets, each under the name of its instance, and evaluates the rules, both once an `interval`. What it
    /// needs lies in `folder`.
    pub fn start(folder: &Path, interval: &str, targets: &[(&str, SocketAddr)], rules: &str) -> Self {
        let mut config = format!(
            "global: {{ scrape_interval: {interval}, scrape_timeout: {interval}, evaluation_interval: {interval} }}\n\
             rule_files: [rules.yml]\nscrape_configs:\n  - job_name: segno\n    static_configs:\n"
        );
        for (instance, target) in targets {
            config.push_str(&format!("      - {{ targets: ['{target}'], labels: {{ instance: '{instance}' }} }}\n"));
        }
        fs::write(folder.join("prometheus.yml"), config).unwrap();
        fs::write(folder.join("rules.yml"), rules).unwrap();
        // Free a moment ago, and asked for at once.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let log = fs::File::create(folder.join("log")).unwrap();
        let mut command = Command::new("prometheus");
        command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--storage.tsdb.retention.time=1h"]);
        command.arg(format!("--web.listen-address={address}")).current_dir(folder);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let prometheus = Self { child, address };
        until("Prometheus listens", || TcpStream::connect(address).is_ok());
        until("Prometheus is ready", || prometheus.answer("/-/ready").0 == 200);
        prometheus
    }

    fn answer(&self, path: &str) -> (u16, String) {
        let mut client = Client::connect(self.address);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address));
        let answer = client.answer();
        (answer.status, answer.text().to_owned())
    }

    /// What a path of its interface answers.
    pub fn get(&self, path: &str) -> Value {
        let (status, text) = self.answer(path);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e} in {status} {text}"))
    }

    /// The results of a query.
    pub fn query(&self, query: &str) -> Vec<Value> {
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let answer = self.get(&format!("/api/v1/query?query={escaped}"));
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        answer["data"]["result"].as_array().unwrap().clone()
    }

    /// The alerts that are pending or firing now.
    pub fn alerts(&self) -> Vec<Alert> {
        let answer = self.get("/api/v1/alerts");
        let label = |alert: &Value, key: &str| alert["labels"][key].as_str().unwrap_or_default().to_owned();
        let alerts = answer["data"]["alerts"].as_array().unwrap_or_else(|| panic!("{answer}")).iter();
        let one = |alert: &Value| Alert {
            name: label(alert, "alertname"),
            instance: label(alert, "instance"),
            is_firing: alert["state"] == "firing",
        };
        alerts.map(one).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
