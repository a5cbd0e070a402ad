//! A change of a table's schema, as its connector writes it: every column but the key's may be null, a
//! column that is renamed keeps its former names as aliases, and what the readers of the topic cannot
//! follow goes on in the table's next topic.

use super::{Change, avro_type};
use crate::mesh::{Topic, Topics};
use crate::relation::{Form, Relation};
use crate::upgrade::carry::same_key;
use crate::upgrade::generations::{last, name_of_next};
use serde_json::{Value as Json, json};
use tidemesh_avro::compat::{CompatibilityLevel, check_level};
use tidemesh_avro::name::{avro_name, namespace};
use tidemesh_avro::schema::Schema;
use tidemesh_model::{Error, ErrorKind, Result};

/// The topics as they would be: the topic with its new schemas, or with its table's next one beside it.
/// Of a table that has gone over to another topic the present one is changed, whichever is named.
///
/// # Errors
///
/// As [`super::impact`].
pub fn apply(topics: &Topics, topic: &str, changes: &[Change]) -> Result<Topics> {
    let present = last(topic, topics);
    let known = topics.get(present).ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "change a topic's schema")
            .because("nobody knows the topic")
            .with("topic", topic)
            .help("name it as source.schema.table")
    })?;
    let mut table = Table::of(known)?;
    changes.iter().try_for_each(|change| table.change(change))?;
    let changed = table.topic(present, present)?;
    let mut topics = topics.clone();
    if known.source.is_some() && !follows(known, &changed) {
        let next = name_of_next(present);
        topics.insert(next.clone(), table.topic(present, &next)?);
    } else {
        topics.insert(present.to_owned(), changed);
    }
    Ok(topics)
}

/// The topic that is only in the second.
pub(super) fn added(before: &Topics, after: &Topics) -> Option<String> {
    after.keys().find(|topic| !before.contains_key(*topic)).cloned()
}

/// Whether the topic's subjects take the change: keys of one type for ever, values both ways.
fn follows(old: &Topic, new: &Topic) -> bool {
    let history = [(1, &old.value)];
    same_key(old.key.as_ref(), new.key.as_ref())
        && check_level(CompatibilityLevel::FullTransitive, &new.value, &history).compatible()
}

/// A topic's schemas as JSON.
struct Table {
    source: Option<String>,
    key: Option<Json>,
    value: Json,
    /// Whether the rows stand in an envelope.
    enveloped: bool,
}

impl Table {
    fn of(topic: &Topic) -> Result<Self> {
        let relation = Relation::of_topic(topic.key.clone(), topic.value.clone());
        let relation =
            relation.map_err(|why| wrong("the topic's records are no rows").with("why", why))?;
        let json = |schema: &Schema| -> Result<Json> {
            serde_json::from_str(&schema.registry_text())
                .map_err(|error| wrong("a schema is no JSON").caused_by(error))
        };
        Ok(Self {
            source: topic.source.clone(),
            key: topic.key.as_ref().map(json).transpose()?,
            value: json(&topic.value)?,
            enveloped: relation.form == Form::Envelope,
        })
    }

    fn change(&mut self, change: &Change) -> Result<()> {
        match change {
            Change::DropColumn { column } => self.drop(column),
            Change::Rename { column, to } => self.rename(column, to),
            Change::Add { column, data_type, default } => {
                self.add(column, data_type, default.as_ref())
            }
            Change::Type { column, data_type } => self.retype(column, data_type),
            Change::Key { columns } => self.rekey(columns),
            Change::Schema { text } => self.replace(text),
        }
    }

    /// The rows' fields.
    fn fields(&mut self) -> Result<&mut Vec<Json>> {
        let row =
            if self.enveloped { record_behind(&mut self.value) } else { Some(&mut self.value) };
        let fields = row.and_then(|row| row.get_mut("fields")).and_then(Json::as_array_mut);
        fields.ok_or_else(|| wrong("the rows are no record that is written where it is used first"))
    }

    fn key_fields(&mut self) -> Option<&mut Vec<Json>> {
        self.key.as_mut()?.get_mut("fields")?.as_array_mut()
    }

    fn place(&mut self, column: &str) -> Result<usize> {
        let fields = self.fields()?;
        fields.iter().position(|field| is_called(field, column)).ok_or_else(|| {
            let names: Vec<&str> =
                fields.iter().filter_map(|field| field["name"].as_str()).collect();
            Error::new(ErrorKind::NotFound, "change a topic's schema")
                .because(format!("there is no column {column}; there are {}", names.join(", ")))
                .help("name a column of the table")
        })
    }

    fn drop(&mut self, column: &str) -> Result<()> {
        let place = self.place(column)?;
        let field = self.fields()?.remove(place);
        if let Some(key) = self.key_fields() {
            key.retain(|of_key| of_key["name"] != field["name"]);
            if key.is_empty() {
                return Err(wrong("it is all of the table's key").help("name another key first"));
            }
        }
        Ok(())
    }

    fn rename(&mut self, column: &str, to: &str) -> Result<()> {
        self.is_free(to)?;
        let place = self.place(column)?;
        let (name, field) = (avro_name(to), &mut self.fields()?[place]);
        let old = std::mem::replace(&mut field["name"], json!(name));
        let mut aliases = field["aliases"].as_array().cloned().unwrap_or_default();
        aliases.retain(|alias| *alias != json!(name) && *alias != old);
        aliases.insert(0, old.clone());
        field["aliases"] = aliases.into();
        original(field, to);
        for of_key in self.key_fields().into_iter().flatten().filter(|field| field["name"] == old) {
            of_key["name"] = json!(avro_name(to));
        }
        Ok(())
    }

