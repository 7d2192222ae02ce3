//! `segno sessions`: lists the stored cursors.
//!
//! In: a store, or the admin address of a proxy that has the store open. Out: one line per stream, or one JSON object.
//! Laws: the command neither creates nor changes a store, and a missing store is an error; memory does not grow with
//! the number of records.

use super::Stop;
use super::args::{SessionsArgs, default_store};
use super::token::token;
use crate::admin::write_json;
use crate::base::StreamName;
use crate::config::StoreConfig;
use crate::engine::opener;
use crate::http::{BodyDecoder, HeadFinder, HeadLimits, Method, Piece, parse_response};
use crate::store::{Record, StoreError};
use std::io::{self, BufWriter, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Records read at a time.
const PAGE: usize = 1_000;

/// How long the proxy may take to accept the connection, and for each read of its answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Lists the cursors of the store, or of the proxy that has it open.
pub(super) fn run(args: &SessionsArgs, out: impl Write) -> Result<(), Stop> {
    let mut list = List { out: BufWriter::new(out), json: args.json, any: false };
    let listed = match args.admin {
        Some(address) => fetch(address, token(args.admin_token_file.as_deref()).map_err(Stop::Usage)?, &mut list),
        None => read(&args.store.clone().unwrap_or_else(default_store), &mut list),
    };
    match listed.and_then(|()| list.end().map_err(Failure::Output)) {
        Ok(()) => Ok(()),
        Err(Failure::Output(e)) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(Failure::Output(e)) => Err(Stop::failed("writing standard output", e)),
        Err(Failure::Input(what)) => Err(Stop::Failed(what)),
    }
}

enum Failure {
    /// The cursors could not be read. Says why.
    Input(String),
    /// The list could not be written.
    Output(io::Error),
}

fn read(store: &StoreConfig, list: &mut List<impl Write>) -> Result<(), Failure> {
    if let StoreConfig::Redb { path } = store
        && !path.exists()
    {
        let path = path.display();
        return Err(Failure::Input(format!("{path} does not exist; name the store with `--store redb:PATH`")));
    }
    if *store == StoreConfig::Memory {
        return Err(Failure::Input(
            "a store in memory can be read only through its own process; use `--admin ADDR`".to_owned(),
        ));
    }
    let mut opened = opener(store, 0)().map_err(|e| match e {
        StoreError::Locked { path } => {
            let path = path.display();
            Failure::Input(format!("{path} is open in another process; ask that process with `--admin ADDR`"))
        }
        e => Failure::Input(e.to_string()),
    })?;
    let mut after: Option<StreamName> = None;
    loop {
        let page = opened.lookup.scan(after.as_ref(), PAGE).map_err(|e| Failure::Input(e.to_string()))?;
        for (name, cursor) in &page {
            list.cursor(name, cursor).map_err(Failure::Output)?;
        }
        match page.into_iter().next_back() {
            Some((name, _)) => after = Some(name),
            None => return Ok(()),
        }
    }
}

/// Asks a running proxy, and lists its lines as they arrive.
fn fetch(address: SocketAddr, token: Option<String>, list: &mut List<impl Write>) -> Result<(), Failure> {
    let failed =
        |e: io::Error| Failure::Input(format!("asking {address}: {e}; is it the `--admin` address of a proxy?"));
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).map_err(failed)?;
    stream.set_read_timeout(Some(TIMEOUT)).map_err(failed)?;
    let credentials = token.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
    let request = format!("GET /sessions HTTP/1.1\r\nHost: {address}\r\n{credentials}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let (mut input, mut buffer, mut finder) = (Vec::new(), vec![0; 64 << 10], HeadFinder::new());
    let limits = HeadLimits::default();
    let head = loop {
        if let Some(end) = finder.find(&input) {
            let head = parse_response(&input[finder.skip()..end], &Method::Get, limits);
            input.drain(..end);
            break head.map_err(|e| Failure::Input(format!("asking {address}: {e}")))?;
        }
        limits.check_unfinished(&input).map_err(|e| Failure::Input(format!("asking {address}: {e}")))?;
        match stream.read(&mut buffer).map_err(failed)? {
            0 => return Err(failed(io::ErrorKind::UnexpectedEof.into())),
            n => input.extend_from_slice(&buffer[..n]),
        }
    };
    let mut body = BodyDecoder::new(head.body);
    let mut lines = Lines { rest: Vec::new(), status: head.status };
    loop {
        let mut used = 0;
        while used < input.len() && !body.is_done() {
            let (n, piece) = body.next(&input[used..]).map_err(|e| Failure::Input(format!("asking {address}: {e}")))?;
            used += n;
            match piece {
                Piece::Data(data) => lines.take(data, list)?,
                Piece::End => return lines.end(list),
                Piece::More => break,
            }
        }
        input.drain(..used);
        if body.is_done() {
            return lines.end(list);
        }
        match stream.read(&mut buffer).map_err(failed)? {
            0 => return Err(failed(io::ErrorKind::UnexpectedEof.into())),
            n => input.extend_from_slice(&buffer[..n]),
        }
    }
}

/// Puts the proxy's lines together from pieces that are cut anywhere.
struct Lines {
    /// The start of an unfinished line; with a status other than 200, all of the body.
    rest: Vec<u8>,
    status: u16,
}

impl Lines {
    fn take(&mut self, data: &[u8], list: &mut List<impl Write>) -> Result<(), Failure> {
        self.rest.extend_from_slice(data);
        if self.status != 200 {
            return Ok(());
        }
        let whole = memchr::memrchr(b'\n', &self.rest).map_or(0, |at| at + 1);
        for line in self.rest[..whole].split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
            list.json_line(line)?;
        }
        self.rest.drain(..whole);
        Ok(())
    }

    fn end(self, _: &mut List<impl Write>) -> Result<(), Failure> {
        match self.status {
            200 => Ok(()),
            status => {
                let why = String::from_utf8_lossy(&self.rest);
                Err(Failure::Input(format!("the proxy answered {status}: {}", why.trim())))
            }
        }
    }
}

