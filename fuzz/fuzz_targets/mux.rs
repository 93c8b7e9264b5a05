#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mcp_hub::mux::fuzz_mux(data));
