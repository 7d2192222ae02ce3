//! What references name: the examples of the RFC, and what a client's own reader makes of them.

use super::*;
use crate::base::Random;
use url::Url;

/// What `http://a/b/c/d;p?q` names by this reference: an authority, and a target.
fn named(reference: &str) -> Option<(Option<&str>, String)> {
    let referred = refer(reference, "http", "/b/c/d;p?q")?;
    Some((referred.server.map(|server| server.authority), referred.target))
}

/// RFC 3986, section 5.4, without what its schemes say.
#[test]
fn each_example_of_the_rfc_is_resolved() {
    for (reference, expected) in [
        ("g", "/b/c/g"),
        ("./g", "/b/c/g"),
        ("g/", "/b/c/g/"),
        ("/g", "/g"),
        ("?y", "/b/c/d;p?y"),
        ("g?y", "/b/c/g?y"),
        ("#s", "/b/c/d;p?q"),
        ("g#s", "/b/c/g"),
        ("g?y#s", "/b/c/g?y"),
        (";x", "/b/c/;x"),
        ("g;x", "/b/c/g;x"),
        ("g;x?y#s", "/b/c/g;x?y"),
        ("", "/b/c/d;p?q"),
        (".", "/b/c/"),
        ("./", "/b/c/"),
        ("..", "/b/"),
        ("../", "/b/"),
        ("../g", "/b/g"),
        ("../..", "/"),
        ("../../", "/"),
        ("../../g", "/g"),
        ("../../../g", "/g"),
        ("../../../../g", "/g"),
        ("/./g", "/g"),
        ("/../g", "/g"),
        ("g.", "/b/c/g."),
        (".g", "/b/c/.g"),
        ("g..", "/b/c/g.."),
        ("..g", "/b/c/..g"),
        ("./../g", "/b/g"),
        ("./g/.", "/b/c/g/"),
        ("g/./h", "/b/c/g/h"),
        ("g/../h", "/b/c/h"),
        ("g;x=1/./y", "/b/c/g;x=1/y"),
        ("g;x=1/../y", "/b/c/y"),
        ("g?y/./x", "/b/c/g?y/./x"),
        ("g?y/../x", "/b/c/g?y/../x"),
        ("g#s/./x", "/b/c/g"),
        ("g#s/../x", "/b/c/g"),
        ("http:g", "/b/c/g"),
    ] {
        assert_eq!(named(reference), Some((None, expected.to_owned())), "{reference:?}");
    }
    assert_eq!(named("//g"), Some((Some("g"), "/".to_owned())));
    for nothing in ["g:h", "https:g", "///g", "http:///g", "/\\g/h", "/g h", "/\u{fc}", "mailto:a@b"] {
        assert_eq!(named(nothing), None, "{nothing:?}");
    }
}

#[test]
fn a_server_is_known_by_scheme_host_and_port() {
    let is = |reference, scheme, host| {
        refer(reference, scheme, "/").and_then(|referred| referred.server).is_some_and(|server| server.is(scheme, host))
    };
    for host in ["h", "H:80", "h:"] {
        assert!(is("http://h/", "http", host) && is("//h:80", "http", host) && is("HTTP://h:", "http", host), "{host}");
    }
    assert!(is("https://h", "https", "h:443") && is("//[::1]:443/", "https", "[::1]"));
    // A request that came through what ends TLS.
    assert!(is("https://h:443/", "http", "h") && is("https://h/", "http", "h:443"));
    for (other, host) in
        [("http://h:81", "h"), ("http://h", "h:81"), ("//g", "h"), ("http://u@h", "h"), ("//[::1]", "::1")]
    {
        assert!(!is(other, "http", host), "{other} at {host}");
    }
}

/// A reference of parts that are written alike in a URL and in what is asked for.
fn reference(random: &mut Random) -> String {
    let mut one_of = |all: &[&'static str]| all[random.below(all.len() as u64) as usize];
    let scheme = one_of(&["", "", "", "http:", "https:", "HTTP:", "ftp:", "x+y:", "1:"]);
    let server = one_of(&["", "", "", "//own.test", "//own.test:80", "//OWN.test:443", "//g", "//g:81"]);
    let rest = one_of(&["", "?y", "?y/../x", "#s", "?a?b#s/../x", "?"]);
    let segments = one_of(&["", "1", "22", "333", "4444", "55555"]).len();
    let path: Vec<&str> =
        (0..segments).map(|_| one_of(&["", ".", "..", "g", "m;x=1", "a:b", "..g", ".x.", "~", "@"])).collect();
    let path = path.join("/");
    // An authority ends with a slash or the path.
    let slash = if server.is_empty() || path.is_empty() || path.starts_with('/') { "" } else { "/" };
    format!("{scheme}{server}{slash}{path}{rest}")
}

/// The reader of browsers and of other clients agrees: on the target where the server is the request's own, and on that
/// it is another where it is.
#[test]
fn a_clients_reader_finds_the_same() {
    let (mut random, mut own) = (Random::new(11), 0);
    for n in 0..20_000 {
        let (reference, scheme) = (reference(&mut random), if n % 2 == 0 { "http" } else { "https" });
        let base = Url::parse(&format!("{scheme}://own.test/b/c/d;p?q")).unwrap();
        let theirs = base.join(&reference).ok().filter(|url| url.origin() == base.origin());
        let asked = theirs.map(|url| match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        });
        let is_own =
            |server: Server<'_>| server.scheme.is_none_or(|named| named == scheme) && server.is(scheme, "own.test");
        let ours = refer(&reference, scheme, "/b/c/d;p?q").filter(|referred| referred.server.is_none_or(is_own));
        match ours.map(|ours| ours.target) {
            Some(target) => assert_eq!(Some(target), asked, "{reference} by {scheme}"),
            // Slashes without a host between them.
            None => assert!(asked.is_none() || reference.contains("///"), "{reference} by {scheme}: {asked:?}"),
        }
        own += usize::from(asked_is_own(&reference, scheme));
    }
    assert!((4_000..16_000).contains(&own), "{own} of them name the server itself");
}

fn asked_is_own(reference: &str, scheme: &str) -> bool {
    refer(reference, scheme, "/").is_some_and(|referred| referred.server.is_none())
}
