//! The language on the wire: bytes to types and back. Pure: no I/O, clock, lock or task.

#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods)]

pub mod capability;
pub mod code;
pub mod era;
pub mod header;
pub mod id;
pub mod level;
pub mod line;
pub mod mark;
pub mod message;
pub mod method;
pub mod param;
pub mod raw;
pub mod refusal;
pub mod scan;
pub mod splice;
pub mod sse;
pub mod version;

pub use id::RequestId;
pub use level::Level;
pub use message::{Body, Message};
pub use method::Method;
pub use refusal::Refusal;
pub use scan::{Kind, Scan, ScanError, Span, scan};
pub use version::{Era, Version};
