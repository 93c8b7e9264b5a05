//! Who calls, and what they may do. Never reads a message; a door asks here before it looks at one.

pub mod first_key;
pub mod gate;
pub mod principal;
pub mod quota;

pub use gate::{Denied, Gate};
pub use principal::{Principal, Reach};
pub use quota::{Client, Permit, Use};
