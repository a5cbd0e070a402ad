//! A registered processor within a pipeline: what each of its edges hands it, whether it can read that,
//! and what it makes. What follows it reads its declared output as if it were an input.

use super::gather::Gather;
use super::pipeline::Planner;
use super::{Path, config, within};
use crate::document::names::{instead_of, shown};
use crate::document::{ProcessorInput, ProcessorRef, ProcessorSpec};
use crate::key_columns;
use crate::output::row_schema;
use crate::query::{Input, Query};
use crate::relation::Relation;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use tidemesh_avro::compat::Direction;
use tidemesh_avro::explain::{Finding, explain};
use tidemesh_avro::name::avro_name;
use tidemesh_avro::schema::Schema;

/// The most findings that are told of one edge.
const FINDINGS_MAX: usize = 8;

/// A registered processor that a pipeline runs.
#[derive(Debug, Clone)]
pub struct StagePlan {
    /// Its name in the pipeline.
    pub name: String,
    /// Its type.
    pub processor: ProcessorRef,
    /// Its configuration; it fits the type's schema.
    pub config: Option<Json>,
    /// What it takes, in its type's order.
    pub edges: Vec<Edge>,
    /// The place of what it makes among the plan's tables.
    pub table: usize,
    /// For each input by its place the fields that are read for it, stages before it followed.
    pub reads: BTreeMap<usize, BTreeSet<Path>>,
}

/// What a registered processor is handed by one of its inputs.
#[derive(Debug, Clone)]
pub struct Edge {
    /// The input's name in the type's declaration.
    pub name: String,
    /// The processor or input whose rows they are.
    pub from: String,
    /// The columns that are declared, and the key.
    pub query: Query,
    /// The columns that identify a row, by their places; none for events.
    pub key_columns: Vec<usize>,
    /// The rows' schema, as they are written.
    pub written: String,
    /// The declared schema, by which they are read.
    pub declared: Schema,
}

/// A processor of a document.
#[derive(Clone, Copy)]
pub(super) struct Registered<'d> {
    /// Its place among the pipeline's processors.
    pub(super) index: usize,
    pub(super) name: &'d str,
    pub(super) of: &'d ProcessorRef,
    pub(super) inputs: &'d [String],
    pub(super) config: Option<&'d Json>,
}

impl Registered<'_> {
    fn path(&self, step: &str) -> String {
        format!("spec.processors[{}].{step}", self.index)
    }
}

/// Plans a registered processor; none if it is wrong, or takes what is.
pub(super) fn plan(
    registered: Registered<'_>,
    planner: &mut Planner<'_, '_>,
    gather: &mut Gather<'_>,
) -> Option<StagePlan> {
    let before = gather.count();
    let spec = declared(registered, planner, gather)?;
    check_config(registered, spec, planner.place(), gather);
    check_count(registered, spec, planner.place(), gather);
    let named = registered.inputs.iter().zip(&spec.inputs).enumerate();
    let edges: Vec<Option<Edge>> = named
        .map(|(place, (from, input))| {
            let path = registered.path(&format!("inputs[{place}]"));
            edge(&path, from, input, planner, gather)
        })
        .collect();
    let edges = edges.into_iter().collect::<Option<Vec<_>>>()?;
    let relation = made(registered, spec, planner.place(), gather)?;
    if gather.count() > before {
        return None;
    }
    let queries = edges.iter().map(|edge| &edge.query);
    let reads = planner.reads(queries);
    let table = planner.add_table(Input {
        name: registered.name.to_owned(),
        relation,
        lookup: false,
        hidden: BTreeSet::new(),
    });
    Some(StagePlan {
        name: registered.name.to_owned(),
        processor: registered.of.clone(),
        config: registered.config.cloned(),
        edges,
        table,
        reads,
    })
}

/// The document that declares the processor's type.
fn declared<'d>(
    registered: Registered<'_>,
    planner: &Planner<'_, 'd>,
    gather: &mut Gather<'_>,
) -> Option<&'d ProcessorSpec> {
    let found = planner.set.processor(registered.of);
    if found.is_none() {
        gather.wrong(planner.place(), &registered.path("processor"), || {
            let name = registered.of.to_string();
            let there = planner.set.processors();
            let message = format!("no Processor document declares {}", shown(&name));
            (message, instead_of(&name, there.iter().map(String::as_str)))
        });
    }
    found
}

