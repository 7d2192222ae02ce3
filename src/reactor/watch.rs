//! How the system finds out that a peer has vanished: probes of a connection that is silent, and a limit on how long
//! what was sent may stay without an answer.
//!
//! In: the configuration. Out: options on sockets. A peer that vanished then makes a read or a write fail.
//! Laws: a connection is probed before its time is up, so that one lost packet breaks nothing; a slow peer is not a
//! vanished one, and is left to the settings that are about slow peers.
//!
//! Probes run only while nothing waits to be acknowledged. Where something does, as a heartbeat may, the system repeats
//! it for a quarter of an hour, unless the user time-out ends that. The user time-out also ends a connection whose
//! peer acknowledges everything and has no room, which is slow and not away. So clients get no less of it than
//! `body_timeout`, and an upstream gets none while it is sent the body of a request.

use crate::base::Span;
use crate::config::Config;
use socket2::{SockRef, TcpKeepalive};
use std::time::Duration;

/// Probes that may stay without an answer.
const PROBES: u32 = 3;

/// How peers are watched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    /// How long a peer may be unreachable; zero leaves all to the system.
    timeout: Span,
    /// The same for a client.
    client: Span,
}

impl Watch {
    pub(super) fn of(config: &Config) -> Self {
        let body_timeout = config.routes.iter().map(|route| route.body_timeout).max().unwrap_or_default();
        Self { timeout: config.peer_timeout, client: config.peer_timeout.max(body_timeout) }
    }

    /// Watches the clients of a socket that listens: the connections that it accepts have its options.
    pub(super) fn listener(&self, socket: SockRef<'_>) {
        self.probe(&socket);
        self.limit(&socket, self.client);
    }

    /// Watches an upstream over a socket that is about to connect.
    pub(super) fn upstream(&self, socket: SockRef<'_>) {
        self.probe(&socket);
        self.limit(&socket, self.timeout);
    }

    /// Whether what upstream is sent may stay without an answer for longer: it may be slow to take a large body.
    pub(super) fn be_patient(&self, socket: SockRef<'_>, patient: bool) {
        let timeout = if patient { Span::ZERO } else { self.timeout };
        self.set_limit(&socket, timeout);
    }

    /// Half of the time passes in silence, the other half in probes.
    fn probe(&self, socket: &SockRef<'_>) {
        if self.timeout.is_zero() {
            return;
        }
        let probes = TcpKeepalive::new().with_time(seconds(self.timeout, 2));
        #[cfg(not(any(target_os = "openbsd", target_os = "haiku", target_os = "solaris", target_os = "vita")))]
        let probes = probes.with_interval(seconds(self.timeout, 2 * PROBES)).with_retries(PROBES);
        // A system that refuses leaves the connection as it would be without, and so do the calls below.
        let _ = socket.set_tcp_keepalive(&probes);
    }

    fn limit(&self, socket: &SockRef<'_>, timeout: Span) {
        if !self.timeout.is_zero() {
            self.set_limit(socket, timeout);
        }
    }

    #[cfg(any(target_os = "android", target_os = "linux"))]
    fn set_limit(&self, socket: &SockRef<'_>, timeout: Span) {
        let _ = socket.set_tcp_user_timeout(Some(Duration::from(timeout)));
    }

    #[cfg(not(any(target_os = "android", target_os = "linux")))]
    #[allow(clippy::unused_self, reason = "this system has no such limit: its own holds")]
    fn set_limit(&self, _: &SockRef<'_>, _: Span) {}
}

/// A part of a time as whole seconds, which the system's options are in: at least one.
fn seconds(time: Span, parts: u32) -> Duration {
    Duration::from_secs((time.millis() / u64::from(parts) / 1_000).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    fn sockets(watch: Watch) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        watch.listener(SockRef::from(&listener));
        let upstream = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        watch.upstream(SockRef::from(&upstream));
        (upstream, listener.accept().expect("a connection waits").0)
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn both_sides_are_probed_and_what_is_sent_is_not_repeated_for_ever() {
        let (timeout, client) = (Span::from_secs(60), Span::from_secs(90));
        let (upstream, accepted) = sockets(Watch { timeout, client });
        for (stream, limit) in [(&upstream, 60), (&accepted, 90)] {
            let socket = SockRef::from(stream);
            assert!(socket.keepalive().expect("an option"));
            let times = (socket.tcp_keepalive_time().ok(), socket.tcp_keepalive_interval().ok());
            assert_eq!(times, (Some(Duration::from_secs(30)), Some(Duration::from_secs(10))));
            assert_eq!(socket.tcp_keepalive_retries().expect("an option"), 3);
            assert_eq!(socket.tcp_user_timeout().expect("an option"), Some(Duration::from_secs(limit)));
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn zero_leaves_all_to_the_system() {
        let (upstream, accepted) = sockets(Watch { timeout: Span::ZERO, client: Span::from_secs(60) });
        for stream in [&upstream, &accepted] {
            let socket = SockRef::from(stream);
            assert!(!socket.keepalive().expect("an option"));
            assert_eq!(socket.tcp_user_timeout().expect("an option"), None);
        }
    }
}
