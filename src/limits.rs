//! Every bound, its unit and its reason (defaults; the configurable ones are fields of `Limits`).

use std::time::Duration;

/// The figures a configuration may change (api.md 3.2 `limits`).
#[derive(Clone, Debug)]
pub struct Limits {
    pub body_bytes: usize,
    pub line_bytes: usize,
    /// Messages waiting for one child, and calls in flight on it.
    pub queue: usize,
    pub session_idle: Duration,
    pub in_flight_per_principal: usize,
}
impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 4 << 20,
            line_bytes: 16 << 20,
            queue: 1024,
            session_idle: Duration::from_secs(30 * 60),
            in_flight_per_principal: 256,
        }
    }
}

pub const JSON_DEPTH_MAX: usize = 128;
pub const HEADER_BYTES_MAX: usize = 32 << 10;
pub const HEADERS_MAX: usize = 64;
pub const QUEUE_BYTES_MAX: usize = 4 << 20;
pub const SOCKET_MESSAGE_BYTES_MAX: usize = 1 << 20;
pub const SOCKET_FRAGMENTS_MAX: usize = 64;
/// Pings, and pongs nobody asked for; whoever sends more is cut off.
pub const SOCKET_PINGS_PER_SECOND_MAX: u32 = 20;
/// Between the hub's own pings; a client that stays silent over two of them is gone.
pub const SOCKET_PING: Duration = Duration::from_secs(30);
/// So many in a row that cannot be understood end a socket.
pub const SOCKET_BAD_MESSAGES_MAX: u32 = 5;
/// Requests under way on one pipe or socket; one more is refused.
pub const PIPE_CALLS_MAX: usize = 256;
/// Refusals that wait for a slow reader; with so many nothing more is read from it.
pub const PIPE_REFUSALS_MAX: usize = 64;
/// Messages queued for one pipe or socket; more wait at the calls they belong to.
pub const PIPE_QUEUE: usize = 64;
/// After the end of stdin, for the answers of calls under way.
pub const PIPE_DRAIN: Duration = Duration::from_secs(2);
pub const FIRST_BYTE: Duration = Duration::from_secs(10);
pub const HEADERS_WAIT: Duration = Duration::from_secs(10);
pub const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// Longest pause inside a request body, and the longest a whole body may take.
pub const BODY_PAUSE: Duration = Duration::from_secs(10);
pub const BODY_WAIT: Duration = Duration::from_secs(60);
/// A client that takes nothing of its answer for so long is gone.
pub const WRITE_STALL: Duration = Duration::from_secs(30);
/// After the last answer: what the client still sends is thrown away so that it can read that answer (RFC 9112 9.6).
pub const LINGER: Duration = Duration::from_secs(2);
pub const SSE_COMMENT: Duration = Duration::from_secs(15);
pub const SSE_UPGRADE: Duration = Duration::from_secs(10);
pub const DRAIN: Duration = Duration::from_secs(30);
pub const STOP_STDIN: Duration = Duration::from_secs(2);
pub const STOP_TERM: Duration = Duration::from_secs(3);
pub const BACKOFF_MIN: Duration = Duration::from_millis(100);
pub const BACKOFF_MAX: Duration = Duration::from_secs(30);
pub const BACKOFF_RESET: Duration = Duration::from_secs(60);
pub const STDERR_RING_BYTES: usize = 256 << 10;
pub const LIST_WAIT: Duration = Duration::from_secs(2);
pub const LIST_COALESCE: Duration = Duration::from_millis(150);
pub const TOOLS_PER_SERVER_MAX: usize = 5000;
pub const LIST_PAGES_MAX: usize = 100;
pub const LIST_PAGE_TOOLS: usize = 1000;
pub const PROGRESS_PER_SECOND: u32 = 20;
pub const BATCH_MAX: usize = 100;
/// Open HTTP sessions; beyond it `initialize` is refused.
pub const SESSIONS_MAX: usize = 65_536;
/// How long clients may keep a list of the hub's.
pub const LIST_TTL_MS: u64 = 60_000;
/// The text a merged endpoint gives to models.
pub const INSTRUCTIONS_BYTES_MAX: usize = 8 << 10;
/// Events a slow listener may be behind before it loses the oldest.
pub const BUS_EVENTS: usize = 1024;
/// Open client connections; one more is closed at once.
pub const CONNECTIONS_MAX: usize = 16_384;
/// One progress notification of a server; a larger one is not passed on.
pub const PROGRESS_BYTES_MAX: usize = 64 << 10;
/// What a server may list, over all pages.
pub const LIST_BYTES_MAX: usize = 32 << 20;
/// One file of the log, and how many there are, the current one included.
pub const LOG_FILE_BYTES_MAX: u64 = 10 << 20;
pub const LOG_FILES: u32 = 5;
/// Lines that wait for a slow disk, terminal or reader; more are dropped. Each writer's queue is allocated whole.
pub const LOG_QUEUE: usize = 8192;