fn check_config(
    registered: Registered<'_>,
    spec: &ProcessorSpec,
    place: usize,
    gather: &mut Gather<'_>,
) {
    let path = registered.path("config");
    let Some(schema) = &spec.config_schema else {
        if registered.config.is_some() {
            gather.wrong(place, &path, || {
                let message =
                    format!("{} takes no configuration", shown(&registered.of.to_string()));
                (message, "leave it out, or declare a config_schema for it".into())
            });
        }
        return;
    };
    let nothing = json!({});
    for mistake in config::mistakes(registered.config.unwrap_or(&nothing), schema) {
        let path = format!("{path}{}", mistake.path);
        gather.wrong(place, &path, || (mistake.message, mistake.help));
    }
}

fn check_count(
    registered: Registered<'_>,
    spec: &ProcessorSpec,
    place: usize,
    gather: &mut Gather<'_>,
) {
    let (named, needed) = (registered.inputs.len(), spec.inputs.len());
    if named != needed {
        gather.wrong(place, &registered.path("inputs"), || {
            let names: Vec<&str> = spec.inputs.iter().map(|input| input.name.as_str()).collect();
            let of = shown(&registered.of.to_string());
            let message = format!("{of} takes {needed} inputs, and {named} are named");
            (message, format!("name one for each of {}", names.join(", ")))
        });
    }
}

/// What one input of the processor hands it.
fn edge(
    path: &str,
    from: &str,
    input: &ProcessorInput,
    planner: &Planner<'_, '_>,
    gather: &mut Gather<'_>,
) -> Option<Edge> {
    let mut query = planner.rows_of(from, path, gather)?;
    let tables = &planner.tables;
    let declared = input.schema.schema();
    let edge = key_columns(&query, tables, None).map_err(Into::into).and_then(|key| {
        let key = keep(&mut query, &key, &input.schema.fields());
        let name = declared.node(declared.root()).name.as_ref();
        row_schema(&query, tables, &key, name).map(|written| (key, written))
    });
    let (key_columns, written) = match edge {
        Ok(edge) => edge,
        Err(problems) => {
            for problem in problems.0 {
                gather.made(planner.place(), |document| within(document, path, problem));
            }
            return None;
        }
    };
    let writer = match Schema::parse(&written) {
        Ok(writer) => writer,
        Err(error) => {
            gather.wrong(planner.place(), path, || {
                let message = format!("the rows of {} have no schema: {error}", shown(from));
                (message, "give its columns other names with AS".into())
            });
            return None;
        }
    };
    let findings = explain(declared, &writer, Direction::Backward);
    for finding in findings.iter().flat_map(Finding::roots).take(FINDINGS_MAX) {
        let told = || unreadable(finding, input, from);
        gather.wrong(planner.place(), path, told);
    }
    let edge = Edge {
        name: input.name.clone(),
        from: from.to_owned(),
        query,
        key_columns,
        written,
        declared: declared.clone(),
    };
    findings.is_empty().then_some(edge)
}

/// Keeps the columns that are declared and those of the key; answers the key's places among them.
fn keep(query: &mut Query, key: &[usize], declared: &[&str]) -> Vec<usize> {
    let wanted = |(place, name): (usize, &str)| {
        key.contains(&place) || declared.contains(&avro_name(name).as_ref())
    };
    let names = query.columns.iter().map(|column| column.name.as_str());
    let kept: Vec<usize> =
        names.enumerate().filter(|of| wanted(*of)).map(|(place, _)| place).collect();
    query.retain(|place| kept.binary_search(&place).is_ok());
    key.iter().filter_map(|place| kept.binary_search(place).ok()).collect()
}

/// Why the declared schema cannot read the rows.
fn unreadable(finding: &Finding, input: &ProcessorInput, from: &str) -> (String, String) {
    let field = finding.field.as_deref().map_or(String::new(), |field| format!(" at {field}"));
    let message = format!(
        "the rows of {} do not fit the processor's input {}: {}{field} ({}): declared is {}, and it is \
         given {}",
        shown(from),
        shown(&input.name),
        finding.rule.name(),
        if finding.reader_path.is_empty() { "/" } else { &finding.reader_path },
        finding.reader,
        finding.writer,
    );
    (message, format!("{}, or select what fits before it", finding.suggestion))
}

/// The rows that the processor makes.
fn made(
    registered: Registered<'_>,
    spec: &ProcessorSpec,
    place: usize,
    gather: &mut Gather<'_>,
) -> Option<Relation> {
    match Relation::of_rows(&spec.output.key, spec.output.schema.schema().clone()) {
        Ok(relation) => Some(relation),
        Err(why) => {
            gather.wrong(place, &registered.path("processor"), || {
                let message = format!("its output cannot be read: {why}");
                (message, "declare another output in its Processor document".into())
            });
            None
        }
    }
}
