//! What the client of one request was told of its progress. `progress` rises from one notification to the next (MCP 2025-11-25,
//! progress); but the hub may send the request more than once, and look at what became of it besides, and each of these counts anew.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::{
    bridge::{incoming, task::Known},
    protocol::{Body, Message},
};

pub(super) struct Progress {
    /// The client's own token, raw JSON.
    token: Bytes,
    told: Mutex<Told>,
}

struct Told {
    most: f64,
    /// What was told before whoever speaks now began to count. What one server says of one request is its own affair.
    floor: f64,
}

impl Progress {
    pub(super) fn new(token: Bytes) -> Self {
        Self { token, told: Mutex::new(Told { most: f64::NEG_INFINITY, floor: f64::NEG_INFINITY }) }
    }

    /// The same, for what is said when the request has its answer.
    pub(super) fn further(&self) -> Self {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        Self { token: self.token.clone(), told: Mutex::new(Told { most: told.most, floor: told.floor }) }
    }

    /// What a server says; `None` when the client knows of more already.
    pub(super) fn relay(&self, note: &Message, tasks: &Known<'_>) -> Option<Body> {
        if let Some(progress) = incoming::progress_of(note) {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if progress <= told.floor {
                return None;
            }
            told.most = told.most.max(progress);
        }
        Some(incoming::progress(note, &self.token, tasks))
    }

    /// The hub's own word, one step after the last.
    pub(super) fn say(&self, text: &str) -> Option<Body> {
        // Beyond it one step makes no difference.
        const LAST: f64 = (1_u64 << 52) as f64;
        let step = {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            let step = (told.most.floor() + 1.0).max(1.0);
            if step > LAST {
                return None;
            }
            (told.most, told.floor) = (step, step);
            step as u64
        };
        Some(incoming::own_progress(&self.token, step, Some(text)))
    }

    /// The request is sent anew: what is said from now on starts from nothing.
    pub(super) fn begin_again(&self) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.floor = told.most;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is passed on of this note, if it is.
    fn relayed(progress: &Progress, said: &str) -> bool {
        let text = format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":7,"progress":{said}}}}}"#);
        let note = Message::parse(text.into()).unwrap();
        progress.relay(&note, &|_| None).is_some_and(|body| {
            let body = body.to_bytes();
            assert!(body.ends_with(format!(r#""progressToken":"p","progress":{said}}}}}"#).as_bytes()), "{body:?}");
            true
        })
    }

    fn own(progress: &Progress) -> Option<String> {
        let body = String::from_utf8(progress.say("goes on")?.to_bytes().to_vec()).unwrap();
        Some(body.split("\"progress\":").nth(1)?.split(',').next()?.to_owned())
    }

    #[test]
    fn it_rises_whoever_speaks_and_one_server_may_say_what_it_likes() {
        let progress = Progress::new(Bytes::from_static(br#""p""#));
        for said in ["0", "5.5", "5.5", "2", "\"?\""] {
            assert!(relayed(&progress, said), "{said}");
        }
        progress.begin_again();
        for (said, is_told) in [("1", false), ("5.5", false), ("5.6", true), ("5.6", true)] {
            assert_eq!(relayed(&progress, said), is_told, "{said}");
        }
        assert_eq!((own(&progress).as_deref(), own(&progress).as_deref()), (Some("6"), Some("7")));
        assert!(!relayed(&progress, "7") && relayed(&progress, "7.1"));
        assert_eq!(own(&progress).as_deref(), Some("8"));
        assert!(relayed(&progress, "1e300"));
        assert_eq!(own(&progress), None);

        assert_eq!(own(&Progress::new(Bytes::from_static(b"1"))).as_deref(), Some("1"));
        let below = Progress::new(Bytes::from_static(br#""p""#));
        assert!(relayed(&below, "-4.5"));
        assert_eq!(own(&below).as_deref(), Some("1"));
    }
}
