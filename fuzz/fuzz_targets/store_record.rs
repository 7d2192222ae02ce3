//! Records of a store: any bytes, and values there and back. The body is `segno::fuzzing::store_record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| segno::fuzzing::store_record(data));
