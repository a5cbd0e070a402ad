//! Questions of lineage, as the API answers them.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_plan::lineage::Via;
use tidemesh_plan::mesh::openlineage::{Event, State, run_event};
use tidemesh_plan::mesh::{MeshPlan, PipelinePlan};

/// Who is said to tell OpenLineage's events.
const PRODUCER: &str = concat!("https://tidemesh/", env!("CARGO_PKG_VERSION"));

/// The namespace of pipelines' names.
const JOB_NAMESPACE: &str = "tidemesh";

/// What is asked.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LineageQuery {
    topic: String,
    /// A path joined by points; none is the whole row.
    #[serde(default)]
    field: String,
    #[serde(default)]
    direction: Direction,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Direction {
    #[default]
    Upstream,
    Downstream,
}

/// Where a field comes from, or where it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineageAnswer {
    /// The fields, by topic and path.
    pub fields: Vec<LineageField>,
    /// Who reads it, where that was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub readers: Vec<LineageReader>,
    /// Whether there is more, which was not followed.
    pub truncated: bool,
}

/// A field on the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineageField {
    /// Its topic.
    pub topic: String,
    /// Its path, joined by points; empty for the whole row.
    pub field: String,
    /// What becomes of the value on the way, at the most: `identity`, `cast`, `expression`, or what it
    /// only decides: `condition`, `lookup_key`, `filter`.
    pub via: String,
    /// The pipeline that writes the topic; none for a source's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
}

/// A pipeline that reads a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineageReader {
    /// The pipeline.
    pub pipeline: String,
    /// Its processors that do so.
    pub processors: Vec<String>,
    /// Its sinks whose records have something of it.
    pub sinks: Vec<String>,
    /// Whether it only decides by the field, and what it writes has nothing of it.
    pub only_decides: bool,
}

/// A pipeline's lineage as an event of OpenLineage: that of a run which is as long as its plan. Its id is
/// made of the plan's digest, so that the same plan is the same run over restarts.
pub(crate) fn openlineage(plan: &PipelinePlan, dataset_namespace: &str, at_ms: u64) -> Value {
    let at = i64::try_from(at_ms).ok().and_then(chrono::DateTime::from_timestamp_millis);
    run_event(
        plan,
        &Event {
            state: State::Running,
            time: &at.unwrap_or_default().to_rfc3339(),
            run_id: &run_id(&plan.digest),
            producer: PRODUCER,
            job_namespace: JOB_NAMESPACE,
            dataset_namespace,
        },
    )
}

/// A UUID of version 8 (RFC 9562: of what its maker likes) from hexadecimal digits.
fn run_id(digest: &str) -> String {
    let digits: String = digest.chars().chain("0".chars().cycle()).take(32).collect();
    let [a, b, c, d, e] =
        [&digits[..8], &digits[8..12], &digits[13..16], &digits[17..20], &digits[20..]];
    format!("{a}-{b}-8{c}-8{d}-{e}")
}

pub(crate) fn lineage(mesh: &MeshPlan, query: &LineageQuery) -> Result<LineageAnswer> {
    let graph = mesh.graph();
    if !graph.knows(&query.topic) {
        return Err(Error::new(ErrorKind::NotFound, "follow a field")
            .because("no pipeline reads or writes the topic")
            .with("topic", &query.topic)
            .help("`tidemesh get pipeline` tells which topics pipelines read and write"));
    }
    let path: Vec<String> =
        query.field.split('.').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    Ok(match query.direction {
        Direction::Upstream => {
            let found = graph.upstream(&query.topic, &path);
            let fields = found.fields.into_iter().map(|one| LineageField {
                topic: one.topic,
                field: one.path.join("."),
                via: word(one.via).to_owned(),
                pipeline: one.writer,
            });
            let fields = fields.collect();
            LineageAnswer { fields, readers: Vec::new(), truncated: found.truncated }
        }
        Direction::Downstream => {
            let found = graph.downstream(&query.topic, &path);
            let readers = found.readers.iter().map(|one| LineageReader {
                pipeline: one.pipeline.clone(),
                processors: one.processors.iter().cloned().collect(),
                sinks: one.sinks.iter().cloned().collect(),
                only_decides: one.only_decides(),
            });
            let readers = readers.collect();
            let fields = found.fields.into_iter().map(|one| LineageField {
                topic: one.topic,
                field: one.path.join("."),
                via: word(one.via).to_owned(),
                pipeline: Some(one.pipeline),
            });
            LineageAnswer { fields: fields.collect(), readers, truncated: found.truncated }
        }
    })
}

fn word(via: Via) -> &'static str {
    match via {
        Via::Identity => "identity",
        Via::Cast => "cast",
        Via::Expression => "expression",
        Via::Condition => "condition",
        Via::LookupKey => "lookup_key",
        Via::Filter => "filter",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_the_form_of_a_uuid() {
        let id = run_id("0123456789abcdef0123456789abcdef01");
        assert_eq!(id, "01234567-89ab-8def-8123-456789abcdef");
        assert_eq!(run_id("").len(), 36);
    }
}
