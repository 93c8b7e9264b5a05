//! A session's mail and questions, and who is told what.

use std::time::Duration;

use futures_util::FutureExt;

use super::*;
use crate::{
    catalog::Names,
    limits,
    name::{ServerId, ServerName, TenantId},
    observe::{Bus, Event},
    protocol::{Body, Message},
};

fn sessions(bus: &Bus) -> Sessions {
    Sessions::new(bus, Arc::new(|_| {}), Duration::from_secs(60))
}

fn endpoint(tenant: &str, server: Option<&str>) -> Arc<Endpoint> {
    let server = server.map(|name| ServerName::new(name).unwrap());
    Arc::new(Endpoint::plain(TenantId::new(tenant).unwrap(), server, Names::Dotted))
}

fn client() -> Client {
    Client { version: Version::LATEST_HANDSHAKE, profile: Profile::BARE, extras: None, info: None }
}

fn open(sessions: &Sessions, endpoint: &Arc<Endpoint>) -> Arc<Session> {
    sessions.open(&Principal::local_admin(), endpoint, client()).unwrap()
}

fn tools_changed(tenant: &str, server: &str) -> Event {
    let tenant = TenantId::new(tenant).unwrap();
    Event::ToolsChanged { tenant: tenant.clone(), server: ServerId { tenant, name: ServerName::new(server).unwrap() } }
}

