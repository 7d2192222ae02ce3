//! An upstream that follows a script, which says step by step what it does on each connection.
//!
//! In: a script. It runs on its own thread and gets a [`Door`], which accepts connections. Out: assertions inside the
//! script; [`Script::end`] passes their panic on to the test.
//! Law: dropping a [`Peer`] closes its connection with a FIN.

use super::PATIENCE;
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

/// A running script.
pub struct Script {
    address: SocketAddr,
    ended: Receiver<thread::Result<()>>,
}

impl Script {
    /// Listens, then runs `steps` on a thread.
    pub fn run(steps: impl FnOnce(&mut Door) + Send + 'static) -> Self {
        let mut door = Door::new();
        let address = door.address;
        let (sender, ended) = mpsc::channel();
        thread::spawn(move || {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| steps(&mut door)));
            // A test that has failed already does not receive this.
            let _ = sender.send(result);
        });
        Self { address, ended }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the script is done. Panics if the script panicked.
    pub fn end(self) {
        match self.ended.recv_timeout(PATIENCE) {
            Ok(Ok(())) => {}
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(_) => panic!("upstream's script does not end"),
        }
    }
}

/// The upstream's listener. It can be closed and opened again at the same address.
pub struct Door {
    address: SocketAddr,
    /// A socket that is bound and never listens. It keeps the port while the door is closed, so that connections are
    /// refused.
    _reserved: Socket,
    listener: Option<TcpListener>,
}

impl Door {
    fn new() -> Self {
        let reserved = bound(SocketAddr::from(([127, 0, 0, 1], 0)));
        let address = reserved.local_addr().unwrap().as_socket().unwrap();
        let mut door = Self { address, _reserved: reserved, listener: None };
        door.open();
        door
    }

    /// Listens (again).
    pub fn open(&mut self) {
        let socket = bound(self.address);
        socket.listen(1_024).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        self.listener = Some(socket.into());
    }

    /// Stops listening: connections are refused from now on.
    pub fn close(&mut self) {
        self.listener = None;
    }

    /// Waits for the next connection.
    pub fn accept(&mut self) -> Peer {
        Peer::over(self.accept_raw())
    }

    /// Waits for the next connection and returns the bare socket.
    pub fn accept_raw(&mut self) -> TcpStream {
        self.listener.as_ref().expect("the door is open").accept().expect("the proxy connects").0
    }

    /// Whether no connection waits to be accepted.
    pub fn nobody_waits(&self) -> bool {
        let listener = self.listener.as_ref().expect("the door is open");
        listener.set_nonblocking(true).unwrap();
        listener.accept().is_err()
    }
}

fn bound(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket
}

/// The proxy's end of one connection, seen from upstream. Dropped, it closes with a FIN.
pub struct Peer {
    stream: BufReader<TcpStream>,
}

impl Peer {
    pub fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    /// Reads a request's first line; empty if the connection ends instead.
    pub fn first_line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line
    }

    /// Reads a request's head.
    pub fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(self.stream.read_line(&mut head).unwrap(), 0, "the connection ends inside {head:?}");
        }
        head
    }

    /// Reads a request's head that need not be text.
    pub fn head_bytes(&mut self) -> Vec<u8> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            assert_ne!(self.stream.read_until(b'\n', &mut head).unwrap(), 0, "the connection ends inside a head");
        }
        head
    }

    /// Reads a body of `n` bytes in pieces, as they come.
    pub fn body(&mut self, mut n: usize, mut each: impl FnMut(&mut TcpStream, &[u8])) {
        let mut piece = vec![0; 64 << 10];
        while n > 0 {
            let most = n.min(piece.len());
            let got = self.stream.read(&mut piece[..most]).unwrap();
            assert_ne!(got, 0, "the body ends {n} bytes early");
            n -= got;
            each(self.stream.get_mut(), &piece[..got]);
        }
    }

    /// Reads a chunk of a body; `None` for the last one.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        super::client::read_chunk(&mut self.stream).expect("the body is in chunks and whole")
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// Sends until all bytes are sent or the proxy refuses more. Returns whether the proxy took all.
    pub fn pour(&mut self, bytes: &[u8]) -> bool {
        self.stream.get_mut().write_all(bytes).is_ok()
    }

    /// Sends until nothing moves for the time `rest`. Returns how many bytes were sent.
    pub fn send_until_stuck(&mut self, bytes: &[u8], rest: Duration) -> usize {
        let stream = self.stream.get_mut();
        stream.set_write_timeout(Some(rest)).unwrap();
        let mut sent = 0;
        while sent < bytes.len() {
            match stream.write(&bytes[sent..]) {
                Ok(n) => sent += n,
                Err(_) => break,
            }
        }
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        sent
    }

    /// Sends the head of an event stream in chunks.
    pub fn begin_stream(&mut self) {
        self.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    }

    pub fn send_chunk(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.send([format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat());
    }

    pub fn send_last_chunk(&mut self) {
        self.send("0\r\n\r\n");
    }

    /// Answers with a body of known length.
    pub fn answer(&mut self, body: &str) {
        self.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
    }

    /// Sends a FIN, then reads what the proxy still sends, to the end.
    pub fn fin(mut self) {
        self.stream.get_mut().shutdown(Shutdown::Write).unwrap();
        self.until_gone();
    }

    /// Closes with a reset.
    pub fn rst(self) {
        SockRef::from(self.stream.get_ref()).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Reads until the proxy has closed or reset the connection.
    pub fn until_gone(&mut self) {
        self.copy_rest(&mut std::io::sink());
    }

    /// Reads until the proxy has closed or reset the connection, and keeps what comes.
    pub fn copy_rest(&mut self, into: &mut impl Write) {
        match std::io::copy(&mut self.stream, into) {
            Ok(_) => {}
            Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset, "the proxy keeps the connection: {e}"),
        }
    }
}
