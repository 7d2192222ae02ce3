//! A collector of traces for tests, which reads what it is sent by the published messages.
//!
//! In: calls by OTLP over HTTP. Out: their heads and messages, as they come; answers by what the test wants.
//! Law: a call that the published messages do not read fails the test.

#![allow(unreachable_pub, clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic")]

use crate::support::PATIENCE;
use prost::Message;
use published::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use published::common::v1::{KeyValue, any_value::Value};
use published::trace::v1::Span;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Instant;

/// The published messages. Their folder says where they are from.
#[allow(clippy::all, dead_code, missing_docs, reason = "generated elsewhere")]
pub mod published {
    pub mod collector {
        pub mod trace {
            pub mod v1 {
                include!("../data/otlp/collector.trace.v1.rs.txt");
            }
        }
    }
    pub mod common {
        pub mod v1 {
            include!("../data/otlp/common.v1.rs.txt");
        }
    }
    pub mod resource {
        pub mod v1 {
            include!("../data/otlp/resource.v1.rs.txt");
        }
    }
    pub mod trace {
        pub mod v1 {
            include!("../data/otlp/trace.v1.rs.txt");
        }
    }
}

/// How the collector answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mood {
    /// It takes all.
    Takes,
    /// Of its first call it takes all but so many.
    TakesAllBut(i64),
    /// It reads and says nothing.
    Hangs,
    /// At its first call it asks for a second.
    Later,
    /// It refuses.
    Refuses,
    /// It sends head lines for ever.
    Floods,
    /// It takes all, and its answer's body has no end.
    FloodsBody,
    /// It speaks another protocol.
    Babbles,
}

/// A call.
pub struct Call {
    pub at: Instant,
    pub head: String,
    pub message: ExportTraceServiceRequest,
}

pub struct Collector {
    pub address: SocketAddr,
    calls: Receiver<Call>,
}

impl Collector {
    pub fn new(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, (tell, calls)) = (listener.local_addr().unwrap(), mpsc::channel());
        thread::spawn(move || {
            let mut is_first = true;
            for stream in listener.incoming().map_while(Result::ok) {
                let (tell, first) = (tell.clone(), std::mem::take(&mut is_first));
                thread::spawn(move || serve(stream, mood, first, &tell));
            }
        });
        Self { address, calls }
    }

    /// One that takes all, and speaks TLS.
    #[cfg(feature = "tls")]
    pub fn secure(config: std::sync::Arc<rustls::ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, (tell, calls)) = (listener.local_addr().unwrap(), mpsc::channel());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let conn = rustls::ServerConnection::new(std::sync::Arc::clone(&config)).unwrap();
                let tell = tell.clone();
                thread::spawn(move || serve(rustls::StreamOwned::new(conn, stream), Mood::Takes, false, &tell));
            }
        });
        Self { address, calls }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next call.
    pub fn call(&self) -> Call {
        self.calls.recv_timeout(PATIENCE).expect("a call to the collector")
    }

    /// All calls up to now.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.try_iter().collect()
    }
}

impl Call {
    pub fn spans(&self) -> impl Iterator<Item = &Span> {
        self.message.resource_spans.iter().flat_map(|r| &r.scope_spans).flat_map(|scope| &scope.spans)
    }

    /// What is said of the process.
    pub fn resource(&self, name: &str) -> Option<String> {
        attribute(&self.message.resource_spans[0].resource.as_ref()?.attributes, name)
    }
}

/// An attribute as text.
pub fn attribute(all: &[KeyValue], name: &str) -> Option<String> {
    match all.iter().find(|known| known.key == name)?.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(n) => Some(n.to_string()),
        other => panic!("{name}: {other:?}"),
    }
}

/// Answers calls on one connection. The other end may go at any time.
fn serve(stream: impl Read + Write, mood: Mood, mut is_first: bool, tell: &Sender<Call>) {
    let mut input = BufReader::new(stream);
    loop {
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if input.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = n.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
            head.push_str(&line);
        }
        let mut body = vec![0; length];
        input.read_exact(&mut body).unwrap();
        let message = ExportTraceServiceRequest::decode(&body[..]).expect("the published messages read it");
        let _ = tell.send(Call { at: Instant::now(), head, message });
        let rejected = match mood {
            Mood::TakesAllBut(n) if std::mem::take(&mut is_first) => n,
            _ => 0,
        };
        let partial_success = (rejected > 0)
            .then(|| ExportTracePartialSuccess { rejected_spans: rejected, error_message: "too many".to_owned() });
        let answer = ExportTraceServiceResponse { partial_success }.encode_to_vec();
        let ok = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len()).into_bytes();
        let stream = input.get_mut();
        let endless = |stream: &mut dyn Write, line: &[u8]| while stream.write_all(line).is_ok() {};
        let done = match mood {
            Mood::Later if std::mem::take(&mut is_first) => {
                stream.write_all(b"HTTP/1.1 503 Later\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")
            }
            Mood::Takes | Mood::TakesAllBut(_) | Mood::Later => stream.write_all(&[ok, answer].concat()),
            Mood::Refuses => stream.write_all(b"HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n"),
            Mood::Babbles => stream.write_all(b"220 mail.example ESMTP\r\n250 go on\r\n\r\n"),
            Mood::Hangs => Ok(()),
            Mood::Floods => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
                return endless(stream, b"X-More: and more and more and more and more and more and more\r\n");
            }
            Mood::FloodsBody => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
                return endless(stream, &[7; 4096]);
            }
        };
        if done.is_err() {
            return;
        }
    }
}
