#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| entrepot::fuzzing::run("rate_limit", data));
