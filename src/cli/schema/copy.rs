//! `export` and `import`: everything that a registry holds, as records.
//!
//! A registry is read by the calls that every one with Confluent's API has. What it holds is written
//! into subjects that are in import mode for that time. Writing the same again ends with the same, so an
//! import that was interrupted is simply begun anew.
//!
//! Not carried, for no call tells of it: configurations and modes of names that have no versions, and
//! ids that were given out once and are gone. What another registry lists and does not give, and what
//! ours refuses as no schema, is told and left out, and everything else goes on.

use super::super::client::{Daemon, print_line};
use super::http::Registry;
use super::look::{subjects_path, texts};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;
use std::ptr;
use tidemesh_avro::schema::Schema;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_transport::escape;

/// The most differences that are told one by one.
const DIFFERENCES_TOLD_MAX: usize = 20;

/// The members of a version that are carried.
const VERSION_MEMBERS: [&str; 5] = ["schema", "schemaType", "references", "metadata", "ruleSet"];

/// One line of an export.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Record {
    /// A version of a subject.
    Version {
        subject: String,
        version: u32,
        id: u32,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        deleted: bool,
        /// Its schema, references, metadata and rules, as they are registered.
        body: Map<String, Json>,
    },
    /// The configuration of a scope; the empty one is all.
    Config { scope: String, config: Map<String, Json> },
    /// The mode of a scope.
    Mode { scope: String, mode: String },
    /// What a consumer reads of a subject.
    Consumer { subject: String, consumer: String, reads: Map<String, Json> },
}

/// What was read of a registry.
#[derive(Default)]
struct Found {
    records: Vec<Record>,
    /// What it lists and does not give, as sentences with what to do.
    not_given: Vec<String>,
    /// What a reader of the records should know.
    notes: Vec<String>,
}

pub(super) async fn export(prefix: Option<&str>, daemon: &Daemon) -> Result<ExitCode> {
    let registry = Registry::of(daemon).await?;
    let found = read(&registry, prefix).await?;
    for record in &found.records {
        print_line(&text(record)?)?;
    }
    // The records alone go where the others are sent.
    found.not_given.iter().chain(&found.notes).for_each(|line| eprintln!("{line}"));
    Ok(ExitCode::from(u8::from(!found.not_given.is_empty())))
}

fn text(record: &Record) -> Result<String> {
    serde_json::to_string(record)
        .map_err(|error| Error::new(ErrorKind::Internal, "write a record").caused_by(error))
}

pub(super) async fn import(
    file: Option<&Path>,
    peer: Option<&str>,
    prefix: Option<&str>,
    daemon: &Daemon,
) -> Result<ExitCode> {
    let registry = Registry::of(daemon).await?;
    let found = match (file, peer) {
        (Some(file), _) => Found { records: from_file(file, prefix)?, ..Found::default() },
        (None, Some(peer)) => read(&Registry::new(peer, daemon.peer_access())?, prefix).await?,
        (None, None) => Found::default(),
    };
    found.notes.iter().for_each(|note| eprintln!("{note}"));
    let Written { taken, refused } = write(&registry, &found.records).await?;
    let there = read(&registry, prefix).await?;
    let differences = [found.not_given, refused, compare(&taken, &there.records)].concat();
    for difference in differences.iter().take(DIFFERENCES_TOLD_MAX) {
        print_line(difference)?;
    }
    let versions = found.records.iter().filter_map(version_key).count();
    print_line(&format!("{versions} versions, {} differences", differences.len()))?;
    Ok(ExitCode::from(u8::from(!differences.is_empty())))
}

fn from_file(file: &Path, prefix: Option<&str>) -> Result<Vec<Record>> {
    let wrong = || Error::new(ErrorKind::Config, "read an export").with("file", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| wrong().caused_by(error))?;
    let mut records = Vec::new();
    for (place, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let record: Record = serde_json::from_str(line)
            .map_err(|error| wrong().with("line", place + 1).caused_by(error))?;
        let scope = match &record {
            Record::Version { subject, .. } | Record::Consumer { subject, .. } => subject,
            Record::Config { scope, .. } | Record::Mode { scope, .. } => scope,
        };
        if prefix.is_none_or(|prefix| scope.starts_with(prefix)) {
            records.push(record);
        }
    }
    Ok(records)
}

