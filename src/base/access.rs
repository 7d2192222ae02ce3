//! What is told of a client's request once it is over.
//!
//! In: what the machine has noted of the request. Out: a line of the access log.
//! Law: every part has a bounded size, and none holds a query.

use super::time::Span;
use std::net::IpAddr;

/// A request that is over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Access {
    /// The client's address; behind `trusted_proxies`, the one that they name.
    pub client: IpAddr,
    /// Method and target.
    pub target: Box<str>,
    /// The status of the answer's head. `None`: no head was sent.
    pub status: Option<u16>,
    /// Bytes that the client's socket took, heads and framing included.
    pub bytes: u64,
    /// Events among them.
    pub events: u64,
    /// From the request's head to the end.
    pub took: Span,
    /// The number of the event stream, if the answer was one.
    pub stream: Option<u64>,
    /// The request's id.
    pub request: Box<str>,
    /// The id of its trace, if that is recorded.
    pub trace: Option<u128>,
}