/// Writes cursors as a table for people, or as JSON for programs.
struct List<O: Write> {
    out: BufWriter<O>,
    json: bool,
    /// Whether a cursor has been written.
    any: bool,
}

/// The last line of a list that is not whole.
#[derive(serde::Deserialize)]
struct Broken {
    error: String,
}

#[derive(serde::Deserialize)]
struct Line {
    session: String,
    stream: String,
    last_event_id: String,
    sequence: u64,
    last_seen_ms: u64,
}

impl<O: Write> List<O> {
    fn cursor(&mut self, name: &StreamName, cursor: &Record) -> io::Result<()> {
        let mut line = Vec::new();
        write_json(name, cursor, &mut line);
        if self.json {
            return self.raw(&line);
        }
        let (session, id) = (String::from_utf8_lossy(&name.session), String::from_utf8_lossy(cursor.id.as_bytes()));
        self.row(&session, &format!("{:016x}", name.stream), cursor.sequence, cursor.last_seen_ms, &id)
    }

    fn json_line(&mut self, line: &[u8]) -> Result<(), Failure> {
        if line.starts_with(b"{\"error\":") {
            let why = serde_json::from_slice(line).map_or_else(|e| e.to_string(), |Broken { error }| error);
            return Err(Failure::Input(format!("the proxy's list is not whole: {why}")));
        }
        if self.json {
            return self.raw(line).map_err(Failure::Output);
        }
        let line: Line =
            serde_json::from_slice(line).map_err(|e| Failure::Input(format!("the proxy's answer: {e}")))?;
        self.row(&line.session, &line.stream, line.sequence, line.last_seen_ms, &line.last_event_id)
            .map_err(Failure::Output)
    }

    fn raw(&mut self, line: &[u8]) -> io::Result<()> {
        self.out.write_all(if std::mem::replace(&mut self.any, true) { b"," } else { b"{\"sessions\":[" })?;
        self.out.write_all(line)
    }

    fn row(&mut self, session: &str, stream: &str, events: u64, seen_ms: u64, id: &str) -> io::Result<()> {
        if !std::mem::replace(&mut self.any, true) {
            writeln!(self.out, "{:16}  {:>10}  {:24}  LAST EVENT ID  SESSION", "STREAM", "EVENTS", "LAST SEEN")?;
        }
        let seen =
            httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_millis(seen_ms.min(253_402_300_799_000)));
        // Peers chose these texts. Escaped, they cannot send commands to the terminal.
        let (id, session) = (id.escape_debug(), session.escape_debug());
        writeln!(self.out, "{stream:16}  {events:>10}  {:24}  {id}  {session}", seen.get(5..).unwrap_or_default())
    }

    fn end(mut self) -> io::Result<()> {
        match (self.json, self.any) {
            (true, true) => self.out.write_all(b"]}\n")?,
            (true, false) => self.out.write_all(b"{\"sessions\":[]}\n")?,
            (false, true) => {}
            (false, false) => writeln!(self.out, "no stored cursors")?,
        }
        self.out.flush()
    }
}
