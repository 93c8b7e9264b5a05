#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mcp_hub::bridge::fuzz_bridge(data));
