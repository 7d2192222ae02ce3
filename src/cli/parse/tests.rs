//! The command on whole inputs: what it writes and what it reports.

use super::*;

fn parse(input: &[u8], read_size: usize, max_event_bytes: usize) -> (String, String) {
    let (mut out, mut log) = (Vec::new(), Vec::new());
    run(&ParseArgs { read_size, max_event_bytes }, input, &mut out, &mut log).unwrap();
    (String::from_utf8(out).unwrap(), String::from_utf8(log).unwrap())
}

const STREAM: &[u8] =
    "\u{feff}: hi\nretry: 250\nid: 1\ndata: a\ndata: \"b\"\n\nevent: x\r\ndata:ü\r\n\r\ndata: never ends".as_bytes();

#[test]
fn each_event_is_a_line_and_the_last_line_gives_the_last_event_id_and_the_retry_time() {
    let lines = concat!(
        "{\"type\":\"message\",\"data\":\"a\\n\\\"b\\\"\",\"id\":\"1\"}\n",
        "{\"type\":\"x\",\"data\":\"ü\",\"id\":\"1\"}\n",
        "{\"last_event_id\":\"1\",\"retry_ms\":250}\n",
    );
    assert_eq!(parse(STREAM, 64 << 10, 1 << 20), (lines.to_owned(), String::new()));
}

#[test]
fn the_lines_do_not_depend_on_the_size_of_reads() {
    let whole = parse(STREAM, 64 << 10, 1 << 20);
    for size in 1..STREAM.len() {
        assert_eq!(parse(STREAM, size, 1 << 20), whole, "{size}");
    }
}

#[test]
fn an_empty_stream_gives_only_the_last_line() {
    assert_eq!(parse(b"", 1, 1).0, "{\"last_event_id\":\"\",\"retry_ms\":null}\n");
}

#[test]
fn an_event_over_the_cap_is_reported_and_skipped() {
    let input = [b"data: 1\n\ndata: ".as_slice(), &[b'x'; 100], b"\n\ndata: 3\n\n"].concat();
    let (out, log) = parse(&input, 7, 50);
    assert_eq!(out.lines().count(), 3);
    assert!(out.contains("\"3\"") && !out.contains('x'), "{out}");
    assert!(log.starts_with("segno: event 2: "), "{log}");
}

struct Refusing(ErrorKind);

impl Write for Refusing {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(self.0.into())
    }
}

#[test]
fn a_closed_output_is_not_a_failure_and_a_full_disk_is() {
    let args = ParseArgs { read_size: 10, max_event_bytes: 100 };
    assert!(run(&args, STREAM, Refusing(ErrorKind::BrokenPipe), Vec::new()).is_ok());
    let stop = run(&args, STREAM, Refusing(ErrorKind::StorageFull), Vec::new()).unwrap_err();
    assert_eq!(stop.code(), 1);
}
