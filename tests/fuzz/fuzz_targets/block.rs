//! Attribute blocks as read from disk: see `tests::fuzz_bodies::block`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tests::fuzz_bodies::block(input));
