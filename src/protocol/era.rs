//! The ladder that tells the eras apart, message by message (MCP 2026-07-28, versioning and transports).
//!
//! A *claim* is the protocol version key in `params._meta`. The body decides; headers are a cross-check. Nothing is remembered here
//! and nothing is chosen by who the client says it is. Headers compare without an allocation unless they are base64-encoded.

use super::{Era, Kind, Level, Message, Method, Refusal, Span, Version, code::Code, header};
use std::borrow::Cow;

/// The headers that take part in the decision, as received.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers<'a> {
    /// `MCP-Protocol-Version`
    pub version: Option<&'a str>,
    /// `Mcp-Method`
    pub method: Option<&'a str>,
    /// `Mcp-Name`
    pub name: Option<&'a str>,
}

/// Where a message belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// 2026-07-28, envelope and headers checked. Whether the method exists is for the hub to say.
    Stateless,
    /// `initialize` of the handshake era.
    Handshake,
    /// A request, notification or response of a session.
    Session,
    /// A notification of the stateless era over HTTP: 202, nothing else.
    StatelessNotification,
}

/// Over HTTP. Nothing here asks for a session: that is for whoever holds the sessions.
///
/// # Errors
/// The refusal to send with its status, its id set.
pub fn decide_http(message: &Message, headers: &Headers<'_>) -> Result<Verdict, Refusal> {
    let claims = message.scan().meta.protocol_version.is_some();
    let header_claims = headers.version.is_some_and(names_stateless);
    let verdict = match message.kind() {
        Kind::Result | Kind::Error => Ok(Verdict::Session),
        Kind::Notification if claims || header_claims => Ok(Verdict::StatelessNotification),
        Kind::Notification => Ok(Verdict::Session),
        Kind::Request if message.method() == Method::Initialize && !claims_validly(message) => {
            if header_claims {
                Err(mismatch("MCP-Protocol-Version names a revision without initialize".into()))
            } else {
                Ok(Verdict::Handshake)
            }
        }
        Kind::Request if claims => stateless_http(message, headers),
        Kind::Request if header_claims => Err(missing_keys(message)),
        Kind::Request => Ok(Verdict::Session),
    };
    verdict.map_err(|refusal| refusal.with_id(message.id()))
}

/// On a pipe or socket, where both eras may share the line; `handshaken` once this peer has sent `initialize`.
///
/// # Errors
/// As [`decide_http`]; the status has no meaning here.
pub fn decide_pipe(message: &Message, handshaken: bool) -> Result<Verdict, Refusal> {
    if message.kind() != Kind::Request {
        return Ok(Verdict::Session);
    }
    let method = message.method();
    let claims = message.scan().meta.protocol_version.is_some();
    let verdict = if method == Method::Initialize && !claims_validly(message) {
        Ok(Verdict::Handshake)
    } else if claims {
        envelope(message).and_then(|version| supported(message, &version)).map(|()| Verdict::Stateless)
    } else if handshaken || method == Method::Ping {
        Ok(Verdict::Session)
    } else {
        Err(missing_keys(message))
    };
    verdict.map_err(|refusal| refusal.with_id(message.id()))
}

/// The revision that answers `initialize` asking for `requested`: the same, or the latest that has a handshake.
pub fn negotiate(requested: &str) -> Version {
    Version::parse(requested).filter(|version| version.era() == Era::Handshake).unwrap_or(Version::LATEST_HANDSHAKE)
}

/// Rungs of a request with a claim, in the order in which they answer.
fn stateless_http(message: &Message, headers: &Headers<'_>) -> Result<Verdict, Refusal> {
    let version = envelope(message)?;
    if let Some(header) = headers.version {
        check_header("MCP-Protocol-Version", Some(header), Some(&version))?;
    }
    supported(message, &version)?;
    check_header("MCP-Protocol-Version", headers.version, Some(&version))?;
    let method = message.method();
    check_header("Mcp-Method", headers.method, Some(method.as_str()))?;
    if let Some(mirrored) = mirrored(message, method) {
        let value = mirrored.and_then(|span| message.string(span));
        check_header("Mcp-Name", headers.name, value.as_deref())?;
    }
    Ok(Verdict::Stateless)
}

