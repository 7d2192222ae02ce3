//! A toy proxy on blocking sockets, for tests of the demo itself. It heals by remembering every event of a stream.
//!
//! In: the upstream's address. Out: the toy's address.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::cli::demo::parser::{Event, Parser};
use crate::cli::demo::run::EndProxy;

/// What the toy does wrong.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Flaw {
    None,
    /// The toy passes on events that it has passed on before.
    Repeats,
}

pub(super) fn start(upstream: SocketAddr, flaw: Flaw) -> (SocketAddr, EndProxy) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let over = Arc::new(Mutex::new(false));
    let stop = Arc::clone(&over);
    let acceptor = thread::spawn(move || {
        for client in listener.incoming() {
            if *over.lock().unwrap() {
                break;
            }
            let client = client.unwrap();
            thread::spawn(move || _ = Relay::new(upstream, client, flaw).run());
        }
    });
    let stop = move || {
        *stop.lock().unwrap() = true;
        drop(TcpStream::connect(addr));
        acceptor.join().unwrap();
    };
    (addr, Box::new(stop))
}

struct Relay {
    upstream: SocketAddr,
    client: TcpStream,
    flaw: Flaw,
    name: String,
    seen: HashSet<(Option<String>, String)>,
    last_id: Option<String>,
    /// Whether there was a cut: only then may integer ids jump.
    reconnected: bool,
}

enum Next {
    Clean,
    Cut,
    Again,
}

impl Relay {
    fn new(upstream: SocketAddr, client: TcpStream, flaw: Flaw) -> Self {
        let (seen, last_id) = (HashSet::new(), None);
        Self { upstream, client, flaw, name: String::new(), seen, last_id, reconnected: false }
    }

    fn run(mut self) -> io::Result<()> {
        let mut head = [0; 1024];
        let n = self.client.read(&mut head)?;
        let head = String::from_utf8_lossy(&head[..n]).into_owned();
        self.name = head.split(['/', ' ']).nth(2).unwrap().to_owned();
        self.client.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
        loop {
            match self.once().unwrap_or(Next::Again) {
                Next::Clean => return self.client.write_all(b"0\r\n\r\n"),
                Next::Cut => return Ok(()),
                Next::Again => thread::sleep(Duration::from_millis(10)),
            }
            self.reconnected = true;
        }
    }

    fn once(&mut self) -> io::Result<Next> {
        let mut upstream = TcpStream::connect(self.upstream)?;
        let last_id = self.last_id.as_ref().map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        write!(upstream, "GET /{} HTTP/1.1\r\n{last_id}\r\n", self.name)?;
        let (mut parser, mut events, mut buffer) = (Parser::new(), Vec::new(), [0; 4096]);
        while let Ok(n @ 1..) = upstream.read(&mut buffer) {
            parser.feed(&buffer[..n], &mut events).unwrap();
            for event in events.drain(..) {
                self.event(&event)?;
            }
        }
        Ok(match parser.status {
            Some(200) if parser.is_clean() => Next::Clean,
            Some(200) if self.last_id.is_none() => Next::Cut,
            Some(204) => Next::Clean,
            Some(404 | 410) => {
                let after = self.last_id.clone().unwrap();
                self.gap(&format!(r#"{{"after":"{after}","resumed_at":null,"reason":"refused"}}"#))?;
                Next::Cut
            }
            _ => Next::Again,
        })
    }

    fn event(&mut self, event: &Event) -> io::Result<()> {
        if !self.seen.insert((event.id.clone(), event.data.clone())) && self.flaw == Flaw::None {
            return Ok(());
        }
        if let Some(id) = &event.id {
            let number = |id: &Option<String>| id.as_ref().and_then(|id| id.parse::<u32>().ok());
            if self.reconnected
                && let (Some(last), Some(this)) = (number(&self.last_id), number(&event.id))
                && this > last + 1
            {
                self.gap(&format!(r#"{{"after":"{last}","resumed_at":"{this}","reason":"skipped"}}"#))?;
            }
            self.last_id = Some(id.clone());
        }
        let id = event.id.as_ref().map(|id| format!("id: {id}\n")).unwrap_or_default();
        let data = event.data.replace('\n', "\ndata: ");
        self.chunk(&format!("{id}event: {}\ndata: {data}\n\n", event.kind))
    }

    fn gap(&mut self, data: &str) -> io::Result<()> {
        self.chunk(&format!("event: segno.gap\ndata: {data}\n\n"))
    }

    fn chunk(&mut self, text: &str) -> io::Result<()> {
        write!(self.client, "{:x}\r\n{text}\r\n", text.len())
    }
}
