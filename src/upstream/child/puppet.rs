//! A played process in a test's hand: it says what the test says, and the test hears what it was told.

use std::time::Duration;

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    sync::mpsc,
    time::timeout,
};

use super::actor::Script;

/// Dropping it ends the process.
pub(crate) struct Puppet {
    says: mpsc::UnboundedSender<Value>,
    hears: mpsc::UnboundedReceiver<Value>,
}

/// What becomes of a message to the process.
pub(crate) enum Taken {
    Answered(Value),
    Ignored,
    Heard,
}

impl Puppet {
    pub(crate) fn new(script: Script, take: impl Fn(&Value) -> Taken + Send + 'static) -> Self {
        let ((says, to_say), (heard, hears)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        tokio::spawn(perform(script, to_say, heard, take));
        Self { says, hears }
    }

    pub(crate) fn say(&self, message: Value) {
        self.says.send(message).unwrap();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.says.is_closed()
    }

    /// The next message that it was to hear; soon, or none.
    pub(crate) async fn heard(&mut self) -> Option<Value> {
        timeout(Duration::from_secs(1), self.hears.recv()).await.ok()?
    }

    pub(crate) async fn hear(&mut self) -> Value {
        self.heard().await.expect("something is said to it")
    }
}

async fn perform(
    script: Script,
    mut says: mpsc::UnboundedReceiver<Value>,
    heard: mpsc::UnboundedSender<Value>,
    take: impl Fn(&Value) -> Taken,
) {
    let Script { stdin, mut stdout, stderr: _stderr, signals: _signals, _exit } = script;
    let mut lines = BufReader::new(stdin).lines();
    loop {
        let said = tokio::select! {
            biased;
            said = says.recv() => match said {
                Some(said) => said,
                None => return,
            },
            line = lines.next_line() => {
                let Ok(Some(line)) = line else { return };
                let message: Value = serde_json::from_str(&line).unwrap();
                match take(&message) {
                    Taken::Answered(answer) => answer,
                    Taken::Ignored => continue,
                    Taken::Heard => {
                        let _ = heard.send(message);
                        continue;
                    }
                }
            }
        };
        stdout.write_all(format!("{said}\n").as_bytes()).await.unwrap();
    }
}
