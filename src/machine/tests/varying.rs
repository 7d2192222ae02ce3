//! For whom a shared stream is: what goes upstream for all of its readers, and by what upstream's answer varies.

use super::asking::data;
use super::*;
use crate::config::Share;

fn asks(lines: &str) -> String {
    format!("GET /events HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n{lines}\r\n")
}

fn answer(lines: &str) -> String {
    STREAM.replacen("\r\n", &format!("\r\n{lines}"), 1) + &chunk(&event(1))
}

#[test]
fn what_is_for_everybody_is_asked_for_in_nobodys_name() {
    let mut w = lingering_world(|route, _| route.share = Share::Public);
    let own = "Authorization: a\r\nCookie: s=alice\r\nX-User: alice\r\nX-Forwarded-For: 192.0.2.1\r\n\
               X-Forwarded-User: alice\r\nForwarded: for=192.0.2.1\r\nX-Session: s\r\nUser-Agent: x\r\n";
    w.client_with(&asks(&format!("{own}Origin: https://a.example\r\n")));
    let sent = w.wire(w.up(0)).to_ascii_lowercase();
    for name in ["authorization", "cookie", "x-user", "x-forwarded-for", "x-forwarded-user", "forwarded:", "x-session"]
    {
        assert!(!sent.contains(name), "{name} went upstream for everybody: {sent}");
    }
    assert!(!sent.contains("192.0.2.1") && !sent.contains("127.0.0.1"), "{sent}");
    assert!(sent.contains("accept: text/event-stream\r\n") && sent.contains("origin: https://a.example\r\n"), "{sent}");
    // What is not a stream for everybody goes upstream whole.
    w.client_with(&format!("POST /events HTTP/1.1\r\nHost: h\r\n{own}Content-Length: 0\r\n\r\n"));
    assert!(w.wire(w.up(1)).contains("Authorization: a\r\n"));
}

#[test]
fn an_answer_that_varies_is_shared_by_those_who_ask_alike() {
    for share in [Share::Principal, Share::Public] {
        for (vary, ups) in
            [("", 1), ("Vary: Origin\r\n", 1), ("Vary: Accept, accept-language\r\n", 2), ("Vary: *\r\n", 3)]
        {
            let mut w = lingering_world(|route, _| route.share = share);
            w.client_with(&asks("Accept-Language: de\r\n"));
            w.say(w.up(0), &answer(vary));
            let alike = w.client_with(&asks("Accept-Language: de\r\n"));
            let other = w.client_with(&asks("Accept-Language: fr\r\n"));
            assert_eq!(w.ups.len(), ups, "{share:?} {vary:?}");
            w.say(w.up(0), &chunk(&event(2)));
            assert_eq!(data(&w, alike).len(), usize::from(ups < 3), "{vary:?}");
            assert_eq!(data(&w, other).len(), usize::from(ups < 2), "{vary:?}");
        }
    }
}

#[test]
fn who_asks_otherwise_does_not_wait_for_an_answer_that_may_vary() {
    let mut w = lingering_world(|route, _| route.share = Share::Public);
    let de = w.client_with(&asks("Accept-Language: de\r\nTraceparent: 1\r\n"));
    let fr = w.client_with(&asks("Accept-Language: fr\r\n"));
    let too = w.client_with(&asks("Accept-Language: de\r\nTraceparent: 2\r\n"));
    assert_eq!(w.ups.len(), 2);
    w.say(w.up(0), &answer("Vary: Accept-Language\r\n"));
    assert_eq!((data(&w, de).len(), data(&w, too).len(), data(&w, fr).len()), (1, 1, 0));
    w.say(w.up(1), &answer("Vary: Accept-Language\r\n"));
    assert_eq!(data(&w, fr).len(), 1);
}

#[test]
fn the_origin_of_one_page_is_not_answered_to_another() {
    let mut w = lingering_world(|route, _| route.share = Share::Public);
    w.client_with(&asks("Origin: https://a.example\r\n"));
    w.say(w.up(0), &answer("Vary: Origin\r\nAccess-Control-Allow-Origin: https://a.example\r\n"));
    w.client_with(&asks("Origin: https://b.example\r\n"));
    assert_eq!(w.ups.len(), 2);
    w.client_with(&asks("Origin: https://a.example\r\n"));
    assert_eq!(w.ups.len(), 2);
}

#[test]
fn a_variant_is_found_among_any_number_of_others() {
    for share in [Share::Principal, Share::Public] {
        let mut w = lingering_world(|route, _| route.share = share);
        for n in 0..90 {
            w.client_with(&asks(&format!("Accept-Language: x-{n}\r\n")));
            w.say(w.last_up(), &answer("Vary: accept-language\r\n"));
        }
        for n in [0, 63, 64, 70, 89] {
            // In what the answer does not vary by, it may differ.
            let other = w.client_with(&asks(&format!("Accept-Language: x-{n}\r\nCache-Control: no-cache\r\n")));
            w.say(w.up(n), &chunk(&event(2)));
            assert_eq!((w.ups.len(), data(&w, other).len()), (90, 1), "{share:?} {n}");
        }
        // One whose stream is over is asked for anew.
        w.say(w.up(70), LAST);
        w.client_with(&asks("Accept-Language: x-70\r\n"));
        assert_eq!(w.wire(w.up(70)).matches("Accept-Language: x-70").count(), 2, "{share:?}");
    }
}
