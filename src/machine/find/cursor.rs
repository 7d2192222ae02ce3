//! Where a request wants to go on: after an event that a log may hold, or where upstream alone can say.
//!
//! In: a request's headers and target. Out: a [`Cursor`].
//! Laws: a cursor that no log can hold goes upstream as it came, since upstream may know it; an id of segno's own never
//! goes there; no byte goes into a header that a header cannot hold.
//! Source: the HTML standard, section 9.2 Server-sent events, for `Last-Event-ID`; RFC 9110, 5.5 (field values).

use super::identity::Token;
use crate::http::{self, Headers, LastEventId};

const NAME: &str = "Last-Event-ID";

/// What an id of segno's own begins with, in a query.
const OWN: &str = "=sg-";

/// Where a request wants to go on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::machine) struct Cursor {
    /// An event id; or, where no log can hold it, the header lines for upstream. Those are never equal to an id, which
    /// has no line end.
    pub(in crate::machine) bytes: Option<Box<[u8]>>,
    /// The bytes are header lines.
    pub(in crate::machine) verbatim: bool,
}

impl Cursor {
    /// The cursor of a request. `parameter`: what its query says. `max`: bytes of the longest id that a log holds.
    pub(in crate::machine) fn of(headers: &Headers, parameter: Option<&[u8]>, max: usize) -> Self {
        match http::last_event_id(headers, parameter, max) {
            LastEventId::None => Self::default(),
            LastEventId::Id(id) => Self { bytes: Some(id.into()), verbatim: false },
            LastEventId::Unknown => Self::verbatim(headers, parameter),
        }
    }

    fn verbatim(headers: &Headers, parameter: Option<&[u8]>) -> Self {
        let said = || headers.get_all(NAME);
        let own = said().find(|id| Token::parse(id).is_some());
        let others = said().filter(|id| !id.is_empty() && Token::parse(id).is_none());
        let from_query = parameter.filter(|id| !headers.contains(NAME) && Token::parse(id).is_none());
        let mut lines = Vec::new();
        others.chain(from_query).for_each(|id| http::write_line(NAME, id, &mut lines));
        if lines.is_empty() {
            let own = own.or(parameter.filter(|id| Token::parse(id).is_some()));
            return Self { bytes: own.map(Box::from), verbatim: false };
        }
        Self { bytes: Some(lines.into()), verbatim: true }
    }
}

/// Takes an id of segno's own off the target's query, whatever its parameter is called: some clients that cannot set
/// headers send the last id there, and upstream has never seen this one.
pub(in crate::machine) fn take_own_id(target: &mut String) -> Option<Vec<u8>> {
    let (path, query) = target.split_once('?').filter(|(_, query)| query.contains(OWN))?;
    let is_own = |pair: &&str| pair.split_once('=').is_some_and(|(_, value)| Token::parse(value.as_bytes()).is_some());
    let id = query.split('&').find(is_own)?.split_once('=')?.1.as_bytes().to_vec();
    let rest: Vec<&str> = query.split('&').filter(|pair| !is_own(pair)).collect();
    *target = if rest.is_empty() { path.to_owned() } else { format!("{path}?{}", rest.join("&")) };
    Some(id)
}

/// Takes the parameter that stands for `Last-Event-ID` off the target. Where its value cannot stand in a header, it
/// stays, and upstream gets it as it came.
pub(in crate::machine) fn take_parameter(target: &mut String, name: Option<&str>) -> Option<Vec<u8>> {
    let mut rest = target.clone();
    let value = http::take_parameter(&mut rest, name?).filter(|value| http::is_field_value(value))?;
    *target = rest;
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&[u8]], parameter: Option<&[u8]>) -> (Vec<u8>, bool) {
        let mut headers = Headers::new();
        values.iter().for_each(|value| headers.push("last-event-id", value).unwrap());
        let cursor = Cursor::of(&headers, parameter, 8);
        (cursor.bytes.map(Vec::from).unwrap_or_default(), cursor.verbatim)
    }

    #[test]
    fn what_no_log_can_hold_becomes_lines_as_they_came() {
        assert_eq!(of(&[b"7"], None), (b"7".to_vec(), false));
        assert_eq!(of(&[b"caf\xe9"], None), (b"Last-Event-ID: caf\xe9\r\n".to_vec(), true));
        assert_eq!(of(&[b"1", b"2"], Some(b"3")), (b"Last-Event-ID: 1\r\nLast-Event-ID: 2\r\n".to_vec(), true));
        assert_eq!(of(&[], Some(b"123456789")), (b"Last-Event-ID: 123456789\r\n".to_vec(), true));
    }

    #[test]
    fn an_id_of_segnos_own_is_never_among_the_lines() {
        let own = [&Token(7).prefix()[..], b"1"].concat();
        assert_eq!(of(&[&own, b"2"], None), (b"Last-Event-ID: 2\r\n".to_vec(), true));
        let other = [&Token(8).prefix()[..], b"1"].concat();
        assert_eq!(of(&[&own, &other], None), (own.clone(), false));
        assert_eq!(of(&[], Some(&own)), (own.clone(), false), "longer than what a log holds");
    }

    #[test]
    fn an_id_of_segnos_own_is_taken_off_a_query_whatever_its_name() {
        let own = String::from_utf8([&Token(7).prefix()[..], b"12"].concat()).unwrap();
        for (before, after) in [("/a?lastEventId=ID", "/a"), ("/a?b=c&x=ID&d", "/a?b=c&d"), ("/a?x=ID&y=ID", "/a")] {
            let mut target = before.replace("ID", &own);
            assert_eq!((take_own_id(&mut target), target.as_str()), (Some(own.clone().into_bytes()), after));
        }
        for other in ["/a", "/a?x=sg-7", "/a?x=sg-", "/a=sg-?x"] {
            let mut target = other.to_owned();
            assert_eq!((take_own_id(&mut target), target.as_str()), (None, other));
        }
    }

    #[test]
    fn a_parameter_that_fits_no_header_stays_in_the_query() {
        let mut target = "/a?last=%0a&b=c".to_owned();
        assert_eq!(take_parameter(&mut target, Some("last")), None);
        assert_eq!(target, "/a?last=%0a&b=c");
        let mut target = "/a?last=%e9&b=c".to_owned();
        assert_eq!(take_parameter(&mut target, Some("last")), Some(vec![0xe9]));
        assert_eq!(target, "/a?b=c");
    }
}
