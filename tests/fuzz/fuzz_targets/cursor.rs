//! Stored cursors: see `tests::fuzz_bodies::cursor`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tests::fuzz_bodies::cursor(input));
