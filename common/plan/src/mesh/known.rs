//! The rows of topics: of those that pipelines of the set write as they are planned, of the others as
//! they are known. A topic that many read is looked into once.

use super::OutputPlan;
use super::set::Set;
use crate::relation::Relation;
use std::collections::HashMap;
use tidemesh_avro::schema::Schema;

/// What is known of a topic's rows.
pub(super) enum Rows {
    /// They are these.
    Known(Relation),
    /// They cannot be read by SQL, for this reason.
    Wrong(String),
    /// The pipeline that writes them could not be planned.
    Unplanned,
    /// Nobody knows the topic.
    Unknown,
}

pub(super) struct Known<'s, 'd> {
    set: &'s Set<'d>,
    /// The schemas of planned topics, as texts: they are parsed if somebody reads them.
    planned: HashMap<String, (Option<String>, String)>,
    relations: HashMap<String, Result<Relation, String>>,
}

impl<'s, 'd> Known<'s, 'd> {
    pub(super) fn new(set: &'s Set<'d>) -> Self {
        Self { set, planned: HashMap::new(), relations: HashMap::new() }
    }

    /// A topic has the schemas of its plan from here on.
    pub(super) fn planned(&mut self, output: &OutputPlan) {
        let schemas = (output.schemas.key.clone(), output.schemas.value.clone());
        self.planned.insert(output.topic.clone(), schemas);
    }

    pub(super) fn rows(&mut self, topic: &str) -> Rows {
        if !self.relations.contains_key(topic) {
            let schemas = match (self.planned.get(topic), self.set.known(topic)) {
                (Some((key, value)), _) => parsed(key.as_deref(), value),
                (None, _) if self.set.writer(topic).is_some() => return Rows::Unplanned,
                (None, Some(known)) => Ok((known.key.clone(), known.value.clone())),
                (None, None) => return Rows::Unknown,
            };
            let relation = schemas.and_then(|(key, value)| Relation::of_topic(key, value));
            self.relations.insert(topic.to_owned(), relation);
        }
        match &self.relations[topic] {
            Ok(relation) => Rows::Known(relation.clone()),
            Err(why) => Rows::Wrong(why.clone()),
        }
    }
}

fn parsed(key: Option<&str>, value: &str) -> Result<(Option<Schema>, Schema), String> {
    let parse = |text: &str| Schema::parse(text).map_err(|error| error.to_string());
    Ok((key.map(parse).transpose()?, parse(value)?))
}