/// Everything a registry holds: versions by subject and number, then configurations and modes, then
/// consumers.
async fn read(registry: &Registry, prefix: Option<&str>) -> Result<Found> {
    let subjects = registry.list(&subjects_path(prefix, true)).await?;
    let mut found = Found::default();
    let mut scopes = BTreeSet::new();
    for subject in texts(&subjects).filter(|subject| begins(subject, prefix)) {
        read_versions(registry, subject, &mut found).await?;
        if let Some(context) = subject.strip_prefix(":.").and_then(|rest| rest.split_once(':')) {
            scopes.insert(format!(":.{}:", context.0));
        }
        scopes.insert(subject.to_owned());
    }
    if prefix.is_none() {
        scopes.extend([String::new(), ":.__GLOBAL:".to_owned()]);
    }
    for scope in scopes {
        read_scope(registry, &scope, &mut found.records).await?;
    }
    if registry.find("/mode").await?.is_none() {
        found.forget_unset_levels();
    }
    read_consumers(registry, prefix, &mut found.records).await?;
    Ok(found)
}

/// Whether a subject is one of a prefix: peers that know no prefixes list all subjects. Contexts are
/// left to those that know them: `:*:` stands for every one, `:.:` for the default one.
fn begins(subject: &str, prefix: Option<&str>) -> bool {
    let Some(prefix) = prefix.map(|prefix| prefix.strip_prefix(":.:").unwrap_or(prefix)) else {
        return true;
    };
    prefix.starts_with(":*:") || subject.starts_with(prefix)
}

impl Found {
    /// Forgets of subjects the level NONE, as a registry without modes tells it. Apicurio 2.6 answers
    /// it for a subject that has no level of its own, and makes one such that is set to it; the level
    /// of all holds there, which written as NONE would no longer.
    fn forget_unset_levels(&mut self) {
        let before = self.records.len();
        let none = json!("NONE");
        self.records.retain(|record| match record {
            Record::Config { scope, config } => {
                scope.is_empty() || config.get("compatibility") != Some(&none)
            }
            _ => true,
        });
        let count = before - self.records.len();
        if count > 0 {
            self.notes.push(format!(
                "note: the registry has no modes and tells the level NONE of {count} subjects, which \
                 may mean that they have none of their own: the level of all holds for them here. For \
                 one that is to have it: tidemesh schema config SUBJECT --set NONE"
            ));
        }
    }
}

/// Who reads which fields; only a registry of ours knows.
async fn read_consumers(
    registry: &Registry,
    prefix: Option<&str>,
    records: &mut Vec<Record>,
) -> Result<()> {
    for found in registry.list("/tidemesh/v1/consumers").await? {
        let Json::Object(mut reads) = found else { continue };
        let mut name = |member: &str| match reads.remove(member) {
            Some(Json::String(name)) => Some(name),
            _ => None,
        };
        let (Some(subject), Some(consumer)) = (name("subject"), name("consumer")) else { continue };
        if prefix.is_none_or(|prefix| subject.starts_with(prefix)) {
            records.push(Record::Consumer { subject, consumer, reads });
        }
    }
    Ok(())
}

