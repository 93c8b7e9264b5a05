//! When a server is asked again what it lists, and for whom.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
};

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
    /// Has prompts, and fails to list them at first.
    stumbles: bool,
    /// How long the first word takes.
    starts: Duration,
}

const QUIET: Plays = Plays { version: Version::V2025_11_25, tells: false, ttl_ms: 0, stumbles: false, starts: Duration::ZERO };
const STATELESS: Plays = Plays { version: Version::STATELESS, ttl_ms: 700, ..QUIET };

struct Stage {
    fleet: Arc<Fleet>,
    server: Arc<Server>,
    learned: mpsc::UnboundedReceiver<Learned>,
    started: Arc<AtomicUsize>,
    alive: Arc<AtomicUsize>,
}

impl Stage {
    fn new(plays: Plays, entry: ServerSettings) -> Self {
        let (sender, learned) = mpsc::unbounded_channel();
        let report = Arc::new(move |learned| drop(sender.send(learned)));
        let fleet = Fleet::new(&Settings::plain(vec![entry]), Limits::default(), Bus::default(), report, |_| None);
        let (started, alive) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counts = (Arc::clone(&started), Arc::clone(&alive));
        fleet.play_on(Arc::new(move |_| {
            let (entrance, script) = actor::enter(1, 1 << 16);
            let alive = Arc::clone(&counts.1);
            counts.0.fetch_add(1, Ordering::SeqCst);
            alive.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let Script { stdin, mut stdout, stderr: _stderr, signals: _signals, _exit } = script;
                let mut lines = BufReader::new(stdin).lines();
                let (mut declared, mut has_stumbled) = (Value::Null, !plays.stumbles);
                while let Ok(Some(line)) = lines.next_line().await {
                    let Some(answer) = plays.answer(&line, &mut declared, &mut has_stumbled).await else { continue };
                    stdout.write_all(format!("{answer}\n").as_bytes()).await.unwrap();
                }
                alive.fetch_sub(1, Ordering::SeqCst);
            });
            Ok(entrance)
        }));
        let server = fleet.server(&server_id()).unwrap();
        Self { fleet, server, learned, started, alive }
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

    fn learn_as(&self, profile: Profile) -> bool {
        self.server.learn_as(self.server.told(profile), || false)
    }
}

fn names(learned: &Learned) -> Vec<String> {
    learned.tools.iter().map(|tool| serde_json::from_slice::<Value>(tool).unwrap()["name"].as_str().unwrap().to_owned()).collect()
}

