//! Requests that were changed at random: upstream reads what segno meant it to read, and nothing else.
//!
//! In: sound requests, each with a few changes that are known to make programs disagree. Out: what upstream got.
//! Laws: a strict reader, written apart from segno's own, reads everything that goes upstream; where it can read what
//! the client sent, upstream gets the same methods, targets and bodies; each request that upstream reads gets one
//! answer. `SEGNO_MUTATIONS` sets how many requests are tried.

use super::*;
use crate::base::Random;

/// Requests by default.
const SOME: usize = 100_000;

const SOUND: &[&str] = &[
    "GET /a?b=c HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\nLast-Event-ID: 7\r\n\r\n",
    "POST /a/b HTTP/1.1\r\nHost: h\r\nContent-Type: x\r\nContent-Length: 5\r\n\r\nhello",
    "POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "PUT /d HTTP/1.1\r\nHost: h:80\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n3;x=y\r\nabc\r\n0\r\n\r\n",
    "GET http://h/e/../f HTTP/1.1\r\nHost: g\r\nConnection: keep-alive, X-A\r\nX-A: 1\r\n\r\n",
    "DELETE /g HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
];

/// What follows each request, and must never be read as a part of it.
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: h\r\n\r\n";

const BYTES: &[u8] = b"\r\n\0 \t:,;%./\\?#0123456789aAxX-+_\x01\x0b\x7f\x85\xa0\xff\"@[]";

const PARTS: &[&str] = &[
    "\r\n",
    "\n\n",
    "\r\n\r\n",
    "\r\n ",
    "Content-Length: 0\r\n",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: identity\r\n",
    "Host: i\r\n",
    "Connection: close, Content-Length\r\n",
    "Connection: Transfer-Encoding, Host\r\n",
    "Expect: 100-continue\r\n",
    "Upgrade: h2c\r\n",
    "X: y\r\n",
    "chunked",
    ", ",
    "%2e%2e/",
    "/../",
    "0\r\n\r\n",
    "GET /hidden HTTP/1.1\r\nHost: h\r\n\r\n",
];

fn mutated(random: &mut Random) -> Vec<u8> {
    let pick = |random: &mut Random, n: usize| random.below(n as u64) as usize;
    let mut bytes = SOUND[pick(random, SOUND.len())].as_bytes().to_vec();
    for _ in 0..pick(random, 4) {
        let at = pick(random, bytes.len() + 1);
        let end = (at + 1 + pick(random, 4)).min(bytes.len());
        match pick(random, 6) {
            0 => bytes.insert(at, BYTES[pick(random, BYTES.len())]),
            1 => drop(bytes.drain(at..end)),
            2 if at < bytes.len() => bytes[at] = BYTES[pick(random, BYTES.len())],
            3 => drop(bytes.splice(at..at, PARTS[pick(random, PARTS.len())].bytes())),
            4 => {
                // A header line of its own, where lines begin.
                let lines: Vec<usize> = memchr::memmem::find_iter(&bytes, b"\r\n").map(|at| at + 2).collect();
                let at = lines.get(pick(random, lines.len().max(1))).copied().unwrap_or(0);
                drop(bytes.splice(at..at, PARTS[pick(random, PARTS.len())].bytes()));
            }
            _ => bytes.get_mut(at..end).unwrap_or_default().iter_mut().for_each(|b| *b ^= 0x20),
        }
    }
    bytes.extend_from_slice(NEXT.as_bytes());
    bytes
}

#[derive(Clone, PartialEq, Debug)]
struct Read {
    method: String,
    target: String,
    body: Vec<u8>,
}

/// What a strict reader makes of bytes: the requests that are whole, and why it stopped.
#[derive(Debug)]
struct Strict {
    whole: Vec<Read>,
    broken: Option<String>,
    /// Bytes of a request that has not come whole.
    left: usize,
}

fn strict(bytes: &[u8], from_segno: bool) -> Strict {
    let (mut whole, mut at) = (Vec::new(), 0);
    loop {
        match request(&bytes[at..], from_segno) {
            Ok(Some((read, used))) => {
                whole.push(read);
                at += used;
            }
            Ok(None) => return Strict { whole, broken: None, left: bytes.len() - at },
            Err(why) => return Strict { whole, broken: Some(why), left: bytes.len() - at },
        }
    }
}