async fn read_versions(registry: &Registry, subject: &str, told: &mut Found) -> Result<()> {
    let path = format!("/subjects/{}/versions", escape(subject));
    let numbers = |list: Vec<Json>| -> BTreeSet<u32> {
        let numbers = list.iter().filter_map(Json::as_u64);
        numbers.filter_map(|number| u32::try_from(number).ok()).collect()
    };
    let live = numbers(registry.list(&path).await?);
    for number in numbers(registry.list(&format!("{path}?deleted=true")).await?) {
        let Some(found) = registry.find(&format!("{path}/{number}?deleted=true")).await? else {
            // Apicurio 2.6 keeps what a deleted subject had to itself until it has a version again.
            told.not_given.push(format!(
                "{subject} version {number} is listed by the registry, which does not give it: if \
                 records have its id, register a version of {subject} there, import, and delete it \
                 on both sides"
            ));
            continue;
        };
        if found["subject"] != subject {
            // Its name means another subject: an alias.
            return read_aliased(registry, subject, &mut told.records).await;
        }
        told.records.push(version(subject, !live.contains(&number), found)?);
    }
    Ok(())
}

/// The versions of a subject whose name is an alias, from the list of all schemas.
async fn read_aliased(registry: &Registry, subject: &str, records: &mut Vec<Record>) -> Result<()> {
    let path = format!("/schemas?deleted=true&subjectPrefix={}", escape(subject));
    for found in registry.list(&path).await?.into_iter().filter(|f| f["subject"] == subject) {
        records.push(version(subject, found["deleted"] == true, found)?);
    }
    Ok(())
}

fn version(subject: &str, deleted: bool, mut found: Json) -> Result<Record> {
    let number = |name: &str| found[name].as_u64().and_then(|number| u32::try_from(number).ok());
    let (Some(version), Some(id)) = (number("version"), number("id")) else {
        return Err(Error::new(ErrorKind::Malformed, "read a registry")
            .because("a version has no number or no id")
            .with("subject", subject));
    };
    let member = |name: &&str| {
        let value = found.get_mut(*name).map(Json::take)?;
        let is_empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        (!is_empty).then(|| ((*name).to_owned(), value))
    };
    let body = VERSION_MEMBERS.iter().filter_map(member).collect();
    Ok(Record::Version { subject: subject.to_owned(), version, id, deleted, body })
}

/// A scope as it stands in a path.
fn place(scope: &str) -> String {
    if scope.is_empty() { String::new() } else { format!("/{}", escape(scope)) }
}

/// What a scope has of its own. Peers that know no modes answer 404.
async fn read_scope(registry: &Registry, scope: &str, records: &mut Vec<Record>) -> Result<()> {
    let place = place(scope);
    if let Some(Json::Object(mut config)) = registry.find(&format!("/config{place}")).await? {
        if let Some(level) = config.remove("compatibilityLevel") {
            config.insert("compatibility".to_owned(), level);
        }
        records.push(Record::Config { scope: scope.to_owned(), config });
    }
    let mode = registry.find(&format!("/mode{place}")).await?;
    if let Some(mode) = mode.as_ref().and_then(|mode| mode["mode"].as_str()) {
        records.push(Record::Mode { scope: scope.to_owned(), mode: mode.to_owned() });
    }
    Ok(())
}

/// What became of records that were to be written.
struct Written {
    /// Those that were taken.
    taken: Vec<Record>,
    /// Those that were refused, as sentences.
    refused: Vec<String>,
}

/// Subject and number of a record that is a version.
fn version_key(record: &Record) -> Option<(&str, u32)> {
    match record {
        Record::Version { subject, version, .. } => Some((subject, *version)),
        Record::Config { .. } | Record::Mode { .. } | Record::Consumer { .. } => None,
    }
}

/// Writes versions, then consumers, then what scopes have: configurations first, for a mode may forbid
/// them. Of a subject whose versions were all refused nothing is written.
async fn write(registry: &Registry, records: &[Record]) -> Result<Written> {
    let refused = write_versions(registry, records).await?;
    let taken = without(records, &refused);
    for record in &taken {
        write_consumer(registry, record).await?;
    }
    for wanted in [true, false] {
        let of_turn = |record: &&Record| matches!(record, Record::Config { .. }) == wanted;
        for record in taken.iter().filter(of_turn) {
            write_scope(registry, record).await?;
        }
    }
    Ok(Written { taken, refused: refused.iter().filter_map(refusal).collect() })
}

