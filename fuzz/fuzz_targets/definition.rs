#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mcp_hub::catalog::definition::fuzz_definition(data));
