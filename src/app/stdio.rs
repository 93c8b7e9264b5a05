//! `mcp-hub stdio`: one client on stdin and stdout. Where a hub of the same configuration runs, this process only leads to it; else it
//! is the hub, also for those that come later, and when a hub goes away one of those that it served takes its place.

use std::{process::ExitCode, sync::Arc};

use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
};
use tokio_util::sync::CancellationToken;

use super::{Core, Place, Shards, Signals, fail, no_runtime};
use crate::{
    access::Principal,
    config::Settings,
    downstream::{
        local::{
            front::{Front, Left},
            join::{self, Found},
        },
        stdio,
    },
    hub::Endpoint,
    limits,
    observe::log::{Format, Log, info_line},
};

/// Where to look for a hub to share; or why none is shared.
pub type Sharing = Result<join::Place, String>;

/// To its end: that of stdin, once all is answered and nobody else is served; or a signal. `log` is called if this process becomes a hub,
/// until then it keeps none.
pub fn serve_stdio(
    settings: Settings,
    place: &Place,
    endpoint: Endpoint,
    sharing: &Sharing,
    log: impl FnOnce(&Settings) -> Log,
) -> ExitCode {
    // One client, so one thread.
    let shards = match Shards::start(Some(1)) {
        Ok(shards) => shards,
        Err(error) => return no_runtime(&error),
    };
    let code = shards.block_on(async {
        let mut signals = Signals::of_a_pipe();
        let found = match sharing {
            Ok(place) => tokio::select! {
                found = place.find(&endpoint, 0) => found,
                () = signals.next() => return ExitCode::SUCCESS,
            },
            Err(why) => Found::Alone(why.clone()),
        };
        let stop = CancellationToken::new();
        let (stdin, stdout) = stdio::ends();
        let Found::Hub { stream, pid } = found else {
            let _log = log(&settings);
            let Some(core) = build(settings, place, &endpoint) else { return ExitCode::FAILURE };
            let own = stdio::serve(Arc::clone(&core.hub), Arc::new(endpoint), Principal::local_admin(), stdin, stdout, stop.clone());
            return run(core, found, sharing, own, stop, signals).await;
        };
        tell_joined(&settings, pid);
        let mut front = Front::new(stdin, stdout, endpoint.clone(), settings.limits.body_bytes, stop.clone());
        let Some(found) = lead(&mut front, stream, sharing, &stop, &mut signals).await else { return ExitCode::SUCCESS };
        let _log = log(&settings);
        let (Some(core), Ok(shared)) = (build(settings, place, &endpoint), sharing) else {
            front.give_up().await;
            return ExitCode::FAILURE;
        };
        tracing::info!(pid, "the hub that was used is gone; this process takes its place");
        let door = core.local_door(shared.identity, limits::PIPE_DRAIN);
        let own = front.within(door);
        run(core, found, sharing, own, stop, signals).await
    });
    shards.leave();
    code
}

/// From hub to hub, as long as there is another. `None`: the client has left, or is to be left.
async fn lead<R, W>(
    front: &mut Front<R, W>,
    mut hub: UnixStream,
    sharing: &Sharing,
    stop: &CancellationToken,
    signals: &mut Signals,
) -> Option<Found>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let place = sharing.as_ref().ok()?;
    loop {
        let left = {
            let leading = front.through(hub);
            tokio::pin!(leading);
            tokio::select! {
                left = &mut leading => left,
                () = signals.next() => {
                    stop.cancel();
                    tokio::select! {
                        left = &mut leading => left,
                        () = signals.next() => return None,
                    }
                }
            }
        };
        if left == Left::Done {
            return None;
        }
        if front.is_unlucky() {
            return Some(Found::Alone("hub after hub went away".to_owned()));
        }
        let found = tokio::select! {
            found = front.find(place) => found,
            () = signals.next() => {
                front.give_up().await;
                return None;
            }
        };
        match found {
            Found::Hub { stream, .. } => hub = stream,
            found => return Some(found),
        }
    }
}

/// `None`: what is wrong has been told.
fn build(settings: Settings, place: &Place, endpoint: &Endpoint) -> Option<Core> {
    let tenants: Vec<_> = settings.tenants.iter().map(|tenant| tenant.id.to_string()).collect();
    let core = match Core::build(settings, place) {
        Ok(core) => core,
        Err(error) => {
            fail("HUB_ERROR", &format!("the system gives no random numbers: {error}"), json!({}));
            return None;
        }
    };
    if core.hub.knows(&Principal::local_admin(), endpoint) {
        return Some(core);
    }
    let server = endpoint.server.as_ref().map_or_else(String::new, |server| format!(" with a server '{server}'"));
    let there = if tenants.contains(&endpoint.tenant.to_string()) {
        String::new()
    } else {
        format!("; name one with --tenant: {}", tenants.join(", "))
    };
    fail("CLI_ARGS_ERROR", &format!("there is no tenant '{}'{server} in the configuration{there}", endpoint.tenant), json!({}));
    None
}

/// This process as the hub. `own` serves its client until that leaves, or `stop`; others are served for as long as they are there.
async fn run(
    core: Core,
    found: Found,
    sharing: &Sharing,
    own: impl Future<Output = ()>,
    stop: CancellationToken,
    mut signals: Signals,
) -> ExitCode {
    let alone = CancellationToken::new();
    let others = match (found, sharing) {
        (Found::Seat(seat, listener), Ok(place)) => {
            let door = core.local_door(place.identity, limits::PIPE_DRAIN);
            Some(tokio::spawn(door.serve(seat, listener, alone.clone(), stop.clone())))
        }
        (Found::Alone(why), _) => {
            tracing::debug!(why, "this hub is shared with no other process");
            None
        }
        _ => None,
    };
    let boot = tokio::spawn({
        let fleet = Arc::clone(&core.fleet);
        async move { fleet.boot().await }
    });
    let served = async {
        own.await;
        alone.cancel();
        if let Some(others) = others {
            let _ = others.await;
        }
    };
    tokio::pin!(served);
    tokio::select! {
        () = &mut served => {}
        () = signals.next() => {
            stop.cancel();
            served.await;
        }
    }
    core.end(signals.next()).await;
    boot.abort();
    ExitCode::SUCCESS
}

/// Where the log of a hub would be seen.
fn tell_joined(settings: &Settings, pid: u32) {
    if matches!(settings.log_level.as_str(), "info" | "debug" | "trace") {
        let data = [("pid".to_owned(), pid.into())].into_iter().collect();
        eprintln!("{}", info_line(log_format(settings), "the hub of this configuration that runs already is used", data));
    }
}

/// Of what `mcp-hub stdio` says on stderr.
pub fn log_format(settings: &Settings) -> Format {
    if settings.log_text { Format::Text } else { Format::Json }
}
