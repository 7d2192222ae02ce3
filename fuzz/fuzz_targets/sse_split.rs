//! Scanner, parser and twin find the same in any stream, however it is cut. The body is `segno::fuzzing::sse_split`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| segno::fuzzing::sse_split(data));