fn request(bytes: &[u8], from_segno: bool) -> Result<Option<(Read, usize)>, String> {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let head = bytes[..end].split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let head: Vec<&[u8]> = head.collect();
    if bytes[..end].iter().filter(|b| **b == b'\r').count() != head.len() - 1 {
        return Err("a line end that is not CR LF".into());
    }
    if head.iter().any(|line| line.iter().any(|b| b.is_ascii_control() && *b != b'\t')) {
        return Err("a control byte".into());
    }
    let first: Vec<&[u8]> = head[0].split(|b| *b == b' ').collect();
    let [method, target, b"HTTP/1.1"] = first[..] else { return Err("no request line".into()) };
    if !is_token(method) || target.is_empty() || !target.iter().all(u8::is_ascii_graphic) {
        return Err("a method or target with strange bytes".into());
    }
    let (mut hosts, mut lengths, mut codings) = (0, Vec::new(), Vec::new());
    for line in &head[1..] {
        let colon = line.iter().position(|b| *b == b':').ok_or("a line without a colon")?;
        let (name, value) = (line[..colon].to_ascii_lowercase(), line[colon + 1..].trim_ascii());
        if !is_token(&name) {
            return Err("a name that is no token".into());
        }
        match &name[..] {
            b"host" => hosts += 1,
            b"content-length" => lengths.push(value.to_vec()),
            b"transfer-encoding" => codings.push(value.to_ascii_lowercase()),
            b"connection" | b"keep-alive" | b"te" | b"trailer" | b"upgrade" | b"proxy-connection" if from_segno => {
                return Err("a header of another hop".into());
            }
            _ => {}
        }
    }
    if hosts != 1 || lengths.len() + codings.len() > 1 {
        return Err("hosts or framings that are not one".into());
    }
    let rest = &bytes[end + 4..];
    let body = match (lengths.first(), codings.first()) {
        (Some(length), _) => of_length(rest, length)?,
        (_, Some(coding)) if coding == b"chunked" => of_chunks(rest, from_segno)?,
        (_, Some(_)) => return Err("a strange coding".into()),
        _ => Some((Vec::new(), 0)),
    };
    let Some((body, used)) = body else { return Ok(None) };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Ok(Some((Read { method: text(method), target: text(target), body }, end + 4 + used)))
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}

type Body = Option<(Vec<u8>, usize)>;

fn of_length(rest: &[u8], length: &[u8]) -> Result<Body, String> {
    if length.is_empty() || length.len() > 9 || !length.iter().all(u8::is_ascii_digit) {
        return Err("a strange length".into());
    }
    let n = length.iter().fold(0, |sum, b| sum * 10 + usize::from(b - b'0'));
    Ok(rest.get(..n).map(|body| (body.to_vec(), n)))
}

fn of_chunks(rest: &[u8], from_segno: bool) -> Result<Body, String> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(end) = memchr::memmem::find(&rest[at..], b"\r\n") else { return Ok(None) };
        let line = &rest[at..at + end];
        let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        let extension = &line[digits..];
        let plain = extension.is_empty() || !from_segno && extension.starts_with(b";") && extension.is_ascii();
        if !(1..=6).contains(&digits) || !plain || extension.iter().any(u8::is_ascii_control) {
            return Err("a strange size of a chunk".into());
        }
        let size = usize::from_str_radix(std::str::from_utf8(&line[..digits]).unwrap(), 16).unwrap();
        at += end + 2;
        let Some(data) = rest.get(at..at + size + 2) else { return Ok(None) };
        if !data.ends_with(b"\r\n") {
            return Err(if size == 0 { "trailers" } else { "a chunk that does not end" }.into());
        }
        body.extend_from_slice(&data[..size]);
        at += size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}

/// Sends the bytes and answers what upstream reads, as long as it reads something new.
fn exchange(w: &mut World, sent: &[u8]) -> (Vec<Read>, usize) {
    let (c, before) = (w.client(), w.ups.len());
    w.say_bytes(c, sent);
    let (mut read, mut answered) = (Vec::new(), HashMap::new());
    loop {
        let mut moved = false;
        for n in before..w.ups.len() {
            let u = w.up(n);
            let seen = strict(&w.ends[u].wire, true);
            let what = || format!("{}\nbecame\n{}\n{seen:?}", sent.escape_ascii(), w.ends[u].wire.escape_ascii());
            assert!(seen.broken.is_none(), "{}", what());
            let done = answered.entry(u).or_insert(0);
            assert!(seen.whole.len() <= *done + 1, "two requests before an answer: {}", what());
            if seen.whole.len() > *done {
                assert_eq!(seen.left, 0, "bytes behind a request: {}", what());
                *done += 1;
                read.extend(seen.whole.last().cloned());
                moved = true;
                let answer =
                    if read.last().is_some_and(|r| r.method == "HEAD") { "HTTP/1.1 204 No\r\n\r\n" } else { OK };
                w.say(u, answer);
            }
        }
        if !moved {
            break;
        }
    }
    let answers = w.wire(c).matches("HTTP/1.1 200 OK").count() + w.wire(c).matches("HTTP/1.1 204 No").count();
    w.fin(c);
    // Idle connections would serve the next client.
    w.pass_secs(6);
    (read, answers)
}

#[test]
fn upstream_reads_what_segno_meant_whatever_a_client_sends() {
    let count = std::env::var("SEGNO_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(SOME);
    let mut random = Random::new(11);
    let (mut reached, mut refused) = (0, 0);
    let mut left = count;
    while left > 0 {
        let mut w = world();
        for _ in 0..left.min(500) {
            let sent = mutated(&mut random);
            let (read, answers) = exchange(&mut w, &sent);
            assert_eq!(read.len(), answers, "{}: {read:?}", sent.escape_ascii());
            let meant = strict(&sent, false).whole;
            for (got, meant) in read.iter().zip(&meant) {
                assert_eq!((&got.method, &got.body), (&meant.method, &meant.body), "{}", sent.escape_ascii());
            }
            reached += read.len();
            refused += usize::from(read.is_empty());
        }
        left -= left.min(500);
    }
    // The changes are neither all harmless nor all fatal.
    assert!(reached > count / 2 && refused > count / 20, "{reached} reached upstream, {refused} messages did not");
}
