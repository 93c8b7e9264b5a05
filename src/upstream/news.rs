//! What a server says outside any call.

use std::sync::Arc;

use super::question::Question;
use crate::{name::ServerId, protocol::Message};

#[derive(Debug)]
pub struct News {
    pub server: ServerId,
    pub whose: Whose,
    pub what: What,
}

/// For whom the connection is that said it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Whose {
    /// Every caller of the tenant.
    Everyone,
    Principal(Arc<str>),
    Session(Arc<str>),
}

#[derive(Debug)]
pub enum What {
    /// `notifications/resources/updated`.
    Updated(Message),
    /// `notifications/message` that cannot be laid to one call.
    Log(Message),
    /// Any other notification but those of lists, which end in `Learned`.
    Note(Message),
    /// A request of the server while no call that could be asked is under way. Only for sessions (`Whose::Session`).
    Question(Question),
}
