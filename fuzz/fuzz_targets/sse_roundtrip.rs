//! A written event stream is read back. The body is `segno::fuzzing::sse_roundtrip`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| segno::fuzzing::sse_roundtrip(data));
