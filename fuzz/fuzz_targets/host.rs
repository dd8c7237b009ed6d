#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| entrepot_fuzz::properties::host(&String::from_utf8_lossy(data)));
