//! The Avro schemas of a query's output.
//!
//! A column that comes through as it is keeps its type, documentation, properties and default; one that
//! is computed gets the Avro type of its SQL type. Every column outside the key may be null, as in a
//! connector's topics, so that columns can come and go.

use crate::key::key_columns;
use crate::query::{Branch, Input, Origin, Output, OutputColumn, Query};
use crate::relation::{Form, Relation};
use crate::sql::types::{avro_type, is_opaque, may_be_null, null_branch, nullable_branch};
use crate::{Problem, Problems};
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, OnceLock};
use tidemesh_avro::compose::{Definitions, field_attributes};
use tidemesh_avro::flat::{ADDED_FIELDS, added_fields};
use tidemesh_avro::name::{avro_name, namespace};
use tidemesh_avro::schema::{Field, Kind, Name, NodeId, Schema};
use tidemesh_avro::table::{envelope_record, source_record};
use tidemesh_model::{EnvelopeForm, SourceBlock};

/// Where a query's output goes.
#[derive(Debug, Clone, Copy)]
pub struct Target<'t> {
    /// The pipeline.
    pub pipeline: &'t str,
    /// The topic.
    pub topic: &'t str,
    /// What a record holds beside the row; events are rows alone.
    pub envelope: EnvelopeForm,
    /// The key's columns in the order that the sink declares, if it does.
    pub key: Option<&'t [String]>,
}

/// The schemas of an output topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputSchemas {
    /// What its records are.
    pub form: Form,
    /// The key's schema; none if the records' keys are passed on as they are.
    pub key: Option<String>,
    /// The value's schema.
    pub value: String,
    /// The key's columns, by their places among the output's.
    pub key_columns: Vec<usize>,
    /// Whether the `source` block of an envelope is the input's, passed on; else it is our own.
    pub source_passed_on: bool,
    /// Both schemas, parsed once.
    pub parsed: Parsed,
}

/// The key's schema, if there is one, and the value's; or what is wrong with one, in words.
type Pair = Result<(Option<Schema>, Schema), String>;

/// Schemas as they are parsed when they are asked for first; it follows from the texts, and is equal to any
/// other.
#[derive(Clone, Default)]
pub struct Parsed(Arc<OnceLock<Pair>>);

impl fmt::Debug for Parsed {
    /// Nothing: whether somebody has asked already is no part of what schemas are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parsed")
    }
}

