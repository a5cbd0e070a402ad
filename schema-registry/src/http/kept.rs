//! What is kept because it is asked for again and again: producers register the same schema at each
//! start, and consumers fetch the same few by their ids.

use std::sync::Arc;

use axum::body::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde_json::{Map, Value};

use super::answer::SchemaAnswer;
use super::reply::Reply;
use crate::avro::weight;
use crate::state::Identity;

/// The most bytes of bodies that are kept with what they hold.
const BODIES_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The longest body that is kept.
const BODY_BYTES_MAX: usize = 32 * 1024;

/// The most members of one. With these, and without lists and objects within, it takes up little more
/// than its bytes.
const BODY_MEMBERS_MAX: usize = 16;

/// The most bytes of answers that are kept.
const ANSWERS_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// How many of either are about as many bytes, for the first size of the tables.
const COUNT: usize = 4096;

/// The members of a body.
type Members = Arc<Map<String, Value>>;

/// Request bodies that were read before.
#[derive(Debug)]
pub(super) struct Bodies(Cache<Box<[u8]>, Members, ByLength>);

/// Answers that hold a schema and nothing else, by the place of its text in memory.
#[derive(Debug)]
pub(super) struct Answers(Cache<usize, Arc<Answer>, ByLength>);

#[derive(Debug)]
struct Answer {
    /// Keeps the place of its text.
    schema: Identity,
    body: Bytes,
}

#[derive(Debug, Clone)]
struct ByLength;

impl Weighter<Box<[u8]>, Members> for ByLength {
    fn weight(&self, body: &Box<[u8]>, _: &Members) -> u64 {
        weight(body.len())
    }
}

impl Weighter<usize, Arc<Answer>> for ByLength {
    fn weight(&self, _: &usize, answer: &Arc<Answer>) -> u64 {
        weight(answer.body.len())
    }
}

impl Default for Bodies {
    fn default() -> Self {
        Self(Cache::with_weighter(COUNT, BODIES_BYTES_MAX, ByLength))
    }
}

impl Bodies {
    /// The members of a body, read by `read` if they were not before.
    pub(super) fn members(
        &self,
        body: &[u8],
        read: impl FnOnce(&[u8]) -> Result<Map<String, Value>, Reply>,
    ) -> Result<Members, Reply> {
        if let Some(known) = self.0.get(body) {
            return Ok(known);
        }
        let members = Arc::new(read(body)?);
        if body.len() <= BODY_BYTES_MAX && is_flat(&members) {
            self.0.insert(Box::from(body), Arc::clone(&members));
        }
        Ok(members)
    }
}

fn is_flat(members: &Map<String, Value>) -> bool {
    let mut values = members.values();
    members.len() <= BODY_MEMBERS_MAX && values.all(|value| !value.is_array() && !value.is_object())
}

impl Default for Answers {
    fn default() -> Self {
        Self(Cache::with_weighter(COUNT, ANSWERS_BYTES_MAX, ByLength))
    }
}

impl Answers {
    /// The answer that holds this schema and nothing else.
    pub(super) fn of(&self, schema: &Identity) -> Reply {
        let place = Arc::as_ptr(&schema.text).cast::<u8>().addr();
        if let Some(known) = self.0.get(&place).filter(|known| known.schema.is_copy_of(schema)) {
            return Reply::raw(known.body.clone());
        }
        let reply = Reply::of(&SchemaAnswer::of(schema, None));
        if let Some(body) = reply.ok_body() {
            let (schema, body) = (schema.clone(), body.clone());
            self.0.insert(place, Arc::new(Answer { schema, body }));
        }
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn body(answers: &Answers, schema: &Identity) -> Bytes {
        answers.of(schema).ok_body().cloned().unwrap()
    }

    #[test]
    fn an_answer_is_kept_for_its_schema_alone() {
        let answers = Answers::default();
        let plain = Identity::new("\"int\"", Arc::from([]));
        let first = body(&answers, &plain);
        assert_eq!(&*first, br#"{"schema":"\"int\""}"#);
        assert_eq!(body(&answers, &plain.clone()).as_ptr(), first.as_ptr(), "it is the same");
        // The same text, with something noted on it.
        let noted = Identity { metadata: Some(Arc::default()), ..plain.clone() };
        assert_eq!(&*body(&answers, &noted), br#"{"metadata":{},"schema":"\"int\""}"#);
        assert_eq!(body(&answers, &plain), first);
    }

    #[test]
    fn a_short_body_is_read_once_and_a_large_or_wrong_one_each_time() {
        let bodies = Bodies::default();
        let read = |_: &[u8]| Ok(Map::from_iter([("a".to_owned(), Value::Null)]));
        let first = bodies.members(b"x", read).unwrap();
        let again = bodies.members(b"x", |_| unreachable!("it is known")).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        let long = vec![b'x'; BODY_BYTES_MAX + 1];
        let first = bodies.members(&long, read).unwrap();
        assert!(!Arc::ptr_eq(&first, &bodies.members(&long, read).unwrap()));
        let nested = |_: &[u8]| Ok(Map::from_iter([("a".to_owned(), json!([[0]]))]));
        let first = bodies.members(b"z", nested).unwrap();
        assert!(!Arc::ptr_eq(&first, &bodies.members(b"z", nested).unwrap()), "a tree is large");
        let wrong = |_: &[u8]| Err(Reply::nothing());
        bodies.members(b"y", wrong).unwrap_err();
        bodies.members(b"y", read).unwrap();
    }
}
