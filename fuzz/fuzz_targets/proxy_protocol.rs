//! Headers of the PROXY protocol against a slow twin. The body is `segno::fuzzing::proxy_protocol`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| segno::fuzzing::proxy_protocol(data));
