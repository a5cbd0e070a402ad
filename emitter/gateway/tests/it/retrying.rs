//! What is sent again is there once.

use crate::client::Client;
use crate::mesh::{Mesh, audit, ids};
use crate::started::{ORDERS, Started, order, small, started};
use serde_json::json;

const JSON: &str = "content-type: application/json\r\n";

/// Emits with a key for the whole request.
async fn emit_as(
    client: &mut Client,
    key: &str,
    ids: std::ops::Range<i64>,
) -> crate::client::Answer {
    let events: Vec<_> = ids.map(|id| json!({ "value": order(id) })).collect();
    let body = json!({ "events": events }).to_string();
    let headers = format!("{JSON}idempotency-key: {key}\r\n");
    client.post_as(ORDERS, &headers, body.as_bytes()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_sent_again_gives_each_event_once() {
    let (mesh, started) = started().await;
    let mut client = started.client().await;
    let first = emit_as(&mut client, "a", 0..5).await;
    let again = emit_as(&mut started.client().await, "a", 0..5).await;
    assert_eq!((first.status, again.status), (200, 200));
    assert_eq!(first.body, again.body, "the same receipts");
    assert_eq!(emit_as(&mut client, "b", 5..6).await.status, 200);
    let mut found = ids(&mesh.read(ORDERS).await);
    found.sort_unstable();
    assert_eq!(found, [0, 1, 2, 3, 4, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_goes_away_and_comes_back_has_each_event_once() {
    let mut mesh = Mesh::new().await;
    let started = Started::new(small(&mesh)).await;
    let mut client = started.client().await;
    assert_eq!(emit_as(&mut client, "before", 0..3).await.status, 200);
    mesh.go_away().await;
    let in_doubt = emit_as(&mut client, "during", 3..6).await;
    assert_eq!((in_doubt.status, in_doubt.results()), (503, 3), "{in_doubt:?}");
    assert_eq!(in_doubt.body["kind"], "timeout");
    assert!(in_doubt.headers.contains_key("retry-after"));
    mesh.come_back().await;
    let done = loop {
        let answer = emit_as(&mut client, "during", 3..6).await;
        if answer.status != 503 {
            break answer;
        }
    };
    assert_eq!(done.status, 200, "{done:?}");
    let found = mesh.read(ORDERS).await;
    audit(&found);
    let mut found = ids(&found);
    found.sort_unstable();
    assert_eq!(found, [0, 1, 2, 3, 4, 5]);
    started.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_to_be_asked_for_its_body_is_asked_and_keeps_its_connection() {
    let (_mesh, started) = started().await;
    let mut client = started.client().await;
    for _ in 0..2 {
        let head = format!(
            "POST /v1/topics/{ORDERS}/events HTTP/1.1\r\nhost: g\r\n{JSON}\
             expect: 100-continue\r\ncontent-length: 13\r\n\r\n"
        );
        client.write(head.as_bytes()).await;
        client.asked_for_its_body().await;
        client.write(b"{\"events\":[]}").await;
        assert_eq!(client.answer().await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_in_the_middle_leaves_all_or_nothing() {
    let (mesh, started) = started().await;
    let body = json!({"events": [{"value": order(1)}, {"value": order(2)}]}).to_string();
    let head = format!(
        "POST /v1/topics/{ORDERS}/events HTTP/1.1\r\nhost: g\r\n{JSON}idempotency-key: k\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    // Within the head, within the body, and before the answer.
    let whole = format!("{head}{body}");
    for bytes in [20, head.len() + 10, whole.len()] {
        let mut client = started.client().await;
        client.write(&whole.as_bytes()[..bytes]).await;
        drop(client);
    }
    let mut client = started.client().await;
    assert_eq!(client.emit(ORDERS, &[order(3)]).await.status, 200, "it goes on");
    let headers = format!("{JSON}idempotency-key: k\r\n");
    assert_eq!(client.post_as(ORDERS, &headers, body.as_bytes()).await.status, 200);
    let mut found = ids(&mesh.read(ORDERS).await);
    found.sort_unstable();
    assert_eq!(found, [1, 2, 3], "what was sent again is there once");
}
