//! A plan for people, and its digest: that of the same text with all that a runner goes by.
//!
//! Slots have the names of what they hold, and what nothing needs is not written. So the text stays as
//! it is if a source gets a column that nothing reads.

use super::{InputPlan, OutputKind, OutputPlan, PipelinePlan, Runner, StagePlan};
use crate::document::{OnError, Start};
use crate::query::{Branch, Input, Lookup, Origin, Output, Query, Step, slot_of};
use crate::relation::Form;
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, ScalarValue};
use datafusion_expr::Expr;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use tidemesh_model::CleanupPolicy;

/// The form of what is digested.
const DIGEST_VERSION: &str = "tidemesh plan 1";

/// SHA-256 of what a plan means, in hexadecimal digits.
pub(super) fn digest(plan: &PipelinePlan) -> String {
    let mut text = format!("{DIGEST_VERSION}\n");
    render(plan, true, &mut text).expect("a text takes what is written");
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().fold(String::with_capacity(64), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a text takes what is written");
        hex
    })
}

impl PipelinePlan {
    /// The plan with its inputs' topics called as `name` says, where it says something: the same work in
    /// other topics.
    pub(crate) fn over(&self, name: impl Fn(&str) -> Option<String>) -> Self {
        let mut plan = self.clone();
        for input in &mut plan.inputs {
            if let Some(topic) = name(&input.topic) {
                input.topic = topic;
            }
        }
        plan.digest = digest(&plan);
        plan
    }
}

impl fmt::Display for PipelinePlan {
    /// Several lines, the last with its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        render(self, false, f)
    }
}

/// Writes a plan; `whole` with all by which two are told apart.
fn render(plan: &PipelinePlan, whole: bool, out: &mut dyn Write) -> fmt::Result {
    let runner = match plan.runner {
        Runner::Embedded => "embedded",
    };
    writeln!(out, "pipeline {}, {runner}", plan.name())?;
    let mut writer = Writer { plan, whole, out };
    for (place, input) in plan.inputs.iter().enumerate() {
        writer.input(&plan.tables[place], input)?;
    }
    plan.stages.iter().try_for_each(|stage| writer.stage(stage))?;
    plan.outputs.iter().try_for_each(|output| writer.output(output))?;
    match &plan.on_error {
        OnError::Stop => Ok(()),
        OnError::DeadLetter { topic } => writeln!(out, "  dead letters to {topic}"),
    }
}

struct Writer<'w> {
    plan: &'w PipelinePlan,
    whole: bool,
    out: &'w mut dyn Write,
}

impl Writer<'_> {
    fn input(&mut self, table: &Input, input: &InputPlan) -> fmt::Result {
        let how = match input.start {
            None => "lookup",
            Some(Start::Earliest) => "from its begin",
            Some(Start::Latest) => "from its end",
        };
        let InputPlan { name, topic, .. } = input;
        writeln!(self.out, "  input {name}: {topic}, {}, {how}", form(table.relation.form))?;
        let paths: Vec<String> = input.reads.iter().map(|path| path.join(".")).collect();
        writeln!(self.out, "    reads {}", paths.join(", "))?;
        if self.whole {
            for path in &input.reads {
                self.read_type(table, path)?;
            }
        }
        Ok(())
    }

    fn read_type(&mut self, table: &Input, path: &[String]) -> fmt::Result {
        let relation = &table.relation;
        let Some(field) = relation.field_at(path) else { return Ok(()) };
        let of = relation.value.at(field.node).registry_text();
        writeln!(self.out, "    {} {of}", path.join("."))
    }

    fn stage(&mut self, stage: &StagePlan) -> fmt::Result {
        let config = stage.config.as_ref();
        let config = config.map_or(String::new(), |config| format!(" {}", sorted(config)));
        writeln!(self.out, "  processor {}: {}{config}", stage.name, stage.processor)?;
        for edge in &stage.edges {
            let key = key(&edge.query, &edge.key_columns);
            writeln!(self.out, "    takes {} from {}, {key}", edge.name, edge.from)?;
            if self.whole {
                writeln!(self.out, "    {}\n    {}", edge.written, edge.declared.registry_text())?;
            }
            self.query(&edge.query)?;
        }
        if self.whole {
            let relation = &self.plan.tables[stage.table].relation;
            writeln!(self.out, "    makes {}", relation.value.registry_text())?;
        }
        Ok(())
    }

    fn output(&mut self, output: &OutputPlan) -> fmt::Result {
        let OutputPlan { name, topic, settings, schemas, query, .. } = output;
        let kind = match output.kind {
            OutputKind::Sink => "sink",
            OutputKind::Tap => "tap",
        };
        let (form, key) = (form(schemas.form), key(query, &schemas.key_columns));
        let policy = match settings.cleanup_policy {
            CleanupPolicy::Compact => "compact",
            CleanupPolicy::Delete => "delete",
        };
        let partitions = settings.partitions;
        writeln!(self.out, "  {kind} {name}: {topic}, {form}, {key}")?;
        writeln!(self.out, "    cleanup {policy}, partitions {partitions}")?;
        if self.whole {
            writeln!(self.out, "    {:?} {:?}", settings.retention_ms, settings.retention_bytes)?;
            writeln!(self.out, "    {:?}\n    {}", schemas.key, schemas.value)?;
            writeln!(self.out, "    {}", schemas.source_passed_on)?;
        }
        self.query(query)
    }

    fn query(&mut self, query: &Query) -> fmt::Result {
        query.branches.iter().try_for_each(|branch| self.branch(query, branch))
    }

    fn branch(&mut self, query: &Query, branch: &Branch) -> fmt::Result {
        writeln!(self.out, "    rows of {}", self.plan.tables[branch.input].name)?;
        let names = Names::of(branch, &self.plan.tables);
        let needed = branch.needed();
        for step in &branch.steps {
            match step {
                Step::Filter(predicate) => self.line("where", &names, predicate)?,
                Step::Compute { slot, .. } if !needed.contains(slot) => {}
                Step::Compute { slot, value } => {
                    let name = names.of_slot(*slot);
                    self.line(&format!("{name} ="), &names, value)?;
                }
                Step::Lookup(lookup) => self.lookup(lookup, &names)?,
            }
        }
        let columns = query.columns.iter().zip(&branch.outputs);
        for (column, output) in columns {
            write!(self.out, "      {}", column.name)?;
            match output {
                Output::Slot { slot, path } => {
                    let name = names.of_slot(*slot);
                    let path: String = path.iter().map(|name| format!(".{name}")).collect();
                    writeln!(self.out, ": {name}{path}")?;
                }
                Output::Constant(value) => writeln!(self.out, ": {value:?}")?,
            }
        }
        Ok(())
    }

    fn lookup(&mut self, lookup: &Lookup, names: &Names) -> fmt::Result {
        let table = &self.plan.tables[lookup.input].name;
        let how = if lookup.required { "with a row of" } else { "with a row, or nulls, of" };
        for key in &lookup.key {
            self.line(&format!("{how} {table} by"), names, key)?;
        }
        Ok(())
    }

    fn line(&mut self, what: &str, names: &Names, expr: &Expr) -> fmt::Result {
        write!(self.out, "      {what} {}", names.written(expr))?;
        if self.whole {
            // A text in an expression is written without an escape.
            write!(self.out, " {:?}", text_lengths(expr))?;
        }
        writeln!(self.out)
    }
}

