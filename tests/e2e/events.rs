//! An emitter's topic as what pipelines read: each event counts though others have its key, and lineage, impact
//! and upgrades are as for a table's topic.

use crate::pipelines::{is, pipeline, with_documents};
use crate::sources::without_sources;
use crate::support::daemon::{Daemon, of_connector};
use crate::support::eventually;
use crate::support::kafka::{on_kafka, prefix, shared};
use crate::support::topic::records;
use serde_json::{Value as Json, json};
use tidemesh_emitter::{Emitter, EventOptions, KafkaConfig, Topic};

const TOPIC: &str = "shop.placed";

const ID: &str = r#"{"name":"id","type":"long"},{"name":"customer","type":"string"}"#;
const STATUS: &str = r#"{"name":"status","type":"string"}"#;
const NOTE: &str = r#"{"name":"note","type":["null","string"],"default":null}"#;
const COUPON: &str = r#"{"name":"coupon","type":["null","string"],"default":null}"#;

struct Site {
    folder: tempfile::TempDir,
    daemon: Daemon,
    /// What the mesh puts before topics' names, where they are Kafka's.
    prefix: Option<String>,
}

impl Site {
    async fn open(change: impl Fn(&str) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = change(&of_connector(""));
        let daemon = Daemon::up(folder.path(), &without_sources(&config)).await;
        daemon.logged("the controller acts").await;
        let prefix = config.contains("[kafka]").then(|| prefix(&config));
        Self { folder, daemon, prefix }
    }

    /// An application starts whose events have these fields, emits, and ends.
    async fn emit(&self, fields: &[&str], events: &[Json]) {
        let fields = fields.join(",");
        let schema = format!(r#"{{"type":"record","name":"Placed","fields":[{fields}]}}"#);
        let topic = Topic::new().key(["customer"]).partitions(2);
        let builder = Emitter::builder("orders-api").registry(&self.daemon.registry);
        let builder = builder.topic_with_schema(TOPIC, schema, topic);
        let builder = match &self.prefix {
            None => builder.remote(&self.daemon.data),
            Some(prefix) => {
                let mut config = KafkaConfig::new(shared());
                config.prefix.clone_from(prefix);
                builder.kafka(config)
            }
        };
        let emitter = builder.connect().await.unwrap();
        let placed = emitter.topic(TOPIC).unwrap();
        for event in events {
            placed.emit(event, EventOptions::new()).await.unwrap();
        }
        drop(placed);
        emitter.close().await.unwrap();
    }

    async fn apply(&self, documents: &[String]) {
        let text = documents.join("---\n");
        eventually("the pipelines are taken", async || {
            let (code, said) = with_documents(&self.daemon, self.folder.path(), "apply", &text);
            if code != Some(0) {
                eprintln!("{said}");
            }
            (code == Some(0)).then_some(())
        })
        .await;
    }

    fn said(&self, arguments: &[&str]) -> String {
        let output = self.daemon.command(arguments);
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    }

    /// A pipeline's topic has these events, those of each key in this order, and nothing else.
    async fn has(&self, pipeline: &str, expected: &[Json]) {
        let of = |all: &[Json], customer: &Json| -> Vec<Json> {
            all.iter().filter(|event| event["customer"] == *customer).cloned().collect()
        };
        eventually(&format!("{pipeline} has its events"), async || {
            let found = records(&self.daemon, &format!("mesh.{pipeline}"));
            let is_keyed = |record: &Json| record["key"]["customer"] == record["value"]["customer"];
            assert!(found.iter().all(is_keyed), "{found:?}");
            let values: Vec<Json> = found.iter().map(|record| record["value"].clone()).collect();
            assert!(values.len() <= expected.len(), "{values:?}");
            let in_order =
                |event: &Json| of(&values, &event["customer"]) == of(expected, &event["customer"]);
            expected.iter().all(in_order).then_some(())
        })
        .await;
    }
}

fn placed(id: i64, customer: &str, status: &str) -> Json {
    json!({ "id": id, "customer": customer, "status": status, "note": "n" })
}

async fn events_go_through_pipelines(change: impl Fn(&str) -> String) {
    let site = Site::open(change).await;
    let first = [
        placed(1, "a", "paid"),
        placed(2, "a", "open"),
        placed(3, "a", "paid"),
        placed(4, "b", "paid"),
        placed(4, "b", "paid"),
    ];
    site.emit(&[ID, STATUS, NOTE], &first).await;
    site.apply(&[
        pipeline("all", TOPIC, "SELECT * FROM rows"),
        pipeline("paid", TOPIC, "SELECT id, customer FROM rows WHERE status = 'paid'"),
        pipeline("noted", TOPIC, "SELECT customer, note FROM rows"),
    ])
    .await;
    let paid = |id: i64, customer: &str| json!({ "id": id, "customer": customer });
    let mut all_paid = vec![paid(1, "a"), paid(3, "a"), paid(4, "b"), paid(4, "b")];
    site.has("all", &first).await;
    site.has("paid", &all_paid).await;

    // The catalog has who emits and who reads; lineage begins at its topic.
    let topic = eventually("it is in the catalog", async || {
        let topic = site.daemon.command(&["catalog", "show", TOPIC, "--json"]);
        let topic: Json = serde_json::from_slice(&topic.stdout).ok()?;
        topic["freshness_ms"].is_u64().then_some(topic)
    })
    .await;
    assert_eq!(topic["written_by"]["source"], "orders-api", "{topic}");
    assert_eq!((&topic["key"], &topic["read_by"][0]), (&json!(["customer"]), &json!("all")));
    assert!(topic["value_schema"].is_u64() && topic["rate_per_s"].is_number(), "{topic}");
    let lineage = site.said(&["lineage", "mesh.paid", "id"]);
    assert!(lineage.contains("shop.placed: id"), "{lineage}");
    assert!(lineage.contains("shop.placed: status"), "{lineage}");

    // A field that is new goes on to who takes all of them; what would become of a change is told before.
    let impact = site.said(&["impact", "--topic", TOPIC, "--add", "coupon=text"]);
    assert!(impact.contains("upgraded   all"), "{impact}");
    let with_coupon = json!({
        "id": 5, "customer": "a", "status": "paid", "note": null, "coupon": "WINTER"
    });
    site.emit(&[ID, STATUS, NOTE, COUPON], std::slice::from_ref(&with_coupon)).await;
    let mut all = first.to_vec();
    all.push(with_coupon);
    all_paid.push(paid(5, "a"));
    site.has("all", &all).await;
    site.has("paid", &all_paid).await;

    // One that is gone holds who reads it, and nobody else.
    let impact = site.said(&["impact", "--topic", TOPIC, "--drop-column", "note"]);
    assert!(impact.contains("held       noted"), "{impact}");
    let without_note = json!({ "id": 6, "customer": "b", "status": "paid", "coupon": null });
    site.emit(&[ID, STATUS, COUPON], std::slice::from_ref(&without_note)).await;
    let held = is(&site.daemon, "noted", "held").await;
    assert!(held["reasons"].to_string().contains("note"), "{held}");
    all_paid.push(paid(6, "b"));
    site.has("paid", &all_paid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_the_log_go_through_pipelines_each_for_itself() {
    events_go_through_pipelines(str::to_owned).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_kafka_go_through_pipelines_each_for_itself() {
    events_go_through_pipelines(|config| on_kafka(config, "")).await;
}
