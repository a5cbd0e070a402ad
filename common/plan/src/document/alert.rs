//! An alert: what somebody wants to be told of a pipeline or a source.

use super::names;
use super::read::{At, Choice, Table};
use super::report::Report;
use serde::Serialize;
use std::collections::BTreeMap;

/// What is watched, from when on it is told, and how.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AlertSpec {
    /// What is watched.
    #[serde(rename = "for")]
    pub target: AlertTarget,
    /// What must be so.
    pub condition: Condition,
    /// For how many seconds it must be so before it is told. 0 to 86400; default 60.
    pub for_seconds: u64,
    /// How much it matters. Default `warning`.
    pub severity: Severity,
    /// Labels that are added to Prometheus' own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Texts for people, such as `summary`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What an alert watches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertTarget {
    /// A pipeline, by its name.
    Pipeline(String),
    /// A source, by its name.
    Source(String),
}

/// What must be so that an alert is told.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Condition {
    /// Which figure.
    pub metric: Metric,
    /// Above which value; none for what is so or is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub above: Option<f64>,
}

/// A figure that an alert goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Records that are not yet read.
    #[default]
    LagRecords,
    /// Age of the newest record that is written, in seconds.
    LagSeconds,
    /// Errors a second.
    Errors,
    /// Whether a pipeline is held at a cut.
    Held,
    /// Whether nothing is written though something is to be read.
    NoProgress,
}

/// How much an alert matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Somebody should look in the day's hours.
    #[default]
    Warning,
    /// Somebody must be woken.
    Critical,
}

pub(super) const ALERT: &[&str] =
    &["for", "condition", "for_seconds", "severity", "labels", "annotations"];
pub(super) const TARGET: &[&str] = &["pipeline", "source"];
pub(super) const CONDITION: &[&str] = &["metric", "above"];

const FOR_SECONDS_MAX: u64 = 86_400;

impl Choice for Metric {
    const ALL: &'static [(&'static str, Self)] = &[
        ("lag_records", Self::LagRecords),
        ("lag_seconds", Self::LagSeconds),
        ("errors", Self::Errors),
        ("held", Self::Held),
        ("no_progress", Self::NoProgress),
    ];
}

impl Choice for Severity {
    const ALL: &'static [(&'static str, Self)] =
        &[("warning", Self::Warning), ("critical", Self::Critical)];
}

impl AlertSpec {
    pub(super) fn read(at: &At<'_>, report: &mut Report) -> Self {
        let mut spec = Self::default();
        let Some(table) = Table::of(at, ALERT, report) else { return spec };
        if let Some(at) = table.required("for", report) {
            spec.target = target(&at, report);
        }
        if let Some(at) = table.required("condition", report) {
            spec.condition = Condition::read(&at, &spec.target, report);
        }
        if let Some(at) = table.get("for_seconds") {
            spec.for_seconds = at.integer(0..=FOR_SECONDS_MAX, report).unwrap_or_default();
        }
        spec.severity = table.choice("severity", report);
        spec.labels = texts(&table, "labels", report);
        spec.annotations = texts(&table, "annotations", report);
        spec
    }
}

impl Default for AlertSpec {
    fn default() -> Self {
        Self {
            target: AlertTarget::Pipeline(String::new()),
            condition: Condition { metric: Metric::default(), above: None },
            for_seconds: 60,
            severity: Severity::default(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
        }
    }
}

fn target(at: &At<'_>, report: &mut Report) -> AlertTarget {
    let table = Table::of(at, TARGET, report);
    match table.and_then(|table| table.one_of(["pipeline", "source"], report)) {
        Some(("source", at)) => AlertTarget::Source(at.name(report)),
        Some((_, at)) => AlertTarget::Pipeline(at.name(report)),
        None => AlertTarget::Pipeline(String::new()),
    }
}

impl Condition {
    fn read(at: &At<'_>, target: &AlertTarget, report: &mut Report) -> Self {
        let Some(table) = Table::of(at, CONDITION, report) else {
            return AlertSpec::default().condition;
        };
        let above = table.get("above").and_then(|at| Some((at.number(report)?, at)));
        if let Some((_, at)) = above.as_ref().filter(|(above, _)| *above < 0.0) {
            report.wrong(at, "no figure is below nought", "write 0 or more");
        }
        let found = table.required("metric", report);
        let metric = found.as_ref().and_then(|at| at.choice::<Metric>(report));
        if let Some((metric, at)) = metric.zip(found) {
            let needs = matches!(metric, Metric::LagRecords | Metric::LagSeconds | Metric::Errors);
            if needs && table.get("above").is_none() {
                let help = "add the key above, with the value from which on it is told";
                report.wrong(&table.at, "`above` is missing, which the metric needs", help);
            }
            let of_source = matches!(target, AlertTarget::Source(_));
            if metric == Metric::Held && of_source {
                report.wrong(&at, "a source is never held", "watch a pipeline, or no_progress");
            }
            if metric == Metric::LagRecords && of_source {
                let message = "how many records a source has before it cannot be told";
                report.wrong(&at, message, "watch its lag_seconds");
            }
        }
        Self { metric: metric.unwrap_or_default(), above: above.map(|(above, _)| above) }
    }
}

/// Labels or annotations: Prometheus' data model has the rule for their names.
fn texts(table: &Table<'_>, key: &str, report: &mut Report) -> BTreeMap<String, String> {
    let Some(at) = table.get(key) else { return BTreeMap::new() };
    let mut texts = BTreeMap::new();
    for (name, value) in at.entries(report) {
        if !label(name) {
            let message = format!("Prometheus takes no label {}", names::shown(name));
            let help = "a label is of a-z A-Z 0-9 _, and begins with neither a digit nor __";
            report.wrong(&value.at_key(), message, help);
        }
        if let Some(text) = value.owned(report) {
            texts.insert(name.to_owned(), text);
        }
    }
    texts
}

fn label(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty()
        && name.bytes().all(fits)
        && !name.starts_with("__")
        && !name.starts_with(|first: char| first.is_ascii_digit())
}