fn message(text: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

fn notice(text: &'static str) -> Body {
    Body::one(Bytes::from_static(text.as_bytes()))
}

#[tokio::test(start_paused = true)]
async fn changes_are_told_once_and_only_where_they_can_be_seen() {
    let bus = Bus::default();
    let sessions = sessions(&bus);
    let merged = open(&sessions, &endpoint("default", None));
    let own = open(&sessions, &endpoint("default", Some("a")));
    let pipe = sessions.pipe(Principal::local_admin(), endpoint("default", None));
    pipe.settle(client());
    let early = sessions.pipe(Principal::local_admin(), endpoint("default", None));
    let others = [
        early,
        open(&sessions, &endpoint("default", Some("b"))),
        open(&sessions, &endpoint("other", None)),
        sessions.pipe(Principal::local_admin(), endpoint("default", None)),
    ];
    for _ in 0..3 {
        bus.emit(tools_changed("default", "a"));
    }
    // These begin when it has happened, though nobody was told yet.
    others[0].settle(client());
    let late = open(&sessions, &endpoint("default", None));
    for session in [&merged, &own, &pipe] {
        let mut mail = session.take_mail().unwrap();
        let told = mail.next().await.unwrap().to_bytes();
        assert!(told.windows(18).any(|part| part == b"tools/list_changed"), "{told:?}");
        assert!(mail.next().now_or_never().is_none(), "once");
    }
    for session in others.iter().chain([&late]) {
        assert!(session.take_mail().unwrap().next().now_or_never().is_none());
    }
}

#[tokio::test]
async fn mail_has_one_reader_and_waits_for_the_next() {
    let bus = Bus::default();
    let sessions = sessions(&bus);
    let session = open(&sessions, &endpoint("default", None));
    session.post(notice("1"));
    let mut first = session.take_mail().unwrap();
    assert!(session.take_mail().is_none());
    assert_eq!(first.next().await.unwrap().to_bytes(), "1");
    let waiting = tokio::spawn(async move { first.next().await.is_none() });
    tokio::task::yield_now().await;
    let mut second = session.take_over_mail();
    assert!(waiting.await.unwrap(), "who is replaced hears that it is over");
    session.post(notice("2"));
    assert_eq!(second.next().await.unwrap().to_bytes(), "2");
    drop(second);
    session.post(notice("3"));
    let mut third = session.take_mail().unwrap();
    assert_eq!(third.next().await.unwrap().to_bytes(), "3");
    sessions.end_all();
    assert!(third.next().await.is_none());
    assert!(!session.post_question(notice("4")), "nobody will read it");
    let refused = sessions.open(&Principal::local_admin(), &endpoint("default", None), client());
    assert_eq!(refused.map(|_| ()), Err(NoSession::Stopping));
}

#[tokio::test]
async fn a_response_reaches_who_asked_and_nobody_else() {
    let bus = Bus::default();
    let sessions = sessions(&bus);
    let session = open(&sessions, &endpoint("default", None));
    let other = open(&sessions, &endpoint("default", None));
    let (mut first, mut second) = (session.ask().unwrap(), session.ask().unwrap());
    assert_ne!(first.id(), second.id());
    let response = |id: &RequestId| message(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#));
    assert!(!other.answered(response(first.id())));
    assert!(!session.answered(message(&format!(r#"{{"jsonrpc":"2.0","id":"{}","result":{{}}}}"#, first.id()))), "another id");
    assert!(session.answered(response(second.id())));
    assert!(!session.answered(response(second.id())), "once");
    assert_eq!(second.answer().await.unwrap().id().as_ref(), Some(second.id()));
    assert!(first.answer().now_or_never().is_none());
    let forgotten = first.id().clone();
    drop(first);
    assert!(!session.answered(response(&forgotten)), "who asked has gone");

    let open: Vec<_> = std::iter::from_fn(|| session.ask()).take(limits::SESSION_QUESTIONS_MAX + 1).collect();
    assert_eq!(open.len(), limits::SESSION_QUESTIONS_MAX);
    drop(open);
    let mut last = session.ask().unwrap();
    sessions.end(session.id().as_str(), &Principal::local_admin());
    assert!(last.answer().await.is_none() && session.ask().is_none());
}

#[tokio::test]
async fn a_pipe_is_found_for_as_long_as_it_is_there_and_by_no_client() {
    let bus = Bus::default();
    let sessions = sessions(&bus);
    let pipe = sessions.pipe(Principal::local_admin(), endpoint("default", None));
    let id = pipe.id().share();
    assert!(sessions.find(&id).is_some() && sessions.get(&id, &Principal::local_admin()).is_none());
    assert_eq!((sessions.all().len(), sessions.len()), (1, 0));
    drop(pipe);
    assert!(sessions.find(&id).is_none() && sessions.all().is_empty());
}

#[tokio::test]
async fn levels_and_abilities_are_unset_until_they_are_said() {
    let bus = Bus::default();
    let sessions = sessions(&bus);
    let pipe = sessions.pipe(Principal::local_admin(), endpoint("default", None));
    assert_eq!((pipe.level(), pipe.version(), pipe.profile()), (None, None, Profile::BARE));
    pipe.set_level(Level::Debug);
    assert_eq!(pipe.level(), Some(Level::Debug));
    pipe.set_level(Level::Emergency);
    assert_eq!(pipe.level(), Some(Level::Emergency));
    assert!(pipe.settle(Client { profile: Profile::FORM, ..client() }) && !pipe.settle(client()));
    assert_eq!((pipe.version(), pipe.profile()), (Some(Version::LATEST_HANDSHAKE), Profile::FORM));
}

/// The numbers that a replay after this one gives at once.
fn replayed(session: &Arc<Session>, id: &str) -> Vec<String> {
    match session.resume(EventId::parse(id).unwrap()).unwrap() {
        Resumed::Unasked(missed, _mail) => missed.iter().map(id_of).collect(),
        Resumed::Request(mut replay) => std::iter::from_fn(|| replay.next().now_or_never().flatten()).map(|event| id_of(&event)).collect(),
    }
}

fn id_of(event: &Body) -> String {
    let text = String::from_utf8(event.to_bytes().to_vec()).unwrap();
    text.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned()
}

#[test]
fn event_ids_read_as_they_are_written() {
    for id in ["0-0", "1-17", "4294967295-18446744073709551615"] {
        assert_eq!(EventId::parse(id).unwrap().to_string(), id);
    }
    for id in ["", "-", "1", "1-", "-1", "+1-1", "1-+1", " 1-1", "4294967296-1", "1-18446744073709551616", "1-1-1"] {
        assert_eq!(EventId::parse(id), None, "{id}");
    }
}

#[tokio::test]
async fn a_stream_replays_what_followed_and_nothing_of_another() {
    let bus = Bus::default();
    let sessions = sessions(&bus);
    let session = open(&sessions, &endpoint("default", None));
    let (first, second) = (session.recorder().unwrap(), session.recorder().unwrap());
    for recorder in [&first, &second, &first, &first] {
        recorder.record(notice("{}"));
    }
    assert_eq!(replayed(&session, "1-1"), ["1-2", "1-3"]);
    assert_eq!(replayed(&session, "2-0"), ["2-1"]);
    assert!(session.resume(EventId::parse("3-0").unwrap()).is_none());
    assert!(first.is_replaced() && second.is_replaced());
    // One that waits hears what follows, and the end.
    let Some(Resumed::Request(mut replay)) = session.resume(EventId::parse("1-3").unwrap()) else { panic!("it is kept") };
    assert!(replay.next().now_or_never().is_none());
    let waiting = tokio::spawn(async move { (replay.next().await.map(|event| id_of(&event)), replay.next().await.is_none()) });
    tokio::task::yield_now().await;
    first.record(notice("{}"));
    drop(first);
    assert_eq!(waiting.await.unwrap(), (Some("1-4".to_owned()), true));
    // The end of the session is the end of its streams.
    let Some(Resumed::Request(mut replay)) = session.resume(EventId::parse("2-1").unwrap()) else { panic!("it is kept") };
    sessions.end_all();
    assert!(replay.next().await.is_none());
    second.record(notice("{}"));
    assert!(session.resume(EventId::parse("2-0").unwrap()).is_none());
}

#[tokio::test]
async fn mail_that_went_to_a_stream_is_replayed_as_its_events() {
    let bus = Bus::default();
    let sessions = sessions(&bus);
    let session = open(&sessions, &endpoint("default", None));
    let mut mail = session.take_mail().unwrap();
    assert_eq!(id_of(&mail.prime().unwrap()), "0-0");
    for _ in 0..3 {
        session.post(notice("{}"));
        mail.next_event().await.unwrap();
    }
    assert_eq!(id_of(&mail.prime().unwrap()), "0-3");
    assert_eq!(replayed(&session, "0-1"), ["0-2", "0-3"]);
    assert!(mail.next_event().await.is_none(), "another took over");
}

#[tokio::test]
async fn only_revisions_that_know_resumption_and_priming_get_them() {
    let bus = Bus::default();
    let sessions = sessions(&bus);
    for (version, resumes, primes) in [
        (Version::V2024_11_05, false, false),
        (Version::V2025_03_26, true, false),
        (Version::V2025_06_18, true, false),
        (Version::V2025_11_25, true, true),
    ] {
        let client = Client { version, ..client() };
        let session = sessions.open(&Principal::local_admin(), &endpoint("default", None), client).unwrap();
        let recorder = session.recorder();
        assert_eq!((recorder.is_some(), recorder.is_some_and(|recorder| recorder.prime().is_some())), (resumes, primes));
        let mut mail = session.take_mail().unwrap();
        assert_eq!(mail.prime().is_some(), primes);
        session.post(notice("{}"));
        let event = mail.next_event().await.unwrap().to_bytes();
        assert_eq!(event.starts_with(b"id: 0-1\n"), resumes);
    }
}

#[tokio::test]
async fn a_stream_keeps_its_last_events_within_its_bounds_and_at_least_one() {
    let bus = Bus::default();
    let sessions = sessions(&bus);
    let session = open(&sessions, &endpoint("default", None));
    let many = session.recorder().unwrap();
    for _ in 0..limits::EVENTS_MAX + 2 {
        many.record(notice("{}"));
    }
    let kept = replayed(&session, "1-0");
    assert_eq!((kept.len(), &*kept[0]), (limits::EVENTS_MAX, "1-3"));
    let large = session.recorder().unwrap();
    let body = || Body::one(Bytes::from(vec![b'1'; limits::EVENTS_BYTES_MAX / 2]));
    for _ in 0..3 {
        large.record(body());
    }
    assert_eq!(replayed(&session, "2-0"), ["2-3"], "two and their framing are too many");
    large.record(Body::one(Bytes::from(vec![b'1'; 2 * limits::EVENTS_BYTES_MAX])));
    assert_eq!(replayed(&session, "2-0"), ["2-4"]);
}

#[tokio::test]
async fn streams_that_are_over_make_room_and_go_after_a_while() {
    let bus = Bus::default();
    let sessions = sessions(&bus);
    let session = open(&sessions, &endpoint("default", None));
    let is_kept = |id: usize| session.resume(EventId::parse(&format!("{id}-0")).unwrap()).is_some();
    let mut open: Vec<_> = std::iter::from_fn(|| session.recorder()).take(limits::STREAMS_MAX + 1).collect();
    assert_eq!(open.len(), limits::STREAMS_MAX);
    drop(open.remove(1));
    open.push(session.recorder().expect("one is over"));
    assert!(session.recorder().is_none());
    assert!(is_kept(1) && !is_kept(2) && is_kept(limits::STREAMS_MAX + 1));
    drop(open.remove(0));
    let now = tokio::time::Instant::now();
    session.tidy_streams(now);
    assert!(is_kept(1));
    session.tidy_streams(now + limits::STREAM_KEPT + Duration::from_secs(1));
    assert!(!is_kept(1) && is_kept(3));
}

#[tokio::test]
async fn all_that_is_kept_is_counted_and_given_back() {
    let bus = Bus::default();
    let sessions = sessions(&bus);
    let endpoint = endpoint("default", None);
    let first = open(&sessions, &endpoint);
    let body = || Body::one(Bytes::from(vec![b'1'; limits::EVENTS_BYTES_MAX - 64]));
    let (mut recorders, mut others) = (Vec::new(), Vec::new());
    for _ in 0..limits::KEPT_BYTES_MAX / limits::EVENTS_BYTES_MAX + 1 {
        let session = open(&sessions, &endpoint);
        let recorder = session.recorder().unwrap();
        recorder.record(body());
        recorders.push(recorder);
        others.push(session);
    }
    let one_more = first.recorder().unwrap();
    one_more.record(body());
    assert_eq!(replayed(&first, "1-0"), Vec::<String>::new(), "all sessions together keep no more");
    // Who reads now misses nothing even so.
    let Some(Resumed::Request(mut replay)) = first.resume(EventId::parse("1-1").unwrap()) else { panic!("it is kept") };
    one_more.record(body());
    assert_eq!(replay.next().await.map(|event| id_of(&event)).as_deref(), Some("1-2"));
    drop((replay, one_more));
    sessions.end_all();
    drop((recorders, others, first));
    assert_eq!(sessions.kept(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_question_does_not_keep_the_session_of_a_pipe_that_is_gone() {
    let sessions = sessions(&Bus::default());
    let pipe = sessions.pipe(Principal::local_admin(), endpoint("default", None));
    let id = pipe.id().clone();
    let mut asked = pipe.ask().unwrap();
    assert!(asked.answer().now_or_never().is_none() && sessions.find(id.as_str()).is_some());
    drop(pipe);
    assert!(sessions.find(id.as_str()).is_none());
    assert!(asked.answer().await.is_none(), "nobody is there to answer it");
}
