//! Where a client says that it was, and ids of segno's own. The body is `segno::fuzzing::last_event_id`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| segno::fuzzing::last_event_id(data));