/// The parameter that `Mcp-Name` repeats for this method: `None` if it repeats none, `Some(None)` if the parameter is missing.
fn mirrored(message: &Message, method: Method<'_>) -> Option<Option<Span>> {
    let scan = message.scan();
    match method {
        Method::ToolsCall | Method::PromptsGet => Some(scan.name),
        Method::ResourcesRead => Some(scan.uri),
        Method::TasksGet | Method::TasksUpdate | Method::TasksCancel => Some(scan.task_id),
        _ => None,
    }
}

fn check_header(name: &str, header: Option<&str>, value: Option<&str>) -> Result<(), Refusal> {
    let Some(header) = header else {
        return Err(mismatch(format!("Header {name} is required")));
    };
    match value.map(|value| header::matches(header, value)) {
        Some(Ok(true)) => Ok(()),
        Some(Err(error)) => Err(mismatch(format!("Header {name} holds {error}"))),
        Some(Ok(false)) | None => Err(mismatch(format!("Header {name} does not match the body"))),
    }
}

const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES_KEY: &str = "io.modelcontextprotocol/clientCapabilities";

/// The claimed version, once the keys that every stateless request carries are there and of their types.
fn envelope(message: &Message) -> Result<Cow<'_, str>, Refusal> {
    let meta = &message.scan().meta;
    let Some(version) = meta.protocol_version else { return Err(missing_keys(message)) };
    let Some(version) = message.string(version.value) else {
        return Err(bad_envelope(format!("params._meta[\"{VERSION_KEY}\"] must be a string")));
    };
    let Some(capabilities) = meta.client_capabilities else { return Err(missing_keys(message)) };
    if !message.token(capabilities.value).starts_with(b"{") {
        return Err(bad_envelope(format!("params._meta[\"{CAPABILITIES_KEY}\"] must be an object")));
    }
    if let Some(level) = meta.log_level
        && message.string(level.value).is_none_or(|level| Level::parse(&level).is_none())
    {
        return Err(bad_envelope(format!(
            "params._meta[\"io.modelcontextprotocol/logLevel\"] must be one of {}",
            Level::ALL.map(Level::as_str).join(", ")
        )));
    }
    Ok(version)
}

