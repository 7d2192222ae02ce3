//! Which inherited socket goes to which address, and what is told of sockets that others hold.
//!
//! In: sockets of this machine, addresses. Out: who gets what; news of the poll.

use super::*;

fn bound(address: &str) -> std::net::TcpListener {
    std::net::TcpListener::bind(address).unwrap()
}

fn asked(addresses: &[String]) -> Vec<SocketAddr> {
    addresses.iter().map(|address| address.parse().unwrap()).collect()
}

/// Which of the sockets each address gets, by its number.
fn shared(asked: &[SocketAddr], sockets: Vec<std::net::TcpListener>) -> Vec<Option<usize>> {
    let own: Vec<SocketAddr> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
    let number = |socket: &std::net::TcpListener| own.iter().position(|own| socket.local_addr().unwrap() == *own);
    share_out(asked, sockets).iter().map(|socket| socket.as_ref().and_then(number)).collect()
}

#[test]
fn a_socket_goes_to_the_address_that_it_fits_best_and_in_order() {
    let sockets = || vec![bound("127.0.0.1:0"), bound("127.0.0.1:0"), bound("127.0.0.2:0")];
    let any = |n: usize| vec!["127.0.0.1:0".to_owned(); n];
    assert_eq!(shared(&asked(&any(3)), sockets()), [Some(0), Some(1), None]);
    let given = sockets();
    let (first, second) = (given[0].local_addr().unwrap(), given[1].local_addr().unwrap());
    // Any port does not take what another asks for by its number.
    let mixed = asked(&["127.0.0.1:0".to_owned(), first.to_string(), "127.0.0.3:0".to_owned()]);
    assert_eq!(shared(&mixed, given), [Some(1), Some(0), None]);
    let given = vec![bound(&second.to_string())];
    let written = asked(&[format!("[::ffff:127.0.0.1]:{}", second.port())]);
    assert_eq!(shared(&written, given), [Some(0)], "an IPv4 address that is written as IPv6");
}

#[test]
fn a_socket_of_both_families_is_taken_for_all_addresses_of_ipv4_and_one_of_ipv6_is_not() {
    let of = |only_v6: bool| {
        let socket = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None).unwrap();
        socket.set_only_v6(only_v6).unwrap();
        let any: SocketAddr = "[::]:0".parse().unwrap();
        socket.bind(&any.into()).unwrap();
        socket.listen(1).unwrap();
        std::net::TcpListener::from(socket)
    };
    let (both, six) = (of(false), of(true));
    let ask = |socket: &std::net::TcpListener, ip: &str| {
        Fit::of(socket, format!("{ip}:{}", socket.local_addr().unwrap().port()).parse().unwrap())
    };
    assert_eq!((ask(&both, "0.0.0.0"), ask(&both, "[::]")), (Some(Fit::More), Some(Fit::Same)));
    assert_eq!((ask(&six, "0.0.0.0"), ask(&six, "[::]"), ask(&both, "127.0.0.1")), (None, Some(Fit::Same), None));
    let zone = |n: u32| std::net::SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, both.local_addr().unwrap().port(), 0, n);
    assert_eq!(Fit::of(&both, zone(7).into()), None, "another zone");
}

/// Whatever waits at one listener, those that wait at another are not behind them.
#[test]
fn listeners_take_turns_and_stop_when_the_share_of_the_turn_is_over() {
    let mut poll = mio::Poll::new().unwrap();
    let config = Config { listen: vec!["127.0.0.1:0".parse().unwrap(); 2], ..Config::default() };
    let mut listeners = Listeners::bind(&config, poll.registry(), Vec::new()).unwrap();
    let to = listeners.addresses();
    let crowd: Vec<_> = (0..5).map(|_| std::net::TcpStream::connect(to[0]).unwrap()).collect();
    let other = std::net::TcpStream::connect(to[1]).unwrap();
    let mut events = mio::Events::with_capacity(8);
    while listeners.ready != 3 {
        poll.poll(&mut events, Some(std::time::Duration::from_secs(10))).unwrap();
        events.iter().for_each(|event| listeners.on_ready(event.token()));
    }
    let mut accept = |most: usize| {
        let mut ports = Vec::new();
        listeners
            .accept(Tick::ZERO, |stream, _, _| {
                ports.push(stream.peer_addr().unwrap().port());
                ports.len() < most
            })
            .unwrap();
        (ports, listeners.must_accept_now())
    };
    let port = |client: &std::net::TcpStream| client.local_addr().unwrap().port();
    assert_eq!(accept(1), (vec![port(&other)], true));
    assert_eq!(accept(2), (vec![port(&crowd[0]), port(&crowd[1])], true));
    assert_eq!(accept(9), (vec![port(&crowd[2]), port(&crowd[3]), port(&crowd[4])], false));
}

/// A copy of each socket, as a successor has it, keeps the socket open. What comes to it is no news here.
#[test]
fn sockets_that_others_hold_tell_of_nothing_once_they_are_closed_here() {
    let mut poll = mio::Poll::new().unwrap();
    let config = Config { listen: vec!["127.0.0.1:0".parse().unwrap()], ..Config::default() };
    let mut listeners = Listeners::bind(&config, poll.registry(), Vec::new()).unwrap();
    let (to, _copies) = (listeners.addresses()[0], listeners.share().unwrap());
    let mut events = mio::Events::with_capacity(8);
    let _first = std::net::TcpStream::connect(to).unwrap();
    poll.poll(&mut events, Some(std::time::Duration::from_secs(10))).unwrap();
    assert_eq!(events.iter().count(), 1, "as long as it listens, it is told");
    listeners.close(poll.registry());
    let _second = std::net::TcpStream::connect(to).unwrap();
    poll.poll(&mut events, Some(std::time::Duration::ZERO)).unwrap();
    assert_eq!(events.iter().count(), 0);
}
