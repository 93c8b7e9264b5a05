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
    /// How long a call whose server asked something waits for its caller to come back, and how long a person may take to answer.
    pub parked_ttl: Duration,
    /// Calls of one principal that wait for their caller; each holds a connection to its server. The oldest makes room for one more.
    pub parked_per_principal: usize,
    /// Streams of changes (`subscriptions/listen`) open at once for one principal; one more is refused.
    pub listens_per_principal: usize,
}
impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 4 << 20,
            line_bytes: 16 << 20,
            queue: 1024,
            session_idle: Duration::from_secs(30 * 60),
            in_flight_per_principal: 256,
            parked_ttl: Duration::from_secs(10 * 60),
            parked_per_principal: 16,
            listens_per_principal: 32,
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
/// After the end of stdin, for the answers of calls under way, which are cancelled then: whoever pipes a few requests in is told what came of
/// them, also by a server that first had to start. A host that wants its end sooner sends a signal (the SDKs' clients do after 2 s).
pub const PIPE_END: Duration = Duration::from_secs(5);
/// The same after a signal; and for a peer to take what it is told last.
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
/// Lines of a process's stderr that are kept for when it ends: an error stands above what runtimes add to it. 7 KiB at most.
pub const STDERR_LINES_KEPT: usize = 24;
pub const STDERR_LINE_KEPT_BYTES: usize = 300;
pub const LIST_WAIT: Duration = Duration::from_secs(2);
pub const LIST_COALESCE: Duration = Duration::from_millis(150);
pub const TOOLS_PER_SERVER_MAX: usize = 5000;
pub const PROMPTS_PER_SERVER_MAX: usize = 5000;
/// Some servers list every file they know.
pub const RESOURCES_PER_SERVER_MAX: usize = 20_000;
/// Each may have to be matched for one URI.
pub const TEMPLATES_PER_SERVER_MAX: usize = 500;
/// Of a tool or prompt, as its server calls it.
pub const NAME_BYTES_MAX: usize = 1024;
/// Of a resource or template; longer ones belong to nobody.
pub const URI_BYTES_MAX: usize = 4 << 10;
/// Sets of client abilities for which one server's offer is kept; the one that was learned longest ago gives way.
pub const PROFILES_PER_SERVER_MAX: usize = 6;
/// Renderings of one list that are kept, by revision, names and abilities of those who ask; others are made anew each time.
pub const LIST_RENDERINGS_MAX: usize = 64;
/// URIs kept per caller, and callers for whom any are kept: to whom a URI belongs that stands in no list.
pub const RECENT_URIS_MAX: usize = 256;
pub const RECENT_CALLERS_MAX: usize = 1024;
pub const LIST_PAGES_MAX: usize = 100;
pub const LIST_PAGE_TOOLS: usize = 1000;
pub const PROGRESS_PER_SECOND: u32 = 20;
pub const BATCH_MAX: usize = 100;
/// Open HTTP sessions; beyond it `initialize` is refused.
pub const SESSIONS_MAX: usize = 65_536;
/// How long clients may keep a list of the hub's.
pub const LIST_TTL_MS: u64 = 60_000;
/// The same of a list whose server does not say when it changes.
pub const LIST_TTL_UNTOLD_MS: u64 = 5_000;
/// A server whose lists may not be kept, and that does not say when they change, is asked again at most so often.
pub const LIST_AGE_MIN: Duration = Duration::from_millis(500);
/// An instance that was started only to list what callers of some abilities see: for so long somebody may still need it.
pub const LEARNT_KEPT: Duration = Duration::from_secs(60);
/// The text a merged endpoint gives to models.
pub const INSTRUCTIONS_BYTES_MAX: usize = 8 << 10;
/// Events a slow listener may be behind before it loses the oldest.
pub const BUS_EVENTS: usize = 1024;
/// Open client connections; one more is closed at once.
pub const CONNECTIONS_MAX: usize = 16_384;
/// Each of: DNS, all tries to connect, and the TLS handshake of a connection to a remote server.
pub const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// One of several addresses of a host; the next may answer.
pub const CONNECT_TRY: Duration = Duration::from_secs(3);
/// Addresses of one host that are tried.
pub const ADDRESSES_MAX: usize = 8;
/// Idle connections to one remote server.
pub const IDLE_CONNECTIONS_MAX: usize = 64;
/// Shorter than the 5 s after which common servers close idle connections: a request must not meet the close half-way.
pub const IDLE_CONNECTION: Duration = Duration::from_secs(4);
/// One progress notification of a server; a larger one is not passed on.
pub const PROGRESS_BYTES_MAX: usize = 64 << 10;
/// Any other notification of a server; a larger one is not passed on.
pub const NOTE_BYTES_MAX: usize = 64 << 10;
/// Notifications of one call that its caller has not read; of more the oldest are lost.
pub const NOTES_QUEUED_MAX: usize = 64;
/// Why a client cancels, for its server to read: a sentence or two. More is left out.
pub const REASON_BYTES_MAX: usize = 1 << 10;
/// Questions of one server without an answer, and answers it has not read; one more is refused.
pub const SERVER_QUESTIONS_MAX: usize = 64;
/// Between two signs to a server that its question still waits for an answer: common ones give up on it after a minute without.
pub const QUESTION_PROGRESS: Duration = Duration::from_secs(15);
/// Resources watched on one connection to a server; one more is refused.
pub const SERVER_WATCHED_MAX: usize = 1024;
/// What a server may list, over all pages of one list.
pub const LIST_BYTES_MAX: usize = 32 << 20;
/// One file of the log, and how many there are, the current one included.
pub const LOG_FILE_BYTES_MAX: u64 = 10 << 20;
pub const LOG_FILES: u32 = 5;
/// Lines that wait for a slow disk, terminal or reader; more are dropped. Each writer's queue is allocated whole.
pub const LOG_QUEUE: usize = 8192;
/// Unsolicited messages that wait for a session's stream; the oldest notices make room.
pub const MAIL_MAX: usize = 256;
pub const MAIL_BYTES_MAX: usize = 1 << 20;
/// Questions to one client without an answer; servers that ask more are refused.
pub const SESSION_QUESTIONS_MAX: usize = 64;
/// What a client says of itself; a longer text is forgotten.
pub const CLIENT_INFO_BYTES_MAX: usize = 4 << 10;
/// Capabilities of a client among which extensions of others may be passed on to a server; of longer ones none are, since a session keeps
/// them and every call repeats them.
pub const CLIENT_EXTRAS_BYTES_MAX: usize = 8 << 10;
/// After a server's first question: others that come at once go to the client together.
pub const PARK_GATHER: Duration = Duration::from_millis(10);
/// A call that waits this long for a process of its own, a quarter of `timeouts.call` at most, ends a parked call of the same principal that
/// nobody has come back to for as long: `pool.size` of them would keep all others out for `parked_ttl`. A person may take so long to answer.
pub const CROWDED: Duration = Duration::from_secs(15);
/// The most that a configuration may allow one principal to park, and to have open as streams of changes. This and what else one
/// principal may have are counted for each process on the local socket by itself, so for all of them together `LOCAL_CONNECTIONS_MAX`
/// times as much, and once more for those that are gone.
pub const PARKED_MAX: usize = 1024;
pub const LISTENS_MAX: usize = 512;
/// Questions of one call that wait for an answer; one more is refused.
pub const QUESTIONS_MAX: usize = 16;
/// Questions in the whole life of one call; a server that asks on is refused.
pub const QUESTIONS_PER_CALL_MAX: u32 = 64;
/// All questions of one call that wait for an answer: what becomes one message to the client.
pub const QUESTION_BYTES_MAX: usize = 4 << 20;
/// Rounds of questions and answers in one request (the reference clients stop there too).
pub const ROUNDS_MAX: u32 = 10;
/// Before a request is sent again only because its server said so; times the number of the round.
pub const ROUND_PAUSE: Duration = Duration::from_millis(250);
/// A sealed state. It travels in every retry.
pub const STATE_BYTES_MAX: usize = 256 << 10;
/// For a URL that a server wants visited first to be reported as done, before its request is sent again.
pub const REISSUE_WAIT: Duration = Duration::from_secs(30);
/// Between two looks at a task whose server names no interval, and the bounds of those that do.
pub const TASK_POLL: Duration = Duration::from_secs(1);
pub const TASK_POLL_MIN: Duration = Duration::from_millis(100);
pub const TASK_POLL_MAX: Duration = Duration::from_secs(30);
/// How long a server may still speak of a call that was given up, or ask for it: most stop at once, and say nothing of having stopped.
pub const STRAY: Duration = Duration::from_secs(30);
/// Tasks that one `subscriptions/listen` follows; others are left out of its acknowledgement.
pub const TASKS_FOLLOWED_MAX: usize = 64;
/// How long a task is to be kept by a server that is asked for one.
pub const TASK_TTL: Duration = Duration::from_secs(60 * 60);
/// How long the connection of a task is held after somebody asked for it, at most and at least: the least once it has ended.
pub const TASK_KEPT: Duration = Duration::from_secs(60 * 60);
pub const TASK_KEPT_MIN: Duration = Duration::from_secs(60);
/// Tasks of one principal whose connections are held; the oldest gives way.
pub const TASKS_HELD_PER_PRINCIPAL_MAX: usize = 64;
/// The least for which a task's id is good; whether there still is such a task is for its server to say.
pub const TASK_ID_LIVES: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Elicitations by URL that servers reported as finished, newest; a request may wait for one of them.
pub const FINISHED_PAGES_MAX: usize = 256;
/// Resources that one session, or one stream of changes, watches.
pub const WATCHED_MAX: usize = 256;
/// Changes that wait for a listener that reads slowly; the newest are lost.
pub const LISTEN_QUEUE: usize = 64;
/// What one stream of a session keeps for a client that comes back.
pub const EVENTS_MAX: usize = 256;
pub const EVENTS_BYTES_MAX: usize = 1 << 20;
/// Streams of requests that a session keeps; those that are over make room.
pub const STREAMS_MAX: usize = 32;
/// After the end of a request's stream, for its client to come back.
pub const STREAM_KEPT: Duration = Duration::from_secs(60);
/// Mail and events that all sessions together keep.
pub const KEPT_BYTES_MAX: usize = 64 << 20;
/// How soon a client that lost its stream is to come back.
pub const SSE_RETRY_MS: u64 = 1000;
const _: () = assert!(EVENTS_BYTES_MAX <= KEPT_BYTES_MAX && MAIL_BYTES_MAX <= KEPT_BYTES_MAX);
/// Messages that wait for one stream of the transport of 2024-11-05; one more is refused.
pub const LEGACY_INBOX: usize = 64;
/// So many failures of a remote server in so long, and it is left alone for a while.
pub const BREAKER_FAILURES: usize = 5;
pub const BREAKER_WINDOW: Duration = Duration::from_secs(10);
/// Bytes of requests under way to one remote server; beyond it a call waits until others are answered.
pub const REMOTE_BYTES_MAX: usize = 64 << 20;
/// Notifications and answers of the hub's on their way to one remote server; more are dropped, counted.
pub const REMOTE_NOTES_MAX: usize = 64;
/// For a remote server to acknowledge what needs no answer, or to open a stream.
pub const REMOTE_ACKNOWLEDGE: Duration = Duration::from_secs(10);
/// A refusal's body is read so far.
pub const REFUSAL_BYTES_MAX: usize = 256 << 10;
/// The shortest time of silence after which a server is asked for a sign of life, and the longest that one is waited for.
pub const KEEPALIVE_MIN: Duration = Duration::from_millis(100);
pub const KEEPALIVE_ANSWER_MAX: Duration = Duration::from_secs(30);
/// Roots that one entry names: each is told whenever its server asks.
pub const ROOTS_MAX: usize = 64;
/// After an answer on a stream, for the stream's end: then its connection can be used again.
pub const STREAM_END: Duration = Duration::from_millis(250);
/// Failed tries in a row to take up a stream that broke off before its answer.
pub const RESUMES_MAX: u32 = 5;
/// Between those tries, where the server names no time; and the shortest and longest that it may name.
pub const RESUME_WAIT: Duration = Duration::from_secs(1);
pub const RESUME_WAIT_MIN: Duration = Duration::from_millis(50);
pub const RESUME_WAIT_MAX: Duration = Duration::from_secs(30);
/// For a remote server to take note that its session is over.
pub const LEAVE: Duration = Duration::from_secs(2);
/// Messages on their way to a server of 2024-11-05 at a time.
pub const LEGACY_POSTS_MAX: usize = 32;
/// Processes of the same user that one hub serves over its local socket; one more is a hub of its own.
pub const LOCAL_CONNECTIONS_MAX: usize = 256;
/// For either side of a local connection to say its first line; a process that waits for longer is a hub of its own.
pub const LOCAL_HELLO: Duration = Duration::from_secs(5);
/// For a process that got hold of the local socket to listen on it, and between two looks.
pub const LOCAL_WAIT: Duration = Duration::from_secs(2);
pub const LOCAL_LOOK: Duration = Duration::from_millis(5);
/// Requests without an answer of one client of a local connection; with so many nothing more is read from it. More than a hub takes at
/// once and holds open as streams of changes, so that a hub's own bounds come first.
pub const LOCAL_OPEN_MAX: usize = 1024;
const _: () = assert!(LOCAL_OPEN_MAX > PIPE_CALLS_MAX + LISTENS_MAX + PIPE_REFUSALS_MAX + PIPE_QUEUE);
/// Requests, in bytes, that wait until a hub that ends has answered the earlier ones.
pub const LOCAL_HELD_BYTES_MAX: usize = 1 << 20;
/// Hubs in a row that went away before they lasted so long, and then a process is a hub of its own.
pub const LOCAL_LOSSES_MAX: u32 = 5;
pub const LOCAL_LASTING: Duration = Duration::from_secs(10);
