//! Who may send, and to which topics.

use crate::client::REST;
use crate::mesh::{Mesh, ORDER};
use crate::started::{ORDERS, Started, config, order};
use serde_json::json;
use sha2::{Digest, Sha256};

fn hex(token: &str) -> String {
    Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A client of the file, whose token is its name.
fn entry(name: &str, topic: &str) -> String {
    let hash = hex(name);
    format!("[[client]]\nname = \"{name}\"\ntoken_sha256 = \"{hash}\"\ntopics = [\"{topic}\"]\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_sends_to_its_topics_alone() {
    let mesh = Mesh::new().await;
    let file = mesh.folder.path().join("clients.toml");
    std::fs::write(&file, entry("shop", "shop.*") + &entry("other", "other")).unwrap();
    let mut config = config(&mesh);
    config.clients_file = Some(file);
    let started = Started::new(config).await;
    let mut client = started.client().await;

    for headers in ["", "authorization: Bearer no\r\n", "authorization: Basic c2hvcDpubw==\r\n"] {
        client.headers = headers.to_owned();
        for path in ["/v1/topics", "/v1/topics/shop.orders"] {
            let answer = client.get(path).await;
            assert_eq!((answer.status, &answer.body["kind"]), (401, &json!("authentication")));
        }
        assert_eq!(client.emit(ORDERS, &[order(1)]).await.status, 401);
        assert_eq!(client.get("/health").await.status, 200, "a load balancer has no token");
    }
    // By a token, and by name and token.
    for headers in ["authorization: bearer shop\r\n", "authorization: Basic c2hvcDpzaG9w\r\n"] {
        client.headers = headers.to_owned();
        assert_eq!(client.emit(ORDERS, &[order(1)]).await.status, 200);
        assert_eq!(client.emit("other", &[order(1)]).await.status, 403);
        assert_eq!(client.get("/v1/topics").await.body["topics"][0]["topic"], ORDERS);
    }
    client.headers = "authorization: Bearer other\r\n".to_owned();
    for answer in [client.emit(ORDERS, &[order(1)]).await, client.get("/v1/topics/shop.x").await] {
        assert_eq!((answer.status, &answer.body["kind"]), (403, &json!("privilege")));
    }
    assert_eq!(client.get("/v1/topics").await.body, json!({ "topics": [] }));
    assert_eq!(mesh.read(ORDERS).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_requests_hang_leaves_places_to_the_others() {
    let mesh = Mesh::new().await;
    mesh.client().register("shop.more-value", ORDER).await.unwrap();
    let file = mesh.folder.path().join("clients.toml");
    std::fs::write(&file, entry("slow", "shop.*") + &entry("other", "shop.*")).unwrap();
    let mut config = config(&mesh);
    (config.clients_file, config.limits.requests_max) = (Some(file), 4);
    let started = Started::new(config).await;
    let clients = ["slow", "slow", "other"].map(|name| format!("authorization: Bearer {name}\r\n"));
    let mut connected = Vec::new();
    for headers in clients {
        let mut client = started.client().await;
        client.headers = headers;
        connected.push(client);
    }
    let [hanging, same, other] = &mut connected[..] else { panic!() };
    hanging.begin(ORDERS).await;
    let refused = same.emit("shop.more", &[]).await;
    assert_eq!(refused.status, 429, "{refused:?}");
    assert!(refused.body["message"].as_str().unwrap().contains("the client, 1"), "{refused:?}");
    assert_eq!(other.emit("shop.more", &[order(1)]).await.status, 200);
    hanging.write(REST).await;
    assert_eq!(hanging.answer().await.status, 200);
    assert_eq!(same.emit("shop.more", &[order(2)]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_page_may_not_send_where_nobody_logs_in() {
    let (_mesh, started) = crate::started::started().await;
    let mut client = started.client().await;
    client.headers = "origin: http://evil.example\r\n".to_owned();
    assert_eq!(client.emit(ORDERS, &[order(1)]).await.status, 403);
}
