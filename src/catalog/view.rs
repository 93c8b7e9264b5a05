//! Who looks, and how names are to read.

use crate::protocol::{Version, capability::Profile};

/// Name style of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Names {
    Dotted,
    Safe,
}

/// For whom a list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// The client's revision.
    pub version: Version,
    /// What the client declared.
    pub profile: Profile,
}
