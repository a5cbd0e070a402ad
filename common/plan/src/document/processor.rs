//! The declared type of a registered processor: what it takes, what it makes, how it is configured.

use super::names;
use super::read::{At, Table};
use super::report::Report;
pub use super::schema::AvroSchema;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;

/// A version of a registered processor.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProcessorSpec {
    /// The version, 1 or more: `2` of `fraud-score@2`.
    pub version: u64,
    /// What it does, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What it takes, in the order in which a pipeline names its inputs. At least one.
    pub inputs: Vec<ProcessorInput>,
    /// What it makes.
    pub output: ProcessorOutput,
    /// The JSON Schema of its configuration; none takes none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_schema: Option<Value>,
}

/// One input of a registered processor.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProcessorInput {
    /// Its name.
    pub name: String,
    /// Rows that it takes.
    pub schema: AvroSchema,
}

/// What a registered processor makes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProcessorOutput {
    /// Its rows.
    pub schema: AvroSchema,
    /// The fields of its key; none if its rows have no key.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<String>,
}

pub(super) const PROCESSOR: &[&str] =
    &["version", "description", "inputs", "output", "config_schema"];
pub(super) const INPUT: &[&str] = &["name", "schema"];
pub(super) const OUTPUT: &[&str] = &["schema", "key"];

impl ProcessorSpec {
    pub(super) fn read(at: &At<'_>, report: &mut Report) -> Option<Self> {
        let table = Table::of(at, PROCESSOR, report)?;
        let version = table.required("version", report);
        let inputs = table.required("inputs", report);
        let output = table.required("output", report);
        Some(Self {
            version: version.and_then(|at| at.integer(1..=u64::MAX, report)).unwrap_or_default(),
            description: table.text("description", report),
            inputs: inputs.map(|at| read_inputs(&at, report)).unwrap_or_default(),
            config_schema: table.get("config_schema").and_then(|at| at.json_table(report)),
            output: output.and_then(|at| ProcessorOutput::read(&at, report))?,
        })
    }
}

fn read_inputs(at: &At<'_>, report: &mut Report) -> Vec<ProcessorInput> {
    if at.is_empty() {
        report.wrong(at, "the processor has no input", "write at least one {name: …, schema: …}");
    }
    let items = at.list(report);
    let mut seen = BTreeSet::new();
    items.iter().filter_map(|item| read_input(item, &mut seen, report)).collect()
}

fn read_input(
    at: &At<'_>,
    seen: &mut BTreeSet<String>,
    report: &mut Report,
) -> Option<ProcessorInput> {
    let table = Table::of(at, INPUT, report)?;
    let schema = table.required("schema", report);
    let schema = schema.and_then(|at| AvroSchema::read(&at, report));
    let at = table.required("name", report)?;
    let name = at.name(report);
    if !name.is_empty() && !seen.insert(name.clone()) {
        let message = format!("there are two inputs {}", names::shown(&name));
        report.wrong(&at, message, "give one of them another name");
    }
    Some(ProcessorInput { name, schema: schema? })
}

impl ProcessorOutput {
    fn read(at: &At<'_>, report: &mut Report) -> Option<Self> {
        let table = Table::of(at, OUTPUT, report)?;
        let schema = table.required("schema", report)?;
        let schema = AvroSchema::read(&schema, report);
        let key = table.get("key").map(|at| at.placed_texts(report)).unwrap_or_default();
        let schema = schema?;
        let fields = schema.fields();
        for (name, at) in key.iter().filter(|(name, _)| !fields.contains(name)) {
            let message = format!("the schema has no field {}", names::shown(name));
            report.unknown(at, message, name, fields.iter().copied());
        }
        let key = key.into_iter().map(|(name, _)| name.to_owned()).collect();
        Some(Self { schema, key })
    }
}
