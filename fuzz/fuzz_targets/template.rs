//! Searches for an input that [`properties::template`] is not true of.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| properties::template(input));
