//! Searches for an input that violates [`properties::configuration`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| properties::configuration(input));
