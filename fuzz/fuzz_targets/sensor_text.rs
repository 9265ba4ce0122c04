//! Searches for an input that [`properties::sensor_text`] is not true of.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| properties::sensor_text(input));
