//! Binary-mode messages: see `tests::fuzz_bodies::binary`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tests::fuzz_bodies::binary(input));
