//! What callers have left behind, for the simulation: after the last of them it is nothing.

use std::sync::Arc;

use super::{Fleet, Server, Whose, pool::Key};

impl Fleet {
    pub(crate) fn left(&self) -> Vec<String> {
        let followers = self.commons.followers.len();
        let followers = (followers > 0).then(|| format!("{followers} subscriptions are followed"));
        followers.into_iter().chain(self.servers().iter().flat_map(|server| server.left())).collect()
    }
}

impl Server {
    fn left(self: &Arc<Self>) -> Vec<String> {
        let life = self.life();
        let mut left = Vec::new();
        for instance in life.pool.instances() {
            let uses = instance.uses();
            left.extend((uses > 0).then(|| format!("{uses} uses of its instance {:?}", instance.pid)));
            left.extend(instance.link.left().into_iter().chain(instance.feed.left()));
        }
        let is_of_session = |key: &Key| matches!(key.whose, Whose::Session(_));
        left.extend(life.pool.left_of(is_of_session));
        drop(life);
        left.extend(self.levels().keys().filter(|key| is_of_session(key)).map(|key| format!("the log level of {:?}", key.whose)));
        left.extend(self.places_left());
        left.into_iter().map(|what| format!("{}: {what}", self.settings.id)).collect()
    }

    /// Every task, process and start of it has ended.
    pub(crate) fn is_still(&self) -> bool {
        let life = self.life();
        life.run.tasks.is_empty() && life.pool.instances().next().is_none()
    }
}
