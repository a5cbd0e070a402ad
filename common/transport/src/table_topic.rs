//! Which topic a table's events go to, and what it is called: a change that the readers of one topic cannot follow closes
//! it, and the table goes on in the next.

use crate::stored::{stored_item, take_stored};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tidemesh_avro::name::topic_part;
use tidemesh_model::{Error, ErrorKind, Result, StateItem, TableName};

/// The prefix of the items under which generations are stored.
const PREFIX: &str = "generation/";

/// The version this program writes.
const VERSION: u32 = 1;

/// The name of a table's topic: `<source>.<schema>.<table>`, what Kafka forbids escaped.
#[must_use]
pub fn topic_name(source: &str, table: &TableName) -> String {
    let part = |name| topic_part(name).replace('.', "_u002e");
    format!("{source}.{}.{}", part(&table.schema), part(&table.table))
}

/// Checks that no two tables share a topic.
///
/// # Errors
///
/// `Config`, naming both.
pub fn check_topics(source: &str, tables: &[TableName]) -> Result<()> {
    for (index, table) in tables.iter().enumerate() {
        let topic = topic_name(source, table);
        crate::check_topic_name(&topic)?;
        if let Some(other) = tables[..index].iter().find(|t| topic_name(source, t) == topic) {
            return Err(Error::new(ErrorKind::Config, "name the topics")
                .because("two tables would share a topic")
                .with("first", other)
                .with("second", table)
                .with("topic", topic)
                .help("rename one of the tables or capture it by a source of its own"));
        }
    }
    Ok(())
}

/// The generations of a source's tables: 1 where nothing else is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Generations(BTreeMap<TableName, u32>);

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    table: TableName,
    generation: u32,
}

impl Generations {
    /// Takes what was stored out of a checkpoint's items.
    ///
    /// # Errors
    ///
    /// `Corrupt` and `NewerVersion`, with the item.
    pub fn take(items: &mut BTreeMap<String, Vec<u8>>) -> Result<Self> {
        let mut generations = Self::default();
        let stored: Vec<Stored> = take_stored(items, PREFIX, VERSION, "read a topic's generation")?;
        for Stored { table, generation, .. } in stored {
            generations.set(&table, generation);
        }
        Ok(generations)
    }

    /// What is to be stored of a table.
    ///
    /// # Errors
    ///
    /// `Internal` if it cannot be written as JSON, which does not happen.
    pub fn item(&self, table: &TableName) -> Result<StateItem> {
        let generation = self.of(table);
        let stored = Stored { version: VERSION, table: table.clone(), generation };
        let key = format!("{PREFIX}{}", serde_json::json!([table.schema, table.table]));
        stored_item(key, &stored, "store a topic's generation")
    }

    /// A table's generation, from 1 on.
    #[must_use]
    pub fn of(&self, table: &TableName) -> u32 {
        self.0.get(table).copied().unwrap_or(1)
    }

    /// From here on a table is of this generation.
    pub fn set(&mut self, table: &TableName, generation: u32) {
        self.0.insert(table.clone(), generation);
    }

    /// The topic that a table's events go to now.
    #[must_use]
    pub fn topic(&self, source: &str, table: &TableName) -> String {
        generation_topic(source, table, self.of(table))
    }

    /// All topics that a table's events went to, the present one last.
    pub fn topics(&self, source: &str, table: &TableName) -> impl Iterator<Item = String> {
        (1..=self.of(table)).map(move |generation| generation_topic(source, table, generation))
    }

    /// The tables that are beyond their first topic, each with its present one.
    pub fn beyond_first(&self, source: &str) -> BTreeMap<String, String> {
        let tables = self.0.iter().filter(|(_, generation)| **generation > 1);
        tables.map(|(table, _)| (table.to_string(), self.topic(source, table))).collect()
    }
}

/// The topic of one of a table's generations: the first has the table's own name, and no table's
/// name can be that of another's later one, since points are escaped in both its parts.
pub(crate) fn generation_topic(source: &str, table: &TableName, generation: u32) -> String {
    match generation {
        1 => topic_name(source, table),
        _ => format!("{}.g{generation}", topic_name(source, table)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_has_the_sources_and_the_tables_names() {
        let name = |schema: &str, table: &str| topic_name("shop", &TableName::new(schema, table));
        assert_eq!(name("public", "orders"), "shop.public.orders");
        assert_eq!(name("public", "my orders"), "shop.public.my_u0020orders");
        assert_eq!(name("a.b", "c"), "shop.a_u002eb.c");
    }

    #[test]
    fn two_tables_that_would_share_a_topic_are_refused() {
        let tables = [TableName::new("public", "a b"), TableName::new("public", "a_u0020b")];
        let error = check_topics("shop", &tables).unwrap_err();
        assert!(error.to_string().contains("two tables would share a topic"), "{error}");
        check_topics("shop", &tables[..1]).unwrap();
    }

    #[test]
    fn a_tables_topics_are_told_apart_and_stored() {
        let table = TableName::new("public", "orders");
        let mut generations = Generations::default();
        assert_eq!(generations.topic("shop", &table), "shop.public.orders");
        assert!(generations.beyond_first("shop").is_empty());
        generations.set(&table, 3);
        let all: Vec<String> = generations.topics("shop", &table).collect();
        assert_eq!(all, ["shop.public.orders", "shop.public.orders.g2", "shop.public.orders.g3"]);
        let item = generations.item(&table).unwrap();
        let mut items = BTreeMap::from([(item.key, item.value.unwrap()), ("x".into(), vec![1])]);
        assert_eq!(Generations::take(&mut items).unwrap(), generations);
        assert_eq!(items.len(), 1);
    }

    #[test]
    fn a_newer_form_is_refused() {
        let value = br#"{"version":2,"table":{"schema":"a","table":"b"},"generation":1}"#;
        let mut items = BTreeMap::from([("generation/x".to_owned(), value.to_vec())]);
        let error = Generations::take(&mut items).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NewerVersion);
    }
}