fn supported(message: &Message, version: &str) -> Result<(), Refusal> {
    if Version::parse(version).is_some_and(|version| version.era() == Era::Stateless) {
        return Ok(());
    }
    let requested = message.scan().meta.protocol_version.map(|member| message.token(member.value)).unwrap_or_default();
    let stateless = Version::STATELESS.as_str();
    Err(Refusal::new(Code::UnsupportedVersion, 400, format!("Protocol version is not supported; use {stateless}"))
        .with_data(format!(r#"{{"supported":["{stateless}"],"requested":{}}}"#, String::from_utf8_lossy(requested))))
}

/// `initialize` is a removed method only for a client that speaks the stateless era in full; anything less is a handshake.
fn claims_validly(message: &Message) -> bool {
    envelope(message).is_ok_and(|version| names_stateless(&version))
}

/// Every string but the known handshake revisions claims the stateless era, perhaps a revision of it that is not spoken here.
fn names_stateless(version: &str) -> bool {
    Version::parse(version.trim_matches([' ', '\t'])).is_none_or(|version| version.era() == Era::Stateless)
}

fn mismatch(message: String) -> Refusal {
    Refusal::new(Code::HeaderMismatch, 400, message)
}

fn bad_envelope(message: String) -> Refusal {
    Refusal::new(Code::InvalidParams, 400, message)
}

fn missing_keys(message: &Message) -> Refusal {
    let meta = &message.scan().meta;
    let missing = match (meta.protocol_version, meta.client_capabilities) {
        (None, None) => format!("{VERSION_KEY}, {CAPABILITIES_KEY}"),
        (None, Some(_)) => VERSION_KEY.into(),
        (Some(_), _) => CAPABILITIES_KEY.into(),
    };
    bad_envelope(format!("Request lacks in params._meta: {missing}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const STATELESS: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}"#;

    fn request(method: &str, meta: &str, rest: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":"a7","method":"{method}","params":{{"_meta":{{{meta}}}{rest}}}}}"#)
    }

    fn headers<'a>(version: &'a str, method: &'a str, name: &'a str) -> Headers<'a> {
        let given = |text: &'a str| Some(text).filter(|text| *text != "-");
        Headers { version: given(version), method: given(method), name: given(name) }
    }

    type Decision = Result<Verdict, (i64, u16, &'static str)>;

    fn check(decided: Result<Verdict, Refusal>, expected: Decision, case: &str) {
        match (decided, expected) {
            (Ok(verdict), Ok(expected)) => assert_eq!(verdict, expected, "{case}"),
            (Err(refusal), Err((code, status, text))) => {
                assert_eq!((refusal.code.number(), refusal.status), (code, status), "{case}: {}", refusal.message);
                assert!(refusal.message.contains(text), "{case}: {}", refusal.message);
                assert_eq!(refusal.id.map(|id| id.token().clone()), Some(Bytes::from_static(b"\"a7\"")), "{case}");
            }
            (decided, expected) => panic!("{case}: {decided:?}, not {expected:?}"),
        }
    }

    fn check_http(body: &str, headers: Headers<'_>, expected: Decision) {
        let message = Message::parse(Bytes::copy_from_slice(body.as_bytes())).expect(body);
        check(decide_http(&message, &headers), expected, &format!("{body} {headers:?}"));
    }

    fn check_pipe(body: &str, handshaken: bool, expected: Decision) {
        let message = Message::parse(Bytes::copy_from_slice(body.as_bytes())).expect(body);
        check(decide_pipe(&message, handshaken), expected, &format!("{body} {handshaken}"));
    }

    #[test]
    fn a_request_without_a_claim_belongs_to_a_session() {
        let call = r#"{"jsonrpc":"2.0","id":"a7","method":"tools/call","params":{"name":"a"}}"#;
        let list = r#"{"jsonrpc":"2.0","id":"a7","method":"tools/list"}"#;
        for version in ["-", "2024-10-07", "2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", " 2025-11-25\t"] {
            check_http(call, headers(version, "-", "-"), Ok(Verdict::Session));
            check_http(list, headers(version, "x", "y"), Ok(Verdict::Session));
        }
        for version in ["2026-07-28", "v999", "2099-01-01", ""] {
            let missing = "protocolVersion, io.modelcontextprotocol/clientCapabilities";
            check_http(call, headers(version, "tools/call", "a"), Err((-32602, 400, missing)));
            check_http(list, headers(version, "tools/list", "-"), Err((-32602, 400, missing)));
        }
        let half = request("tools/list", r#""io.modelcontextprotocol/clientCapabilities":{}"#, "");
        check_http(
            &half,
            headers("2026-07-28", "tools/list", "-"),
            Err((-32602, 400, "lacks in params._meta: io.modelcontextprotocol/protocolVersion")),
        );
        check_http(&half, headers("-", "-", "-"), Ok(Verdict::Session));
    }

    #[test]
    fn initialize_is_a_handshake_unless_its_claim_is_whole() {
        let plain = request("initialize", "", r#","protocolVersion":"2025-11-25""#);
        let old_claim = request(
            "initialize",
            r#""io.modelcontextprotocol/protocolVersion":"2025-11-25","io.modelcontextprotocol/clientCapabilities":{}"#,
            "",
        );
        let half_claim = request("initialize", r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#, "");
        for body in [&plain, &old_claim, &half_claim] {
            for version in ["-", "2025-11-25", "2025-03-26"] {
                check_http(body, headers(version, "-", "-"), Ok(Verdict::Handshake));
            }
            for version in ["2026-07-28", "v999"] {
                check_http(body, headers(version, "initialize", "-"), Err((-32020, 400, "MCP-Protocol-Version")));
            }
            check_pipe(body, false, Ok(Verdict::Handshake));
            check_pipe(body, true, Ok(Verdict::Handshake));
        }
        let whole_claim = request("initialize", STATELESS, "");
        check_http(&whole_claim, headers("2026-07-28", "initialize", "-"), Ok(Verdict::Stateless));
        check_http(&whole_claim, headers("-", "initialize", "-"), Err((-32020, 400, "MCP-Protocol-Version is required")));
        check_pipe(&whole_claim, false, Ok(Verdict::Stateless));
    }

    #[test]
    fn a_faulty_envelope_wins_over_any_header() {
        let version = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#;
        for (meta, text) in [
            (version.to_owned(), "lacks in params._meta: io.modelcontextprotocol/clientCapabilities"),
            (format!(r#"{version},"io.modelcontextprotocol/clientCapabilities":[]"#), "clientCapabilities\"] must be an object"),
            (format!(r#"{version},"io.modelcontextprotocol/clientCapabilities":null"#), "clientCapabilities\"] must be an object"),
            (
                r#""io.modelcontextprotocol/protocolVersion":20260728,"io.modelcontextprotocol/clientCapabilities":{}"#.to_owned(),
                "protocolVersion\"] must be a string",
            ),
            (format!(r#"{STATELESS},"io.modelcontextprotocol/logLevel":"loud""#), "must be one of debug, info"),
            (format!(r#"{STATELESS},"io.modelcontextprotocol/logLevel":3"#), "must be one of debug, info"),
        ] {
            let body = request("tools/list", &meta, "");
            for version in ["-", "2026-07-28", "2025-11-25"] {
                check_http(&body, headers(version, "-", "-"), Err((-32602, 400, text)));
            }
            check_pipe(&body, false, Err((-32602, 400, text)));
            check_pipe(&body, true, Err((-32602, 400, text)));
        }
        for level in Level::ALL.map(Level::as_str) {
            let meta = format!(r#"{STATELESS},"io.modelcontextprotocol/logLevel":"{level}""#);
            check_http(&request("tools/list", &meta, ""), headers("2026-07-28", "tools/list", "-"), Ok(Verdict::Stateless));
        }
    }

    #[test]
    fn headers_are_checked_in_order_and_the_version_first() {
        let body = request("tools/call", STATELESS, r#","name":"a""#);
        for (given, expected) in [
            (headers("2026-07-28", "tools/call", "a"), Ok(Verdict::Stateless)),
            (headers(" 2026-07-28", "tools/call\t", " a "), Ok(Verdict::Stateless)),
            (headers("2026-07-28", "tools/call", "=?base64?YQ==?="), Ok(Verdict::Stateless)),
            (headers("2025-11-25", "-", "-"), Err((-32020, 400, "MCP-Protocol-Version does not match"))),
            (headers("v999", "-", "-"), Err((-32020, 400, "MCP-Protocol-Version does not match"))),
            (headers("-", "tools/list", "b"), Err((-32020, 400, "MCP-Protocol-Version is required"))),
            (headers("2026-07-28", "-", "-"), Err((-32020, 400, "Mcp-Method is required"))),
            (headers("2026-07-28", "tools/list", "-"), Err((-32020, 400, "Mcp-Method does not match"))),
            (headers("2026-07-28", "Tools/Call", "a"), Err((-32020, 400, "Mcp-Method does not match"))),
            (headers("2026-07-28", "tools/call", "-"), Err((-32020, 400, "Mcp-Name is required"))),
            (headers("2026-07-28", "tools/call", "A"), Err((-32020, 400, "Mcp-Name does not match"))),
            (headers("2026-07-28", "tools/call", "=?base64?%%?="), Err((-32020, 400, "Mcp-Name holds not valid base64"))),
            (headers("2026-07-28", "tools/call", "é"), Err((-32020, 400, "Mcp-Name holds a character"))),
        ] {
            check_http(&body, given, expected);
        }
    }

    #[test]
    fn an_unsupported_version_is_named_after_the_mismatch_and_before_missing_headers() {
        for requested in ["2099-01-01", "2025-11-25", "v999"] {
            let meta =
                format!(r#""io.modelcontextprotocol/protocolVersion":"{requested}","io.modelcontextprotocol/clientCapabilities":{{}}"#);
            let body = request("tools/list", &meta, "");
            check_http(&body, headers("2026-07-28", "-", "-"), Err((-32020, 400, "does not match")));
            for version in ["-", requested] {
                check_http(&body, headers(version, "-", "-"), Err((-32022, 400, "not supported")));
            }
            check_pipe(&body, false, Err((-32022, 400, "not supported")));
            let message = Message::parse(Bytes::from(body)).expect("a message");
            let refusal = decide_pipe(&message, true).expect_err("refused");
            assert_eq!(refusal.data, Some(format!(r#"{{"supported":["2026-07-28"],"requested":"{requested}"}}"#)));
        }
    }

    #[test]
    fn the_name_header_repeats_the_parameter_of_its_method() {
        for (method, parameter) in [
            ("tools/call", "name"),
            ("prompts/get", "name"),
            ("resources/read", "uri"),
            ("tasks/get", "taskId"),
            ("tasks/update", "taskId"),
            ("tasks/cancel", "taskId"),
        ] {
            let body = request(method, STATELESS, &format!(r#","{parameter}":"x:\u0079""#));
            check_http(&body, headers("2026-07-28", method, "x:y"), Ok(Verdict::Stateless));
            check_http(&body, headers("2026-07-28", method, "x:z"), Err((-32020, 400, "Mcp-Name does not match")));
            check_http(&body, headers("2026-07-28", method, "-"), Err((-32020, 400, "Mcp-Name is required")));
            for rest in ["".to_owned(), format!(r#","{parameter}":7"#)] {
                let body = request(method, STATELESS, &rest);
                check_http(&body, headers("2026-07-28", method, "7"), Err((-32020, 400, "Mcp-Name does not match")));
            }
        }
        for method in ["tools/list", "server/discover", "resources/subscribe", "ping", "who/knows"] {
            check_http(&request(method, STATELESS, ""), headers("2026-07-28", method, "-"), Ok(Verdict::Stateless));
            check_http(&request(method, STATELESS, r#","name":"a""#), headers("2026-07-28", method, "b"), Ok(Verdict::Stateless));
        }
    }

    #[test]
    fn notifications_and_responses_are_never_refused() {
        let note = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
        let claimed = format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"_meta":{{{STATELESS}}}}}}}"#);
        for (body, version, expected) in [
            (note, "-", Verdict::Session),
            (note, "2025-06-18", Verdict::Session),
            (note, "2026-07-28", Verdict::StatelessNotification),
            (&claimed, "-", Verdict::StatelessNotification),
            (&claimed, "2025-06-18", Verdict::StatelessNotification),
            (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, "2026-07-28", Verdict::Session),
            (r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}"#, "-", Verdict::Session),
        ] {
            check_http(body, headers(version, "-", "-"), Ok(expected));
            check_pipe(body, false, Ok(Verdict::Session));
        }
    }

    #[test]
    fn a_pipe_serves_both_eras_and_pings_before_the_handshake() {
        let list = r#"{"jsonrpc":"2.0","id":"a7","method":"tools/list"}"#;
        let ping = r#"{"jsonrpc":"2.0","id":"a7","method":"ping"}"#;
        let missing = Err((-32602, 400, "protocolVersion, io.modelcontextprotocol/clientCapabilities"));
        for (body, handshaken, expected) in [
            (list, false, missing),
            (list, true, Ok(Verdict::Session)),
            (ping, false, Ok(Verdict::Session)),
            (ping, true, Ok(Verdict::Session)),
            (&request("server/discover", STATELESS, ""), false, Ok(Verdict::Stateless)),
            (&request("tools/call", STATELESS, r#","name":"a""#), true, Ok(Verdict::Stateless)),
        ] {
            check_pipe(body, handshaken, expected);
        }
    }

    #[test]
    fn initialize_is_answered_with_the_version_asked_for_if_it_has_a_handshake() {
        for (requested, answered) in [
            ("2024-11-05", Version::V2024_11_05),
            ("2025-03-26", Version::V2025_03_26),
            ("2025-06-18", Version::V2025_06_18),
            ("2025-11-25", Version::V2025_11_25),
            ("2026-07-28", Version::V2025_11_25),
            ("2099-01-01", Version::V2025_11_25),
            ("v999", Version::V2025_11_25),
            ("", Version::V2025_11_25),
        ] {
            assert_eq!(negotiate(requested), answered, "{requested}");
        }
    }
}
