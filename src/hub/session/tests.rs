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
    Arc::new(Endpoint { tenant: TenantId::new(tenant).unwrap(), server, names: Names::Dotted })
}

fn client() -> Client {
    Client { version: Version::LATEST_HANDSHAKE, profile: Profile::BARE, info: None }
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
    let others = [
        open(&sessions, &endpoint("default", Some("b"))),
        open(&sessions, &endpoint("other", None)),
        sessions.pipe(Principal::local_admin(), endpoint("default", None)),
    ];
    for _ in 0..3 {
        bus.emit(tools_changed("default", "a"));
    }
    for session in [&merged, &own, &pipe] {
        let mut mail = session.take_mail().unwrap();
        let told = mail.next().await.unwrap().to_bytes();
        assert!(told.windows(18).any(|part| part == b"tools/list_changed"), "{told:?}");
        assert!(mail.next().now_or_never().is_none(), "once");
    }
    for session in &others {
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
    assert!(sessions.open(&Principal::local_admin(), &endpoint("default", None), client()).is_none());
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

    let open: Vec<_> = std::iter::from_fn(|| session.ask()).take(limits::QUESTIONS_MAX + 1).collect();
    assert_eq!(open.len(), limits::QUESTIONS_MAX);
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
