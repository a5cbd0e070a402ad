//! The controller's store in a real PostgreSQL. `scripts/test` starts the server and names it in the
//! environment.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use tidemesh_controller::{StoreConfig, conformance};
use tidemesh_model::Secret;
use tokio_postgres::{Client, NoTls};

fn server() -> String {
    let port = std::env::var("TIDEMESH_TEST_POSTGRES_15").unwrap_or_else(|_| {
        panic!("TIDEMESH_TEST_POSTGRES_15 is not set: start the server and the tests with `scripts/test`")
    });
    format!("postgresql://postgres@127.0.0.1:{port}")
}

async fn connect(database: &str) -> Client {
    let url = format!("{}/{database}", server());
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn name(of: &str) -> String {
    format!("controller_{}_{of}", std::process::id())
}

/// An empty database.
async fn database(of: &str) -> StoreConfig {
    let name = name(of);
    connect("postgres").await.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    StoreConfig::Postgres(Secret::new(format!("{}/{name}", server())))
}

async fn drop_database(of: &str) {
    let sql = format!("DROP DATABASE {} WITH (FORCE)", name(of));
    connect("postgres").await.batch_execute(&sql).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_does_what_every_store_does() {
    let mut stores = std::collections::BTreeMap::new();
    for name in ["a", "b", "c", "d", "e", "f", "g"] {
        stores.insert(name, database(name).await);
    }
    let stores = Arc::new(stores);
    let of = Arc::clone(&stores);
    let suite = move || conformance::every_store(|name| of[name].clone());
    tokio::task::spawn_blocking(suite).await.unwrap();
    for name in stores.keys() {
        drop_database(name).await;
    }
}
