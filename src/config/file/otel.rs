//! Variables that OpenTelemetry names for all programs: what they say of the traces of this one.
//!
//! In: variables. Out: changes to a configuration, each with the variable that it came from; warnings.
//! Laws: what the file, a flag or a variable of segno's own says comes before these; one that cannot be used is told of
//! and passed over, since it may be meant for other programs; `OTEL_SDK_DISABLED` sends nothing, whatever else is said.
//! Sources: OpenTelemetry, "Environment Variable Specification"; "OTLP Exporter Configuration".

use std::collections::HashMap;
use std::fmt;

use super::keys::Change;
use crate::base::Span;
use crate::config::otlp::{OtlpEndpoint, OtlpHeaders, attribute};
use crate::config::process::Config;
use std::rc::Rc;

/// The variables that are read.
const READ: [&str; 12] = [
    "OTEL_SDK_DISABLED",
    "OTEL_SERVICE_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_TRACES_EXPORTER",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
];

/// What was given of them.
#[derive(Clone, Default)]
pub(super) struct Otel(HashMap<&'static str, String>);

impl fmt::Debug for Otel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} variables", self.0.len())
    }
}

/// What one variable changes.
pub(super) struct Said {
    pub(super) key: &'static str,
    pub(super) variable: &'static str,
    pub(super) change: Change<Config>,
}

/// The key of the headers' file, which may be given by a variable in its place.
pub(super) const HEADERS: &str = "otlp_headers_file";

impl Otel {
    /// Takes a variable down, if it is one of these. An empty one is not set.
    pub(super) fn note(&mut self, name: &str, text: &str) {
        if let Some(name) = READ.iter().find(|known| **known == name)
            && !text.is_empty()
            && cfg!(feature = "otel")
        {
            self.0.insert(name, text.to_owned());
        }
    }

    /// Whether nothing may be sent.
    pub(super) fn is_disabled(&self) -> bool {
        self.get(READ[0]).is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }

    /// What they say, in the order in which it is applied; and what is of no use.
    pub(super) fn read(&self) -> (Vec<Said>, Vec<String>) {
        let (mut said, mut warnings) = (Vec::new(), Vec::new());
        if self.sends_otlp(&mut warnings) {
            self.each(["OTEL_EXPORTER_OTLP_ENDPOINT"], "otlp", &mut said, &mut warnings, |text| {
                endpoint(OtlpEndpoint::parse_base(text)?)
            });
            self.each(["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"], "otlp", &mut said, &mut warnings, |text| {
                endpoint(OtlpEndpoint::parse(text)?)
            });
        }
        let both = ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"];
        self.each(both, HEADERS, &mut said, &mut warnings, |text| {
            let headers = OtlpHeaders::of_list(text)?;
            Ok(Rc::new(move |config| config.otlp.headers = headers.clone()))
        });
        let both = ["OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"];
        self.each(both, "otlp_timeout", &mut said, &mut warnings, |text| {
            let millis = text.trim().parse().map_err(|_| "write a number of milliseconds")?;
            Ok(Rc::new(move |config| config.otlp.timeout = Span::from_millis(millis)))
        });
        self.each(["OTEL_RESOURCE_ATTRIBUTES"], "otlp_attributes", &mut said, &mut warnings, |text| {
            let all: Vec<String> =
                text.split(',').map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned).collect();
            if let Some(wrong) = all.iter().find(|text| attribute(text).is_none()) {
                return Err(format!("`{}` is not `name=value`", wrong.escape_debug()));
            }
            let (names, others) = all.into_iter().partition::<Vec<_>, _>(|text| text.starts_with("service.name="));
            let name = names.last().and_then(|text| attribute(text)).map(|(_, name)| name);
            Ok(Rc::new(move |config| {
                config.otlp.attributes.clone_from(&others);
                if let Some(name) = &name {
                    config.otlp.service.clone_from(name);
                }
            }))
        });
        self.each(["OTEL_SERVICE_NAME"], "otlp_service", &mut said, &mut warnings, |text| {
            let name = text.to_owned();
            Ok(Rc::new(move |config| config.otlp.service.clone_from(&name)))
        });
        (said, warnings)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Whether traces are to go out, in the form that is known here.
    fn sends_otlp(&self, warnings: &mut Vec<String>) -> bool {
        let exporter = self.get("OTEL_TRACES_EXPORTER").unwrap_or("otlp");
        let protocols = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
        let protocol = protocols.into_iter().find_map(|name| self.get(name)).unwrap_or("http/protobuf");
        let knows = exporter == "otlp" && protocol == "http/protobuf";
        let names_one = READ[6..8].iter().any(|name| self.get(name).is_some());
        if !knows && exporter != "none" && names_one {
            let what = "only `otlp` over `http/protobuf` is known here, so the endpoint in the environment is not used";
            warnings.push(format!("traces of OpenTelemetry: {what}"));
        }
        knows
    }

    fn each<const N: usize>(
        &self,
        names: [&'static str; N],
        key: &'static str,
        said: &mut Vec<Said>,
        warnings: &mut Vec<String>,
        read: impl Fn(&str) -> Result<Change<Config>, String>,
    ) {
        for variable in names {
            match self.get(variable).map(&read) {
                None => {}
                Some(Ok(change)) => said.push(Said { key, variable, change }),
                Some(Err(what)) => warnings.push(format!("`{variable}` is not used: {what}")),
            }
        }
    }
}

fn endpoint(at: OtlpEndpoint) -> Result<Change<Config>, String> {
    if at.is_secure() && !cfg!(feature = "tls") {
        return Err("this build has no TLS (feature `tls`)".to_owned());
    }
    Ok(Rc::new(move |config| config.otlp.endpoint = Some(at.clone())))
}

#[cfg(test)]
mod tests;
