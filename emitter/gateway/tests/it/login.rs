//! Who may send, and to which topics.

use crate::mesh::Mesh;
use crate::started::{ORDERS, Started, config, order};
use serde_json::json;
use sha2::{Digest, Sha256};

fn hex(token: &str) -> String {
    Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_sends_to_its_topics_alone() {
    let mesh = Mesh::new().await;
    let file = mesh.folder.path().join("clients.toml");
    let entry = |name: &str, topic: &str| {
        let hash = hex(name);
        format!(
            "[[client]]\nname = \"{name}\"\ntoken_sha256 = \"{hash}\"\ntopics = [\"{topic}\"]\n"
        )
    };
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
async fn a_web_page_may_not_send_where_nobody_logs_in() {
    let (_mesh, started) = crate::started::started().await;
    let mut client = started.client().await;
    client.headers = "origin: http://evil.example\r\n".to_owned();
    assert_eq!(client.emit(ORDERS, &[order(1)]).await.status, 403);
}
