//! The machine under lists of operations. The body is `segno::fuzzing::machine_ops`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| segno::fuzzing::machine_ops(data));
