//! A pipeline's output as one query of the database whose tables it comes from: what the database itself
//! says that the output holds. The SQL of every processor on the way stands in it as the user wrote it,
//! so that nothing of what resolves, compiles and runs it here is trusted.

mod looked_up;

pub use looked_up::LookedUp;

use crate::document::{Document, PipelineSpec, ProcessorKind, Spec, Start};
use crate::mesh::{InputPlan, MeshPlan, OutputPlan, PipelinePlan};
use crate::query::Input;
use looked_up::{LookedIn, looked_up};
use std::collections::BTreeSet;
use std::sync::Arc;
use tidemesh_model::{Error, ErrorKind, Result};

/// The most parts of one query: pipelines that read each other again and again make it grow.
pub const PARTS_MAX: usize = 10_000;

/// A query of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oracle {
    /// Its text, in parts. It gives the columns of [`crate::query::Query::columns`], in their order.
    pub sql: Vec<SqlPart>,
    /// The pipelines that stand between, each behind those whose topics it reads; the one that was asked
    /// about comes last.
    pub pipelines: Vec<OnTheWay>,
    /// What of it the database may know otherwise by now.
    pub looked_up: LookedUp,
}

/// A part of a query's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SqlPart {
    /// As it is.
    Text(String),
    /// The table that a connector writes to this topic, as something to select from.
    Table(String),
}

/// A pipeline on the way from tables to an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnTheWay {
    /// Its name.
    pub pipeline: String,
    /// The topics that it reads for what is asked about.
    pub topics: BTreeSet<String>,
}

impl Oracle {
    /// The topics of tables that the query reads.
    #[must_use]
    pub fn tables(&self) -> BTreeSet<&str> {
        let tables = self.sql.iter().filter_map(|part| match part {
            SqlPart::Table(topic) => Some(topic.as_str()),
            SqlPart::Text(_) => None,
        });
        tables.collect()
    }
}

/// The query of a pipeline's output. `documents` are those by which `mesh` was planned.
///
/// # Errors
///
/// `Unsupported` where no database could say what the output holds: a registered processor makes rows of
/// it, they are events, or not all that was there before is read. `TooLarge`.
pub fn oracle(
    mesh: &MeshPlan,
    documents: &[Arc<Document>],
    pipeline: &PipelinePlan,
    output: &OutputPlan,
) -> Result<Oracle> {
    let mut writer = Writer { mesh, documents, sql: Vec::new(), pipelines: Vec::new() };
    let looked_up = writer.output(pipeline, output)?;
    Ok(Oracle { sql: writer.sql, pipelines: writer.pipelines, looked_up })
}

struct Writer<'w> {
    mesh: &'w MeshPlan,
    documents: &'w [Arc<Document>],
    sql: Vec<SqlPart>,
    pipelines: Vec<OnTheWay>,
}

