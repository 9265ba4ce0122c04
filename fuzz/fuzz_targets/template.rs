//! Searches for an input that violates [`properties::template`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| properties::template(input));
