//! The runtimes: current-thread ones, each on a thread of its own, and connections dealt out to them in turn. A request, its
//! connection and mostly the child it talks to stay on one thread: what costs under load is waking another one. The figures
//! are in ARCHITECTURE.md, "The runtime's shape".

use std::{num::NonZero, sync::Arc, thread};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::sync::CancellationToken;

use crate::downstream::{
    Doors, Mount,
    listen::{self, Acceptor, Detached},
};

/// One runtime for every so many cores: the servers and clients of a hub need the others.
const CORES_PER_SHARD: usize = 2;

/// The runtime of this thread, which everything but connections runs on, and handles of the others.
pub(super) struct Shards {
    main: Runtime,
    others: Arc<[Handle]>,
}

impl Shards {
    /// `count` runtimes, this thread's among them; by default as many as the machine has pairs of cores.
    ///
    /// # Errors
    /// The system gives no thread or no event queue.
    pub(super) fn start(count: Option<usize>) -> std::io::Result<Self> {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let count = count.unwrap_or(cores / CORES_PER_SHARD).max(1);
        let others = (1..count).map(other).collect::<Result<_, _>>()?;
        Ok(Self { main: runtime()?, others })
    }

    pub(super) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.main.block_on(future)
    }

    /// Waits for nothing any more: a read of a stdin that nobody closes would never end.
    pub(super) fn leave(self) {
        self.main.shutdown_background();
    }

    /// Accepts until `stop`, then closes the port. On the main runtime.
    pub(super) fn serve(&self, acceptor: Acceptor, doors: Arc<Doors>, mount: Arc<Mount>, stop: CancellationToken) {
        if self.others.is_empty() {
            self.main.spawn(listen::serve(acceptor, doors, mount, stop));
        } else {
            self.main.spawn(deal(acceptor, doors, mount, stop, Arc::clone(&self.others)));
        }
    }
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Runs until the process ends: what it serves is drained by `Watch` and the doors' tasks.
fn other(number: usize) -> std::io::Result<Handle> {
    let runtime = runtime()?;
    let handle = runtime.handle().clone();
    thread::Builder::new().name(format!("shard-{number}")).spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(handle)
}

/// Every shard takes its turn, the main one last.
async fn deal(acceptor: Acceptor, doors: Arc<Doors>, mount: Arc<Mount>, stop: CancellationToken, others: Arc<[Handle]>) {
    let mut turns = (0..=others.len()).cycle();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = acceptor.accept() => accepted,
        };
        let (doors, mount) = (Arc::clone(&doors), Arc::clone(&mount));
        match turns.next().and_then(|turn| others.get(turn)) {
            None => drop(tokio::spawn(listen::serve_connection(accepted, doors, mount))),
            Some(other) => match accepted.detach() {
                Ok(detached) => drop(other.spawn(attached(detached, doors, mount))),
                Err(error) => tracing::debug!(%error, "a connection was lost on its way to its thread"),
            },
        }
    }
}

async fn attached(detached: Detached, doors: Arc<Doors>, mount: Arc<Mount>) {
    match detached.attach() {
        Ok(accepted) => listen::serve_connection(accepted, doors, mount).await,
        Err(error) => tracing::debug!(%error, "a connection was lost on its way to its thread"),
    }
}
