//! Messages as they are seen on the wire, by the size that names them in a bench.

use serde_json::{Value, json};

/// Two calls of 200 bytes and 2 KB; answers of 100 KB that are one plain text, a text with many escapes, and structured.
pub(crate) fn all() -> Vec<(&'static str, String)> {
    let messages = vec![
        ("200B_call", small_call()),
        ("2KB_call", large_call()),
        ("100KB_text", text_answer(&prose(100_000, "   "))),
        ("100KB_lines", text_answer(&prose(96_000, "\n  \"x\""))),
        ("100KB_structured", structured_answer()),
    ];
    for (size, text) in &messages {
        let wanted = if size.starts_with("200B") {
            180..240
        } else if size.starts_with("2KB") {
            1_900..2_300
        } else {
            95_000..115_000
        };
        assert!(wanted.contains(&text.len()), "{size} has {} bytes", text.len());
    }
    messages
}

fn small_call() -> String {
    r#"{"jsonrpc":"2.0","id":42,"method":"tools/call","params":{"name":"files.read_file","arguments":{"path":"/home/user/notes/today.md","head":200,"follow":true},"_meta":{"progressToken":"a3f1c9"}}}"#
        .to_owned()
}

fn large_call() -> String {
    json!({"jsonrpc": "2.0", "id": 43, "method": "tools/call", "params": {
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "some-editor", "version": "1.4.2"},
            "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}, "url": {}}, "sampling": {}},
            "progressToken": 43,
        },
        "name": "files.edit_file",
        "arguments": {"path": "src/main.rs", "dry_run": false, "edits": (0..9).map(|i| json!({
            "line": 10 * i,
            "old": "    let value = compute(first, second)?;\n    println!(\"{value}\");",
            "new": "    let value = compute(first, second, third)?;\n    tracing::info!(%value);",
        })).collect::<Vec<_>>()},
    }})
    .to_string()
}

fn answer(result: Value) -> String {
    // The order in which servers write it.
    format!(r#"{{"result":{result},"jsonrpc":"2.0","id":42}}"#)
}

fn text_answer(text: &str) -> String {
    answer(json!({"content": [{"type": "text", "text": text}], "isError": false}))
}

fn structured_answer() -> String {
    let rows: Vec<_> = (0..720u32)
        .map(|i| {
            json!({
                "id": 100_000 + i, "name": format!("record number {i}"), "active": i % 3 == 0, "score": f64::from(i) * 1.25,
                "owner": null, "tags": ["alpha", "beta"], "place": {"lat": 52.5 + f64::from(i) / 1000.0, "lon": 13.4},
            })
        })
        .collect();
    answer(json!({"content": [], "structuredContent": {"rows": rows, "total": 720}}))
}

/// About `len` bytes of words, with `end` behind every line.
fn prose(len: usize, end: &str) -> String {
    let words = ["The", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog", "and", "returns", "later"];
    let mut text = String::new();
    let (mut line, mut i) = (0, 0);
    while text.len() < len {
        let word = words[(i * i + i / 7) % words.len()];
        text.push_str(word);
        line += word.len() + 1;
        i += 1;
        if line > 64 {
            text.push_str(end);
            line = 0;
        } else {
            text.push(' ');
        }
    }
    text
}
