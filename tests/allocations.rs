//! A call between two peers of one revision costs no more allocations for going through the bridge than for being spliced: its line,
//! the wire id in it, and its answer.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use bytes::Bytes;
use mcp_hub::{
    bridge::{
        incoming::{self, Carry},
        outgoing::{self, Outgoing},
    },
    mux::{Connection, Deadline, WireId},
    protocol::{Message, Version, splice::Splice},
};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

fn count() {
    // Not while a thread ends.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

#[expect(unsafe_code, reason = "an allocator is unsafe by its trait; this one only counts and passes on")]
// SAFETY: every call is passed on as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's own promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's own promise.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's own promise.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often `work` allocates once everything lazy is there.
fn allocations<T>(work: impl Fn() -> T) -> u64 {
    drop(work());
    let before = COUNT.get();
    let made = work();
    let spent = COUNT.get() - before;
    drop(made);
    spent
}

fn message(text: &str) -> Message {
    // Shared once, as whatever has been read from a socket is.
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    let message = Message::parse(bytes).unwrap();
    drop(message.bytes().clone());
    message
}

fn wire() -> WireId {
    let deadline = Deadline { call: std::time::Duration::from_secs(1), call_max: std::time::Duration::from_secs(1) };
    Connection::new(8).open((), deadline, std::time::Instant::now()).unwrap()
}

const META: &str = concat!(
    r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
    r#""io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"},"#,
    r#""io.modelcontextprotocol/clientCapabilities":{}},"#
);

/// A call and its answer in each era, and in the other ways that clients and servers write them.
fn calls() -> Vec<(Version, String, &'static str)> {
    let call =
        |meta: &str| format!(r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{{meta}"name":"s.t","arguments":{{"a":1}}}}}}"#);
    let bare_meta = META.replace(r#""io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"},"#, "");
    vec![
        (Version::V2025_11_25, call(""), r#"{"jsonrpc":"2.0","id":65536,"result":{"content":[{"type":"text","text":"x"}]}}"#),
        (Version::V2025_03_26, call(""), r#"{"jsonrpc":"2.0","id":65536,"result":{"content":[],"isError":true}}"#),
        (Version::STATELESS, call(META), r#"{"jsonrpc":"2.0","id":65536,"result":{"content":[],"resultType":"complete"}}"#),
        (
            Version::STATELESS,
            call(&bare_meta),
            r#"{"jsonrpc":"2.0","id":65536,"result":{"content":[],"resultType":"complete","_meta":{}}}"#,
        ),
        (
            Version::STATELESS,
            call(META),
            r#"{"jsonrpc":"2.0","id":65536,"result":{"content":[],"resultType":"complete","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s"}}}}"#,
        ),
    ]
}

#[test]
fn the_bridge_adds_no_allocation_to_a_call_that_crosses_no_era() {
    let (wire, name) = (wire(), Bytes::from_static(br#""t""#));
    for (version, request, answer) in calls() {
        let (request, answer) = (message(&request), message(answer));
        let id = request.id().unwrap();
        // What any relay does: the server's id and name in, the client's id back.
        let spliced = allocations(|| {
            let mut line = Splice::new(&request);
            line.replace(request.scan().id.unwrap(), wire.to_token());
            line.replace(request.scan().name.unwrap(), name.clone());
            line.to_line()
        });
        let bridged = allocations(|| outgoing::request(&request, &Outgoing { name: Some(&name), ..Outgoing::new(wire, version) }));
        assert_eq!(bridged, spliced, "{version:?} to the server");
        let spliced = allocations(|| {
            let mut body = Splice::new(&answer);
            body.replace(answer.scan().id.unwrap(), id.token().clone());
            body.to_body()
        });
        let publish = |_: &str| None;
        let bridged = allocations(|| incoming::answer(&answer, &Carry { publish: Some(&publish), ..Carry::new(&id, version, version) }));
        assert_eq!(bridged, spliced, "{version:?} to the client");
    }
}

#[test]
fn what_crosses_eras_is_counted_by_the_same_measure() {
    let answer = message(r#"{"jsonrpc":"2.0","id":65536,"result":{"content":[],"resultType":"odd"}}"#);
    let id = answer.id().unwrap();
    let refused = allocations(|| incoming::answer(&answer, &Carry::new(&id, Version::STATELESS, Version::STATELESS)));
    assert!(refused > 1, "a refusal is written, so the count counts");
}
