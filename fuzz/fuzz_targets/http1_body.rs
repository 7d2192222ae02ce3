//! HTTP/1.1 bodies: the decoders are compared with a twin, and written bodies are read back. The body is
//! `segno::fuzzing::http1_body`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| segno::fuzzing::http1_body(data));
