//! A pipeline's lineage for other catalogs: a run event of OpenLineage.
//!
//! The form is that of OpenLineage's specification 2-0-2 (`RunEvent`), with its facets `columnLineage`
//! 1-2-0, `schema` 1-2-0, `jobType` 2-0-4, `documentation` 1-1-0 and `ownership` 1-0-1. Topics are
//! datasets (its "Naming": the namespace of Kafka is `kafka://host:port`, the name is the topic).

use super::graph::build::{Flows, From, Taken, Takes};
use super::{OutputPlan, Path, PipelinePlan};
use crate::lineage::{Via, masked};
use crate::relation::Relation;
use crate::sql::types::nullable_branch;
use serde_json::{Map, Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use tidemesh_avro::schema::{Field, Kind, NodeId, Schema};

/// The most fields that an event lists as sources, over all columns; those beyond are left out.
pub const SOURCES_MAX: usize = 50_000;

/// The most fields that are listed of one dataset, nested ones among them.
const FIELDS_MAX: usize = 20_000;

/// How deep the fields of a dataset are listed.
const FIELDS_DEPTH_MAX: usize = 16;

const SPEC: &str = "https://openlineage.io/spec";

/// What an event says beside the plan.
#[derive(Debug, Clone, Copy)]
pub struct Event<'e> {
    /// What has become of the run.
    pub state: State,
    /// When, as RFC 3339 has it.
    pub time: &'e str,
    /// The run: a UUID.
    pub run_id: &'e str,
    /// Who says so: a URI, with the version.
    pub producer: &'e str,
    /// The namespace of the pipeline's name.
    pub job_namespace: &'e str,
    /// The namespace of the topics: `kafka://host:port` of the first bootstrap server.
    pub dataset_namespace: &'e str,
}

/// What has become of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It has begun.
    Start,
    /// It goes on.
    Running,
    /// It has come to its end.
    Complete,
    /// Somebody has ended it.
    Abort,
    /// It has failed.
    Fail,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Start => "START",
            Self::Running => "RUNNING",
            Self::Complete => "COMPLETE",
            Self::Abort => "ABORT",
            Self::Fail => "FAIL",
        }
    }
}

/// The event of a pipeline's run.
#[must_use]
pub fn run_event(plan: &PipelinePlan, event: &Event<'_>) -> Json {
    let flows = Flows::of(plan);
    let writer = Writer { plan, event, stages: Stages::of(&flows) };
    let inputs: Vec<Json> = (0..plan.inputs.len()).map(|place| writer.input(place)).collect();
    let mut room = SOURCES_MAX;
    let outputs: Vec<Json> = plan
        .outputs
        .iter()
        .zip(&flows.outputs)
        .map(|(output, takes)| writer.output(output, takes, &mut room))
        .collect();
    json!({
        "eventType": event.state.name(),
        "eventTime": event.time,
        "producer": event.producer,
        "schemaURL": format!("{SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"),
        "run": {"runId": event.run_id, "facets": {}},
        "job": {
            "namespace": event.job_namespace,
            "name": plan.name(),
            "facets": writer.job_facets(),
        },
        "inputs": inputs,
        "outputs": outputs,
    })
}

struct Writer<'w> {
    plan: &'w PipelinePlan,
    event: &'w Event<'w>,
    stages: Stages,
}

impl Writer<'_> {
    fn facet(&self, name: &str, version: &str, members: Json) -> Json {
        let mut facet = Map::new();
        facet.insert("_producer".into(), self.event.producer.into());
        let url = format!("{SPEC}/facets/{version}/{name}.json#/$defs/{name}");
        facet.insert("_schemaURL".into(), url.into());
        if let Json::Object(members) = members {
            facet.extend(members);
        }
        Json::Object(facet)
    }

    fn job_facets(&self) -> Json {
        let of_type = json!({
            "processingType": "STREAMING", "integration": "TIDEMESH", "jobType": "PIPELINE",
        });
        let mut facets = Map::new();
        facets.insert("jobType".into(), self.facet("JobTypeJobFacet", "2-0-4", of_type));
        if let Some(description) = &self.plan.metadata.description {
            let members = json!({"description": description});
            let facet = self.facet("DocumentationJobFacet", "1-1-0", members);
            facets.insert("documentation".into(), facet);
        }
        if let Some(owner) = &self.plan.metadata.owner {
            let members = json!({"owners": [{"name": owner}]});
            facets.insert("ownership".into(), self.facet("OwnershipJobFacet", "1-0-1", members));
        }
        Json::Object(facets)
    }

    fn dataset(&self, topic: &str, facets: Map<String, Json>) -> Json {
        json!({"namespace": self.event.dataset_namespace, "name": topic, "facets": facets})
    }

    fn input(&self, place: usize) -> Json {
        let mut facets = Map::new();
        facets.insert("schema".into(), self.schema(&self.plan.tables[place].relation));
        self.dataset(&self.plan.inputs[place].topic, facets)
    }

    fn output(&self, output: &OutputPlan, takes: &Takes, room: &mut usize) -> Json {
        let mut facets = Map::new();
        let key = output.schemas.key.as_deref().and_then(|key| Schema::parse(key).ok());
        let value = Schema::parse(&output.schemas.value);
        if let Some(relation) = value.ok().and_then(|value| Relation::of_topic(key, value).ok()) {
            facets.insert("schema".into(), self.schema(&relation));
        }
        facets.insert("columnLineage".into(), self.column_lineage(output, takes, room));
        self.dataset(&output.topic, facets)
    }

    fn schema(&self, relation: &Relation) -> Json {
        let mut room = FIELDS_MAX;
        let shown = relation.columns.iter().map(|column| &relation.fields()[column.place]);
        let fields = listed(&relation.value, shown, 0, &mut room);
        self.facet("SchemaDatasetFacet", "1-2-0", json!({"fields": fields}))
    }

    fn column_lineage(&self, output: &OutputPlan, takes: &Takes, room: &mut usize) -> Json {
        let mut fields = Map::new();
        for (place, (name, taken)) in takes.columns.iter().enumerate() {
            let masks = masked(&output.query, place);
            let inputs = self.input_fields(&self.stages.values(taken), masks, room);
            fields.insert(name.clone(), json!({"inputFields": inputs}));
        }
        let dataset = self.input_fields(&self.stages.rows(takes), false, room);
        let members = json!({"fields": fields, "dataset": dataset});
        self.facet("ColumnLineageDatasetFacet", "1-2-0", members)
    }

    fn input_fields(&self, sources: &Sources, masks: bool, room: &mut usize) -> Vec<Json> {
        let listed = sources.iter().take(*room);
        let listed: Vec<Json> = listed
            .map(|((input, path), ways)| {
                let ways: Vec<Json> = ways.iter().map(|via| transformation(*via, masks)).collect();
                json!({
                    "namespace": self.event.dataset_namespace,
                    "name": self.plan.inputs[*input].topic,
                    "field": path.join("."),
                    "transformations": ways,
                })
            })
            .collect();
        *room -= listed.len();
        listed
    }
}

