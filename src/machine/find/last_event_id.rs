//! The body of the fuzz target `last_event_id`: where a client says that it was, and ids of segno's own.
//!
//! In: an id, a header's value, a target, and numbers. Properties: what is taken for a cursor is bounded, UTF-8 and
//! without line ends; what no log can hold becomes whole header lines and nothing else; a parameter that was taken off
//! is gone, and the rest is as it was; only what this code writes is read as an own id, and all of it is.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a panic is how a body says what it found")]

use super::cursor::Cursor;
use super::identity::{Secret, Token};
use crate::http::{Headers, LastEventId, is_field_value, last_event_id as header_id, take_parameter};
use arbitrary::{Arbitrary, Unstructured};

#[derive(Arbitrary, Debug)]
struct Said<'a> {
    token: u128,
    number: u64,
    key: u128,
    count: u64,
    flip: u8,
    max: u16,
    repeated: bool,
    name: &'a str,
    target: &'a str,
    value: Option<&'a [u8]>,
    id: &'a [u8],
}

/// The target's body.
pub fn last_event_id(data: &[u8]) {
    own_id(data);
    let Ok(said) = Said::arbitrary_take_rest(Unstructured::new(data)) else { return };
    own_id(said.id);
    written(&said);
    cursor(&said);
}

/// Whatever is read as an own id is what would be written for it.
fn own_id(id: &[u8]) {
    if let Some((token, number)) = Token::parse(id) {
        assert_eq!([&token.prefix()[..], number.to_string().as_bytes()].concat(), id);
    }
}

fn written(said: &Said<'_>) {
    let token = Token(said.token);
    let id = [&token.prefix()[..], said.number.to_string().as_bytes()].concat();
    assert!(id.len() <= 46 && id.iter().all(|byte| byte.is_ascii_graphic()));
    assert_eq!(Token::parse(&id), Some((token, said.number)));
    let (here, there) = (Secret::new(said.key), Secret::new(!said.key));
    let made = here.token(said.count);
    assert!(here.made(made) && Secret::new(said.key).made(made) && !there.made(made));
    assert!(!here.made(Token(made.0 ^ 1 << (said.flip % 128))), "a token with one bit changed");
}

fn cursor(said: &Said<'_>) {
    let mut target = said.target.to_owned();
    let parameter = take_parameter(&mut target, said.name);
    match &parameter {
        Some(value) => {
            assert!(value.len() <= said.target.len() && target.len() < said.target.len());
            let path = said.target.split('?').next().unwrap();
            assert!(target.starts_with(path));
            let mut again = target.clone();
            assert_eq!((take_parameter(&mut again, said.name), &again), (None, &target), "taken off twice");
        }
        None => assert_eq!(target, said.target),
    }
    let mut headers = Headers::new();
    let sound = said.value.is_some_and(|value| headers.push("Last-Event-ID", value).is_ok());
    let twice = said.repeated && headers.push("last-event-id", b"2").is_ok();
    let max = usize::from(said.max);
    let said_last = if sound { said.value } else { twice.then_some(&b"2"[..]) };
    let first = said_last.or(parameter.as_deref());
    let several = sound && twice && said.value != Some(b"2");
    match header_id(&headers, parameter.as_deref(), max) {
        LastEventId::None => assert!(!several && first.is_none_or(<[u8]>::is_empty)),
        LastEventId::Id(id) => {
            assert!(!several && Some(id) == first && !id.is_empty() && id.len() <= max);
            assert!(std::str::from_utf8(id).is_ok() && !id.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')));
        }
        LastEventId::Unknown => assert!(several || first.is_some_and(|id| !id.is_empty())),
    }
    let max = max.max(1);
    let parameter = parameter.filter(|value| is_field_value(value));
    let cursor = Cursor::of(&headers, parameter.as_deref(), max);
    if let Some(lines) = cursor.bytes.filter(|_| cursor.verbatim) {
        let whole = lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        assert!(lines.ends_with(b"\r\n") && whole.clone().all(|line| line.starts_with(b"Last-Event-ID: ")));
        assert!(whole.count() <= headers.len().max(1));
    }
}
