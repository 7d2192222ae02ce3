//! Configuration files of any text. The body is `segno::fuzzing::config_toml`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| segno::fuzzing::config_toml(data));
