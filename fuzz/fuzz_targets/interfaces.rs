//! Searches for an input that violates [`properties::interfaces`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| properties::interfaces(input));
