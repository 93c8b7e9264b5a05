//! One process and its pipes. Knows nothing of pools, restarts or who calls.

#[cfg(test)]
pub(crate) mod actor;
mod heard;
pub(super) mod link;
pub(super) mod listing;
pub(super) mod probe;
pub(super) mod process;
#[cfg(test)]
pub(crate) mod puppet;
pub(super) mod reader;
pub(super) mod stderr;
pub(super) mod unrun;
pub(super) mod writer;

#[cfg(test)]
mod tests;
