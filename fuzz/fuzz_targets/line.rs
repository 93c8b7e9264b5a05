#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mcp_hub::protocol::line::fuzz_line(data));