impl Writer<'_> {
    fn output(&mut self, plan: &PipelinePlan, output: &OutputPlan) -> Result<LookedUp> {
        if output.query.only_events(&plan.tables) {
            return Err(cannot(plan, "its rows are events, which no table holds"));
        }
        let spec = self.spec(plan)?;
        let needed = needed(plan, &output.from);
        let mut lead = "WITH ";
        let mut inputs = Vec::with_capacity(plan.inputs.len());
        for (input, table) in plan.inputs.iter().zip(&plan.tables) {
            if !needed.contains(&input.name) {
                inputs.push(LookedIn::nothing());
                continue;
            }
            self.text(format!("{lead}{} AS (", quoted(&input.name)))?;
            inputs.push(self.input(plan, input, table)?);
            lead = "), ";
        }
        for processor in spec.processors.iter().filter(|one| needed.contains(&one.name)) {
            let ProcessorKind::Sql { sql } = &processor.kind else {
                return Err(cannot(plan, "a registered processor makes rows of it"));
            };
            self.text(format!("{lead}{} AS (\n{}\n", quoted(&processor.name), sql.text))?;
            lead = "), ";
        }
        let columns = output.query.columns.iter().map(|column| column.name.as_str());
        self.text(format!(") {}", select(columns, &quoted(&output.from))))?;
        self.passed(plan, &needed);
        Ok(looked_up(plan, output, &inputs))
    }

    /// Writes what an input is made of; answers what of it was looked up.
    fn input(&mut self, plan: &PipelinePlan, input: &InputPlan, table: &Input) -> Result<LookedIn> {
        if input.start == Some(Start::Latest) {
            return Err(cannot(plan, "it does not read what was there before it was started"));
        }
        // What nothing reads may be gone from the table by now.
        let read: BTreeSet<&str> =
            input.reads.iter().filter_map(|path| Some(path.first()?.as_str())).collect();
        let fields = table.relation.fields();
        let columns = table.relation.columns.iter();
        let columns = columns.filter(|column| read.contains(fields[column.place].name.as_str()));
        let columns = columns.map(|column| column.name.as_str());
        self.text(format!("{}(", select(columns, "")))?;
        let found = match &input.writer {
            None => {
                self.push(SqlPart::Table(input.topic.clone()))?;
                LookedIn::nothing()
            }
            Some(writer) => {
                let (plan, output) = self.written(writer, &input.topic)?;
                LookedIn::of(output, self.output(plan, output)?)
            }
        };
        self.text(") AS source".to_owned())?;
        Ok(if table.lookup { LookedIn::all(&input.topic) } else { found })
    }

    /// A pipeline may be passed again, for another of its outputs.
    fn passed(&mut self, plan: &PipelinePlan, needed: &BTreeSet<String>) {
        let inputs = plan.inputs.iter().filter(|input| needed.contains(&input.name));
        let topics = inputs.map(|input| input.topic.clone());
        match self.pipelines.iter_mut().find(|known| known.pipeline == plan.name()) {
            Some(known) => known.topics.extend(topics),
            None => {
                let (pipeline, topics) = (plan.name().to_owned(), topics.collect());
                self.pipelines.push(OnTheWay { pipeline, topics });
            }
        }
    }

    fn text(&mut self, text: String) -> Result<()> {
        self.push(SqlPart::Text(text))
    }

    fn push(&mut self, part: SqlPart) -> Result<()> {
        if self.sql.len() >= PARTS_MAX {
            return Err(Error::new(ErrorKind::TooLarge, "write a pipeline as one query")
                .because("too many pipelines stand between its output and the tables")
                .with("parts_max", PARTS_MAX));
        }
        self.sql.push(part);
        Ok(())
    }
}

impl<'w> Writer<'w> {
    fn spec(&self, plan: &PipelinePlan) -> Result<&'w PipelineSpec> {
        let found = self.documents.iter().find_map(|document| match &document.spec {
            Spec::Pipeline(spec) if document.name() == plan.name() => Some(spec),
            _ => None,
        });
        found.ok_or_else(|| missing(plan.name()))
    }

    fn written(&self, writer: &str, topic: &str) -> Result<(&'w PipelinePlan, &'w OutputPlan)> {
        let plan = self.mesh.pipeline(writer).ok_or_else(|| missing(writer))?;
        let output = plan.outputs.iter().find(|output| output.topic == topic);
        Ok((plan, output.ok_or_else(|| missing(writer))?))
    }
}

/// What an input or processor is made of, itself among it.
fn needed(plan: &PipelinePlan, from: &str) -> BTreeSet<String> {
    let mut needed = BTreeSet::from([from.to_owned()]);
    // Each processor names only those before it.
    for query in plan.queries.iter().rev() {
        if needed.contains(&query.name) {
            needed.extend(query.reads.iter().cloned());
        }
    }
    needed
}

fn select<'c>(columns: impl Iterator<Item = &'c str>, from: &str) -> String {
    format!("SELECT {} FROM {from}", columns.map(quoted).collect::<Vec<_>>().join(", "))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn cannot(plan: &PipelinePlan, why: &str) -> Error {
    Error::new(ErrorKind::Unsupported, "write a pipeline as one query of its source's database")
        .because(why)
        .with("pipeline", plan.name())
}

fn missing(pipeline: &str) -> Error {
    Error::new(ErrorKind::NotFound, "write a pipeline as one query")
        .because("what it reads is not planned now")
        .with("pipeline", pipeline)
        .help("see `tidemesh describe` for why")
}