fn transformation(via: Via, masks: bool) -> Json {
    let (of_type, subtype) = match via {
        Via::Identity => ("DIRECT", "IDENTITY"),
        Via::Cast | Via::Expression => ("DIRECT", "TRANSFORMATION"),
        Via::Condition => ("INDIRECT", "CONDITIONAL"),
        Via::LookupKey => ("INDIRECT", "JOIN"),
        Via::Filter => ("INDIRECT", "FILTER"),
    };
    let masking = masks && via.direct();
    json!({"type": of_type, "subtype": subtype, "description": via.name(), "masking": masking})
}

/// Fields of a dataset, each with those within it, as many as there is room for.
fn listed<'f>(
    schema: &Schema,
    fields: impl Iterator<Item = &'f Field>,
    depth: usize,
    room: &mut usize,
) -> Vec<Json> {
    let mut all = Vec::new();
    for (field, number) in fields.zip(1_usize..) {
        if *room == 0 {
            break;
        }
        *room -= 1;
        let mut json = json!({
            "name": field.name, "type": schema.short_type(field.node), "ordinal_position": number,
        });
        if let Some(doc) = &field.doc {
            json["description"] = doc.as_str().into();
        }
        let within = fields_within(schema, field.node);
        if !within.is_empty() && depth < FIELDS_DEPTH_MAX {
            json["fields"] = listed(schema, within.iter(), depth + 1, room).into();
        }
        all.push(json);
    }
    all
}

fn fields_within(schema: &Schema, id: NodeId) -> &[Field] {
    match &schema.node(nullable_branch(schema, id).unwrap_or(id)).kind {
        Kind::Record(fields) => fields,
        _ => &[],
    }
}

/// Fields of inputs, each with its ways.
type Sources = BTreeMap<(usize, Path), BTreeSet<Via>>;

/// What registered processors take, down to the inputs.
struct Stages {
    values: Vec<Sources>,
    rows: Vec<Sources>,
}

impl Stages {
    fn of(flows: &Flows<'_>) -> Self {
        let mut stages = Self { values: Vec::new(), rows: Vec::new() };
        for takes in &flows.stages {
            let taken = takes.columns.iter().flat_map(|(_, taken)| taken);
            let values = stages.values(taken);
            let rows = stages.rows(takes);
            stages.values.push(values);
            stages.rows.push(rows);
        }
        stages
    }

    /// What values are taken from.
    fn values<'t>(&self, taken: impl IntoIterator<Item = &'t Taken>) -> Sources {
        let mut sources = Sources::new();
        for taken in taken {
            match taken.from {
                From::Input(input) => {
                    sources.entry((input, taken.path.clone())).or_default().insert(taken.via);
                }
                From::Stage(stage) => {
                    for (field, ways) in &self.values[stage] {
                        let ways = ways.iter().map(|via| via.then(taken.via));
                        sources.entry(field.clone()).or_default().extend(ways);
                    }
                }
            }
        }
        sources
    }

    /// What decides which rows a query has, those of the registered processors that it reads too.
    fn rows(&self, takes: &Takes) -> Sources {
        let mut sources = self.values(&takes.rows);
        for from in &takes.of {
            let From::Stage(stage) = from else { continue };
            for (field, ways) in &self.rows[*stage] {
                sources.entry(field.clone()).or_default().extend(ways);
            }
        }
        sources
    }
}
