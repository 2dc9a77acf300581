//! The fuzzer's way to [`targets::event`].
#![no_main]

#[allow(dead_code)]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::event(bytes));
