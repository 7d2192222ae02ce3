//! The admin address's loop, on a thread of its own.
//!
//! In: connections, answers of the store, the time. Out: work for each [`Conn`].
//! Laws: at most [`PLACES`] clients at once; one more takes the place of the one that has been silent longest, so that
//! no number of idle sockets keeps a request out; at most [`LISTS`] of them are sent lists, and at most [`VIEWERS`] watch
//! the dashboard; while the system has no descriptors, accepting rests and all else goes on.

use super::access::Access;
use super::conn::{Conn, Lent, Step};
use super::facts::Facts;
use super::list::Found;
use super::live::Live;
use super::reload::Reloaded;
use super::source::Source;
use crate::base::{Count, Span, StreamName, Tick};
use crate::journal::Level;
use crate::persist::PersistControl;
use crossbeam_channel::{Receiver, Sender, bounded};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread;

/// Clients at once.
const PLACES: usize = 256;

/// Lists that are sent at once.
const LISTS: usize = 4;

/// Viewers of the dashboard at once.
const VIEWERS: usize = 32;

/// New connections in one turn.
const ACCEPTS: usize = 64;

/// How long accepting rests after the system had no descriptor for a connection.
const ACCEPT_REST: Span = Span::from_millis(50);

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);

/// The running server. It ends with the process.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
}

impl Admin {
    /// Binds the address and starts the thread.
    ///
    /// # Errors
    /// When the system refuses the address or the thread.
    pub fn start(address: SocketAddr, source: Source, access: Access) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let server = Server::new(listener, Source { access, ..source })?;
        thread::Builder::new().name("segno-admin".to_owned()).spawn(move || server.run())?;
        Ok(Self { address })
    }

    /// The address that is listened on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// An answer of the store, or what came of a reload, and for which client.
type Reply = (Ticket, News);

enum News {
    Found(Found),
    Reloaded(Reloaded),
}

/// A client's place, and its number there: another one may have the place by now.
type Ticket = (usize, u64);

struct Server {
    poll: Poll,
    waker: Arc<Waker>,
    listener: TcpListener,
    source: Source,
    live: Live,
    places: Vec<Option<(u64, Conn)>>,
    /// The number of the next client.
    next: u64,
    answers: (Sender<Reply>, Receiver<Reply>),
    /// There may be connections to accept.
    must_accept: bool,
    rests_until: Tick,
    /// The last accept failed.
    failing: bool,
}

