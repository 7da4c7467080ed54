//! CESQL expressions: see `tests::fuzz_bodies::cesql`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tests::fuzz_bodies::cesql(input));
