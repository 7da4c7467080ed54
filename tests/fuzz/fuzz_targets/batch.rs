//! Batched messages: see `tests::fuzz_bodies::batch`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tests::fuzz_bodies::batch(input));
