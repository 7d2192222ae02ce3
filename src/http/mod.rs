//! HTTP/1.1 without sockets: parses and writes heads, takes the framing off bodies and puts it on, and applies the
//! rules of a gateway in between.
//!
//! In: bytes as they arrive, in pieces of any size. Out: heads as values, bodies as borrowed slices, bytes to send.
//! Laws: the search for a head's end looks at no byte twice; no body byte is copied; a message that two recipients
//! might understand differently is refused; every size has a bound.
//! Source: RFC 9112 (HTTP/1.1), RFC 9110 (HTTP semantics), RFC 3986 (URI).

mod answer;
mod body;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod body_twin;
mod chunked;
mod client_address;
mod date;
mod encode;
mod error;
mod find;
mod forward;
mod headers;
mod length;
mod lines;
mod location;
mod media;
mod method;
mod piece;
mod proxy_protocol;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod proxy_twin;
mod reference;
mod request;
mod response;
mod target;

pub use answer::{CONTINUE, reason, write_answer};
pub use body::{AtEof, BodyDecoder};
pub use chunked::ChunkedDecoder;
pub use client_address::client_address;
pub use date::Date;
pub use encode::{CHUNK_END, CHUNK_HEAD, LAST_CHUNK, chunk_head, write_piece};
pub use error::HeadError;
pub use find::{HeadFinder, HeadLimits};
pub use forward::{
    Forwarded, Hop, RequestOptions, ResponseFraming, came_through, end_to_end, is_passed, write_line, write_request,
    write_response,
};
pub use headers::{Headers, is_field_value};
pub use length::BodyLength;
pub use location::{Itself, localize};
pub use media::{
    LastEventId, accepts_event_stream, is_encoded, is_event_stream, is_json, last_event_id, retry_after, take_parameter,
};
pub use method::{Method, Version};
pub use piece::{BodyError, CHUNK_LINE_LIMIT, Piece, TRAILER_LIMIT};
pub use proxy_protocol::{Announced, PROXY_HEADER, Preface, proxy_header};
pub use reference::{Referred, Server, refer};
pub use request::{RequestHead, max_forwards, parse_request};
pub use response::{ResponseHead, parse_response};
pub use target::leads_out;