impl PartialEq for Parsed {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Parsed {}

impl OutputSchemas {
    /// Both schemas, parsed.
    ///
    /// # Errors
    ///
    /// What is wrong with one, in words.
    pub fn parsed(&self) -> Result<(Option<Schema>, Schema), String> {
        let parse = |text: &str| Schema::parse(text).map_err(|error| error.to_string());
        let both = || Ok((self.key.as_deref().map(parse).transpose()?, parse(&self.value)?));
        self.parsed.0.get_or_init(both).clone()
    }
}

/// The connector that our own `source` block names.
pub const CONNECTOR: &str = "tidemesh";

/// The schemas of what `query` gives.
///
/// # Errors
///
/// All columns that have no place in Avro, a name twice, and a key that is not carried through.
pub fn output_schemas(
    query: &Query,
    inputs: &[Input],
    target: Target<'_>,
) -> Result<OutputSchemas, Problems> {
    let key_columns = key_columns(query, inputs, target.key)?;
    let events = query.only_events(inputs);
    let form = match (events, target.envelope) {
        (true, _) => Form::Event,
        (false, EnvelopeForm::Debezium) => Form::Envelope,
        (false, EnvelopeForm::Flat) => Form::Flat,
    };
    let names = field_names(query, form)?;
    let space = namespace(target.topic);
    let mut row = Row::new(query, inputs, &names, &key_columns, &space);
    let fields = row.fields()?;
    let key =
        (!key_columns.is_empty()).then(|| key_record(query, inputs, &names, &key_columns, &space));
    let record = json!({"type": "record", "name": "Value", "namespace": space, "fields": fields});
    let source = common_source(query, inputs);
    let value = match form {
        Form::Envelope => {
            let of = match source {
                Some((schema, node)) => row.definitions.type_json(schema, node),
                None => source_record(&own_block(target.pipeline)),
            };
            envelope_record(&space, record, of)
        }
        Form::Flat => flat(record),
        Form::State | Form::Event => record,
    };
    Ok(OutputSchemas {
        form,
        key: key.map(|key| key.to_string()),
        value: value.to_string(),
        key_columns,
        source_passed_on: form == Form::Envelope && source.is_some(),
        parsed: Parsed::default(),
    })
}

/// The schema of the rows alone: what a registered processor is handed. The record has the name that is
/// given, since it says nothing of what the rows are. Of rows that are events, what is never null is not
/// said to be; of others all but the key may be, since of a row that is deleted it may be all that is known.
///
/// # Errors
///
/// All columns that have no place in Avro, and a name twice.
pub fn row_schema(
    query: &Query,
    inputs: &[Input],
    key_columns: &[usize],
    name: Option<&Name>,
) -> Result<String, Problems> {
    let names = field_names(query, Form::Event)?;
    let space = name.and_then(|name| name.namespace.clone()).unwrap_or_default();
    let name = name.map_or("Row", |name| &name.name);
    let mut row = Row::new(query, inputs, &names, key_columns, &space);
    row.exact = query.only_events(inputs);
    row.definitions.reserve(&if space.is_empty() {
        name.into()
    } else {
        format!("{space}.{name}")
    });
    let mut record = json!({"type": "record", "name": name, "fields": row.fields()?});
    if !space.is_empty() {
        record["namespace"] = space.into();
    }
    Ok(record.to_string())
}

/// What our own `source` block says of a pipeline.
#[must_use]
pub fn own_block(pipeline: &str) -> SourceBlock {
    SourceBlock {
        connector: CONNECTOR,
        name: pipeline.to_owned(),
        database: String::new(),
        fields: &[],
    }
}

fn flat(mut record: Json) -> Json {
    if let Some(fields) = record["fields"].as_array_mut() {
        fields.extend(added_fields());
    }
    record
}

/// The columns' names in Avro.
fn field_names(query: &Query, form: Form) -> Result<Vec<String>, Problems> {
    let names: Vec<String> =
        query.columns.iter().map(|column| avro_name(&column.name).into_owned()).collect();
    let mut problems = Vec::new();
    for (place, name) in names.iter().enumerate() {
        let column = &query.columns[place].name;
        if form == Form::Flat && ADDED_FIELDS.contains(&name.as_str()) {
            problems.push(
                Problem::new("", format!("`{column}` is a name that flat records need"))
                    .help("give it another name with AS, or set envelope: debezium"),
            );
        }
        if let Some(other) = names[..place].iter().position(|other| other == name) {
            let other = &query.columns[other].name;
            problems.push(
                Problem::new(
                    "",
                    format!("`{other}` and `{column}` are both called {name} in Avro"),
                )
                .help("give one another name with AS"),
            );
        }
    }
    if problems.is_empty() { Ok(names) } else { Err(Problems(problems)) }
}

/// Makes the record of rows.
struct Row<'r> {
    query: &'r Query,
    inputs: &'r [Input],
    names: &'r [String],
    key_columns: &'r [usize],
    definitions: Definitions,
    /// Whether a column that is never null has a type without it.
    exact: bool,
}

impl<'r> Row<'r> {
    fn new(
        query: &'r Query,
        inputs: &'r [Input],
        names: &'r [String],
        key_columns: &'r [usize],
        namespace: &str,
    ) -> Self {
        let mut definitions = Definitions::new(namespace);
        for own in ["Value", "Envelope", "Key"] {
            definitions.reserve(&format!("{namespace}.{own}"));
        }
        Self { query, inputs, names, key_columns, definitions, exact: false }
    }