/// These records without those that were refused, and without what belongs to subjects of which no
/// version is left.
fn without(records: &[Record], refused: &[(&Record, Error)]) -> Vec<Record> {
    let refused: BTreeSet<_> =
        refused.iter().filter_map(|(record, _)| version_key(record)).collect();
    let is_taken = |key: &(&str, u32)| !refused.contains(key);
    let keys = records.iter().filter_map(version_key);
    let left: BTreeSet<&str> = keys.filter(is_taken).map(|(subject, _)| subject).collect();
    let lost: BTreeSet<&str> =
        refused.iter().map(|(subject, _)| *subject).filter(|name| !left.contains(name)).collect();
    let is_left = |record: &&Record| match record {
        Record::Version { subject, version, .. } => is_taken(&(subject, *version)),
        Record::Config { scope: subject, .. }
        | Record::Mode { scope: subject, .. }
        | Record::Consumer { subject, .. } => !lost.contains(subject.as_str()),
    };
    records.iter().filter(is_left).cloned().collect()
}

fn refusal((record, error): &(&Record, Error)) -> Option<String> {
    let Record::Version { subject, version, .. } = record else { return None };
    let why = error.message().unwrap_or_default();
    Some(format!(
        "{subject} version {version} is left out: {why}; who reads it stays with the other registry"
    ))
}

/// Writes versions; answers those that are no schemas here.
async fn write_versions<'a>(
    registry: &Registry,
    records: &'a [Record],
) -> Result<Vec<(&'a Record, Error)>> {
    let subjects: BTreeSet<&str> =
        records.iter().filter_map(version_key).map(|(subject, _)| subject).collect();
    let mut modes = Vec::new();
    let mut written = Ok(Vec::new());
    for subject in subjects {
        let path = format!("/mode/{}", escape(subject));
        let before = registry.find(&path).await?.filter(|mode| mode["mode"] != "IMPORT");
        let import = json!({"mode": "IMPORT"});
        if let Err(error) = registry.put(&format!("{path}?force=true"), &import).await {
            written = Err(error);
            break;
        }
        modes.push((path, before));
    }
    if written.is_ok() {
        written = write_subjects(registry, records).await;
    }
    // Whatever happened, nobody's mode stays another.
    for (path, before) in modes {
        match before {
            Some(mode) => drop(registry.put(&format!("{path}?force=true"), &mode).await?),
            // With the deletion of its last version the mode has gone already.
            None if registry.find(&path).await?.is_some() => drop(registry.delete(&path).await?),
            None => {}
        }
    }
    written
}

/// Writes versions by their ids, so that what is referred to is there before who refers to it, then
/// deletes those that are deleted, who refers to others first. Answers those that are no schemas here.
async fn write_subjects<'a>(
    registry: &Registry,
    records: &'a [Record],
) -> Result<Vec<(&'a Record, Error)>> {
    let mut versions: Vec<&Record> =
        records.iter().filter(|record| matches!(record, Record::Version { .. })).collect();
    versions.sort_by_key(|record| match record {
        Record::Version { id, version, .. } => (*id, *version),
        _ => (0, 0),
    });
    let mut refused =
        in_rounds(versions.clone(), async |record| write_version(registry, record).await).await?;
    if let Some(place) = refused.iter().position(|(_, error)| error.kind() != ErrorKind::Malformed)
    {
        return Err(refused.swap_remove(place).1);
    }
    let is_refused =
        |record: &&Record| refused.iter().any(|(refused, _)| ptr::eq(*refused, *record));
    let backwards = versions.into_iter().rev().filter(|record| !is_refused(record)).collect();
    let delete = async |record| Ok(delete_version(registry, record).await.err());
    match in_rounds(backwards, delete).await?.pop() {
        Some((_, error)) => Err(error),
        None => Ok(refused),
    }
}

