//! Records of a store: any bytes are read, and written values are read back. The body is
//! `segno::fuzzing::store_record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| segno::fuzzing::store_record(data));
