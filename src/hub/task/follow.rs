//! Tasks that a `subscriptions/listen` names (tasks extension of MCP 2026-07-28): the client is told of each as it is now, and again
//! whenever that has changed, until it has ended. The hub looks as often as the server asks to be looked at, whatever design its tasks
//! are of, so a client need not.

use std::sync::Arc;

use tokio::{sync::mpsc, time::sleep};
use tokio_util::task::AbortOnDropHandle;

use super::named_as;
use crate::{
    bridge::task::{self, Task},
    hub::{Hub, Inbound, Outcome, Step},
    limits,
    protocol::{Body, Message, Method, RequestId, Version, code::Code, refusal::quoted},
};

/// What a follower looks with: the client's own request, as if it had asked for the task itself.
pub(in crate::hub) struct Following {
    request: Inbound,
    outlet: mpsc::Sender<Body>,
    listen: RequestId,
}

/// A guard: dropping it ends the looking.
pub(in crate::hub) type Follower = AbortOnDropHandle<()>;

/// Begins to follow a task of the caller's. `None`: it knows no such task, or said that it understands none.
pub(in crate::hub) fn follow(hub: &Arc<Hub>, listen: &Inbound, id: &str, outlet: &mpsc::Sender<Body>) -> Option<Follower> {
    named_as(hub, listen, Some(id)).ok()?;
    let capabilities = listen.message.scan().meta.client_capabilities?;
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":0,"method":"{}","params":{{"taskId":{},"_meta":{{"io.modelcontextprotocol/protocolVersion":"{}","io.modelcontextprotocol/clientCapabilities":{}}}}}}}"#,
        Method::TasksGet.as_str(),
        quoted(id),
        Version::STATELESS.as_str(),
        String::from_utf8_lossy(listen.message.token(capabilities.value)),
    );
    let message = Message::parse(text.into()).ok()?;
    let request = Inbound::new(Arc::clone(&listen.principal), Arc::clone(&listen.endpoint), message, listen.client, None);
    let following = Following { request, outlet: outlet.clone(), listen: listen.id() };
    Some(AbortOnDropHandle::new(hub.tasks.spawn(following.run(Arc::clone(hub)))))
}

impl Following {
    async fn run(self, hub: Arc<Hub>) {
        let mut told = None;
        loop {
            let pause = match self.look(&hub).await {
                Seen::Task(got, task) => {
                    let state = task::pushed(&got, &self.listen).map(|body| body.to_bytes());
                    if state != told {
                        if let Some(state) = &state
                            && self.outlet.send(Body::one(state.clone())).await.is_err()
                        {
                            return;
                        }
                        told = state;
                    }
                    if task.status.is_terminal() {
                        return;
                    }
                    task.poll()
                }
                Seen::Busy => limits::TASK_POLL,
                Seen::Nothing => return,
            };
            tokio::select! {
                biased;
                () = hub.stop.cancelled() => return,
                () = sleep(pause) => {}
            }
        }
    }

    async fn look(&self, hub: &Arc<Hub>) -> Seen {
        let answer = match hub.dispatch(self.request.again()) {
            Outcome::Later(mut crossing) => loop {
                match crossing.next().await {
                    Step::Notice(_) => {}
                    Step::Answer(answer) => break answer,
                    Step::Cancelled => return Seen::Nothing,
                }
            },
            Outcome::Now(answer) => answer,
            Outcome::Silent => return Seen::Nothing,
        };
        if answer.status == 429 {
            return Seen::Busy;
        }
        let Ok(got) = Message::parse(answer.body.to_bytes()) else { return Seen::Busy };
        match Task::read(&got) {
            Some(task) => Seen::Task(Box::new(got), task),
            None if is_unknown(&got) => Seen::Nothing,
            None => Seen::Busy,
        }
    }
}

/// Whether there is no such task, or none for this client. Any other error may have passed at the next look.
fn is_unknown(got: &Message) -> bool {
    let never = [Code::InvalidParams, Code::MethodNotFound, Code::MissingCapability];
    got.error_code().is_some_and(|code| never.iter().any(|never| never.number() == code))
}

enum Seen {
    /// The answer to the client's own `tasks/get`, and what it says.
    Task(Box<Message>, Task),
    /// Not now: the caller has too much under way, or the server is out of reach.
    Busy,
    /// Its server knows it no more.
    Nothing,
}