/// Does something with each record, and again with those that answer an error, until none is left or
/// a round brings nothing, and answers those; an error that is not an answer ends it at once.
async fn in_rounds<'a>(
    mut left: Vec<&'a Record>,
    mut act: impl AsyncFnMut(&'a Record) -> Result<Option<Error>>,
) -> Result<Vec<(&'a Record, Error)>> {
    loop {
        let (count, mut refused) = (left.len(), Vec::new());
        for record in left {
            if let Some(error) = act(record).await? {
                refused.push((record, error));
            }
        }
        if refused.is_empty() || refused.len() == count {
            return Ok(refused);
        }
        left = refused.into_iter().map(|(record, _)| record).collect();
    }
}

/// Writes a version. The error is answered if it refers to others, which may come yet, or is no schema.
async fn write_version(registry: &Registry, record: &Record) -> Result<Option<Error>> {
    let Record::Version { subject, version, id, body, .. } = record else { return Ok(None) };
    let mut body = body.clone();
    body.insert("id".to_owned(), json!(id));
    body.insert("version".to_owned(), json!(version));
    let path = format!("/subjects/{}/versions", escape(subject));
    match registry.post(&path, &body).await {
        Ok(_) => Ok(None),
        Err(error) => {
            let error = error.with("subject", subject).with("version", version);
            let may_be_left =
                error.kind() == ErrorKind::Malformed || body.contains_key("references");
            if may_be_left { Ok(Some(error)) } else { Err(error) }
        }
    }
}

async fn delete_version(registry: &Registry, record: &Record) -> Result<()> {
    let Record::Version { subject, version, deleted: true, .. } = record else { return Ok(()) };
    let path = format!("/subjects/{}/versions/{version}", escape(subject));
    if registry.find(&path).await?.is_some() {
        registry.delete(&path).await?;
    }
    Ok(())
}

async fn write_consumer(registry: &Registry, record: &Record) -> Result<()> {
    let Record::Consumer { subject, consumer, reads } = record else { return Ok(()) };
    let path = format!("/tidemesh/v1/consumers/{}/subjects/{}", escape(consumer), escape(subject));
    registry.put(&path, reads).await.map(drop)
}

async fn write_scope(registry: &Registry, record: &Record) -> Result<()> {
    match record {
        Record::Version { .. } | Record::Consumer { .. } => {}
        Record::Config { scope, config } => {
            let mut there = Vec::new();
            read_scope(registry, scope, &mut there).await?;
            if !there.contains(record) {
                registry.put(&format!("/config{}", place(scope)), config).await?;
            }
        }
        Record::Mode { scope, mode } => {
            let path = format!("/mode{}?force=true", place(scope));
            registry.put(&path, &json!({"mode": mode})).await?;
        }
    }
    Ok(())
}

/// What of `wanted` is not in `found`, as sentences.
fn compare(wanted: &[Record], found: &[Record]) -> Vec<String> {
    let versions = |records: &[Record]| -> BTreeMap<(String, u32), Record> {
        let entry = |record: &Record| match record {
            Record::Version { subject, version, .. } => {
                Some(((subject.clone(), *version), record.clone()))
            }
            _ => None,
        };
        records.iter().filter_map(entry).collect()
    };
    let there = versions(found);
    let mut differences: Vec<String> = versions(wanted)
        .iter()
        .filter_map(|((subject, version), record)| {
            let found = there.get(&(subject.clone(), *version));
            let problem = found.map_or(Some("is missing"), |found| difference(record, found))?;
            Some(format!("{subject} version {version} {problem}"))
        })
        .collect();
    for record in wanted.iter().filter(|record| !matches!(record, Record::Version { .. })) {
        if !found.contains(record) {
            let scope = match record {
                Record::Config { scope, .. } => format!("the configuration of {scope:?}"),
                Record::Mode { scope, .. } => format!("the mode of {scope:?}"),
                Record::Consumer { subject, consumer, .. } => {
                    format!("consumer {consumer:?} of {subject:?}")
                }
                Record::Version { .. } => continue,
            };
            differences.push(format!("{scope} is another"));
        }
    }
    differences
}

