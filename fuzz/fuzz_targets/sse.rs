#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mcp_hub::protocol::sse::fuzz_sse(data));
