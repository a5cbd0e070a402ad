//! A pipeline's dashboard for Grafana (its documentation, "Dashboard JSON model").

use serde_json::{Value, json};
use tidemesh_plan::document::Document;

/// Grafana's units.
const SECONDS: &str = "s";
const A_SECOND: &str = "cps";
const COUNT: &str = "short";

/// Columns of a dashboard's grid, and how many a panel takes of them.
const GRID: usize = 24;
const WIDTH: usize = 12;
const HEIGHT: usize = 8;

/// A dashboard that can be imported as it is; it asks which Prometheus it shall read.
pub(super) fn of_pipeline(document: &Document) -> Value {
    let name = document.name();
    let of = format!("pipeline={}", Value::from(name));
    let rate =
        |figure: &str| format!("rate(tidemesh_pipeline_{figure}_total{{{of}}}[$__rate_interval])");
    let gauge = |figure: &str| format!("tidemesh_pipeline_{figure}{{{of}}}");
    let panels = [
        ("State", COUNT, vec![(format!("{} == 1", gauge("state")), "{{state}}")]),
        ("Lag", SECONDS, vec![(gauge("lag_seconds"), "lag")]),
        ("Records before it", COUNT, vec![(gauge("lag_records"), "records")]),
        ("Records", A_SECOND, vec![(rate("records_in"), "in"), (rate("records_out"), "out")]),
        (
            "Errors",
            A_SECOND,
            vec![(rate("errors"), "errors"), (rate("dead_letters"), "dead letters")],
        ),
        ("Revision", COUNT, vec![(gauge("revision"), "revision")]),
    ];
    let panels = panels
        .into_iter()
        .enumerate()
        .map(|(place, (title, unit, targets))| panel(place, title, unit, &targets));
    json!({
        "uid": uid(name),
        "title": format!("Tidemesh pipeline {name}"),
        "description": document.metadata.description,
        "tags": ["tidemesh", "pipeline"],
        "schemaVersion": 39,
        "editable": true,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [{
            "name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus",
        }]},
        "panels": panels.collect::<Vec<_>>(),
    })
}

fn panel(place: usize, title: &str, unit: &str, targets: &[(String, &str)]) -> Value {
    let source = json!({"type": "prometheus", "uid": "${datasource}"});
    let targets = targets.iter().zip('A'..).map(|((expression, legend), reference)| {
        json!({
            "refId": reference, "datasource": source, "expr": expression, "legendFormat": legend,
        })
    });
    let targets: Vec<Value> = targets.collect();
    let (x, y) = (place * WIDTH % GRID, place * WIDTH / GRID * HEIGHT);
    json!({
        "id": place + 1,
        "type": "timeseries",
        "title": title,
        "datasource": source,
        "gridPos": {"x": x, "y": y, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": targets,
    })
}

/// Grafana takes 40 characters of a name at most: a long one is told apart by its digest.
fn uid(name: &str) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(name.as_bytes());
    digest.iter().take(8).fold("tidemesh-".to_owned(), |uid, byte| format!("{uid}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn panels_stand_beside_each_other_and_ask_for_the_pipeline() {
        let text = "apiVersion: tidemesh/v1\nkind: Pipeline\nmetadata: {name: paid}\nspec: {inputs: {a: \
                    t}, processors: [], sinks: [{name: s, from: a, kafka: {topic: o}}]}\n";
        let document = tidemesh_plan::document::parse(text).unwrap().remove(0);
        let dashboard = of_pipeline(&document);
        let panels = dashboard["panels"].as_array().unwrap();
        let places: BTreeSet<String> =
            panels.iter().map(|panel| panel["gridPos"].to_string()).collect();
        assert_eq!(places.len(), panels.len());
        for target in panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap()) {
            assert!(target["expr"].as_str().unwrap().contains("pipeline=\"paid\""), "{target}");
        }
        assert!(dashboard["uid"].as_str().unwrap().len() <= 40);
    }
}
