//! What both stores write into their tables as text.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tidemesh_model::{Error, ErrorKind, Result};

use crate::state::{Change, Identity, Reference, State};

/// A schema as it stands in a table.
pub(super) struct SchemaRow {
    pub(super) context: String,
    pub(super) id: u32,
    pub(super) text: String,
    pub(super) references: String,
    pub(super) metadata: Option<String>,
    pub(super) rules: Option<String>,
}

impl SchemaRow {
    /// Takes it over.
    pub(super) fn load(self, state: &mut State) -> Result<()> {
        let wrong = |what: &str| corrupt(what).with("context", &self.context).with("id", self.id);
        let references = references_from_text(&self.references)
            .ok_or_else(|| wrong("its references cannot be read"))?;
        let metadata = read_json(self.metadata.as_deref());
        let rules = read_json(self.rules.as_deref());
        let identity = Identity {
            text: self.text.into(),
            references,
            metadata: metadata.map_err(|_| wrong("its metadata cannot be read"))?.map(Arc::new),
            rules: rules.map_err(|_| wrong("its rules cannot be read"))?.map(Arc::new),
        };
        let context = state.context_name(&self.context);
        state.apply(Change::AddSchema { context, id: self.id, identity });
        Ok(())
    }
}

/// A consumer as it stands in a table.
pub(super) fn consumer_row(subject: &str, name: &str, text: &str) -> Result<Change> {
    let wrong =
        |_| corrupt("a consumer cannot be read").with("subject", subject).with("consumer", name);
    let consumer = Arc::new(serde_json::from_str(text).map_err(wrong)?);
    Ok(Change::PutConsumer { subject: Arc::from(subject), name: Arc::from(name), consumer })
}

pub(super) fn write_json(value: Option<&Arc<impl Serialize>>) -> Option<String> {
    value.and_then(|value| serde_json::to_string(&**value).ok())
}

pub(super) fn read_json<T: DeserializeOwned>(text: Option<&str>) -> serde_json::Result<Option<T>> {
    text.map(serde_json::from_str).transpose()
}

/// References as they are stored: `[[name, subject, version], ...]`.
pub(super) fn references_text(references: &[Reference]) -> String {
    let list: Vec<Value> = references
        .iter()
        .map(|reference| json!([reference.name, reference.subject, reference.version]))
        .collect();
    Value::Array(list).to_string()
}

fn references_from_text(text: &str) -> Option<Arc<[Reference]>> {
    let Ok(Value::Array(list)) = serde_json::from_str(text) else {
        return None;
    };
    list.iter()
        .map(|entry| {
            Some(Reference {
                name: entry.get(0)?.as_str()?.to_owned(),
                subject: entry.get(1)?.as_str()?.to_owned(),
                version: u32::try_from(entry.get(2)?.as_u64()?).ok()?,
            })
        })
        .collect()
}

pub(super) fn corrupt(message: &str) -> Error {
    Error::new(ErrorKind::Corrupt, "read the registry's store").because(message)
}

/// Milliseconds since 1970-01-01 00:00:00 UTC.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
