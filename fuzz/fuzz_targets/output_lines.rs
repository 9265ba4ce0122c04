//! Searches for an input that [`properties::output_lines`] is not true of.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| properties::output_lines(input));