impl Plays {
    async fn answer(self, line: &str, declared: &mut Value, has_stumbled: &mut bool) -> Option<Value> {
        const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
        let request: Value = serde_json::from_str(line).unwrap();
        let id = request.get("id")?;
        let is_stateless = self.version == Version::STATELESS;
        let told = json!({"listChanged": self.tells});
        let capabilities = if self.stumbles { json!({"tools": told, "prompts": told}) } else { json!({"tools": told}) };
        let info = json!({"name": "s", "version": "1"});
        let result = match request["method"].as_str()? {
            "server/discover" if is_stateless => json!({"supportedVersions": [self.version.as_str()], "capabilities": capabilities,
                "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}),
            "initialize" => {
                sleep(self.starts).await;
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
            "prompts/list" if std::mem::replace(has_stumbled, true) => json!({"prompts": [{"name": "p"}]}),
            "prompts/list" => return Some(json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32603, "message": "not now"}})),
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

#[tokio::test(start_paused = true)]
async fn what_is_listed_to_those_who_can_do_more_is_asked_for_once() {
    let [bare, all] = [vec!["plain".to_owned()], vec!["plain".into(), "needs_roots".into()]];
    for (plays, starts) in [(QUIET, 2), (STATELESS, 1)] {
        let mut stage = Stage::new(plays, ServerSettings::plain(server_id()));
        assert!(!stage.learn_as(Profile::ROOTS), "what all others see comes first");
        stage.server.know().await.unwrap();
        assert_eq!(stage.listed().await, [(Profile::BARE, bare.clone())]);
        assert!(!stage.learn_as(Profile::TASKS) && !stage.learn_as(Profile::BARE), "they see what all others see");
        assert!(stage.learn_as(Profile::ROOTS.with(Profile::TASKS)) && stage.learn_as(Profile::ROOTS));
        stage.server.learnt_as(Profile::ROOTS).await;
        assert!(!stage.learn_as(Profile::ROOTS));
        assert_eq!(stage.listed().await, [(Profile::ROOTS, all.clone())]);
        assert_eq!(stage.started(), starts);
        // What changes concerns them too.
        sleep(Duration::from_secs(6)).await;
        stage.look();
        let again: BTreeSet<_> = stage.listed().await.into_iter().collect();
        assert_eq!(again, [(Profile::BARE, bare.clone()), (Profile::ROOTS, all.clone())].into());
        let told = stage.server.told(Profile::FORM);
        assert!(!stage.server.learn_as(told, || true), "it was kept");
        assert_eq!((stage.listed().await, stage.started()), (vec![], starts));
        stage.fleet.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_was_started_to_list_is_the_first_callers_or_nobodys_for_long() {
    let plays = Plays { starts: Duration::from_secs(3), ..QUIET };
    let stage = Stage::new(plays, ServerSettings::plain(server_id()));
    stage.server.know().await.unwrap();
    assert!(stage.learn_as(Profile::ROOTS) && stage.learn_as(Profile::UI));
    // While it starts.
    let sharer = Sharer { principal: "p".into(), session: Some("x".into()), profile: Profile::ROOTS };
    let lease = stage.server.lease(&sharer).await.unwrap();
    assert_eq!((lease.profile(), stage.started()), (Profile::ROOTS, 3));
    stage.server.learnt_as(Profile::UI).await;
    assert_eq!(stage.alive.load(Ordering::SeqCst), 3);
    sleep(limits::LEARNT_KEPT * 2).await;
    assert_eq!((stage.alive.load(Ordering::SeqCst), stage.started()), (2, 3));
    drop(lease);
    stage.fleet.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_is_started_for_few_kinds_of_callers_and_by_hand_for_none() {
    let stage = Stage::new(QUIET, ServerSettings::plain(server_id()));
    stage.server.know().await.unwrap();
    let abilities = [Profile::ROOTS, Profile::SAMPLING, Profile::FORM, Profile::URL];
    for bits in 1..1_u32 << abilities.len() {
        let chosen = abilities.iter().enumerate().filter(|(n, _)| bits & (1 << n) != 0);
        let profile = chosen.fold(Profile::BARE, |profile, (_, ability)| profile.with(*ability));
        stage.learn_as(profile);
        stage.server.learnt_as(profile).await;
    }
    assert_eq!(stage.started(), limits::PROFILES_PER_SERVER_MAX);
    stage.fleet.shutdown().await;

    let stage = Stage::new(QUIET, ServerSettings { start: Start::Manual, ..ServerSettings::plain(server_id()) });
    stage.server.start().await.unwrap();
    stage.server.refresh().await.unwrap();
    assert!(!stage.learn_as(Profile::ROOTS));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(stage.started(), 1);
    stage.fleet.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_list_that_failed_is_asked_for_again_when_somebody_looks_though_its_server_tells_of_changes() {
    let mut stage = Stage::new(Plays { tells: true, stumbles: true, ..QUIET }, ServerSettings::plain(server_id()));
    stage.server.know().await.unwrap();
    let prompts = |learned: Learned| learned.prompts.len();
    assert_eq!(stage.learned.recv().await.map(prompts), Some(0));
    sleep(Duration::from_millis(limits::LIST_TTL_UNTOLD_MS)).await;
    stage.look();
    assert_eq!(stage.learned.recv().await.map(prompts), Some(1));
    sleep(Duration::from_millis(limits::LIST_TTL_UNTOLD_MS)).await;
    stage.look();
    assert_eq!(stage.listed().await.len(), 0, "nothing failed");
    stage.fleet.shutdown().await;
}
