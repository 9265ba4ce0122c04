//! Searches for an input that violates [`properties::sensor_text`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| properties::sensor_text(input));
