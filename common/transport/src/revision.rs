//! A schema that comes again, word for word, as a table's does whose column was added and is dropped: a
//! registry gives it the id that it had, the subject's newest version stays the one between, and who
//! follows the subject hears of nothing. So it is registered once more with a revision: a property of
//! the record, which is part of the schema's text and of no record's meaning.

use serde_json::Value as Json;
use tidemesh_avro::schema::Schema;
use tidemesh_model::{Error, ErrorKind, Result};

/// The property that tells it apart (Avro specification 1.12, "Schema Declaration": what is not defined
/// is metadata, and must not affect the format of serialized data).
const REVISION: &str = "tidemesh.revision";

/// A subject's newest schema.
pub(crate) struct Newest {
    pub(crate) id: u32,
    pub(crate) version: u32,
    pub(crate) schema: String,
}

/// By which schema a subject goes on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum GoesOn {
    /// By one that it has.
    With(u32),
    /// By one that is to be registered.
    Anew(String),
}

/// By what a subject goes on whose records had the schema with the id `last`, now that it has `schema`,
/// which a registry knows by `id`. Ids rise with the versions of a subject, since the schemas of no
/// other are the same.
///
/// # Errors
///
/// `Malformed` for a text that is no schema.
pub(crate) fn goes_on(schema: &str, id: u32, last: Option<u32>, newest: &Newest) -> Result<GoesOn> {
    if newest.id == id || last.is_some_and(|last| last <= id) {
        return Ok(GoesOn::With(id));
    }
    if plain(&newest.schema)? == plain(schema)? {
        return Ok(GoesOn::With(newest.id));
    }
    match last {
        // What was written last is not known, as of a checkpoint of an earlier version.
        None => Ok(GoesOn::With(id)),
        Some(_) => revised(schema, newest.version.saturating_add(1)).map(GoesOn::Anew),
    }
}

/// A schema as registries print it, without its revision.
fn plain(schema: &str) -> Result<String> {
    let mut json = parsed(schema)?;
    if let Some(record) = json.as_object_mut() {
        record.shift_remove(REVISION);
    }
    let schema = Schema::parse(&json.to_string()).map_err(|error| malformed().caused_by(error))?;
    Ok(schema.registry_text())
}

/// A schema with a revision.
fn revised(schema: &str, revision: u32) -> Result<String> {
    let mut json = parsed(schema)?;
    let record = json.as_object_mut().ok_or_else(malformed)?;
    record.insert(REVISION.to_owned(), Json::from(revision));
    Ok(json.to_string())
}

fn parsed(schema: &str) -> Result<Json> {
    serde_json::from_str(schema).map_err(|error| malformed().caused_by(error))
}

#[cold]
fn malformed() -> Error {
    Error::new(ErrorKind::Malformed, "compare schemas of a subject")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str =
        r#"{"type":"record","name":"Row","namespace":"t","fields":[{"name":"a","type":"int"}]}"#;
    const BETWEEN: &str = r#"{"type":"record","name":"Row","namespace":"t","fields":[{"name":"a","type":"int"},{"name":"b","type":["null","int"],"default":null}]}"#;

    /// A subject whose versions have ids from 11 on.
    struct Subject(Vec<String>);

    impl Subject {
        /// What a registry does: it prints the schema, and answers the id that it has.
        fn register(&mut self, schema: &str) -> u32 {
            let text = Schema::parse(schema).unwrap().registry_text();
            let place = self.0.iter().position(|known| *known == text).unwrap_or_else(|| {
                self.0.push(text);
                self.0.len() - 1
            });
            u32::try_from(place).unwrap() + 11
        }

        fn follow(&mut self, schema: &str, last: Option<u32>) -> u32 {
            let id = self.register(schema);
            let version = u32::try_from(self.0.len()).unwrap();
            let schema_of = self.0.last().unwrap().clone();
            let newest = Newest { id: version + 10, version, schema: schema_of };
            match goes_on(schema, id, last, &newest).unwrap() {
                GoesOn::With(id) => id,
                GoesOn::Anew(text) => self.register(&text),
            }
        }
    }

    #[test]
    fn a_schema_that_comes_again_is_a_new_version_of_the_same_meaning() {
        let mut subject = Subject(Vec::new());
        assert_eq!(subject.follow(BEFORE, None), 11);
        assert_eq!(subject.follow(BETWEEN, Some(11)), 12);
        assert_eq!(subject.follow(BEFORE, Some(12)), 13);
        let parse = |text: &str| Schema::parse(text).unwrap();
        assert_eq!(parse(&subject.0[2]).canonical_form(), parse(BEFORE).canonical_form());
        // It stays that one, in this run and in the next.
        assert_eq!(subject.follow(BEFORE, Some(13)), 13);
        assert_eq!(subject.follow(BEFORE, None), 13);
        assert_eq!(subject.follow(BETWEEN, Some(13)), 14);
        assert_eq!(subject.follow(BEFORE, Some(14)), 15);
        assert_eq!(subject.0.len(), 5);
    }

    #[test]
    fn records_that_come_again_after_a_crash_have_the_schema_that_they_had() {
        let mut subject = Subject(Vec::new());
        subject.follow(BEFORE, None);
        subject.follow(BETWEEN, Some(11));
        // No record of the new schema had been stored.
        assert_eq!(subject.follow(BEFORE, Some(11)), 11);
        assert_eq!(subject.follow(BETWEEN, Some(11)), 12);
        // Nor is anything known of what a version without this wrote.
        assert_eq!(subject.follow(BEFORE, None), 11);
        assert_eq!(subject.0.len(), 2);
    }

    #[test]
    fn what_is_no_schema_is_an_error() {
        let newest = Newest { id: 12, version: 2, schema: "{".into() };
        assert!(goes_on(BEFORE, 11, Some(12), &newest).is_err());
        let newest = Newest { schema: "1".into(), ..newest };
        assert!(goes_on(BEFORE, 11, Some(12), &newest).is_err());
    }
}
