//! Searches for an input that [`properties::catalogue_value`] is not true of.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| properties::catalogue_value(input));
