//! The log of a stream, compared with a plain list. The body is `segno::fuzzing::log_ops`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| segno::fuzzing::log_ops(data));
