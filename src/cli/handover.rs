//! The hand-over between a running proxy and its successor: the sockets that listen, then the store.
//!
//! In: the path of a socket, a running engine. Out: listeners for a successor; the old proxy drains once the successor
//! is ready, and the successor opens the store once the old one has closed it.
//! Laws: only a process of the same user is served; nothing changes before the successor says that it is ready, so one
//! that dies before leaves the old proxy as it was, and one that says so too late finds it as it was and ends; a listener
//! is open in one of the two at any time, so no connection is refused; each wait has a bound; a signal in between is no
//! failure.
//!
//! ```text
//! successor                         old proxy
//! segno-handover 1        ------>
//!                         <------   sockets N        with the sockets themselves; or: refused WHY
//! ready                   ------>                    the successor serves
//!                         <------   draining         the path is free again, nobody is accepted here any more
//!                         <------   store            the store is closed; the end of the connection says so too
//! ```

use super::Stop;
use crate::base::Span;
use crate::engine::{Engine, Reloader, StoreRelease};
use crate::journal::{Journal, Level};
use crate::persist::{PersistControl, Unflushed};
use crate::reactor::{Command, Remote};
use crossbeam_channel::bounded;
use rustix::io::retry_on_intr;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// What a successor says first, with the version of the words.
const HELLO: &str = "segno-handover 1\n";

/// Sockets at most, as many as a proxy has listeners.
const SOCKETS: usize = 64;

/// How long either side may take for its next word.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the store may take to write the last cursors.
const FLUSH_FOR: Span = Span::from_secs(5);

/// How much longer than its drain the old proxy may take to say that the store is closed.
const GRACE: Duration = Duration::from_secs(10);

/// The longest line.
const LINE: usize = 256;

/// What a running proxy has handed over so far.
pub(super) struct TakenOver {
    link: UnixStream,
    path: PathBuf,
    pub(super) listeners: Vec<TcpListener>,
}

/// What the old proxy does once this process is ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Before {
    /// It drains, and its path is free.
    Drains,
    /// It has ended.
    Gone,
    /// It goes on as before, since this process took too long.
    GoesOn,
}

/// How long [`TakenOver::go_on`] takes at most until it says what the old proxy does.
pub(super) const ANSWER: Duration = PATIENCE.saturating_add(Duration::from_secs(5));

/// Takes the listeners of the proxy that runs with this path. `None`: none runs.
pub(super) fn take_over(path: &Path) -> Result<Option<TakenOver>, Stop> {
    let failed = |what: &dyn std::fmt::Display| {
        Stop::Failed(format!("cannot take over from the proxy at {}: {what}; it goes on as before", path.display()))
    };
    let link = match UnixStream::connect(path) {
        Ok(link) => link,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => return Ok(None),
        Err(e) => return Err(failed(&e)),
    };
    if !is_same_user(&link) {
        return Err(failed(&"it belongs to another user"));
    }
    link.set_read_timeout(Some(PATIENCE))
        .and_then(|()| link.set_write_timeout(Some(PATIENCE)))
        .map_err(|e| failed(&e))?;
    (&link).write_all(HELLO.as_bytes()).map_err(|e| failed(&e))?;
    let (line, sockets) = receive(&link).map_err(|e| failed(&e))?;
    match line.split_once(' ') {
        Some(("sockets", n)) if n.parse() == Ok(sockets.len()) => {}
        Some(("refused", why)) => return Err(failed(&why)),
        _ => return Err(failed(&"it does not hand over as this version of segno expects")),
    }
    let path = path.to_owned();
    Ok(Some(TakenOver { link, path, listeners: sockets.into_iter().map(TcpListener::from).collect() }))
}

