//! Searches for an input that violates [`properties::catalogue_value`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| properties::catalogue_value(input));