fn difference(wanted: &Record, found: &Record) -> Option<&'static str> {
    let (
        Record::Version { id, deleted, body, .. },
        Record::Version { id: found_id, deleted: found_deleted, body: found_body, .. },
    ) = (wanted, found)
    else {
        return Some("is another");
    };
    let same = |name: &str| body.get(name) == found_body.get(name);
    match () {
        () if id != found_id => Some("has another id"),
        () if deleted != found_deleted => Some("is deleted in one of the two"),
        () if !["references", "metadata", "ruleSet"].into_iter().all(same) => {
            Some("has other references, metadata or rules")
        }
        () if !is_same_schema(body, found_body) => Some("is another schema"),
        () => None,
    }
}

/// The same text, the same JSON, or the same as Avro's Java library writes it: peers keep texts as they
/// came, or sorted.
fn is_same_schema(one: &Map<String, Json>, other: &Map<String, Json>) -> bool {
    let text = |body: &Map<String, Json>| {
        body.get("schema").and_then(Json::as_str).unwrap_or_default().to_owned()
    };
    let (one, other) = (text(one), text(other));
    let json = |text: &str| serde_json::from_str::<Json>(text).ok();
    let written = |text: &str| Schema::parse(text).ok().map(|schema| schema.registry_text());
    one == other
        || json(&one).is_some_and(|one| Some(one) == json(&other))
        || written(&one).is_some_and(|one| Some(one) == written(&other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(number: u32, id: u32, schema: &str) -> Record {
        let body = json!({"schema": schema}).as_object().cloned().unwrap_or_default();
        Record::Version { subject: "s".into(), version: number, id, deleted: false, body }
    }

    #[test]
    fn a_difference_is_named() {
        let wanted = [version(1, 1, r#"{"type":"int"}"#), version(2, 2, "\"long\"")];
        assert!(
            compare(&wanted, &[version(1, 1, "\"int\""), version(2, 2, "\"long\"")]).is_empty()
        );
        let found = [version(1, 3, "\"int\"")];
        assert_eq!(
            compare(&wanted, &found),
            ["s version 1 has another id", "s version 2 is missing"]
        );
        let mode = Record::Mode { scope: "s".into(), mode: "READONLY".into() };
        assert_eq!(compare(&[mode], &[]), ["the mode of \"s\" is another"]);
    }

    #[test]
    fn a_prefix_is_kept_to_where_the_peer_lists_everything() {
        assert!(begins("a", None) && begins("ab", Some("a")) && !begins("b", Some("a")));
        assert!(begins(":.c:a", Some(":.c:")) && !begins("a", Some(":.c:")));
        assert!(begins("ab", Some(":.:a")) && !begins("b", Some(":.:a")));
        assert!(begins("a", Some(":*:")) && begins(":.c:a", Some(":*:")));
    }

    #[test]
    fn what_was_refused_goes_and_a_subject_without_versions_with_it() {
        let mode = |scope: &str| Record::Mode { scope: scope.into(), mode: "READONLY".into() };
        let (one, two) = (version(1, 1, "\"int\""), version(2, 2, "\"long\""));
        let records = [one.clone(), two.clone(), mode("s"), mode("")];
        let refused = |record| (record, Error::new(ErrorKind::Malformed, "write"));
        assert_eq!(without(&records, &[]), records);
        assert_eq!(without(&records, &[refused(&one)]), [two.clone(), mode("s"), mode("")]);
        assert_eq!(without(&records, &[refused(&one), refused(&two)]), [mode("")]);
    }

    #[test]
    fn a_record_is_a_line_that_is_read_back() {
        let record = version(1, 1, "\"int\"");
        let line = text(&record).unwrap();
        assert_eq!(
            line,
            r#"{"kind":"version","subject":"s","version":1,"id":1,"body":{"schema":"\"int\""}}"#
        );
        assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
    }
}
