//! The `Last-Event-ID` of clients, and segno's own ids. The body is `segno::fuzzing::last_event_id`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| segno::fuzzing::last_event_id(data));
