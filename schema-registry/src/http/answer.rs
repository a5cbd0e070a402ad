//! What answers hold: versions, schemas, configurations, as Confluent 8.x writes them.
//!
//! `schemaType` is left out for Avro, and what is empty too.

use serde::Serialize;
use serde_json::{Value, json};

use crate::metadata::{Metadata, RuleSet};
use crate::registry::{Registered, SubjectVersion};
use crate::setting::Setting;
use crate::state::{Identity, Reference};
use crate::tags::TaggedEntity;

/// A schema by id or guid, which consumers ask for most: written without a tree of values before.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SchemaAnswer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    schema_tags: Option<Value>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    references: &'a [Reference],
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Metadata>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule_set: Option<&'a RuleSet>,
    schema: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_id: Option<u32>,
}

impl<'a> SchemaAnswer<'a> {
    /// The schema with its tags, if they were asked for.
    pub(super) fn of(schema: &'a Identity, schema_tags: Option<Value>) -> Self {
        Self {
            schema_tags,
            references: &schema.references,
            metadata: schema.metadata.as_deref(),
            rule_set: schema.rules.as_deref(),
            schema: &schema.text,
            max_id: None,
        }
    }
}

/// A version of a subject.
pub(super) fn subject_version(found: &SubjectVersion) -> Value {
    let mut value = json!({
        "subject": &*found.subject,
        "version": found.version,
        "id": found.id,
        "guid": found.guid.to_string(),
    });
    with_schema(&mut value, &found.schema);
    value["ts"] = json!(found.created_ms);
    if found.deleted {
        value["deleted"] = json!(true);
    }
    if !found.aliases.is_empty() {
        value["aliases"] = found.aliases.iter().map(AsRef::<str>::as_ref).collect();
    }
    value
}

/// Adds `references`, `metadata` and `ruleSet`, where there are any, and `schema`.
pub(super) fn with_schema(value: &mut Value, schema: &Identity) {
    let members = json!(SchemaAnswer::of(schema, None));
    if let (Value::Object(value), Value::Object(members)) = (value, members) {
        value.extend(members);
    }
}

/// What a registration gave: id, version and guid, and the `whole` schema too where it may be another
/// than the one that was sent.
pub(super) fn registered(registered: &Registered, whole: bool) -> Value {
    let mut value = json!({"id": registered.id, "version": registered.version});
    if let Some(found) = &registered.found {
        value["guid"] = json!(found.guid.to_string());
        if whole {
            with_schema(&mut value, &found.schema);
        }
    }
    value
}

/// A configuration, with the level under the name that reading has.
pub(super) fn setting(setting: &Setting) -> Value {
    json!(setting)
}

/// Tags with what they are on.
pub(super) fn schema_tags(found: &[TaggedEntity]) -> Value {
    let entry = |entity: &TaggedEntity| {
        let kind = if entity.is_record { "sr_record" } else { "sr_field" };
        json!({
            "schemaEntity": {"entityPath": entity.path, "entityType": kind},
            "tags": entity.tags,
        })
    };
    found.iter().map(entry).collect()
}