    fn fields(&mut self) -> Result<Vec<Json>, Problems> {
        let mut fields = Vec::with_capacity(self.names.len());
        let mut problems = Vec::new();
        for place in 0..self.names.len() {
            match self.field(place) {
                Ok(field) => fields.push(field),
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok(fields) } else { Err(Problems(problems)) }
    }

    fn field(&mut self, place: usize) -> Result<Json, Problem> {
        let column = &self.query.columns[place];
        let mut json = Map::new();
        json.insert("name".into(), self.names[place].as_str().into());
        let bare = self.key_columns.contains(&place) || (self.exact && !column.sql.nullable);
        match kept(self.query, self.inputs, place) {
            Some(kept) => self.kept_field(&kept, bare, &mut json),
            None => self.computed_field(column, place, bare, &mut json)?,
        }
        if self.names[place] == column.name {
            json.shift_remove("source.name");
        } else {
            json.insert("source.name".into(), column.name.as_str().into());
        }
        Ok(Json::Object(json))
    }

    fn kept_field(&mut self, kept: &Kept<'_>, is_bare: bool, json: &mut Map<String, Json>) {
        let Kept { schema, field, .. } = *kept;
        let nullable = nullable_branch(schema, field.node);
        let bare = nullable.unwrap_or(field.node);
        let mut attributes = field.clone();
        attributes.order = None;
        self.drop_taken_aliases(&mut attributes);
        if is_bare {
            json.insert("type".into(), self.definitions.type_json(schema, bare));
            attributes.default = None;
        } else if may_be_null(schema, field.node) {
            json.insert("type".into(), self.definitions.type_json(schema, field.node));
            if kept.required
                && attributes.default.is_none()
                && null_branch(schema, field.node) == Some(0)
            {
                attributes.default = Some(Json::Null);
            }
        } else {
            json.insert("type".into(), with_null(self.definitions.type_json(schema, bare)));
            attributes.default = Some(Json::Null);
        }
        field_attributes(&attributes, json);
    }

    /// A name that a column had before must not be another column's now.
    fn drop_taken_aliases(&self, field: &mut Field) {
        field.aliases.retain(|alias| !self.names.contains(alias));
    }

    fn computed_field(
        &mut self,
        column: &OutputColumn,
        place: usize,
        is_bare: bool,
        json: &mut Map<String, Json>,
    ) -> Result<(), Problem> {
        let name = &self.names[place];
        if is_opaque(&column.sql.data_type) {
            let message = format!(
                "`{}` is a union of several types in one part of UNION ALL and not in another",
                column.name
            );
            return Err(Problem::new("", message)
                .help("leave it out, or give its parts sinks of their own"));
        }
        let of = avro_type(&column.sql.data_type, &format!("{name}_value"))
            .map_err(|why| Problem::new("", format!("the column `{}`: {why}", column.name)))?;
        if is_bare {
            json.insert("type".into(), of);
        } else {
            json.insert("type".into(), json!(["null", of]));
            json.insert("default".into(), Json::Null);
        }
        Ok(())
    }
}

fn with_null(json: Json) -> Json {
    match json {
        // A union without null, of several types.
        Json::Array(branches) => std::iter::once("null".into()).chain(branches).collect(),
        bare => json!(["null", bare]),
    }
}

/// A column that comes through as it is: the field of the input that it is.
#[derive(Debug, Clone, Copy)]
struct Kept<'k> {
    schema: &'k Schema,
    field: &'k Field,
    /// Whether it has to have a default, since what is around it may be missing.
    required: bool,
}

/// The field that a column is in all branches; none if one computes it, or their types differ.
fn kept<'k>(query: &Query, inputs: &'k [Input], place: usize) -> Option<Kept<'k>> {
    let mut first: Option<Kept<'k>> = None;
    for branch in &query.branches {
        let kept = kept_in(branch, inputs, place)?;
        match &first {
            None => first = Some(kept),
            Some(known) if same_type(known, &kept) => {}
            Some(_) => return None,
        }
    }
    first
}

