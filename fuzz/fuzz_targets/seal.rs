#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mcp_hub::bridge::seal::fuzz_seal(data));
