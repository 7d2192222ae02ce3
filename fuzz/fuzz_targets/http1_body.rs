//! Bodies: decoders beside a twin, and the encoder. The body is `segno::fuzzing::http1_body`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| segno::fuzzing::http1_body(data));
