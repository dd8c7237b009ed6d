#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| entrepot_fuzz::properties::error(&String::from_utf8_lossy(data)));