    fn add(&mut self, column: &str, data_type: &str, default: Option<&Json>) -> Result<()> {
        self.is_free(column)?;
        let of = avro_type(data_type)?;
        let mut field = json!({"name": avro_name(column)});
        (field["type"], field["default"]) = match default {
            None | Some(Json::Null) => (json!(["null", of]), Json::Null),
            Some(default) => (json!([of, "null"]), default.clone()),
        };
        original(&mut field, column);
        self.fields()?.push(field);
        Ok(())
    }

    fn retype(&mut self, column: &str, data_type: &str) -> Result<()> {
        let place = self.place(column)?;
        let of = avro_type(data_type)?;
        let field = &mut self.fields()?[place];
        let name = field["name"].clone();
        if field["type"].is_array() {
            field["type"] = json!(["null", of]);
            field["default"] = Json::Null;
        } else {
            field["type"] = of.clone();
        }
        for of_key in self.key_fields().into_iter().flatten().filter(|field| field["name"] == name)
        {
            of_key["type"] = of.clone();
        }
        Ok(())
    }

    fn rekey(&mut self, columns: &[String]) -> Result<()> {
        let mut key = Vec::new();
        for column in columns {
            let place = self.place(column)?;
            let field = &self.fields()?[place];
            key.push(json!({"name": field["name"], "type": bare(&field["type"])}));
        }
        if key.is_empty() {
            return Err(wrong("a key has a column at least"));
        }
        for field in self.fields()? {
            let in_key = key.iter().any(|of_key| of_key["name"] == field["name"]);
            match (in_key, field["type"].is_array()) {
                (true, true) => {
                    field["type"] = bare(&field["type"]);
                    remove(field, "default");
                }
                (false, false) => {
                    field["type"] = json!(["null", field["type"]]);
                    field["default"] = Json::Null;
                }
                _ => {}
            }
        }
        match self.key_fields() {
            Some(fields) => *fields = key,
            None => self.key = Some(json!({"type": "record", "name": "Key", "fields": key})),
        }
        Ok(())
    }

    /// Takes a schema of the values, or of an envelope's rows.
    fn replace(&mut self, text: &str) -> Result<()> {
        let schema = Schema::parse(text)?;
        let json = |text: &str| -> Result<Json> {
            serde_json::from_str(text).map_err(|error| wrong("it is no JSON").caused_by(error))
        };
        let given = json(&schema.registry_text())?;
        let form = Relation::of_topic(None, schema).map(|relation| relation.form);
        let form = form.map_err(|why| wrong("its records are no rows").with("why", why))?;
        if self.enveloped && form != Form::Envelope {
            let fields = given["fields"].as_array().cloned().unwrap_or_default();
            *self.fields()? = fields;
        } else {
            self.value = given;
        }
        Ok(())
    }

    fn is_free(&mut self, column: &str) -> Result<()> {
        if self.fields()?.iter().any(|field| is_called(field, column)) {
            return Err(wrong("there is such a column").with("column", column));
        }
        Ok(())
    }

    /// The topic, called `to`: its records' namespace is made of its name.
    fn topic(&self, from: &str, to: &str) -> Result<Topic> {
        let parse = |json: &Json| {
            let mut json = json.clone();
            if from != to {
                respace(&mut json, &namespace(from), &namespace(to));
            }
            Schema::parse(&json.to_string())
        };
        Ok(Topic {
            key: self.key.as_ref().map(parse).transpose()?,
            value: parse(&self.value)?,
            source: self.source.clone(),
        })
    }
}

fn wrong(why: &'static str) -> Error {
    Error::new(ErrorKind::Unsupported, "change a topic's schema").because(why)
}

/// The record that an envelope's `before` holds, where it is written.
fn record_behind(envelope: &mut Json) -> Option<&mut Json> {
    let fields = envelope.get_mut("fields")?.as_array_mut()?;
    let images =
        fields.iter_mut().filter(|field| field["name"] == "before" || field["name"] == "after");
    let mut types = images.filter_map(|field| field.get_mut("type"));
    types.find_map(|of| match of {
        Json::Array(branches) => branches.iter_mut().find(|branch| branch.is_object()),
        record => Some(record).filter(|record| record.is_object()),
    })
}

fn is_called(field: &Json, column: &str) -> bool {
    field["name"] == *avro_name(column) || field["source.name"] == *column
}

/// Keeps the name that a column has in its database.
fn original(field: &mut Json, name: &str) {
    if field["name"] == *name {
        remove(field, "source.name");
    } else {
        field["source.name"] = json!(name);
    }
}

fn remove(json: &mut Json, name: &str) {
    if let Some(object) = json.as_object_mut() {
        object.shift_remove(name);
    }
}

/// A type without null beside it.
fn bare(of: &Json) -> Json {
    match of {
        Json::Array(branches) => {
            let mut others = branches.iter().filter(|branch| **branch != "null");
            match (others.next(), others.next()) {
                (Some(one), None) => one.clone(),
                _ => of.clone(),
            }
        }
        other => other.clone(),
    }
}

/// Puts what is in one namespace, or within it, into another.
fn respace(json: &mut Json, from: &str, to: &str) {
    match json {
        // A type's name.
        Json::String(text) => {
            let rest = text.strip_prefix(from);
            if let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with('.')) {
                *text = format!("{to}{rest}");
            }
        }
        Json::Array(items) => items.iter_mut().for_each(|item| respace(item, from, to)),
        Json::Object(object) => {
            const TYPES: [&str; 6] = ["type", "items", "values", "fields", "name", "namespace"];
            let named = ["fields", "symbols", "size"];
            let is_field = !named.iter().any(|name| object.contains_key(*name));
            for (name, value) in object.iter_mut() {
                let own_name = is_field && name == "name";
                if TYPES.contains(&name.as_str()) && !own_name {
                    respace(value, from, to);
                }
            }
        }
        _ => {}
    }
}
