//! The hub's log: one JSON object a line, or text, written by threads of their own so that no caller waits for a slow reader; the
//! same JSON lines go to a file. Lines that do not fit a writer's queue are dropped, never waited for. Logs events, never payloads
//! or secrets.

use std::{
    fmt::{self, Write as _},
    io::{self, Write},
    path::PathBuf,
    time::SystemTime,
};

use serde_json::{Map, Value};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, Layer, layer::Context, prelude::*};

use super::file::Rolling;
use crate::limits;

/// Where lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// Info and debug on stdout, warnings and errors on stderr.
    Split,
    /// Everything on stderr: stdout is a wire, or belongs to a person.
    Stderr,
}

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `{"type":"info","message":"…","data":{…},"timestamp":"…"}`
    Json,
    /// `2026-01-01T00:00:00.000Z INFO message key=value`
    Text,
}

/// What is logged, and where it goes.
pub struct Plan<'a> {
    /// trace, debug, info, warn or error, in any case.
    pub level: &'a str,
    /// Of what goes to `sink`.
    pub format: Format,
    pub sink: Sink,
    /// Gets every line as JSON, whatever `format` says; older files stay beside it.
    pub file: PathBuf,
}

/// The running log. Dropping it writes what is queued.
pub struct Log {
    stdout: NonBlocking,
    file: Option<NonBlocking>,
    _guards: Vec<WorkerGuard>,
}

impl Log {
    /// Takes over the process's events. Once per process; a second call changes nothing. A file that cannot be written is
    /// missing, and told.
    pub fn start(plan: &Plan<'_>) -> Self {
        let Plan { level, format, sink, file } = plan;
        let (stdout, stdout_guard) = writer(io::stdout());
        let (stderr, stderr_guard) = writer(io::stderr());
        let mut guards = vec![stdout_guard, stderr_guard];
        let opened = Rolling::open(file.clone(), limits::LOG_FILE_BYTES_MAX, limits::LOG_FILES);
        let (on_disk, error) = match opened.map(writer) {
            Ok((on_disk, guard)) => {
                guards.push(guard);
                (Some(on_disk), None)
            }
            Err(error) => (None, Some(error)),
        };
        let quiet = if *sink == Sink::Split { stdout.clone() } else { stderr.clone() };
        let lines = Lines { format: *format, quiet, loud: stderr, file: on_disk.clone() };
        // Libraries speak up from warnings on; their debug lines would drown the hub's.
        let filter = EnvFilter::new(format!("warn,mcp_hub={}", level.to_ascii_lowercase()));
        let _ = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
        if let Some(error) = error {
            tracing::warn!(%error, file = %file.display(), "the log is not written to disk");
        }
        Self { stdout, file: on_disk, _guards: guards }
    }

    /// One line on stdout that is no event: the ready object, addresses for a person.
    pub fn line(&mut self, line: &str) {
        let _ = self.stdout.write_all(format!("{line}\n").as_bytes());
    }

    /// One JSON object that is no event, into the file only.
    pub fn keep(&mut self, object: &str) {
        if let Some(file) = &mut self.file {
            let _ = file.write_all(format!("{object}\n").as_bytes());
        }
    }
}

fn writer(to: impl Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default().buffered_lines_limit(limits::LOG_QUEUE).finish(to)
}

/// One error line of the same form as the log's, for failures before or outside the running hub.
pub fn error_line(code: &str, message: &str, data: Value) -> String {
    object("error", message, Some(code), data).to_string()
}

/// One information line of the same form as the log's, for a process that keeps none.
pub fn info_line(format: Format, message: &str, data: Map<String, Value>) -> String {
    match format {
        Format::Json => object("info", message, None, Value::Object(data)).to_string(),
        Format::Text => text(Level::INFO, &Fields { message: message.to_owned(), code: None, data }),
    }
}

struct Lines {
    format: Format,
    quiet: NonBlocking,
    loud: NonBlocking,
    file: Option<NonBlocking>,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = *event.metadata().level();
        let as_text = (self.format == Format::Text).then(|| text(level, &fields) + "\n");
        let mut json = object(kind(level), &fields.message, fields.code.as_deref(), Value::Object(fields.data)).to_string();
        json.push('\n');
        if let Some(mut file) = self.file.clone() {
            let _ = file.write_all(json.as_bytes());
        }
        let mut writer = if level <= Level::WARN { self.loud.clone() } else { self.quiet.clone() };
        let _ = writer.write_all(as_text.as_ref().unwrap_or(&json).as_bytes());
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    code: Option<String>,
    data: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            ("code", Value::String(code)) => self.code = Some(code),
            ("tenant", tenant) => {
                self.data.insert("tenant_id".into(), tenant);
            }
            // A full id is told as its two parts.
            ("server", Value::String(id)) if id.contains(':') => {
                let (tenant, name) = id.split_once(':').unwrap_or_default();
                self.data.insert("server".into(), name.into());
                self.data.insert("tenant_id".into(), tenant.into());
            }
            (name, value) => {
                self.data.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }
}

fn object(kind: &str, message: &str, code: Option<&str>, data: Value) -> Value {
    let mut line = Map::new();
    line.insert("type".into(), kind.into());
    if let Some(code) = code {
        line.insert("code".into(), code.into());
    }
    line.insert("message".into(), message.into());
    line.insert("data".into(), data);
    line.insert("timestamp".into(), timestamp().into());
    Value::Object(line)
}

fn text(level: Level, fields: &Fields) -> String {
    let mut line = format!("{} {level:5} {}", timestamp(), fields.message);
    if let Some(code) = &fields.code {
        // Writing to a String cannot fail, here and below.
        let _ = write!(line, " code={code}");
    }
    for (name, value) in &fields.data {
        let _ = match value {
            Value::String(text) if !text.contains([' ', '\n', '"']) => write!(line, " {name}={text}"),
            value => write!(line, " {name}={value}"),
        };
    }
    line
}

const fn kind(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        _ => "debug",
    }
}

/// Now, ISO 8601 UTC with milliseconds and `Z`.
fn timestamp() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_line_is_one_json_object_with_its_code() {
        let line = error_line("HTTP_SERVER_ERROR", "port 8080 is taken", serde_json::json!({"port": 8080}));
        assert!(!line.contains('\n'));
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["type"], "error");
        assert_eq!(value["code"], "HTTP_SERVER_ERROR");
        assert_eq!(value["data"]["port"], 8080);
        assert!(value["timestamp"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn a_text_line_quotes_what_would_be_read_as_two_fields() {
        let mut fields = Fields { message: "started".into(), ..Fields::default() };
        fields.data.insert("server".into(), "a".into());
        fields.data.insert("why".into(), "two words".into());
        let line = text(Level::INFO, &fields);
        assert!(line.ends_with(r#"INFO  started server=a why="two words""#), "{line}");
    }
}
