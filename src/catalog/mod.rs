//! What exists, named how, for whom. Pure but for one table and the lock that orders its writers.
//!
//! Readers take no lock of ours: a name is one look-up in the tool table, a list is shared bytes out of an immutable snapshot. Names are looked
//! up, never split. Everything is keyed by tenant first; there is no call that crosses tenants.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods)]

pub mod cursor;
pub mod definition;
pub mod merge;
pub mod name;
pub mod offer;
pub mod snapshot;
pub mod table;
pub mod view;

pub use cursor::CursorError;
pub use offer::{Offer, Tool};
pub use snapshot::{Catalog, Scope};
pub use table::Route;
pub use view::Names;