impl Server {
    fn new(mut listener: TcpListener, source: Source) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let mut live = Live::new(source.clock, source.running.with(Facts::of));
        // So that there is something for the first viewer.
        live.on_time(&source.metrics, source.clock.now());
        Ok(Self {
            poll,
            waker,
            listener,
            source,
            live,
            places: (0..PLACES).map(|_| None).collect(),
            next: 0,
            answers: bounded(PLACES),
            must_accept: true,
            rests_until: Tick::ZERO,
            failing: false,
        })
    }

    fn run(mut self) {
        let mut events = Events::with_capacity(PLACES);
        loop {
            let timeout = self.due().since(self.source.clock.now());
            match self.poll.poll(&mut events, Some(timeout.into())) {
                Err(e) if e.kind() != ErrorKind::Interrupted => {
                    let what = format!("the admin address cannot be served any more: {e}");
                    return self.source.journal.say(Level::Error, what);
                }
                _ => {}
            }
            let now = self.source.clock.now();
            for event in &events {
                match event.token() {
                    LISTENER => self.must_accept = true,
                    WAKER => {}
                    Token(place) => self.go_on(place, now),
                }
            }
            self.take_answers(now);
            self.accept(now);
            self.look_at_the_late(now);
            self.show_what_is_new(now);
        }
    }

    /// When something is to do, whatever the sockets do.
    fn due(&self) -> Tick {
        let accept = if self.must_accept { self.rests_until } else { Tick::NEVER };
        let conns = self.places.iter().flatten().map(|(_, conn)| conn.due()).min().unwrap_or(Tick::NEVER);
        accept.min(conns).min(self.live.due(self.viewers() > 0))
    }

    fn viewers(&self) -> usize {
        self.places.iter().flatten().filter(|(_, conn)| conn.is_watching()).count()
    }

    /// Takes what has happened, and sends it to those who watch.
    fn show_what_is_new(&mut self, now: Tick) {
        if self.live.due(self.viewers() > 0) > now {
            return;
        }
        self.live.go_by(self.source.running.with(Facts::of));
        if !self.live.on_time(&self.source.metrics, now) {
            return;
        }
        for place in 0..self.places.len() {
            if self.places[place].as_ref().is_some_and(|(_, conn)| conn.is_watching()) {
                self.go_on(place, now);
            }
        }
    }

    fn accept(&mut self, now: Tick) {
        if !self.must_accept || self.rests_until > now {
            return;
        }
        for _ in 0..ACCEPTS {
            match self.listener.accept() {
                Ok((stream, peer)) => self.on_accepted(stream, peer.ip(), now),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.must_accept = false;
                    return;
                }
                // The client has gone again.
                Err(e) if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
                Err(e) => return self.on_accept_failed(&e, now),
            }
        }
    }

    fn on_accepted(&mut self, mut stream: TcpStream, peer: IpAddr, now: Tick) {
        self.failing = false;
        let place = self.free_place();
        let both = Interest::READABLE | Interest::WRITABLE;
        if self.poll.registry().register(&mut stream, Token(place), both).is_err() {
            return self.source.metrics.add(Count::AdminRequestsFailed, 1);
        }
        self.places[place] = Some((self.next, Conn::new(stream, peer, now)));
        self.next += 1;
        self.go_on(place, now);
    }

    /// A free place; where there is none, that of the client which has been silent longest, and not a viewer's.
    fn free_place(&mut self) -> usize {
        if let Some(free) = self.places.iter().position(Option::is_none) {
            return free;
        }
        let age = |place: &usize| {
            self.places[*place].as_ref().map(|(number, conn)| (conn.is_watching(), !conn.is_idle(), *number))
        };
        let oldest = (0..self.places.len()).min_by_key(age).unwrap_or(0);
        self.give_up(oldest, &ErrorKind::TimedOut.into());
        oldest
    }

    fn on_accept_failed(&mut self, e: &io::Error, now: Tick) {
        self.source.metrics.add(Count::AdminAcceptsFailed, 1);
        self.rests_until = now + ACCEPT_REST;
        if !std::mem::replace(&mut self.failing, true) {
            let what = format!("cannot accept at the admin address: {e}; trying again every {ACCEPT_REST}");
            self.source.journal.say(Level::Warn, what);
        }
    }

    /// Lets a client go on, and carries out what it asks for.
    fn go_on(&mut self, place: usize, now: Tick) {
        loop {
            let lists = self.places.iter().flatten().filter(|(_, conn)| conn.is_listing()).count();
            let viewers = self.viewers();
            let Some(Some((number, conn))) = self.places.get_mut(place) else { return };
            let lent = Lent { source: &self.source, live: &self.live, now };
            match conn.go_on(lent) {
                Step::Wait => return,
                Step::Ask(None, _) if lists > LISTS => {
                    conn.on_found(Err("too many lists are being sent; try again later".to_owned()), now);
                }
                Step::Ask(after, most) => {
                    let taken = ask(&self.source.store, after, most, (place, *number), &self.answers.0, &self.waker);
                    conn.on_asked(taken, now);
                    return;
                }
                Step::Watch => {
                    if viewers >= VIEWERS {
                        self.source.metrics.add(Count::AdminViewersRefused, 1);
                    }
                    conn.on_place(viewers < VIEWERS, &self.live, now);
                }
                Step::Reload => {
                    let ticket = (place, *number);
                    let (answers, waker) = (self.answers.0.clone(), Arc::clone(&self.waker));
                    let answer = Box::new(move |outcome: Reloaded| {
                        // Where there is no room, or nobody, the client's time ends.
                        let _ = answers.try_send((ticket, News::Reloaded(outcome)));
                        let _ = waker.wake();
                    });
                    let taken = self.source.reloads.as_ref().map(|reloads| reloads.ask(answer));
                    let why = match taken {
                        Some(true) => return,
                        Some(false) => "too many reloads wait; try again later",
                        None => "nothing here can reload a configuration",
                    };
                    let json = format!("{{\"outcome\":\"refused\",\"problems\":[{{\"what\":\"{why}\"}}]}}\n");
                    conn.on_reloaded(&Reloaded { status: 503, json }, now);
                }
                Step::Done => return self.places[place] = None,
                Step::Failed(e) => return self.give_up(place, &e),
            }
        }
    }

    fn give_up(&mut self, place: usize, e: &io::Error) {
        self.places[place] = None;
        self.source.metrics.add(Count::AdminRequestsFailed, 1);
        self.source.journal.say(Level::Debug, format!("gave up a request to the admin address: {e}"));
    }

    fn take_answers(&mut self, now: Tick) {
        while let Ok(((place, number), news)) = self.answers.1.try_recv() {
            if let Some(Some((current, conn))) = self.places.get_mut(place)
                && *current == number
            {
                match news {
                    News::Found(found) => conn.on_found(found, now),
                    News::Reloaded(outcome) => conn.on_reloaded(&outcome, now),
                }
                self.go_on(place, now);
            }
        }
    }

    fn look_at_the_late(&mut self, now: Tick) {
        for place in 0..self.places.len() {
            if self.places[place].as_ref().is_some_and(|(_, conn)| conn.due() <= now) {
                self.go_on(place, now);
            }
        }
    }
}

/// Asks the store for a page of at most so many. False: it has no room for the question.
fn ask(
    store: &PersistControl,
    after: Option<StreamName>,
    most: usize,
    ticket: Ticket,
    answers: &Sender<Reply>,
    waker: &Arc<Waker>,
) -> bool {
    let (answers, waker) = (answers.clone(), Arc::clone(waker));
    let reply = Box::new(move |found: Result<_, crate::store::StoreError>| {
        // Where there is no room, or nobody, the client's time ends.
        let _ = answers.try_send((ticket, News::Found(found.map_err(|e| e.to_string()))));
        let _ = waker.wake();
    });
    store.scan(after, most, reply).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;

    #[test]
    fn an_accept_that_fails_is_counted_and_rested_from() {
        let engine = Engine::builder().start().unwrap();
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let mut server = Server::new(listener, Source::of(&engine)).unwrap();
        for n in 1..=5 {
            let now = Tick::from_millis(100 * n);
            server.on_accept_failed(&ErrorKind::OutOfMemory.into(), now);
            server.live.on_time(&server.source.metrics, now);
            assert_eq!((server.due(), server.failing), (now + ACCEPT_REST, true));
        }
        assert_eq!(engine.count(Count::AdminAcceptsFailed), 5);
    }
}
