//! The catalog: the topics that there are, with what connectors and emitters announce of them (`log`), what
//! plans say, and what people say in documents (`said`), or said in those that are gone (`former`, `written`), or
//! nobody says (`unsaid`), or two would (`twice`). `described` tells of topics with their schemas, `fields` reads
//! those, `search` finds words, `samples` shows records, `http` is the API.

mod announced;
mod described;
mod fields;
mod former;
mod freshness;
mod http;
mod log;
mod mask;
mod said;
mod samples;
mod search;
mod twice;
mod unsaid;
mod written;

pub use fields::FieldReport;
pub(crate) use http::routes;
pub use log::{LastRecord, TopicLog, TopicsOf};
pub use samples::{SampleReport, Samples};
pub use search::CATALOG_FOUND_MAX;

use self::described::Schemas;
use self::fields::fields;
use self::freshness::{Freshness, freshness};
use self::said::{Said, Sayings};
use crate::controller::Controller;
use crate::planned::Planned;
use crate::topics::Registry;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_plan::mesh::{OutputKind, OutputPlan, PipelinePlan};
use tidemesh_transport::Announced;

/// A topic of the catalog.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopicReport {
    /// The topic.
    pub topic: String,
    /// The name under which a pipeline's output, or a topic that others write, is a source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_as: Option<String>,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Words under which it is found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Who writes it.
    pub written_by: Writer,
    /// The pipelines that read it.
    pub read_by: Vec<String>,
    /// The fields of its key, in the key's order.
    pub key: Vec<String>,
    /// The fields of its rows, those within others behind them.
    pub fields: Vec<FieldReport>,
    /// The id of its key's schema, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_schema: Option<u32>,
    /// The id of its values' schema, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_schema: Option<u32>,
    /// Records a second, lately, where a connector or an emitter announces it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_per_s: Option<f64>,
    /// When the newest change in it was made, in milliseconds since 1970-01-01 00:00:00 UTC, if that is
    /// known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_at_ms: Option<u64>,
    /// How far it is behind the databases that its rows come from, in milliseconds at the most, if that is
    /// known: all that is older is in the topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freshness_ms: Option<u64>,
    /// In a list: why its schemas are not known, if the registry could not be asked for them. What it tells of
    /// fields and keys is less than there is, then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schemas_unknown: Option<String>,
}

/// Who writes a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Writer {
    /// A connector, from a table; or an emitter, whose topic has its own name as the table's.
    Table {
        /// The source.
        source: String,
        /// The table.
        table: String,
    },
    /// A pipeline's sink, or the tap of a processor.
    Pipeline {
        /// The pipeline.
        pipeline: String,
        /// The sink, or the processor.
        output: String,
        /// Whether it is a tap.
        tap: bool,
    },
    /// Others, who announce nothing; a document speaks of it.
    Others,
}

/// What an answer about the catalog is made of, as of one moment.
pub(crate) struct Catalog {
    planned: Arc<Planned>,
    sayings: Sayings,
    /// By their topics.
    announced: BTreeMap<String, Announced>,
    /// When a pipeline's newest input record was written, by the pipeline.
    newest: BTreeMap<String, u64>,
    freshness: Freshness,
}

