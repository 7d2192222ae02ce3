//! Traces on real sockets: what upstream is told of them, and what the log says, under the `traceparent` of a client.
//!
//! In: a client with a `traceparent`, an upstream that cuts its stream. Out: heads of requests, lines of the log.
#![cfg(feature = "cli")]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

mod support;

use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;
use support::process::Process;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

/// The span of the one `traceparent` in a head, which belongs to the client's trace and is recorded.
fn span_in(head: &[String]) -> String {
    let named = head.iter().filter_map(|line| line.split_once(": "));
    let said: Vec<&str> =
        named.filter(|(name, _)| name.eq_ignore_ascii_case("traceparent")).map(|(_, value)| value).collect();
    let [said] = said[..] else { panic!("{said:?} in {head:?}") };
    let parts: Vec<&str> = said.split('-').collect();
    assert_eq!((parts[0], parts[1], parts[3]), ("00", TRACE, "01"), "{said}");
    parts[2].to_owned()
}

#[test]
fn a_healed_stream_is_told_of_under_the_traceparent_of_its_client() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let upstream = thread::spawn(move || {
        let answers = [
            format!("{HEAD}{}", chunk("retry: 20\nid: 1\ndata: x\n\n")),
            format!("{HEAD}{}0\r\n\r\n", chunk("id: 2\ndata: y\n\n")),
        ];
        answers.map(|answer| {
            let (mut stream, _) = listener.accept().unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            stream.write_all(answer.as_bytes()).unwrap();
            head
        })
    });
    let url = format!("http://{address}");
    let args = ["--store", "memory", "--upstream", &url, "--trace-sample", "0", "--log-format", "json", "--access-log"];
    let mut process = Process::with_env(&args, &[("SEGNO_LOG", "info,trace=debug")]);
    let mut client = process.client();
    client.send(format!(
        "GET /feed?key=hush HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\
         traceparent: 00-{TRACE}-00f067aa0ba902b7-01\r\n\r\n"
    ));
    client.head();
    client.until("data: y");
    let [first, second] = upstream.join().unwrap();
    let asked = serde_json::from_str::<Value>(&process.until_said("\"what\":\"upstream request\"")).unwrap();
    let mut said = |what: &str| -> Value { serde_json::from_str(&process.until_said(what)).unwrap() };
    let (heal, access, exchange) =
        (said("\"what\":\"heal\""), said("\"what\":\"access\""), said("\"what\":\"exchange\""));
    for line in [&heal, &exchange, &access] {
        assert_eq!(line["trace_id"], TRACE, "{line}");
        assert!(!line.to_string().contains("hush"), "{line}");
    }
    assert_eq!(exchange["parent_id"], "00f067aa0ba902b7");
    assert_eq!((&asked["parent_id"], &asked["span_id"]), (&exchange["span_id"], &span_in(&first).into()));
    assert_eq!((&heal["parent_id"], &heal["span_id"]), (&exchange["span_id"], &span_in(&second).into()));
    assert!(exchange["facts"].as_str().unwrap().contains("url.path=/feed "), "{exchange}");
}
