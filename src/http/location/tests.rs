//! Which redirects are written back, and to what.

use super::*;

fn seen(location: &str, host: &str, is_clients: bool, base_path: &str) -> String {
    let mut headers = Headers::new();
    for (name, value) in [("A", "b"), ("location", location), ("C", "d")] {
        headers.push(name, value.as_bytes()).unwrap();
    }
    localize(&mut headers, Itself { host, is_clients, base_path });
    assert_eq!((headers.len(), headers.get("A"), headers.get("C")), (3, Some(&b"b"[..]), Some(&b"d"[..])));
    String::from_utf8(headers.get("Location").unwrap().to_vec()).unwrap()
}

#[test]
fn a_redirect_of_the_upstream_to_itself_is_one_to_segno() {
    for (location, expected) in [
        ("https://up.example/x?y=http://up.example/", "/x?y=http://up.example/"),
        ("http://UP.example:80/mcp/", "/mcp/"),
        ("//up.example:443", "/"),
        ("https://up.example?q", "/?q"),
        ("https://up.example//evil.example/", "/.//evil.example/"),
        ("https://up.example/\\evil.example", "/./\\evil.example"),
    ] {
        assert_eq!(seen(location, "up.example", false, ""), expected, "{location}");
    }
}

#[test]
fn a_redirect_to_somewhere_else_stays() {
    for location in [
        "https://other.example/",
        "https://up.example.evil/",
        "https://up.example:8443/",
        "https://u@up.example/",
        "mailto:up.example",
        "x/y",
        "",
        "/x",
        "///x",
        "https://up.example/\t/evil.example",
        "https://up.example\t/x",
        "//up.example/\t\\evil.example",
    ] {
        assert_eq!(seen(location, "up.example", false, ""), location);
    }
}

#[test]
fn the_path_before_each_target_is_taken_off() {
    for (location, expected) in [
        ("http://up/v1/x/", "/x/"),
        ("http://up/v1", "/"),
        ("/v1/x", "/x"),
        ("/v1//evil.example", "/.//evil.example"),
        ("/v1?a", "/?a"),
        ("/v10/x", "/v10/x"),
        ("/login", "/login"),
        ("http://up/login", "http://up/login"),
        ("http://other/v1/x", "http://other/v1/x"),
    ] {
        assert_eq!(seen(location, "up", false, "/v1"), expected, "{location}");
        assert_eq!(seen(location, "up", true, "/v1"), expected, "{location}");
    }
    assert_eq!(seen("http://up/x", "up", true, ""), "http://up/x", "the client asked for this host");
}
