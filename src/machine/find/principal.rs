//! Who asks: what in a request tells one person from another.
//!
//! In: a request's headers, the client's address. Out: a [`Principal`].
//! Laws: it fails closed: every header that goes upstream counts, unless it is known to say nothing of the person,
//! since a mismatch costs one request to upstream and a wrong match gives somebody else's stream away; no value is
//! kept, only its hash.
//!
//! A client's certificate always counts: the hasher that comes in has it already.
//!
//! What a route names in `principal` counts instead of the rest, and alone, in a request that has it. Otherwise:
//!
//! ```text
//! header --not sent on, or in NEUTRAL------> nothing
//!        --in ADDRESSES, X-Forwarded-For---> place: with the address, where an id can be guessed
//!        --Cookie--------------------------> each cookie, outside ANALYTICS
//!        --any other-----------------------> its name and value
//! ```

use crate::config::Route;
use crate::http::{self, Headers, RequestHead};
use siphasher::sip128::{Hasher128, SipHasher24};
use std::cmp::Ordering;
use std::hash::Hasher;
use std::net::IpAddr;

/// Who sent a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::machine) struct Principal {
    /// All that tells who it is, but the address.
    pub(super) hash: [u8; 16],
    /// Where the request came from; 0 where the address does not count.
    pub(super) place: u64,
    /// It has a credential that is a person's or a deployment's own, wherever it is sent from.
    pub(in crate::machine) has_credential: bool,
}

/// Headers that are credentials and nothing else. Without one, the address is a part of who somebody is.
const CREDENTIALS: [&str; 5] = ["Api-Key", "Authorization", "Proxy-Authorization", "X-Api-Key", "X-Goog-Api-Key"];

/// Headers that say nothing of the person, in lower case and in groups.
const NEUTRAL: [&[&str]; 6] = [
    // In which form the answer is wanted, and in which form the body comes. A call is made by POST and resumed by GET.
    &[
        "accept",
        "accept-charset",
        "accept-encoding",
        "accept-language",
        "cache-control",
        "content-encoding",
        "content-language",
        "content-length",
        "content-type",
        "expect",
        "pragma",
    ],
    // Other parts of the search: the host is part of the target, the cursor is what is looked for. The first request
    // of an MCP session does not have its revision yet, which says what a client understands.
    &["host", "last-event-id", "mcp-protocol-version"],
    // The program that asks and the page that it shows. Both are the same for many people, or change with each page.
    &["dnt", "priority", "referer", "save-data", "sec-gpc", "sec-purpose", "upgrade-insecure-requests", "user-agent"],
    // The one request, which has another value each time.
    &[
        "b3",
        "cf-ray",
        "correlation-id",
        "date",
        "idempotency-key",
        "request-id",
        "sentry-trace",
        "traceparent",
        "tracestate",
        "uber-trace-id",
        "x-amzn-trace-id",
        "x-cloud-trace-context",
        "x-correlation-id",
        "x-request-id",
        "x-request-start",
        "x-trace-id",
    ],
    // The way here. The address is read from `X-Forwarded-For` as far as its writers are trusted.
    &["via", "x-forwarded-for"],
    // Whole families: conditions, what browsers say of the page and of themselves, tracing, an SDK's retry count. Not
    // all of `Sec-`, where headers that bind a session to a device begin, too.
    &["if-", "sec-ch-", "sec-fetch-", "x-b3-", "x-datadog-", "x-stainless-"],
];

/// Headers in which proxies give the client's address: they count where the address does.
const ADDRESSES: [&str; 8] = [
    "CF-Connecting-IP",
    "Fastly-Client-IP",
    "Fly-Client-IP",
    "Forwarded",
    "True-Client-IP",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "X-Real-IP",
];

/// Cookies of analytics, which scripts change from page to page. Those that end in `_` are whole families.
const ANALYTICS: [&str; 22] = [
    "_clck",
    "_clsk",
    "_fbc",
    "_fbp",
    "_ga",
    "_ga_",
    "_gat",
    "_gat_",
    "_gcl_",
    "_gid",
    "_hjSessionUser_",
    "_hjSession_",
    "_pk_",
    "_uetsid",
    "_uetvid",
    "__utma",
    "__utmb",
    "__utmc",
    "__utmt",
    "__utmv",
    "__utmz",
    "_dc_gtm_",
];

impl Principal {
    /// Reads who sent a request. The hashers are empty ones, under a key that nobody outside knows.
    pub(super) fn of(
        head: &RequestHead,
        route: &Route,
        client: IpAddr,
        who: &SipHasher24,
        place: &SipHasher24,
    ) -> Self {
        let headers = &head.headers;
        match named(headers, route, *who) {
            Some(hash) => Self { hash, place: 0, has_credential: true },
            None => Self {
                hash: all(head, route, *who),
                place: place_of(headers, client, *place),
                has_credential: CREDENTIALS.iter().any(|name| headers.get_all(name).any(|value| !value.is_empty())),
            },
        }
    }
}

