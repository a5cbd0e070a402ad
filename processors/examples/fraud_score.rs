//! A processor of one's own: it scores orders by their total and where they go.
//!
//! `cargo run -p tidemesh-processors --example fraud_score` writes the `Processor` document that declares
//! it, and what it makes of three orders. A binary runs it by registering it:
//! `tidemesh::Daemon::new().register::<FraudScore>()`.

use serde::Deserialize;
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
use tidemesh_processors::sdk::{
    Batch, Change, Declaration, Error, ErrorKind, Output, Processor, Processors, Result, Row,
};
use tidemesh_processors::testing::Bench;

/// Scores orders between 0 and 1.
struct FraudScore {
    threshold: f64,
    cities: BTreeSet<String>,
}

/// How it is configured.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The total from which an order scores 1.
    threshold: f64,
    /// Cities whose orders score more.
    #[serde(default)]
    cities: BTreeSet<String>,
}

impl Processor for FraudScore {
    type Config = Config;

    fn declaration() -> Declaration {
        let order = json!({"type": "record", "name": "Order", "fields": [
            {"name": "id", "type": "long"},
            {"name": "total", "type": ["null", "double"], "default": null},
            {"name": "city", "type": ["null", "string"], "default": null}]});
        let scored = json!({"type": "record", "name": "Scored", "fields": [
            {"name": "id", "type": "long"},
            {"name": "total", "type": ["null", "double"], "default": null},
            {"name": "score", "type": "double"}]});
        Declaration::new("fraud-score", 1)
            .description("Scores orders between 0 and 1")
            .input("orders", order)
            .output(scored, &["id"])
            .config_schema(json!({
                "type": "object",
                "required": ["threshold"],
                "properties": {
                    "threshold": {"type": "number", "exclusiveMinimum": 0},
                    "cities": {"type": "array", "items": {"type": "string"}}
                },
                "additionalProperties": false
            }))
    }

    fn new(config: Config) -> Result<Self> {
        Ok(Self { threshold: config.threshold, cities: config.cities })
    }

    fn process(&mut self, input: &Batch<'_>, output: &mut Output<'_>) -> Result<()> {
        for record in input.records() {
            match record.change() {
                Change::Event(order) | Change::Upsert { after: order, .. } => {
                    match self.score(order) {
                        Ok(score) => output.upsert(record, scored(order, score)),
                        Err(error) => output.fail(record, error),
                    }
                }
                Change::Delete { .. } => {
                    output.delete(record, record.key().cloned().unwrap_or_default());
                }
            }
        }
        Ok(())
    }
}

impl FraudScore {
    fn score(&self, order: &Row) -> Result<f64> {
        let total = order.double("total").unwrap_or(0.0);
        if total < 0.0 {
            return Err(Error::new(ErrorKind::Unsupported, "score an order")
                .because("its total is negative"));
        }
        let far = order.text("city").is_some_and(|city| self.cities.contains(city));
        Ok((total / self.threshold + if far { 0.5 } else { 0.0 }).min(1.0))
    }
}

fn scored(order: &Row, score: f64) -> Row {
    Row::new()
        .with("id", order.long("id"))
        .with("total", order.double("total"))
        .with("score", score)
}

fn main() -> Result<()> {
    let mut processors = Processors::new();
    processors.register::<FraudScore>()?;
    for document in processors.documents() {
        println!("{document}");
    }
    let mut bench = Bench::new::<FraudScore>(json!({"threshold": 1000.0, "cities": ["Atlantis"]}))?;
    let orders: [Json; 3] = [
        json!({"id": 1, "total": 20.0, "city": "Kiel"}),
        json!({"id": 2, "total": 300.0, "city": "Atlantis"}),
        json!({"id": 3, "total": 5000.0}),
    ];
    for made in bench.upserts("orders", &["id"], &orders)? {
        println!("{made}");
    }
    Ok(())
}
