//! The rows of topics: of those that pipelines of the set write as they are planned, of the others as
//! they are known. A topic that many read is looked into once.

use super::set::Set;
use super::{OutputPlan, Topic};
use crate::output::OutputSchemas;
use crate::relation::Relation;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
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

/// SHA-256 of a topic's schemas.
pub(super) type SchemasDigest = [u8; 32];

pub(super) struct Known<'s, 'd> {
    set: &'s Set<'d>,
    /// The schemas of planned topics, which are parsed if somebody reads them.
    planned: HashMap<String, OutputSchemas>,
    looked: Mutex<HashMap<String, Arc<Looked>>>,
}

/// A topic that somebody has looked into.
#[derive(Default)]
struct Looked {
    relation: OnceLock<Result<Relation, String>>,
    digest: OnceLock<SchemasDigest>,
}

/// Where a topic's schemas are.
enum Found<'k> {
    Planned(&'k OutputSchemas),
    Known(&'k Topic),
    Unplanned,
    Unknown,
}

impl<'s, 'd> Known<'s, 'd> {
    pub(super) fn new(set: &'s Set<'d>) -> Self {
        Self { set, planned: HashMap::new(), looked: Mutex::default() }
    }

    /// A topic has the schemas of its plan from here on.
    pub(super) fn planned(&mut self, output: &OutputPlan) {
        self.planned.insert(output.topic.clone(), output.schemas.clone());
    }

    /// The rows of a topic.
    pub(super) fn rows(&self, topic: &str) -> Rows {
        let looked = self.looked(topic);
        let relation = match self.find(topic) {
            Found::Unknown => return Rows::Unknown,
            Found::Unplanned => return Rows::Unplanned,
            Found::Known(known) => looked
                .relation
                .get_or_init(|| Relation::of_topic(known.key.clone(), known.value.clone())),
            Found::Planned(schemas) => looked.relation.get_or_init(|| {
                let (key, value) = schemas.parsed()?;
                Relation::of_topic(key, value)
            }),
        };
        match relation {
            Ok(relation) => Rows::Known(relation.clone()),
            Err(why) => Rows::Wrong(why.clone()),
        }
    }

    /// What tells a topic's schemas from others; none if there are none.
    pub(super) fn digest(&self, topic: &str) -> Option<SchemasDigest> {
        let looked = self.looked(topic);
        match self.find(topic) {
            Found::Unknown | Found::Unplanned => None,
            Found::Planned(OutputSchemas { key, value, .. }) => {
                Some(*looked.digest.get_or_init(|| digest(key.as_deref(), value)))
            }
            Found::Known(known) => Some(*looked.digest.get_or_init(|| {
                let key = known.key.as_ref().map(Schema::registry_text);
                digest(key.as_deref(), &known.value.registry_text())
            })),
        }
    }

    fn find(&self, topic: &str) -> Found<'_> {
        match (self.planned.get(topic), self.set.known(topic)) {
            (Some(texts), _) => Found::Planned(texts),
            (None, _) if self.set.writer(topic).is_some() => Found::Unplanned,
            (None, Some(known)) => Found::Known(known),
            (None, None) => Found::Unknown,
        }
    }

    fn looked(&self, topic: &str) -> Arc<Looked> {
        // What is in the map is whole whatever a thread was doing when it ended.
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(looked) = looked.get(topic) {
            return looked.clone();
        }
        looked.entry(topic.to_owned()).or_default().clone()
    }
}

fn digest(key: Option<&str>, value: &str) -> SchemasDigest {
    let mut digest = Sha256::new();
    // The key's length before it: what is the key's cannot be taken for the value's.
    let length = key.map_or(u64::MAX, |key| key.len() as u64);
    digest.update(length.to_le_bytes());
    digest.update(key.unwrap_or_default());
    digest.update(value);
    digest.finalize().into()
}