/// What the route names, where the request has some of it.
fn named(headers: &Headers, route: &Route, mut hash: SipHasher24) -> Option<[u8; 16]> {
    let mut any = false;
    for name in &route.principal {
        // The case of a cookie's name counts.
        let shown = if name.starts_with("cookie:") { name.clone() } else { name.to_ascii_lowercase() };
        let mut add = |value: &[u8]| {
            if !value.is_empty() {
                any = true;
                field(&mut hash, b"named");
                field(&mut hash, shown.as_bytes());
                field(&mut hash, value);
            }
        };
        match name.strip_prefix("cookie:") {
            Some(cookie) => cookies(headers).filter(|(name, _)| *name == cookie.as_bytes()).for_each(|(_, v)| add(v)),
            None => headers.get_all(name).for_each(add),
        }
    }
    any.then(|| hash.finish128().as_u128().to_le_bytes())
}

/// All that goes upstream and may say who it is. The order of different names says nothing, and neither does the order
/// of cookies; values of one name stay in their order.
fn all(head: &RequestHead, route: &Route, mut hash: SipHasher24) -> [u8; 16] {
    let headers = &head.headers;
    // A page names its own origin in a POST and not in the GET that goes on with the answer.
    let hop = http::Hop::of(headers);
    let is_own_page =
        |name: &str, value| name.eq_ignore_ascii_case("Origin") && names_host(value, head.host.as_deref());
    let tells = |name: &str| {
        !is_neutral(name)
            && !ADDRESSES.iter().any(|other| other.eq_ignore_ascii_case(name))
            && !name.eq_ignore_ascii_case("Cookie")
            // It is a part of the session.
            && !name.eq_ignore_ascii_case(&route.session_header)
            && hop.passes(name)
    };
    let mut lines: Vec<(&str, &[u8])> =
        headers.iter().filter(|(name, value)| tells(name) && !is_own_page(name, value)).collect();
    lines.sort_by(|(a, _), (b, _)| by_lower_case(a, b));
    for (name, value) in lines {
        field(&mut hash, b"header");
        hash.write_u64(name.len() as u64);
        name.bytes().for_each(|b| hash.write_u8(b.to_ascii_lowercase()));
        field(&mut hash, value);
    }
    if hop.passes("Cookie") {
        let mut cookies: Vec<(&[u8], &[u8])> = cookies(headers).filter(|(name, _)| !is_analytics(name)).collect();
        cookies.sort_by_key(|(name, _)| *name);
        for (name, value) in cookies {
            field(&mut hash, b"cookie");
            field(&mut hash, name);
            field(&mut hash, value);
        }
    }
    hash.finish128().as_u128().to_le_bytes()
}

/// Where a request came from.
fn place_of(headers: &Headers, client: IpAddr, mut hash: SipHasher24) -> u64 {
    field(&mut hash, client.to_canonical().to_string().as_bytes());
    let hop = http::Hop::of(headers);
    for (n, name) in ADDRESSES.iter().enumerate() {
        for value in headers.get_all(name).filter(|_| hop.passes(name)) {
            hash.write_u64(n as u64);
            field(&mut hash, value);
        }
    }
    hash.finish128().as_u128() as u64
}

/// Whether a header names the one request, and nothing that lasts.
pub(super) fn is_of_one_request(name: &[u8]) -> bool {
    let [_, _, _, of_one_request, ..] = NEUTRAL;
    of_one_request.iter().any(|other| other.as_bytes().eq_ignore_ascii_case(name))
}

/// Whether an origin is the host that was asked.
fn names_host(origin: &[u8], host: Option<&str>) -> bool {
    let own = [&b"https://"[..], b"http://"].iter().find_map(|scheme| origin.strip_prefix(*scheme));
    own.zip(host).is_some_and(|(own, host)| own.eq_ignore_ascii_case(host.as_bytes()))
}

fn is_neutral(name: &str) -> bool {
    let [whole @ .., families] = NEUTRAL;
    let begins = |family: &str| name.get(..family.len()).is_some_and(|start| start.eq_ignore_ascii_case(family));
    whole.iter().any(|group| group.iter().any(|other| other.eq_ignore_ascii_case(name)))
        || families.iter().any(|family| begins(family))
}

fn is_analytics(cookie: &[u8]) -> bool {
    ANALYTICS.iter().any(|name| cookie == name.as_bytes() || name.ends_with('_') && cookie.starts_with(name.as_bytes()))
}

fn by_lower_case(a: &str, b: &str) -> Ordering {
    a.bytes().map(|b| b.to_ascii_lowercase()).cmp(b.bytes().map(|b| b.to_ascii_lowercase()))
}

/// Adds a field so that no two lists of fields look alike.
pub(super) fn field(hash: &mut SipHasher24, value: &[u8]) {
    hash.write_u64(value.len() as u64);
    hash.write(value);
}

/// All cookies, name and value. One without `=` is all name.
fn cookies(headers: &Headers) -> impl Iterator<Item = (&[u8], &[u8])> {
    let pairs = headers.get_all("Cookie").flat_map(|line| line.split(|&b| b == b';')).map(<[u8]>::trim_ascii);
    pairs.filter(|pair| !pair.is_empty()).map(|pair| match pair.iter().position(|&b| b == b'=') {
        Some(at) => (pair[..at].trim_ascii_end(), pair[at + 1..].trim_ascii_start()),
        None => (pair, &pair[..0]),
    })
}
