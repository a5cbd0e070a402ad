//! An outbox's settings.

use super::wrong;
use crate::Result;
use serde::{Deserialize, Serialize};

/// A table whose inserted rows are events of an application, by the columns of Debezium's outbox
/// event router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutboxSettings {
    /// The table, as `schema.table`; captured as others are. No default.
    pub table: String,
    /// The column of the event's id, its header `id`. Default `id`.
    #[serde(default = "defaults::outbox_id")]
    pub id: String,
    /// The column of the record's key. Default `aggregateid`.
    #[serde(default = "defaults::outbox_key")]
    pub key: String,
    /// The column of the record's value, a text or bytes; a null is a tombstone. Default `payload`.
    #[serde(default = "defaults::outbox_payload")]
    pub payload: String,
    /// The column whose value names the topic. Default `aggregatetype`.
    #[serde(default = "defaults::outbox_route_by")]
    pub route_by: String,
    /// The topic, in which `${routedByValue}` stands for that value. Default
    /// `outbox.event.${routedByValue}`.
    #[serde(default = "defaults::outbox_topic")]
    pub topic: String,
    /// Columns that become headers of their own names, or of others as `column:header`. Default none.
    #[serde(default)]
    pub headers: Vec<String>,
    /// How keys and values are written. Default `avro`.
    #[serde(default)]
    pub format: OutboxFormat,
}

/// How an outbox's keys and values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutboxFormat {
    /// As Avro's `string`, a payload of bytes as its `bytes`, in Confluent's frame.
    #[default]
    Avro,
    /// The text's or payload's bytes as they are: applications that serialise by themselves.
    Raw,
    /// Rows of the table that the emitter's outbox has: topic, key and payload as they are, and a column
    /// `headers` with headers, event time and partition. Needs [`EmitSettings`](super::EmitSettings).
    Tidemesh,
}

impl OutboxSettings {
    /// With `format = "tidemesh"` rows say topic and headers themselves.
    pub(super) fn validate_emitted(&self) -> Result<()> {
        if self.topic != defaults::outbox_topic() {
            return Err(wrong("outbox.topic", "has no use with format = \"tidemesh\"").help(
                "leave it out: each row names its whole topic, which emit.topics must allow",
            ));
        }
        if !self.headers.is_empty() {
            return Err(wrong("outbox.headers", "has no use with format = \"tidemesh\"")
                .help("leave it out: each row has its headers in the column `headers`"));
        }
        Ok(())
    }

    /// The table's name.
    ///
    /// # Errors
    ///
    /// `Config` if it is not `schema.table`.
    pub fn table_name(&self) -> Result<crate::TableName> {
        match self.table.split_once('.') {
            Some((schema, table)) if !schema.is_empty() && !table.is_empty() => {
                Ok(crate::TableName::new(schema, table))
            }
            _ => Err(wrong("outbox.table", "must be schema.table").with("table", &self.table)),
        }
    }
}

mod defaults {
    pub(super) fn outbox_id() -> String {
        "id".to_owned()
    }
    pub(super) fn outbox_key() -> String {
        "aggregateid".to_owned()
    }
    pub(super) fn outbox_payload() -> String {
        "payload".to_owned()
    }
    pub(super) fn outbox_route_by() -> String {
        "aggregatetype".to_owned()
    }
    pub(super) fn outbox_topic() -> String {
        "outbox.event.${routedByValue}".to_owned()
    }
}