impl TakenOver {
    /// This process serves: the old one drains. Then waits until the store is free, and has it opened. `then` is called
    /// with what the old one does, as soon as that is known. After an error it goes on as before.
    pub(super) fn go_on(
        self,
        store: PersistControl,
        mut journal: Journal,
        then: impl FnOnce(Before) + Send + 'static,
    ) -> io::Result<()> {
        let Self { link, path, listeners: _ } = self;
        thread::Builder::new().name("segno-successor".to_owned()).spawn(move || {
            // One that has gone by now is found out by its silence.
            let _ = (&link).write_all(b"ready\n");
            let before = match read_line(&link) {
                Ok(line) if line == "draining" => Before::Drains,
                _ if UnixStream::connect(&path).is_ok() => Before::GoesOn,
                _ => Before::Gone,
            };
            then(before);
            match before {
                Before::Drains => {}
                Before::GoesOn => return,
                Before::Gone => {
                    store.open_now();
                    let what = "the proxy before this one has gone before it could hand over its store";
                    return journal.say(Level::Warn, what);
                }
            }
            journal.say(
                Level::Info,
                "took over; the proxy before this one drains, and its store comes when it is written",
            );
            // However long that takes, the store is tried now and then beside this.
            let _ = link.set_read_timeout(None);
            let _ = read_line(&link);
            store.open_now();
            journal.say(Level::Info, "the proxy before this one has closed the store");
        })?;
        Ok(())
    }
}

/// What the old proxy needs to hand over.
struct Giver {
    path: PathBuf,
    remote: Remote,
    running: Reloader,
    store: StoreRelease,
    journal: Journal,
}

/// Waits for a successor at this path, for as long as the process runs.
pub(super) fn wait_for_successor(path: PathBuf, engine: &Engine) -> io::Result<()> {
    let giver = Giver {
        path,
        remote: engine.remote(),
        running: engine.reloader(),
        store: engine.store_release(),
        journal: engine.journal(),
    };
    let listener = bind(&giver.path)?;
    thread::Builder::new().name("segno-handover".to_owned()).spawn(move || giver.run(&listener))?;
    Ok(())
}

/// Binds the path, over one that a process which has died left behind.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let listener = match UnixListener::bind(path) {
        Err(e) if e.kind() == ErrorKind::AddrInUse => {
            let why = match UnixStream::connect(path) {
                Ok(_) => Some("another proxy waits there; start with `--take-over` to take over from it"),
                Err(e) if e.kind() == ErrorKind::ConnectionRefused => None,
                Err(_) => Some("something else is there"),
            };
            if let Some(why) = why {
                return Err(io::Error::new(ErrorKind::AddrInUse, why));
            }
            fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        bound => bound?,
    };
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

impl Giver {
    fn run(mut self, listener: &UnixListener) {
        loop {
            let handed = match listener.accept() {
                Ok((link, _)) => self.hand_over(&link),
                Err(e) => Err(e),
            };
            match handed {
                Ok(()) => return,
                Err(e) => {
                    let what = format!("a successor did not take over: {e}; this proxy goes on as before");
                    self.journal.say(Level::Warn, what);
                    // A failure of the system must not spin.
                    if e.kind() != ErrorKind::UnexpectedEof {
                        let (_open, nothing) = bounded::<()>(0);
                        let _ = nothing.recv_timeout(Duration::from_millis(100));
                    }
                }
            }
        }
    }

