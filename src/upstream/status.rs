//! What can be said of a server (api.md 6.1).
use std::time::SystemTime;
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Stopped,
    Starting,
    Running,
    Crashed,
    Stopping,
}

impl State {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "STOPPED",
            Self::Starting => "STARTING",
            Self::Running => "RUNNING",
            Self::Crashed => "CRASHED",
            Self::Stopping => "STOPPING",
        }
    }
}
/// Can it be used?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usable {
    Connected,
    Connecting,
    Disconnected,
    Disabled,
}
#[derive(Clone, Debug)]
pub struct Status {
    pub state: State,
    /// Needs to know whether a catalog is known: `learned` is set once a `Learned` was sent or a stored era given.
    pub usable: Usable,
    pub error: Option<String>,
    pub last_error: Option<String>,
    pub started_at: Option<SystemTime>,
    pub restart_count: u32,
    pub instances: usize,
    /// Of a remote server there are none.
    pub pids: Vec<u32>,
    /// Whether a remote server is worth asking: `closed` (it is), `open`, `half-open`. Absent for children.
    pub breaker: Option<&'static str>,
    pub in_flight: usize,
    /// While waiting to try again: attempts so far, when.
    pub retry: Option<(u32, SystemTime)>,
    /// Lines dropped, late and unknown answers, over all instances.
    pub noise: Noise,
}
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noise {
    pub bad_lines: u64,
    pub long_lines: u64,
    pub late_answers: u64,
    pub unknown_answers: u64,
}

impl std::ops::AddAssign for Noise {
    fn add_assign(&mut self, other: Self) {
        self.bad_lines += other.bad_lines;
        self.long_lines += other.long_lines;
        self.late_answers += other.late_answers;
        self.unknown_answers += other.unknown_answers;
    }
}

impl std::ops::Add for Noise {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}
