//! A binary of one's own: all of `tidemesh`, and a processor that scores orders.
//!
//! `cargo run --example own_binary -- up --config tidemesh.toml` is a daemon whose pipelines may name
//! `fraud-score@1` (docs/processors.md). `processors` in the place of `up` prints what declares it.

use serde::Deserialize;
use serde_json::json;
use std::process::ExitCode;
use tidemesh::sdk::{
    Batch, Change, Declaration, Error, ErrorKind, Output, Processor, Result, Row, Value,
};

/// Scores orders between 0 and 1, by their total and by how many pieces of one thing they are.
struct FraudScore {
    threshold: f64,
}

/// How it is configured.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The total from which an order scores 1.
    threshold: f64,
}

impl Processor for FraudScore {
    type Config = Config;

    fn declaration() -> Declaration {
        let order = json!({"type": "record", "name": "Order", "fields": [
            {"name": "id", "type": "long"},
            {"name": "total", "type": ["null", "double"], "default": null},
            {"name": "qty", "type": ["null", "int"], "default": null}]});
        let scored = json!({"type": "record", "name": "Scored", "fields": [
            {"name": "id", "type": "long"},
            {"name": "qty", "type": ["null", "int"], "default": null},
            {"name": "score", "type": "double"}]});
        Declaration::new("fraud-score", 1)
            .description("Scores orders between 0 and 1")
            .input("orders", order)
            .output(scored, &["id"])
            .config_schema(json!({
                "type": "object",
                "required": ["threshold"],
                "properties": {"threshold": {"type": "number", "exclusiveMinimum": 0}},
                "additionalProperties": false
            }))
    }

    fn new(config: Config) -> Result<Self> {
        Ok(Self { threshold: config.threshold })
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
        let many = matches!(order.get("qty"), Some(Value::Int(qty)) if *qty > 100);
        Ok((total / self.threshold + if many { 0.5 } else { 0.0 }).min(1.0))
    }
}

fn scored(order: &Row, score: f64) -> Row {
    let qty = order.get("qty").cloned().unwrap_or(Value::Null);
    Row::new().with("id", order.long("id")).with("qty", qty).with("score", score)
}

fn main() -> Result<ExitCode> {
    Ok(tidemesh::Daemon::new().register::<FraudScore>()?.run())
}