/// What slots are called.
struct Names(BTreeMap<usize, String>);

impl Names {
    fn of(branch: &Branch, tables: &[Input]) -> Self {
        let column = |table: usize, column: usize| &tables[table].relation.columns[column].name;
        let mut names = BTreeMap::new();
        let needed = branch.needed();
        let (mut computed, mut lookups) = (0, BTreeMap::new());
        for slot in needed {
            let name = match branch.slots[slot].origin {
                Origin::Input { column: of } => {
                    format!("{}.{}", tables[branch.input].name, column(branch.input, of))
                }
                Origin::Lookup { input, column: of } => {
                    let first = slot - of;
                    let number = lookups.len() + 1;
                    let number = lookups.entry(first).or_insert(number);
                    let name = &tables[input].name;
                    let of = column(input, of);
                    if *number == 1 {
                        format!("{name}.{of}")
                    } else {
                        format!("{name}#{number}.{of}")
                    }
                }
                Origin::Computed => {
                    computed += 1;
                    format!("${computed}")
                }
            };
            names.insert(slot, name);
        }
        Self(names)
    }

    fn of_slot(&self, slot: usize) -> &str {
        self.0.get(&slot).map_or("?", String::as_str)
    }

    fn written(&self, expr: &Expr) -> String {
        let named = expr.clone().transform_up(|part| {
            Ok(match part {
                Expr::Column(column) => {
                    let name = slot_of(&column).map_or("?", |slot| self.of_slot(slot));
                    Transformed::yes(Expr::Column(Column::new_unqualified(name)))
                }
                other => Transformed::no(other),
            })
        });
        // The closure never fails.
        named.map_or_else(|error| error.to_string(), |named| named.data.to_string())
    }
}

/// A value whose keys are in their order, whatever theirs was in the document.
fn sorted(value: &Json) -> Json {
    match value {
        Json::Object(table) => {
            let table: BTreeMap<&String, &Json> = table.iter().collect();
            let sorted = table.into_iter().map(|(key, value)| (key.clone(), sorted(value)));
            Json::Object(sorted.collect())
        }
        Json::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

fn text_lengths(expr: &Expr) -> Vec<usize> {
    let mut lengths = Vec::new();
    // The closure never fails.
    let _ = expr.apply(|part| {
        if let Expr::Literal(ScalarValue::Utf8(Some(text)), _) = part {
            lengths.push(text.len());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    lengths
}

fn form(form: Form) -> &'static str {
    match form {
        Form::Envelope => "envelopes",
        Form::Flat => "flat",
        Form::State => "states",
        Form::Event => "events",
    }
}

fn key(query: &Query, columns: &[usize]) -> String {
    if columns.is_empty() {
        return "no key".to_owned();
    }
    let names: Vec<&str> =
        columns.iter().map(|column| query.columns[*column].name.as_str()).collect();
    format!("key {}", names.join(", "))
}
