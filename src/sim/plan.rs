//! What a call asks its server to do. It travels as the call's arguments, so that whoever plays the server knows what is wanted of it,
//! and its client what may come of it.

use serde::{Deserialize, Serialize};

use super::dice::Dice;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    /// `PRINCIPAL.CLIENT.NUMBER`: whose call it is.
    pub(super) token: String,
    /// Before it asks.
    pub(super) delay_ms: u64,
    /// After that.
    pub(super) then_ms: u64,
    pub(super) progress: u64,
    pub(super) logs: u64,
    pub(super) asks: Vec<Ask>,
    /// All questions at once.
    pub(super) together: bool,
    pub(super) end: End,
    /// The answer is at least so long.
    pub(super) bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Ask {
    Form,
    Sampling,
    Roots,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum End {
    Answer,
    /// A JSON-RPC error of the server's.
    Error,
    /// No answer, ever.
    Never,
    /// After the hub has given up.
    Late,
    Twice,
    /// The process exits instead.
    Crash,
    /// Something that is no answer, under the call's id.
    Nonsense,
    /// `-32042`: a page has to be opened first (2025-11-25).
    Page,
}

impl Plan {
    /// Nothing but an answer.
    pub(super) fn plain(token: String) -> Self {
        Self { token, delay_ms: 0, then_ms: 0, progress: 0, logs: 0, asks: vec![], together: false, end: End::Answer, bytes: 0 }
    }

    /// One that a healthy server carries out within its time, or one of a wild server.
    pub(super) fn roll(dice: &mut Dice, token: String, is_wild: bool) -> Self {
        let ends: &[End] = match is_wild {
            false => &[End::Answer],
            true => &[
                End::Answer,
                End::Answer,
                End::Answer,
                End::Answer,
                End::Error,
                End::Never,
                End::Late,
                End::Twice,
                End::Crash,
                End::Nonsense,
            ],
        };
        let asks = if dice.percent(35) { dice.between(1, 3) } else { 0 };
        Self {
            token,
            delay_ms: if dice.percent(40) { 0 } else { dice.between(0, 3_000) },
            then_ms: if dice.percent(50) { 0 } else { dice.between(0, 1_000) },
            progress: if dice.percent(25) { dice.between(1, 4) } else { 0 },
            logs: if dice.percent(25) { dice.between(1, 2) } else { 0 },
            asks: (0..asks).map(|_| *dice.pick(&[Ask::Form, Ask::Sampling, Ask::Roots])).collect(),
            bytes: if dice.percent(5) { 20_000 } else { 0 },
            together: dice.percent(50),
            end: if dice.percent(8) { End::Page } else { *dice.pick(ends) },
        }
    }
}

/// Of `PRINCIPAL.CLIENT.NUMBER`.
pub(super) fn principal_of(token: &str) -> &str {
    token.split('.').next().unwrap_or_default()
}

/// `PRINCIPAL.CLIENT`
pub(super) fn client_of(token: &str) -> &str {
    token.rsplit_once('.').map_or("", |(client, _)| client)
}
