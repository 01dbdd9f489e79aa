#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rctr_fuzz::targets::word(data));
