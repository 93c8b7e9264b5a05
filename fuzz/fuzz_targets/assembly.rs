#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mcp_hub::downstream::socket::assembly::fuzz_assembly(data));
