//! Which of several sources rules, what is never shown, and what is passed over.
#![cfg(feature = "otel")]

use crate::config::file::{Effective, Flags, Origin, read_with};

fn effective(file: &str, flags: Flags, variables: &[(&str, &str)]) -> (Effective, Vec<String>) {
    let mut flags = flags;
    let warnings = flags.variables(variables.iter().map(|(name, text)| (name.into(), text.into())));
    let file = format!("{file}\n[[route]]\nupstream = \"http://h\"\n");
    (read_with(&file, &flags, |_| Vec::new()).unwrap(), warnings)
}

fn sent_to(found: &Effective) -> (Option<String>, Origin) {
    let at = found.config.otlp.endpoint.as_ref().map(ToString::to_string);
    (at, found.origin(crate::config::Section::Top, "otlp"))
}

const BASE: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");

#[test]
fn what_is_said_to_segno_comes_before_what_is_said_to_all() {
    let own = ("SEGNO_OTLP", "http://own:1");
    let variable = |name: &str| Origin::Variable(name.to_owned());
    let to = |url: &str| Some(format!("http://{url}/v1/traces"));
    let (found, _) = effective("", Flags::default(), &[BASE]);
    assert_eq!(sent_to(&found), (to("c:4318"), variable(BASE.0)));
    assert!(found.config.trace_share().is_some());
    let (found, _) = effective("", Flags::default(), &[BASE, own]);
    assert_eq!(sent_to(&found), (to("own:1"), variable(own.0)));
    let (found, _) = effective("otlp = \"http://file:1\"", Flags::default(), &[BASE]);
    assert_eq!(sent_to(&found), (to("file:1"), Origin::File(1, 8)));
    let (found, _) = effective("", Flags::default().with("otlp", "http://flag:1"), &[own, BASE]);
    assert_eq!(sent_to(&found), (to("flag:1"), Origin::Flag("--otlp".to_owned())));
    let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t:1/here");
    let (found, _) = effective("", Flags::default(), &[traces, BASE]);
    assert_eq!(sent_to(&found), (Some("http://t:1/here".to_owned()), variable(traces.0)));
    for off in [("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_TRACES_EXPORTER", "none")] {
        assert_eq!(sent_to(&effective("", Flags::default(), &[BASE, off]).0).0, None);
    }
    let (found, _) = effective("otlp = \"http://file:1\"", Flags::default(), &[("OTEL_SDK_DISABLED", "true")]);
    assert_eq!(sent_to(&found), (None, variable("OTEL_SDK_DISABLED")));
}

#[test]
fn headers_and_attributes_are_taken_and_a_header_is_not_shown() {
    let (found, warnings) = effective(
        "",
        Flags::default(),
        &[
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=hush"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,a=b"),
            ("OTEL_SERVICE_NAME", "mine"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "250"),
        ],
    );
    let otlp = &found.config.otlp;
    assert_eq!((warnings, &*otlp.service, &otlp.attributes[..]), (Vec::new(), "mine", &["a=b".to_owned()][..]));
    assert_eq!((otlp.headers.iter().next(), otlp.timeout.millis()), (Some(("api-key", "hush")), 250));
    let shown = format!("{:?} {found:?}", found.tables());
    assert!(shown.contains("OTEL_EXPORTER_OTLP_HEADERS") && !shown.contains("hush"), "{shown}");
}

#[test]
fn what_cannot_be_used_is_told_of_and_stops_nothing() {
    let wrong = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "c:4318"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "hush"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a"),
    ];
    let (found, warnings) = effective("", Flags::default(), &wrong);
    assert_eq!((found.config.otlp, warnings.len()), (crate::config::Otlp::default(), 4));
    assert!(!warnings.concat().contains("hush"), "{warnings:?}");
    let (found, warnings) = effective("", Flags::default(), &[BASE, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]);
    assert_eq!((sent_to(&found).0, warnings.len()), (None, 1));
}
