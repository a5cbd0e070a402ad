//! Prometheus' alerting rules: those that hold for every source and pipeline, and one for each `Alert`
//! that is declared.

use std::fmt::Write as _;
use std::sync::Arc;
use tidemesh_plan::document::{AlertSpec, AlertTarget, Document, Metric, Severity, Spec};

/// The rules for all, which are also a file by themselves.
const FOR_ALL: &str = include_str!("../../../operations/prometheus/tidemesh.rules.yml");

/// What a count's rate is taken over.
const RATE_OVER: &str = "5m";

/// For how long nothing must have been written, where something is to be read.
const STANDS_FOR: &str = "10m";

/// A file of rules (Prometheus' documentation, "Alerting rules"): YAML.
pub(super) fn text(documents: &[Arc<Document>]) -> String {
    let mut text = FOR_ALL.to_owned();
    let alerts = documents.iter().filter_map(|document| match &document.spec {
        Spec::Alert(spec) => Some((document.name(), spec)),
        _ => None,
    });
    for (place, (name, spec)) in alerts.enumerate() {
        if place == 0 {
            text.push_str("\n  - name: tidemesh-declared\n    rules:\n");
        }
        rule(&mut text, name, spec);
    }
    text
}

/// A text in JSON's quotes is one in YAML's.
fn rule(text: &mut String, name: &str, spec: &AlertSpec) {
    let expression = quoted(&expression(spec));
    // Writing to a text never fails.
    let _ = writeln!(text, "      - alert: {}\n        expr: {expression}", quoted(name));
    let _ = writeln!(text, "        for: {}s\n        labels:", spec.for_seconds);
    let severity = match spec.severity {
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    };
    let _ = writeln!(text, "          \"severity\": \"{severity}\"");
    for (label, value) in spec.labels.iter().filter(|(label, _)| *label != "severity") {
        let _ = writeln!(text, "          {}: {}", quoted(label), quoted(value));
    }
    if !spec.annotations.is_empty() {
        text.push_str("        annotations:\n");
    }
    for (label, value) in &spec.annotations {
        let _ = writeln!(text, "          {}: {}", quoted(label), quoted(value));
    }
}

/// What must be so, in PromQL.
fn expression(spec: &AlertSpec) -> String {
    let above = spec.condition.above.unwrap_or_default();
    let (of, name) = match &spec.target {
        AlertTarget::Pipeline(name) => ("pipeline", name),
        AlertTarget::Source(name) => ("source", name),
    };
    let of_it = format!("{of}={}", quoted(name));
    let rate = |figure: &str| {
        format!(
            "sum by (instance, job, {of}) (rate(tidemesh_{of}_{figure}_total{{{of_it}}}[{RATE_OVER}]))"
        )
    };
    match (spec.condition.metric, of) {
        (Metric::LagRecords, _) => format!("tidemesh_{of}_lag_records{{{of_it}}} > {above}"),
        (Metric::LagSeconds, _) => format!("tidemesh_{of}_lag_seconds{{{of_it}}} > {above}"),
        (Metric::Errors, _) => format!("{} + {} > {above}", rate("errors"), rate("dead_letters")),
        (Metric::Held, _) => format!("tidemesh_{of}_state{{{of_it}, state=\"held\"}} == 1"),
        (Metric::NoProgress, "pipeline") => stands(of, &of_it, "lag_records", "records_in"),
        (Metric::NoProgress, _) => stands(of, &of_it, "lag_bytes", "records"),
    }
}

fn stands(of: &str, of_it: &str, lag: &str, done: &str) -> String {
    format!(
        "tidemesh_{of}_{lag}{{{of_it}}} > 0 and on (instance, job, {of}) \
         increase(tidemesh_{of}_{done}_total{{{of_it}}}[{STANDS_FOR}]) == 0"
    )
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemesh_plan::document::parse;

    fn of(spec: &str) -> String {
        let text = format!(
            "apiVersion: tidemesh/v1\nkind: Alert\nmetadata: {{name: late}}\nspec: {spec}\n"
        );
        let documents: Vec<_> = parse(&text).unwrap().into_iter().map(Arc::new).collect();
        text_of_declared(&documents)
    }

    fn text_of_declared(documents: &[Arc<Document>]) -> String {
        text(documents).strip_prefix(FOR_ALL).unwrap().to_owned()
    }

    #[test]
    fn without_alerts_there_are_the_rules_for_all() {
        assert_eq!(text_of_declared(&[]), "");
        assert!(text(&[]).contains("TidemeshPipelineHeld"));
    }

    #[test]
    fn an_alert_is_a_rule_of_its_name() {
        let text = of("{for: {pipeline: paid}, condition: {metric: lag_seconds, above: 30.5}, \
                       for_seconds: 120, severity: critical, labels: {team: a, severity: none}, \
                       annotations: {summary: 'it is \"late\"'}}");
        let expected = r#"
  - name: tidemesh-declared
    rules:
      - alert: "late"
        expr: "tidemesh_pipeline_lag_seconds{pipeline=\"paid\"} > 30.5"
        for: 120s
        labels:
          "severity": "critical"
          "team": "a"
        annotations:
          "summary": "it is \"late\""
"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn each_figure_has_its_expression() {
        for (spec, has) in [
            ("{for: {pipeline: p}, condition: {metric: held}}", "state=\\\"held\\\"} == 1"),
            ("{for: {pipeline: p}, condition: {metric: lag_records, above: 5}}", "lag_records"),
            ("{for: {pipeline: p}, condition: {metric: no_progress}}", "records_in_total"),
            ("{for: {source: s}, condition: {metric: no_progress}}", "lag_bytes"),
            ("{for: {source: s}, condition: {metric: errors, above: 0}}", "source_errors_total"),
        ] {
            assert!(of(spec).contains(has), "{}", of(spec));
        }
    }
}