/// A topic and who writes it.
enum Found<'c> {
    Table(&'c Announced),
    Output(&'c PipelinePlan, &'c OutputPlan),
    /// Nobody announces it; a document says that it is there.
    Others(&'c str),
}

impl<R: Registry> Controller<R> {
    /// Has the catalog read what connectors announce, and topics' records, from this log.
    #[must_use]
    pub fn with_log(mut self, log: Arc<dyn TopicsOf>) -> Self {
        self.log = Some(log);
        self
    }

    pub(crate) async fn catalog(&self) -> Result<Catalog> {
        let seen = self.seen().clone();
        let jobs = self.launcher.jobs();
        let lag_ms = jobs.iter().filter_map(|(name, job)| Some((name.clone(), job.counts.lag_ms?)));
        let lag_ms = lag_ms.collect();
        let newest = jobs.into_iter().map(|(name, job)| (name, job.counts.newest_ms)).collect();
        let announced = match &self.log {
            Some(log) => log.announced().await?,
            None => Vec::new(),
        };
        let sayings = Sayings::of(&seen.state, &self.config.connectors);
        let announced = announced::by_topic(announced);
        let freshness = freshness(&announced, seen.planned.mesh.as_ref(), &lag_ms);
        Ok(Catalog { planned: seen.planned, sayings, announced, newest, freshness })
    }
}

impl Catalog {
    fn all(&self) -> Vec<Found<'_>> {
        let outputs = self.planned.pipelines.values().flat_map(|plan| {
            plan.outputs.iter().map(move |output| Found::Output(plan.as_ref(), output))
        });
        let others = self.sayings.topics_of_others();
        let others = others.filter(|topic| !self.announced.contains_key(*topic));
        let announced = self.announced.values().map(Found::Table);
        announced.chain(outputs).chain(others.map(Found::Others)).collect()
    }

    fn found(&self, topic: &str) -> Result<Found<'_>> {
        let found = self.all().into_iter().find(|found| found.topic() == topic);
        found.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "look a topic up")
                .because("the catalog has no such topic")
                .with("topic", topic)
                .help("`tidemesh catalog` lists those that it has")
        })
    }

    fn topic_report(&self, found: &Found<'_>, schemas: &Schemas) -> TopicReport {
        match found {
            Found::Table(table) => self.table(table, schemas),
            Found::Output(plan, output) => self.output(plan, output, schemas),
            Found::Others(topic) => self.of_others(topic, schemas),
        }
    }

    fn table(&self, table: &Announced, schemas: &Schemas) -> TopicReport {
        let of_table = self.sayings.of_table(&table.source, &table.table);
        let said = match self.sayings.of_topic(&table.topic) {
            Some(said) => said.before(of_table),
            None => of_table,
        };
        let written_by = Writer::Table { source: table.source.clone(), table: table.table.clone() };
        let known = |at_ms: u64| (at_ms > 0).then_some(at_ms);
        let report = self.report(&table.topic, written_by, &said, schemas);
        // What its emitter says stands behind what documents say.
        let of_emitter = (!table.owner.is_empty()).then(|| table.owner.clone());
        TopicReport {
            owner: report.owner.or(of_emitter),
            key: table.key.clone(),
            key_schema: (table.key_schema > 0).then_some(table.key_schema),
            value_schema: Some(table.value_schema),
            rate_per_s: Some(thousandths(table.rate_milli)),
            newest_at_ms: known(table.newest_at_ms),
            ..report
        }
    }

    fn of_others(&self, topic: &str, schemas: &Schemas) -> TopicReport {
        let said = self.sayings.of_topic(topic).unwrap_or_default();
        TopicReport {
            key: schemas.key.as_ref().map(fields::names).unwrap_or_default(),
            key_schema: schemas.ids.and_then(|ids| ids.key),
            value_schema: schemas.ids.map(|ids| ids.value),
            ..self.report(topic, Writer::Others, &said, schemas)
        }
    }

    fn output(&self, plan: &PipelinePlan, output: &OutputPlan, schemas: &Schemas) -> TopicReport {
        let tap = output.kind == OutputKind::Tap;
        let said = self.sayings.of_output(plan.name(), (!tap).then_some(&output.name));
        let written_by =
            Writer::Pipeline { pipeline: plan.name().to_owned(), output: output.name.clone(), tap };
        let key = output.schemas.key_columns.iter();
        let column = |place: &usize| Some(output.query.columns.get(*place)?.name.clone());
        TopicReport {
            key: key.filter_map(column).collect(),
            newest_at_ms: self.newest.get(plan.name()).copied().filter(|at_ms| *at_ms > 0),
            ..self.report(&output.topic, written_by, &said, schemas)
        }
    }

    fn report(
        &self,
        topic: &str,
        written_by: Writer,
        said: &Said<'_>,
        schemas: &Schemas,
    ) -> TopicReport {
        let reads =
            |plan: &&Arc<PipelinePlan>| plan.inputs.iter().any(|input| input.topic == topic);
        let readers = self.planned.pipelines.values().filter(reads);
        TopicReport {
            topic: topic.to_owned(),
            published_as: said.published_as.map(str::to_owned),
            owner: said.owner.map(str::to_owned),
            description: said.description.map(str::to_owned),
            tags: said.tags.iter().map(|tag| (*tag).to_owned()).collect(),
            written_by,
            read_by: readers.map(|plan| plan.name().to_owned()).collect(),
            key: Vec::new(),
            fields: schemas.value.as_ref().map(|value| fields(value, said)).unwrap_or_default(),
            key_schema: None,
            value_schema: None,
            rate_per_s: None,
            newest_at_ms: None,
            freshness_ms: self.freshness_ms(topic),
            schemas_unknown: None,
        }
    }
}

impl Found<'_> {
    fn topic(&self) -> &str {
        match self {
            Self::Table(table) => &table.topic,
            Self::Output(_, output) => &output.topic,
            Self::Others(topic) => topic,
        }
    }
}

fn thousandths(milli: u64) -> f64 {
    f64::from(u32::try_from(milli).unwrap_or(u32::MAX)) / 1e3
}
