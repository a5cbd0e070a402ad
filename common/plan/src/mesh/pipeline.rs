//! One pipeline: its inputs, its processors one after the other, and what it writes.

use super::gather::Gather;
use super::known::Known;
use super::set::{Pipeline, Set};
use super::stage::{self, Registered, StagePlan};
use super::{InputPlan, NamedQuery, Path, PipelinePlan, Runner, inputs, outputs, render, within};
use crate::document::names::shown;
use crate::document::{Processor, ProcessorKind, SqlText};
use crate::lineage::reads;
use crate::query::{Input, Query};
use crate::sql::{Tables, resolve_named};
use std::collections::{BTreeMap, BTreeSet};

/// A pipeline that is being planned.
pub(super) struct Planner<'s, 'd> {
    pub(super) set: &'s Set<'d>,
    pub(super) pipeline: Pipeline<'d>,
    /// The inputs, then what registered processors make.
    pub(super) tables: Vec<Input>,
    pub(super) stages: Vec<StagePlan>,
    queries: BTreeMap<String, Query>,
    /// The same in the order of the work, each with the tables that it names.
    named: Vec<(&'d str, BTreeSet<String>)>,
    /// Processors that are wrong, or take what is.
    failed: BTreeSet<&'d str>,
    /// How many of the tables are inputs.
    inputs: usize,
}

/// Plans a pipeline; none if something of it is wrong, or what it reads is.
pub(super) fn plan(
    pipeline: Pipeline<'_>,
    accepted: Option<&BTreeMap<String, BTreeSet<String>>>,
    set: &Set<'_>,
    known: &Known<'_, '_>,
    gather: &mut Gather<'_>,
) -> Option<PipelinePlan> {
    let before = gather.count();
    let inputs = inputs::inputs(pipeline, accepted, set, known, gather)?;
    let (tables, mut inputs): (Vec<Input>, Vec<InputPlan>) = inputs.into_iter().unzip();
    let mut planner = Planner {
        set,
        pipeline,
        inputs: tables.len(),
        tables,
        stages: Vec::new(),
        queries: BTreeMap::new(),
        named: Vec::new(),
        failed: BTreeSet::new(),
    };
    for (index, processor) in pipeline.spec.processors.iter().enumerate() {
        planner.processor(index, processor, gather);
    }
    let outputs = outputs::outputs(&planner, gather);
    if gather.count() > before {
        return None;
    }
    debug_assert!(planner.failed.is_empty());
    let of_stages = planner.stages.iter().map(|stage| &stage.reads);
    for (place, paths) in of_stages.chain(outputs.iter().map(|output| &output.reads)).flatten() {
        inputs[*place].reads.extend(paths.iter().cloned());
    }
    inputs.iter_mut().for_each(|input| crate::lineage::drop_inner(&mut input.reads));
    let Planner { tables, stages, named, mut queries, .. } = planner;
    let named = named.into_iter().filter_map(|(name, reads)| {
        let query = queries.remove(name)?;
        Some(NamedQuery { name: name.to_owned(), reads, query })
    });
    let mut plan = PipelinePlan {
        metadata: pipeline.document.metadata.clone(),
        runner: Runner::Embedded,
        inputs,
        outputs,
        queries: named.collect(),
        stages,
        tables,
        on_error: pipeline.spec.on_error.clone(),
        digest: String::new(),
    };
    plan.digest = render::digest(&plan);
    Some(plan)
}

impl<'d> Planner<'_, 'd> {
    /// The pipeline's place among the documents.
    pub(super) fn place(&self) -> usize {
        self.pipeline.place
    }

    fn processor(&mut self, index: usize, processor: &'d Processor, gather: &mut Gather<'_>) {
        let name = processor.name.as_str();
        let done = match &processor.kind {
            ProcessorKind::Sql { sql } => self.sql(index, name, sql, gather),
            ProcessorKind::Registered { processor, inputs, config } => {
                let config = config.as_ref();
                let registered = Registered { index, name, of: processor, inputs, config };
                let stage = stage::plan(registered, self, gather);
                let done = stage.is_some();
                self.stages.extend(stage);
                done
            }
        };
        if !done {
            self.failed.insert(name);
        }
    }

    fn sql(&mut self, index: usize, name: &'d str, sql: &SqlText, gather: &mut Gather<'_>) -> bool {
        if self.failed.iter().any(|failed| names(&sql.text, failed)) {
            // It may read one that is wrong, which is told already.
            return false;
        }
        let tables = Tables { inputs: &self.tables, queries: &self.queries };
        match resolve_named(&sql.text, tables) {
            Ok((query, reads)) => {
                self.queries.insert(name.to_owned(), query);
                self.named.push((name, reads));
                true
            }
            Err(problems) => {
                let path = format!("spec.processors[{index}].sql");
                for problem in problems.0 {
                    gather.made(self.place(), |document| {
                        let place = problem.sql_place.map(|place| sql.place(place));
                        let told = within(document, &path, problem);
                        let place = place.or(told.place);
                        told.at(place)
                    });
                }
                false
            }
        }
    }

    /// The rows of an input or processor; none if it is wrong, which is told already, or a lookup.
    pub(super) fn rows_of(&self, name: &str, path: &str, gather: &mut Gather<'_>) -> Option<Query> {
        if let Some(query) = self.queries.get(name) {
            return Some(query.clone());
        }
        let place = self.tables.iter().position(|table| table.name == name)?;
        let table = &self.tables[place];
        if table.lookup {
            gather.wrong(self.place(), path, || {
                let message = format!("{} is a lookup: its rows are only looked up", shown(name));
                (message, "read its topic as another input, without `lookup: true`".into())
            });
            return None;
        }
        let mut query = Query::of_input(place, table);
        query.retain(|column| !table.hidden.contains(&table.relation.columns[column].name));
        Some(query)
    }

    /// For each input the fields that queries read, what registered processors read followed.
    pub(super) fn reads<'q>(
        &self,
        queries: impl Iterator<Item = &'q Query>,
    ) -> BTreeMap<usize, BTreeSet<Path>> {
        let mut all: BTreeMap<usize, BTreeSet<Path>> = BTreeMap::new();
        for (table, paths) in queries.flat_map(|query| reads(query, &self.tables)) {
            if table < self.inputs {
                all.entry(table).or_default().extend(paths);
            }
            let stage = self.stages.iter().find(|stage| stage.table == table);
            for (input, paths) in stage.iter().flat_map(|stage| &stage.reads) {
                all.entry(*input).or_default().extend(paths.iter().cloned());
            }
        }
        all.values_mut().for_each(crate::lineage::drop_inner);
        all
    }

    /// A table that is read from here on; answers its place.
    pub(super) fn add_table(&mut self, table: Input) -> usize {
        self.tables.push(table);
        self.tables.len() - 1
    }
}

/// Whether a text has a name as a word of its own.
fn names(text: &str, name: &str) -> bool {
    let of_name = |character: char| character.is_alphanumeric() || "_-".contains(character);
    text.split(|character| !of_name(character)).any(|word| word.eq_ignore_ascii_case(name))
}
