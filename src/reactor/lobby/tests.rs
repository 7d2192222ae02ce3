//! Who makes room for whom, and what is given back.
//!
//! In: connections of this machine. Out: who is still there, and what the machine gets back.

use super::*;

#[test]
fn the_answer_to_plain_http_has_the_length_that_it_says() {
    let text = std::str::from_utf8(NOT_TLS).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
}

/// A connection that is registered with the poll, and the client's end of it.
fn connected(poll: &mio::Poll) -> (TcpStream, std::net::TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    let mut stream = TcpStream::from_std(stream);
    poll.registry().register(&mut stream, Token(0), Interest::READABLE).unwrap();
    (stream, client)
}

#[test]
fn who_shakes_hands_makes_room_before_whoever_is_still_being_sent_its_answer() {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = std::env::temp_dir().join(format!("segno-lobby-{}.pem", std::process::id()));
    std::fs::write(&file, own.cert.pem() + &own.signing_key.serialize_pem()).unwrap();
    let mut config = Config { tls_cert: vec![file.clone()], ..Config::default() };
    config.limits.handshakes = 2;
    let keyring = Keyring::new(Default::default());
    keyring.reload(&config).unwrap();
    let (poll, now, peer) =
        (mio::Poll::new().unwrap(), Tick::from_millis(1), std::net::IpAddr::from([127, 0, 0, 1]).into());
    let mut lobby = Lobby::new(&config, keyring);
    let (stream, _leaver) = connected(&poll);
    let tls = Tls::serve(lobby.keyring.server().unwrap(), stream).unwrap();
    lobby.see_off(Box::new(tls), peer, poll.registry(), now);
    let _clients: Vec<_> = (0..2)
        .map(|_| {
            let (stream, client) = connected(&poll);
            let arrival = Arrival { stream, peer, stake: Stake::NONE, is_watched: true };
            lobby.enter(arrival, poll.registry(), now);
            client
        })
        .collect();
    let crowded_out = lobby.counts.get(Count::TlsHandshakesCrowdedOut);
    assert_eq!((crowded_out, lobby.sees_somebody_off()), (1, true));
    std::fs::remove_file(file).unwrap();
}

/// Where there is no certificate, and where the poll takes no more, nobody gets in; and what the client held is free.
#[test]
fn who_cannot_get_in_gives_back_what_it_held() {
    let (poll, now) = (mio::Poll::new().unwrap(), Tick::from_millis(1));
    let mut lobby = Lobby::new(&Config::default(), Keyring::new(Default::default()));
    let (stream, _client) = connected(&poll);
    let peer = std::net::IpAddr::from([127, 0, 0, 1]).into();
    let stake = Stake::NONE;
    lobby.enter(Arrival { stream, peer, stake, is_watched: true }, poll.registry(), now);
    assert_eq!((lobby.next_gone(), lobby.next_gone()), (Some(stake), None));
    assert_eq!((lobby.next_deadline(), lobby.counts.get(Count::TlsHandshakesFailed)), (None, 1));
}
