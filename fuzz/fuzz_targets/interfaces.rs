//! Searches for an input that [`properties::interfaces`] is not true of.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| properties::interfaces(input));
