//! Log files at any position: see `tests::fuzz_bodies::frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tests::fuzz_bodies::frame(input));
