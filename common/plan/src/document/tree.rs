//! A document as YAML or JSON has it, with the place of each key and value.

use super::origin::Origin;
use crate::Place;
use serde_json::{Map, Number, Value};

/// A value and where it begins.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) content: Content,
}

/// What a value is.
#[derive(Clone)]
pub(super) enum Content {
    Null,
    /// What is no value, and has been reported.
    Wrong,
    Boolean(bool),
    Number(Number),
    Text(String, Origin),
    List(Vec<Node>),
    /// Keys are unique, in the order in which they stand.
    Table(Vec<Entry>),
}

/// A key with its value.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_place: Place,
    pub(super) value: Node,
}

impl Node {
    /// The value of a key, if this is a table that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let Content::Table(entries) = &self.content else { return None };
        entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// The list's value at a place.
    pub(super) fn item(&self, index: usize) -> Option<&Self> {
        let Content::List(items) = &self.content else { return None };
        items.get(index)
    }

    /// The value without its places.
    pub(super) fn to_json(&self) -> Value {
        match &self.content {
            Content::Null | Content::Wrong => Value::Null,
            Content::Boolean(value) => Value::Bool(*value),
            Content::Number(number) => Value::Number(number.clone()),
            Content::Text(text, _) => Value::String(text.clone()),
            Content::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Content::Table(entries) => Value::Object(table(entries)),
        }
    }

    /// What it is, for messages.
    pub(super) fn what(&self) -> &'static str {
        match self.content {
            Content::Null | Content::Wrong => "nothing",
            Content::Boolean(_) => "true or false",
            Content::Number(_) => "a number",
            Content::Text(..) => "a text",
            Content::List(_) => "a list",
            Content::Table(_) => "a table of keys",
        }
    }
}

fn table(entries: &[Entry]) -> Map<String, Value> {
    entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect()
}
