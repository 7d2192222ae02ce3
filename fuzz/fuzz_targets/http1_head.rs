//! Heads of requests and responses: found, read, passed on, read again. The body is `segno::fuzzing::http1_head`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| segno::fuzzing::http1_head(data));
