//! Searches for an input that violates [`properties::output_lines`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| properties::output_lines(input));
