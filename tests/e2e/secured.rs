//! Kafka with TLS, log-in and ACLs: what docs/kafka.md says must be granted is enough, and each thing
//! that is wrong is told.

use crate::support::daemon::{Daemon, configuration, verified};
use crate::support::kafka::on_broker;
use crate::support::postgres::Database;
use crate::support::secured::SecuredBroker;
use crate::support::tls::Authority;
use crate::support::writer::TABLE;
use crate::support::{eventually, kafka};
use std::path::Path;

/// The lines of `[kafka]` for this user.
fn lines(mechanism: &str, password: &str, authority: &str) -> String {
    format!(
        "tls = {{ca_file = \"{authority}\"}}\n\
         sasl = {{mechanism = \"{mechanism}\", username = \"mesh\", password = \"{password}\"}}"
    )
}

/// Starts a daemon that must be told this.
async fn is_told(folder: &Path, config: &str, text: &str) {
    let config = config.replace("[kafka]\n", "[kafka]\nrequest_timeout_ms = 1000\n");
    let daemon = Daemon::up(folder, &config).await;
    eventually(&format!("told of {text}"), async || {
        let source = daemon.source().await;
        source["last_error"].as_str().filter(|error| error.contains(text)).map(|_| ())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_tls_log_in_and_what_is_granted_it_runs() {
    let authority = Authority::new("broker-ca");
    let folder = tempfile::tempdir().unwrap();
    let ca = authority.file(folder.path());
    let broker = SecuredBroker::start(&authority, "mesh", "hush");
    let database = Database::new().await;
    database.execute(TABLE).await;
    database.execute("INSERT INTO orders SELECT g, g, 'x' FROM generate_series(1, 500) g").await;
    let plain = configuration(&database, &["public.orders"], "");
    let with = |lines: &str| on_broker(&plain, &broker.servers(), lines);
    let other = Authority::new("other-ca").file(folder.path());
    let config = with(&lines("scram-sha-512", "hush", &ca));
    is_told(folder.path(), &with(&lines("scram-sha-512", "hush", &other)), "certificate").await;
    is_told(folder.path(), &with(&lines("scram-sha-512", "wrong", &ca)), "uthentication").await;
    is_told(folder.path(), &config, "uthoriz").await;
    let prefix = kafka::prefix(&config);
    let mut grants: Vec<String> = ["CREATE", "DESCRIBE", "DESCRIBE_CONFIGS", "READ", "WRITE"]
        .iter()
        .map(|operation| format!("TOPIC,{prefix},PREFIXED,{operation}"))
        .collect();
    for operation in ["DESCRIBE", "WRITE"] {
        grants.push(format!("TRANSACTIONAL_ID,{prefix},PREFIXED,{operation}"));
    }
    grants.push(format!("GROUP,{prefix},PREFIXED,READ"));
    grants.push("BROKER,kafka-cluster,LITERAL,IDEMPOTENT_WRITE".to_owned());
    broker.grant("mesh", &grants);
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    database
        .execute("UPDATE orders SET n = 0 WHERE id < 100; DELETE FROM orders WHERE id > 400")
        .await;
    verified(&daemon);
    daemon.kill();
    // By the other mechanism, as the same user.
    let plain = config.replace("scram-sha-512", "plain");
    let daemon = Daemon::up(folder.path(), &plain).await;
    daemon.streaming().await;
    database.execute("TRUNCATE orders; INSERT INTO orders VALUES (1, 1, 'y')").await;
    verified(&daemon);
}