    /// Serves one successor. An error before it is ready changes nothing.
    fn hand_over(&mut self, link: &UnixStream) -> io::Result<()> {
        if !is_same_user(link) {
            return Err(io::Error::new(ErrorKind::PermissionDenied, "it belongs to another user"));
        }
        link.set_read_timeout(Some(PATIENCE))?;
        link.set_write_timeout(Some(PATIENCE))?;
        if format!("{}\n", read_line(link)?) != HELLO {
            let (version, hello) = (env!("CARGO_PKG_VERSION"), HELLO.trim_end());
            let why = format!("refused segno {version} hands over to those who say `{hello}` alone\n");
            let _ = (&*link).write_all(why.as_bytes());
            return Err(io::Error::new(ErrorKind::InvalidData, "it speaks another version"));
        }
        let sockets = self.sockets()?;
        send(link, &format!("sockets {}\n", sockets.len()), &sockets)?;
        drop(sockets);
        if read_line(link)? != "ready" {
            return Err(io::Error::new(ErrorKind::InvalidData, "it does not say that it is ready"));
        }
        let within = self.running.running().drain_timeout;
        let (tell, drained) = bounded(1);
        self.journal.say(Level::Info, "a successor is ready: handing over, and draining");
        // From here on there is no way back, and the successor finds out by itself what could not be done. It is told
        // first: where nobody is left, this process may end as soon as it drains.
        let _ = fs::remove_file(&self.path);
        let _ = (&*link).write_all(b"draining\n");
        if !self.remote.send(Command::Drain(within)) || !self.remote.send(Command::SayWhenDrained(tell)) {
            return Err(io::Error::other("this proxy has ended already"));
        }
        let _ = drained.recv_timeout(Duration::from(within) + GRACE);
        if let Some(left) = self.store.release(FLUSH_FOR).filter(|left| *left != Unflushed::default()) {
            // Which they are, the end of this process tells, and its exit code.
            let n = left.cursors.len();
            let what =
                format!("cursors that the successor's store does not have: {n}; named when this proxy has ended");
            self.journal.say(Level::Error, what);
        }
        let _ = (&*link).write_all(b"store\n");
        Ok(())
    }

    /// Copies of the sockets that listen.
    fn sockets(&self) -> io::Result<Vec<OwnedFd>> {
        let (to, from) = bounded(1);
        self.remote.send(Command::Share(to));
        from.recv_timeout(PATIENCE).map_err(|_| io::Error::other("the reactor does not answer"))?
    }
}

/// Whether the process at the other end runs as the same user. Where the system does not tell, it does not.
fn is_same_user(link: &UnixStream) -> bool {
    #[cfg(target_os = "linux")]
    return rustix::net::sockopt::socket_peercred(link).is_ok_and(|peer| peer.uid == rustix::process::geteuid());
    #[cfg(not(target_os = "linux"))]
    {
        let _ = link;
        false
    }
}

/// Sends a line, and sockets with it.
fn send(link: &UnixStream, line: &str, sockets: &[OwnedFd]) -> io::Result<()> {
    let sockets: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !sockets.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&sockets)) {
        return Err(io::Error::other("there are more sockets than can be handed over"));
    }
    // With a time limit, a signal interrupts these two calls, whatever its handler asks for.
    let line = line.as_bytes();
    let sent = retry_on_intr(|| sendmsg(link, &[IoSlice::new(line)], &mut ancillary, SendFlags::NOSIGNAL))?;
    (&*link).write_all(line.get(sent..).unwrap_or_default())
}

/// Receives a line, and the sockets that come with it.
fn receive(link: &UnixStream) -> io::Result<(String, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; LINE];
    let got =
        retry_on_intr(|| recvmsg(link, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC))?;
    let mut sockets = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(all) = message {
            sockets.extend(all);
        }
    }
    let mut line = String::from_utf8_lossy(&bytes[..got.bytes]).into_owned();
    if !line.ends_with('\n') {
        line.push_str(&read_line(link)?);
    }
    Ok((line.trim_end().to_owned(), sockets))
}

/// Reads a line, byte by byte so that nothing behind it is taken.
fn read_line(mut link: &UnixStream) -> io::Result<String> {
    let (mut line, mut byte) = (Vec::new(), [0]);
    loop {
        link.read_exact(&mut byte)?;
        match byte[0] {
            b'\n' => return Ok(String::from_utf8_lossy(&line).into_owned()),
            _ if line.len() >= LINE => return Err(io::Error::new(ErrorKind::InvalidData, "a line is too long")),
            byte => line.push(byte),
        }
    }
}

/// Says of each stream whose cursor could not be stored.
pub(super) fn tell_unflushed(left: &Unflushed, journal: &mut Journal) {
    for (name, cursor) in &left.cursors {
        let session = name.session.escape_ascii();
        let what = format!("not stored: session {session}, stream {:x}, event id {:?}", name.stream, cursor.id);
        journal.say(Level::Error, what);
    }
    if left.hung {
        journal.say(Level::Error, "a call to the store has not returned; the proxy ends without it");
    }
}
