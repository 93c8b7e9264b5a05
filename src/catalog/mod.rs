//! What exists, named how, for whom. Pure but for two tables and the lock that orders their writers.
//!
//! Readers take no lock of ours: a name is one look-up in a table, a list is shared bytes out of an immutable snapshot. Names are looked
//! up, never split. Everything is keyed by tenant first; there is no call that crosses tenants.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods)]

mod capabilities;
pub mod cursor;
pub mod definition;
mod kind;
mod merge;
pub mod name;
pub mod offer;
mod offered;
pub mod owner;
mod page;
pub mod recents;
mod rendered;
mod schema;
pub mod snapshot;
pub mod table;
mod template;
pub mod uri;
pub mod view;

pub use cursor::CursorError;
pub use definition::Visibility;
pub use kind::{Changed, Kind};
pub use offer::{Item, Offer};
pub use owner::{AppMatch, Owner};
pub use recents::Recents;
pub use snapshot::{Catalog, Scope};
pub use table::Route;
pub use uri::Uris;
pub use view::{Names, View};