fn same_type(one: &Kept<'_>, other: &Kept<'_>) -> bool {
    let text = |kept: &Kept<'_>| kept.schema.at(kept.field.node).registry_text();
    text(one) == text(other)
}

fn kept_in<'k>(branch: &Branch, inputs: &'k [Input], place: usize) -> Option<Kept<'k>> {
    let Output::Slot { slot, path } = &branch.outputs[place] else { return None };
    let (relation, column) = match branch.slots[*slot].origin {
        Origin::Input { column } => (&inputs[branch.input].relation, column),
        Origin::Lookup { input, column } => (&inputs[input].relation, column),
        Origin::Computed => return None,
    };
    let field = relation.field_in(column, path)?;
    Some(Kept { schema: &relation.value, field, required: !path.is_empty() })
}

/// The key's record: names and types as they are in the inputs' keys, so that its id changes only when
/// the key does.
fn key_record(
    query: &Query,
    inputs: &[Input],
    names: &[String],
    key_columns: &[usize],
    namespace: &str,
) -> Json {
    let mut definitions = Definitions::new(namespace);
    definitions.reserve(&format!("{namespace}.Key"));
    let field = |place: &usize| {
        let of = match key_field(&query.branches, inputs, *place) {
            Some((schema, node)) => definitions.type_json(schema, node),
            None => {
                let data_type = &query.columns[*place].sql.data_type;
                avro_type(data_type, &format!("{}_key", names[*place])).unwrap_or("string".into())
            }
        };
        json!({"name": names[*place], "type": of})
    };
    let fields: Vec<Json> = key_columns.iter().map(field).collect();
    json!({"type": "record", "name": "Key", "namespace": namespace, "fields": fields})
}

/// The type of a key column in the inputs' keys, if it is one type in all.
fn key_field<'k>(
    branches: &[Branch],
    inputs: &'k [Input],
    place: usize,
) -> Option<(&'k Schema, NodeId)> {
    let mut found: Option<(&Schema, NodeId)> = None;
    for branch in branches {
        let Output::Slot { slot, .. } = &branch.outputs[place] else { return None };
        let Origin::Input { column } = branch.slots[*slot].origin else { return None };
        let (schema, node) = field_of_key(&inputs[branch.input].relation, column)?;
        match found {
            Some((known, id))
                if known.at(id).registry_text() != schema.at(node).registry_text() =>
            {
                return None;
            }
            Some(_) => {}
            None => found = Some((schema, node)),
        }
    }
    found
}

fn field_of_key(relation: &Relation, column: usize) -> Option<(&Schema, NodeId)> {
    let key = relation.key.as_ref()?;
    let place = relation.key_columns.iter().position(|of| *of == column)?;
    match &key.node(key.root()).kind {
        Kind::Record(fields) => fields.get(place).map(|field| (key, field.node)),
        _ => None,
    }
}

/// The type of the `source` block if all inputs have the same.
fn common_source<'k>(query: &Query, inputs: &'k [Input]) -> Option<(&'k Schema, NodeId)> {
    let of = |branch: &Branch| {
        let relation = &inputs[branch.input].relation;
        let schema = &relation.value;
        match (&schema.node(schema.root()).kind, relation.form) {
            (Kind::Record(fields), Form::Envelope) => {
                fields.iter().find(|field| field.name == "source").map(|field| (schema, field.node))
            }
            _ => None,
        }
    };
    let blocks = query.branches.iter().map(of).collect::<Option<Vec<_>>>()?;
    if let [block] = blocks.as_slice() {
        return Some(*block);
    }
    let texts: BTreeSet<String> =
        blocks.iter().map(|(schema, node)| schema.at(*node).registry_text()).collect();
    if texts.len() == 1 { blocks.first().copied() } else { None }
}
