//! Cursor checkpoint files: see `tests::fuzz_bodies::checkpoint`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tests::fuzz_bodies::checkpoint(input));
