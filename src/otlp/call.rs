//! One call to the collector.
//!
//! In: a body. Out: what became of it.
//! Laws: no redirect is followed, since it would lead headers elsewhere; no proxy is asked; a call ends within its time
//! limit, its answer included; of an answer's head and body so many bytes are read and no more; which statuses are tried
//! again is the specification's word.
//! Source: OpenTelemetry, "OTLP Specification", "OTLP/HTTP Response".

use super::messages::ExportTraceServiceResponse;
use crate::base::{Span, shown};
#[cfg(feature = "tls")]
use crate::config::OtlpEndpoint;
use crate::config::{Otlp, OtlpHeaders};
use prost::Message;
use std::time::Duration;
use ureq::Agent;

/// Bytes of an answer that are read: of its head, and of its body.
const MOST_HEAD: usize = 16 << 10;
const MOST_BODY: u64 = 64 << 10;

/// Bytes of what a collector says that are told on.
const TOLD: usize = 200;

/// What became of a call.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// The collector has taken the spans, all but so many. With a word on it, if it has said one.
    Taken { rejected: u64, said: Option<String> },
    /// It may take them later, after the time that it has asked for.
    Later { why: String, after: Option<Span> },
    /// It will not take them.
    Refused { why: String },
    /// What it answers cannot be read.
    Failed { why: String },
}

/// Calls one collector.
pub(super) struct Caller {
    agent: Agent,
    url: String,
    headers: OtlpHeaders,
    timeout: Duration,
}

impl Caller {
    pub(super) fn new(otlp: &Otlp, url: String, headers: OtlpHeaders) -> Self {
        let timeout = Duration::from(otlp.timeout);
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .timeout_global(Some(timeout))
            .timeout_connect(Some(timeout))
            .timeout_resolve(Some(timeout))
            .max_response_header_size(MOST_HEAD)
            .max_idle_connections(1)
            .user_agent(concat!("segno/", env!("CARGO_PKG_VERSION")));
        #[cfg(feature = "tls")]
        let config = match otlp.endpoint.as_ref().is_some_and(OtlpEndpoint::is_secure) {
            true => config.tls_config(tls()),
            false => config,
        };
        Self { agent: config.build().new_agent(), url, headers, timeout }
    }

    /// Makes a call that takes at most `within`.
    pub(super) fn call(&self, body: &[u8], within: Option<Duration>) -> Outcome {
        let timeout = within.map_or(self.timeout, |within| within.min(self.timeout)).max(Duration::from_millis(1));
        let request = self.agent.post(&self.url).config().timeout_global(Some(timeout)).build();
        let request = request.header("Content-Type", "application/x-protobuf");
        let request = self.headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        let mut answer = match request.send(body) {
            Ok(answer) => answer,
            Err(e) => return not_answered(&e),
        };
        let status = answer.status().as_u16();
        let after = answer.headers().get("Retry-After").and_then(|value| value.to_str().ok()?.trim().parse().ok());
        match status {
            200..=299 => taken(answer.body_mut().with_config().limit(MOST_BODY).read_to_vec()),
            429 | 502..=504 => {
                Outcome::Later { why: format!("it answers {status}"), after: after.map(Span::from_secs) }
            }
            _ => Outcome::Refused { why: format!("it answers {status}") },
        }
    }
}

/// By its status the collector has taken the spans. What else it says counts where it can be read.
fn taken(body: Result<Vec<u8>, ureq::Error>) -> Outcome {
    let Some(read) = body.ok().and_then(|body| ExportTraceServiceResponse::decode(&body[..]).ok()) else {
        let said = "its answer is not what a collector says: is the address right?".to_owned();
        return Outcome::Taken { rejected: 0, said: Some(said) };
    };
    let part = read.partial_success.unwrap_or_default();
    let said = (!part.error_message.is_empty()).then(|| format!("it says `{}`", shown(&part.error_message, TOLD)));
    Outcome::Taken { rejected: u64::try_from(part.rejected_spans).unwrap_or(0), said }
}

fn not_answered(why: &ureq::Error) -> Outcome {
    let told = shown(&why.to_string(), TOLD).to_string();
    match why {
        ureq::Error::Io(_) | ureq::Error::Timeout(_) | ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => {
            Outcome::Later { why: told, after: None }
        }
        _ => Outcome::Failed { why: told },
    }
}

/// Trusts whom the system trusts, as for upstreams.
#[cfg(feature = "tls")]
fn tls() -> ureq::tls::TlsConfig {
    use rustls::crypto::ring::default_provider;
    use std::sync::Arc;
    use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
    let found = rustls_native_certs::load_native_certs().certs;
    let roots: Vec<Certificate<'static>> = found.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .unversioned_rustls_crypto_provider(Arc::new(default_provider()))
        .build()
}
