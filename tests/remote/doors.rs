//! Through the whole hub: clients of both eras, and what never travels on.

use serde_json::json;

use crate::support::{
    client, hub,
    remote_server::{RemoteServer, Script, Speaks},
    server,
};

const ALL: [Speaks; 4] = [Speaks::Stateless, Speaks::Sessions("2025-11-25"), Speaks::Handshake("2025-03-26"), Speaks::Legacy];

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_both_eras_list_and_call_servers_of_every_kind() {
    for speaks in ALL {
        let remote = Script::new(speaks).run().await;
        let hub = hub::new().server("r", server::remote(&remote.url()).boot()).run();
        let (new, old) = (client::stateless(&hub), client::session(&hub, "2025-11-25").await);
        for client in [&new, &old] {
            let tools = client.tools().await;
            assert!(tools.contains(&"r.echo".to_owned()), "{speaks:?}: {tools:?}");
            assert_eq!(client.text("r.echo", json!({"text": "héllo"})).await, "héllo");
            let asked =
                client.ask("tools/call", json!({"name": "r.progress", "arguments": {"steps": 2}, "_meta": {"progressToken": "t"}})).await;
            let messages = asked.messages();
            let steps = messages.iter().filter(|message| message["method"] == "notifications/progress").collect::<Vec<_>>();
            assert_eq!(steps.len(), 2, "{messages:?}");
            assert!(steps.iter().all(|step| step["params"]["progressToken"] == "t"));
            assert_eq!(messages.last().unwrap()["result"]["content"][0]["text"], "done");
        }
        let shown = client::rest(&hub).get("/api/servers").await.json()["servers"][0].clone();
        assert_eq!(shown["transportType"], "streamable-http", "{shown}");
        assert!(!shown.to_string().contains("key=k"), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_caller_proves_itself_with_travels_on() {
    for speaks in ALL {
        let remote = Script::new(speaks).run().await;
        let hub = hub::new().server("r", server::remote(&remote.url()).boot().with("headers", json!({"X-Own": "1"}))).run();
        let client = client::stateless(&hub);
        client.tools().await;
        let (headers, body) = client.message(Some(&json!(1)), "tools/call", json!({"name": "r.echo", "arguments": {"text": "x"}}));
        let mut headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        headers.extend([("cookie", "session=caller"), ("x-forwarded-user", "caller"), ("traceparent", "00-caller")]);
        let answer = client.post("/mcp", &headers, &body).await;
        assert_eq!(answer.json()["result"]["content"][0]["text"], "x");
        for seen in remote.seen() {
            assert_eq!(seen.header("x-own"), Some("1"));
            for (name, value) in &seen.headers {
                assert!(!value.to_str().unwrap().contains("caller") && name != "authorization", "{name}: {value:?}");
            }
        }
    }
}

/// Clients of both eras, of a hub with this server.
async fn clients(remote: &RemoteServer) -> (hub::Hub, [client::Client; 2]) {
    let hub = hub::new().server("r", server::remote(&remote.url()).boot()).run();
    let clients = [client::stateless(&hub), client::session(&hub, "2025-11-25").await];
    for client in &clients {
        client.tools().await;
    }
    (hub, clients)
}

fn called(remote: &RemoteServer, tool: &str) -> usize {
    remote.asked("tools/call").iter().filter(|seen| seen.body["params"]["name"] == tool).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_refused_for_its_headers_is_sent_once_more_with_those_that_the_tool_has_now() {
    for which in 0..2 {
        let remote = Script::new(Speaks::Stateless).run().await;
        let (_hub, clients) = clients(&remote).await;
        let client = &clients[which];
        assert_eq!(client.text("r.region", json!({"region": "north"})).await, "north");
        remote.demand_headers();
        assert_eq!(client.text("r.region", json!({"region": "south"})).await, "south");
        assert_eq!(called(&remote, "region"), 3);
        // What was learned holds for the next.
        assert_eq!(clients[1].text("r.region", json!({"region": "east"})).await, "east");
        assert_eq!(called(&remote, "region"), 4);

        let answer = client.ask("tools/call", json!({"name": "r.mismatch", "arguments": {}})).await.json();
        assert_eq!((&answer["error"]["code"], called(&remote, "mismatch")), (&json!(-32603), 2), "once: {answer}");
        assert_eq!(client.text("r.echo", json!({"text": "x"})).await, "x");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_is_refused_is_sent_once_more_with_what_its_client_brought() {
    let remote = Script::new(Speaks::Stateless).run().await;
    let (_hub, [client, _]) = clients(&remote).await;
    let meta = json!({"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}}});
    let mut params = json!({"name": "r.asks-back", "arguments": {}, "_meta": meta});
    let asked = client.ask("tools/call", params.clone()).await.json()["result"].clone();
    assert_eq!(asked["inputRequests"]["k"]["method"], "elicitation/create", "{asked}");
    params["requestState"] = asked["requestState"].clone();
    params["inputResponses"] = json!({"k": {"action": "decline"}});
    let answer = client.ask("tools/call", params).await.json();
    let brought = json!(["st", {"k": {"action": "decline"}}]).to_string();
    assert_eq!((&answer["result"]["content"][0]["text"], called(&remote, "asks-back")), (&json!(brought), 3), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_refused_at_once_have_the_tools_listed_again_a_few_times_at_most() {
    let remote = Script::new(Speaks::Stateless).run().await;
    let (hub, _clients) = clients(&remote).await;
    let sessions = futures_util::future::join_all((0..20).map(|_| client::session(&hub, "2025-11-25"))).await;
    let before = remote.asked("tools/list").len();
    remote.demand_headers();
    let calls = sessions.iter().map(async |client| client.text("r.region", json!({"region": "north"})).await);
    assert_eq!(futures_util::future::join_all(calls).await, vec!["north"; 20]);
    let listings = remote.asked("tools/list").len() - before;
    assert!((1..=10).contains(&listings), "{listings} listings");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_refused_for_its_revision_is_sent_once_more_in_the_one_that_the_server_speaks_now() {
    for which in 0..2 {
        let remote = Script::new(Speaks::Stateless).run().await;
        let (_hub, clients) = clients(&remote).await;
        assert_eq!(clients[which].text("r.echo", json!({"text": "before"})).await, "before");
        remote.retire();
        assert_eq!(clients[which].text("r.echo", json!({"text": "after"})).await, "after");
        assert_eq!((called(&remote, "echo"), remote.asked("initialize").len()), (3, 1));
        assert_eq!(clients[1 - which].text("r.echo", json!({"text": "other"})).await, "other");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_cancels_its_call() {
    for speaks in ALL {
        let remote = Script::new(speaks).run().await;
        let hub = hub::new().server("r", server::remote(&remote.url()).boot()).run();
        let client = client::stateless(&hub);
        client.tools().await;
        {
            let call = client.ask("tools/call", json!({"name": "r.never", "arguments": {}}));
            tokio::select! {
                answer = call => panic!("{answer:?}"),
                _ = remote.sees(|seen| seen.body["params"]["name"] == "never") => {}
            }
        }
        drop(client);
        if speaks == Speaks::Stateless {
            remote.sees_closed(1).await;
        } else {
            remote.sees(|seen| seen.is("notifications/cancelled")).await;
        }
    }
}
