//! Registries over a PostgreSQL with TLS: they store and follow by it, and each thing that keeps TLS
//! from being agreed on is told with its place and what to do.

use crate::support::daemon::{Daemon, run};
use crate::support::eventually;
use crate::support::postgres::{Server, connect};
use crate::support::tls::Authority;
use serde_json::{Value as Json, json};
use std::path::Path;
use tokio_postgres::Client;

/// A database of its own whose user comes by TLS or not at all.
async fn database(server: &Server) -> Client {
    let admin = connect(server.port, "postgres", "postgres").await.unwrap();
    admin.batch_execute("CREATE ROLE registry LOGIN").await.unwrap();
    admin.batch_execute("CREATE DATABASE registry OWNER registry").await.unwrap();
    server.allow("hostnossl all registry 127.0.0.1/32 reject");
    admin
}

fn url(server: &Server, host: &str, query: &str) -> String {
    format!("postgresql://registry:hush@{host}:{}/registry?{query}", server.port)
}

async fn node(folder: &Path, name: &str, store: &str) -> Daemon {
    let folder = folder.join(name);
    std::fs::create_dir(&folder).unwrap();
    let config = format!("registry.listen = \"127.0.0.1:0\"\nregistry.store = \"{store}\"\n");
    Daemon::start(&folder, &config, &["registry", "--control", "127.0.0.1:0"]).await
}

/// A registry with this store does not start, and says these words.
#[track_caller]
fn is_refused(store: &str, words: &[&str]) {
    let listen = ["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"];
    let output = run(&[&["registry", "--store", store], &listen[..]].concat());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(words.iter().all(|word| told.contains(word)), "{told}");
    assert!(!told.contains("hush"), "{told}");
}

async fn subjects(node: &Daemon) -> Json {
    let answer = reqwest::get(format!("{}/subjects", node.registry)).await.unwrap();
    answer.json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn registries_store_and_follow_over_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::new("ours");
    let file = ours.file(folder.path());
    let server = Server::start("");
    server.serve_tls(&ours.certificate("localhost"));
    let admin = database(&server).await;
    let plain = url(&server, "localhost", "sslmode=disable");
    is_refused(&plain, &["pg_hba.conf rejects connection"]);
    let mut nodes = Vec::new();
    for mode in ["verify-full", "require"] {
        let store = url(&server, "localhost", &format!("sslmode={mode}&sslrootcert={file}"));
        nodes.push(node(folder.path(), mode, &store).await);
    }
    let register = format!("{}/subjects/a/versions", nodes[0].registry);
    let body = json!({"schema": "\"int\""});
    let made = reqwest::Client::new().post(register).json(&body).send().await.unwrap();
    assert!(made.status().is_success(), "{}", made.status());
    eventually("the other has heard of it", async || {
        (subjects(&nodes[1]).await == json!(["a"])).then_some(())
    })
    .await;
    let sql = "SELECT count(*), count(*) FILTER (WHERE ssl) FROM pg_stat_ssl
               JOIN pg_stat_activity USING (pid) WHERE usename = 'registry'";
    eventually("each stores and listens, and all of it by TLS", async || {
        let row = admin.query_one(sql, &[]).await.unwrap();
        let (all, encrypted): (i64, i64) = (row.get(0), row.get(1));
        (all >= 4 && all == encrypted).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_with_which_tls_is_not_agreed_on_is_told_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let (ours_file, other_file) = (ours.file(folder.path()), other.file(folder.path()));
    let server = Server::start("");
    let _admin = database(&server).await;
    let place = format!("server=localhost:{}", server.port);
    let checked = |host: &str, file: &str| {
        url(&server, host, &format!("sslmode=verify-full&sslrootcert={file}"))
    };
    for mode in ["require", "verify-full"] {
        let store = url(&server, "localhost", &format!("sslmode={mode}"));
        is_refused(&store, &["the server has no TLS", &place, "ssl = on"]);
    }
    server.serve_tls(&ours.certificate("localhost"));
    let untrusted = ["TLS was not agreed on", "UnknownIssuer", &place, "sslrootcert"];
    is_refused(&checked("localhost", &other_file), &untrusted);
    is_refused(&url(&server, "localhost", "sslmode=require"), &untrusted);
    let elsewhere = checked("127.0.0.1", &ours_file);
    is_refused(&elsewhere, &["TLS was not agreed on", "not valid for name", "registry.store"]);
    let missing = folder.path().join("missing.pem").display().to_string();
    is_refused(&checked("localhost", &missing), &["sslrootcert cannot be used", "missing.pem"]);
    is_refused(&url(&server, "localhost", "sslmode=verify-ca"), &["sslmode", "verify-full"]);
}
