//! Registries over one PostgreSQL: many who register at once, a node that is killed, and what all of
//! them say afterwards.

use crate::support::daemon::Daemon;
use crate::support::postgres::Database;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

const NODES: usize = 3;
const REGISTRANTS: usize = 6;
const SUBJECTS: usize = 3;
/// Registrations that each makes, some of them of what others register too.
const EACH: usize = 30;

/// A registration that was acknowledged.
struct Made {
    subject: usize,
    schema: String,
    id: u64,
    began: Instant,
    ended: Instant,
}

async fn node(folder: &std::path::Path, database: &Database) -> Daemon {
    let config = format!(
        "registry.listen = \"127.0.0.1:0\"\n\
         registry.store = \"postgresql://postgres@127.0.0.1:{}/{}\"\n",
        database.port, database.name
    );
    Daemon::start(folder, &config, &["registry", "--control", "127.0.0.1:0"]).await
}

/// Registers with one of the nodes; one that does not answer is left for the next.
async fn register(
    client: &reqwest::Client,
    nodes: &[String],
    mut at: usize,
    subject: usize,
    schema: &str,
) -> u64 {
    loop {
        let url = format!("{}/subjects/s{subject}/versions", nodes[at % nodes.len()]);
        let sent = client.post(url).json(&json!({"schema": schema})).send().await;
        match sent {
            Ok(answer) if answer.status().is_success() => {
                let body: Json = answer.json().await.unwrap();
                return body["id"].as_u64().unwrap();
            }
            Ok(answer) => panic!("{}: {}", answer.status(), answer.text().await.unwrap()),
            Err(_) => at += 1,
        }
    }
}

async fn registrant(number: usize, nodes: Arc<Vec<String>>) -> Vec<Made> {
    let client = reqwest::Client::new();
    let mut made = Vec::new();
    for step in 0..EACH {
        let subject = (number + step) % SUBJECTS;
        let kind = if step % 3 == 0 { step } else { 1000 * (number + 1) + step };
        let schema = format!(r#"{{"type":"record","name":"R{kind}","fields":[]}}"#);
        let began = Instant::now();
        let id = register(&client, &nodes, number, subject, &schema).await;
        made.push(Made { subject, schema, id, began, ended: Instant::now() });
    }
    made
}

async fn versions(node: &str, subject: usize) -> Vec<(u64, u64, String)> {
    let client = reqwest::Client::new();
    let url = format!("{node}/schemas?subjectPrefix=s{subject}");
    let list: Vec<Json> = client.get(url).send().await.unwrap().json().await.unwrap();
    let entry = |version: &Json| {
        let text = version["schema"].as_str().unwrap().to_owned();
        (version["version"].as_u64().unwrap(), version["id"].as_u64().unwrap(), text)
    };
    list.iter().map(entry).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn registrations_are_one_history_though_a_node_is_killed() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let database = Database::new().await;
    let folders: Vec<_> = (0..NODES).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut nodes = Vec::new();
    for folder in &folders {
        nodes.push(node(folder.path(), &database).await);
    }
    let urls: Arc<Vec<String>> = Arc::new(nodes.iter().map(|node| node.registry.clone()).collect());
    let client = reqwest::Client::new();
    let none = json!({"compatibility": "NONE"});
    client.put(format!("{}/config", urls[0])).json(&none).send().await.unwrap();
    let tasks: Vec<_> = (0..REGISTRANTS)
        .map(|number| tokio::spawn(registrant(number, Arc::clone(&urls))))
        .collect();
    crate::support::eventually("some are registered", async || {
        (versions(&urls[0], 0).await.len() >= 10).then_some(())
    })
    .await;
    nodes[2].kill();
    let mut made = Vec::new();
    for task in tasks {
        made.extend(task.await.unwrap());
    }
    check_ids(&made);
    for subject in 0..SUBJECTS {
        let found = versions(&urls[0], subject).await;
        assert_eq!(found, versions(&urls[1], subject).await, "the nodes that are left agree");
        check_versions(&made, subject, &found);
    }
    let folder = tempfile::tempdir().unwrap();
    let fresh = node(folder.path(), &database).await;
    assert_eq!(versions(&fresh.registry, 0).await, versions(&urls[0], 0).await);
}

/// One id means one schema, and one schema has one id.
fn check_ids(made: &[Made]) {
    let pairs: BTreeSet<(u64, &str)> =
        made.iter().map(|made| (made.id, made.schema.as_str())).collect();
    let ids: BTreeSet<u64> = pairs.iter().map(|(id, _)| *id).collect();
    let schemas: BTreeSet<&str> = pairs.iter().map(|(_, schema)| *schema).collect();
    assert_eq!((ids.len(), schemas.len()), (pairs.len(), pairs.len()));
}

/// What was acknowledged is there, once, and what ended before something else began comes before it.
fn check_versions(made: &[Made], subject: usize, found: &[(u64, u64, String)]) {
    let numbers: Vec<u64> = found.iter().map(|(number, ..)| *number).collect();
    assert_eq!(numbers, (1..).take(found.len()).collect::<Vec<u64>>());
    let by_schema: BTreeMap<&str, (u64, u64)> =
        found.iter().map(|(number, id, schema)| (schema.as_str(), (*number, *id))).collect();
    assert_eq!(by_schema.len(), found.len(), "a schema has one version");
    let own: Vec<&Made> = made.iter().filter(|made| made.subject == subject).collect();
    for made in &own {
        assert_eq!(by_schema[made.schema.as_str()].1, made.id);
    }
    for one in &own {
        // When it was there for certain, and when the other may have been for the first time.
        let first_began = |schema: &str| {
            own.iter().filter(|made| made.schema == schema).map(|made| made.began).min()
        };
        for other in &own {
            if Some(one.ended) < first_began(&other.schema) {
                let numbers = [one, other].map(|made| by_schema[made.schema.as_str()].0);
                assert!(numbers[0] < numbers[1], "{} before {}", one.schema, other.schema);
            }
        }
    }
}
