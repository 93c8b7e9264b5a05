//! When a server is asked again what it lists.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

use super::*;
use crate::{limits, upstream::Learned};

/// How the played server behaves.
#[derive(Clone, Copy)]
struct Plays {
    version: Version,
    /// Says when its list changes.
    tells: bool,
    ttl_ms: u64,
}

const QUIET: Plays = Plays { version: Version::V2025_11_25, tells: false, ttl_ms: 0 };
const STATELESS: Plays = Plays { version: Version::STATELESS, ttl_ms: 700, ..QUIET };

struct Stage {
    fleet: Arc<Fleet>,
    server: Arc<Server>,
    learned: mpsc::UnboundedReceiver<Learned>,
    started: Arc<AtomicUsize>,
}

impl Stage {
    fn new(plays: Plays, entry: ServerSettings) -> Self {
        let (sender, learned) = mpsc::unbounded_channel();
        let report = Arc::new(move |learned| drop(sender.send(learned)));
        let fleet = Fleet::new(&Settings::plain(vec![entry]), Limits::default(), Bus::default(), report, |_| None);
        let started = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&started);
        fleet.play_on(Arc::new(move |_| {
            let (entrance, script) = actor::enter(1, 1 << 16);
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let Script { stdin, mut stdout, stderr: _stderr, signals: _signals, _exit } = script;
                let mut lines = BufReader::new(stdin).lines();
                let mut declared = Value::Null;
                while let Ok(Some(line)) = lines.next_line().await {
                    let Some(answer) = plays.answer(&line, &mut declared).await else { continue };
                    stdout.write_all(format!("{answer}\n").as_bytes()).await.unwrap();
                }
            });
            Ok(entrance)
        }));
        let server = fleet.server(&server_id()).unwrap();
        Self { fleet, server, learned, started }
    }

    fn started(&self) -> usize {
        self.started.load(Ordering::SeqCst)
    }

    /// Those for whom it was listed since this was last asked, and the tools.
    async fn listed(&mut self) -> Vec<(Profile, Vec<String>)> {
        // Whatever was begun has ended by then: nobody else moves the clock.
        sleep(limits::LIST_COALESCE * 2).await;
        std::iter::from_fn(|| self.learned.try_recv().ok()).map(|learned| (learned.profile, names(&learned))).collect()
    }

    fn look(&self) {
        assert!(self.fleet.learn(&server_id().tenant).is_empty());
    }
}

fn names(learned: &Learned) -> Vec<String> {
    learned.tools.iter().map(|tool| serde_json::from_slice::<Value>(tool).unwrap()["name"].as_str().unwrap().to_owned()).collect()
}

impl Plays {
    async fn answer(self, line: &str, declared: &mut Value) -> Option<Value> {
        const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
        let request: Value = serde_json::from_str(line).unwrap();
        let id = request.get("id")?;
        let is_stateless = self.version == Version::STATELESS;
        let capabilities = json!({"tools": {"listChanged": self.tells}});
        let info = json!({"name": "s", "version": "1"});
        let result = match request["method"].as_str()? {
            "server/discover" if is_stateless => json!({"supportedVersions": [self.version.as_str()], "capabilities": capabilities,
                "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}),
            "initialize" => {
                declared.clone_from(&request["params"]["capabilities"]);
                json!({"protocolVersion": self.version.as_str(), "capabilities": capabilities, "serverInfo": info})
            }
            "tools/list" => {
                let declared = if is_stateless { &request["params"]["_meta"][CAPABILITIES] } else { &*declared };
                let mut names = vec!["plain"];
                names.extend(declared.get("roots").map(|_| "needs_roots"));
                let tools: Vec<_> = names.iter().map(|name| json!({"name": name, "inputSchema": {"type": "object"}})).collect();
                json!({"resultType": "complete", "ttlMs": self.ttl_ms, "cacheScope": "private", "tools": tools})
            }
            _ => return Some(json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "Method not found"}})),
        };
        Some(json!({"jsonrpc": "2.0", "id": id, "result": result}))
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_whose_changes_nobody_tells_is_asked_for_again_when_somebody_looks_at_an_old_one() {
    let untold = Duration::from_millis(limits::LIST_TTL_UNTOLD_MS);
    // What declares that it tells, and takes no listen, is no better than what does not.
    for (plays, lives) in
        [(QUIET, untold), (STATELESS, Duration::from_millis(700)), (Plays { tells: true, ..STATELESS }, Duration::from_millis(700))]
    {
        let mut stage = Stage::new(plays, ServerSettings::plain(server_id()));
        stage.server.know().await.unwrap();
        assert_eq!(stage.listed().await.len(), 1);
        for _ in 0..3 {
            sleep(lives).await;
            assert_eq!(stage.listed().await.len(), 0, "nothing asks by itself");
            stage.look();
            stage.look();
            assert_eq!(stage.listed().await.len(), 1, "once, however many look");
            stage.look();
            assert_eq!(stage.listed().await.len(), 0, "not old");
        }
        stage.server.stop(false).await;
        sleep(lives * 2).await;
        stage.look();
        assert_eq!((stage.listed().await.len(), stage.started()), (0, 1), "nothing is started for it");
        stage.fleet.shutdown().await;
    }
    let mut stage = Stage::new(Plays { tells: true, ..QUIET }, ServerSettings::plain(server_id()));
    stage.server.know().await.unwrap();
    assert_eq!(stage.listed().await.len(), 1);
    sleep(untold * 10).await;
    stage.look();
    assert_eq!(stage.listed().await.len(), 0, "it tells");
    stage.fleet.shutdown().await;
}
