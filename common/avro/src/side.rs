//! Records beside the tables' events, with Debezium's names and fields: where transactions begin and
//! end, that a source is alive, and messages that applications wrote into the log (documentation
//! 3.7, "PostgreSQL connector": "Transaction metadata", "Message events"; its sources
//! `TransactionStructMaker`, `HeartbeatImpl`, `LogicalDecodingMessageMonitor`).

use crate::envelope::{
    NOT_NULL, NULL, SchemaIds, begin_frame, write_bytes, write_some_long, write_text,
};
use crate::table::source_record;
use crate::varint::write_long;
use serde_json::{Value as Json, json};
use tidemesh_model::SourceBlock;

/// What a record beside the tables' events is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SideKind {
    /// The begin or the end of a transaction.
    Transaction,
    /// That the source is alive, and how far its log has come.
    Heartbeat,
    /// What an application wrote into the log.
    Message,
}

/// The schemas of a kind's records, as text for the registry: the key's, the value's.
#[must_use]
pub fn side_schemas(kind: SideKind, block: &SourceBlock) -> (String, String) {
    let common = "io.debezium.connector.common";
    let text = |name: &str| json!({"name": name, "type": "string"});
    let (key, value) = match kind {
        SideKind::Transaction => (
            record(common, "TransactionMetadataKey", json!([text("id")])),
            record(common, "TransactionMetadataValue", transaction_fields()),
        ),
        SideKind::Heartbeat => (
            record(common, "ServerNameKey", json!([text("serverName")])),
            record(common, "Heartbeat", json!([{"name": "ts_ms", "type": "long"}])),
        ),
        SideKind::Message => {
            let own = format!("io.debezium.connector.{}", block.connector);
            let message = record(
                &own,
                "Message",
                json!([text("prefix"), {"name": "content", "type": "bytes"}]),
            );
            let value = json!([
                {"name": "source", "type": source_record(block)},
                text("op"),
                {"name": "ts_ms", "type": ["null", "long"], "default": null},
                {"name": "message", "type": message},
            ]);
            (
                record(&own, "MessageKey", json!([text("prefix")])),
                record(&own, "MessageValue", value),
            )
        }
    };
    (key.to_string(), value.to_string())
}

fn record(namespace: &str, name: &str, fields: Json) -> Json {
    json!({
        "type": "record",
        "name": name,
        "namespace": namespace,
        "fields": fields,
        "connect.name": format!("{namespace}.{name}"),
    })
}

fn transaction_fields() -> Json {
    let collection = record(
        "event",
        "collection",
        json!([
            {"name": "data_collection", "type": "string"},
            {"name": "event_count", "type": "long"},
        ]),
    );
    json!([
        {"name": "status", "type": "string"},
        {"name": "id", "type": "string"},
        {"name": "event_count", "type": ["null", "long"], "default": null},
        {
            "name": "data_collections",
            "type": ["null", {"type": "array", "items": collection}],
            "default": null,
        },
        {"name": "ts_ms", "type": "long"},
    ])
}

/// A record under construction, framed.
#[derive(Debug, Clone, Default)]
pub struct SideRecord {
    /// The key.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
}

impl SideRecord {
    fn begin(&mut self, ids: SchemaIds, key: &str) {
        begin_frame(&mut self.key, ids.key);
        write_text(&mut self.key, key);
        begin_frame(&mut self.value, ids.value);
    }

    /// A transaction begins; `at_ms` is when it was committed, in milliseconds since 1970 UTC.
    pub fn transaction_begins(&mut self, ids: SchemaIds, id: &str, at_ms: i64) {
        self.begin(ids, id);
        write_text(&mut self.value, "BEGIN");
        write_text(&mut self.value, id);
        self.value.extend_from_slice(&[NULL, NULL]);
        write_long(&mut self.value, at_ms);
    }

    /// A transaction ends, which had so many events of each table.
    pub fn transaction_ends<'t>(
        &mut self,
        ids: SchemaIds,
        id: &str,
        at_ms: i64,
        tables: impl ExactSizeIterator<Item = (&'t str, u64)> + Clone,
    ) {
        self.begin(ids, id);
        let value = &mut self.value;
        write_text(value, "END");
        write_text(value, id);
        let all: u64 = tables.clone().map(|(_, events)| events).sum();
        write_some_long(value, all.cast_signed());
        value.push(NOT_NULL);
        let blocks = i64::try_from(tables.len()).unwrap_or(i64::MAX);
        if blocks > 0 {
            write_long(value, blocks);
        }
        for (table, events) in tables {
            write_text(value, table);
            write_long(value, events.cast_signed());
        }
        // The array's end.
        write_long(value, 0);
        write_long(value, at_ms);
    }

    /// A source is alive, and its log was written up to `at_ms`, in milliseconds since 1970 UTC.
    pub fn heartbeat(&mut self, ids: SchemaIds, source: &str, at_ms: i64) {
        self.begin(ids, source);
        write_long(&mut self.value, at_ms);
    }

    /// An application's message; `source` is the encoded `source` block.
    pub fn message(
        &mut self,
        ids: SchemaIds,
        prefix: &str,
        content: &[u8],
        source: &[u8],
        now_us: i64,
    ) {
        self.begin(ids, prefix);
        let value = &mut self.value;
        value.extend_from_slice(source);
        write_text(value, "m");
        write_some_long(value, now_us.div_euclid(1000));
        write_text(value, prefix);
        write_bytes(value, content);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame;
    use crate::json::to_json;
    use crate::schema::Schema;

    const IDS: SchemaIds = SchemaIds { key: 1, value: 2 };

    fn block() -> SourceBlock {
        SourceBlock {
            connector: "postgresql",
            name: "shop".into(),
            database: "db".into(),
            fields: &[],
        }
    }

    /// A record as JSON, read by its kind's schemas.
    fn read(kind: SideKind, record: &SideRecord) -> (Json, Json) {
        let (key, value) = side_schemas(kind, &block());
        let json = |schema: &str, framed: &[u8]| {
            let (_, bytes) = frame::split(framed).unwrap();
            to_json(&Schema::parse(schema).unwrap(), bytes).unwrap()
        };
        (json(&key, &record.key), json(&value, &record.value))
    }

    #[test]
    fn a_transactions_end_counts_its_events() {
        let mut record = SideRecord::default();
        record.transaction_begins(IDS, "7:100", 5);
        let (key, value) = read(SideKind::Transaction, &record);
        assert_eq!(key, json!({"id": "7:100"}));
        assert_eq!((&value["status"], &value["event_count"]), (&json!("BEGIN"), &Json::Null));
        let tables = [("public.a", 2), ("public.b", 3)];
        record.transaction_ends(IDS, "7:100", 5, tables.into_iter());
        let (_, value) = read(SideKind::Transaction, &record);
        assert_eq!(value["event_count"], 5);
        assert_eq!(
            value["data_collections"][1],
            json!({"data_collection": "public.b", "event_count": 3})
        );
        record.transaction_ends(IDS, "7:100", 5, [].into_iter());
        assert_eq!(read(SideKind::Transaction, &record).1["data_collections"], json!([]));
    }

    #[test]
    fn a_heartbeat_and_a_message_are_read_by_their_schemas() {
        let mut record = SideRecord::default();
        record.heartbeat(IDS, "shop", 9);
        let told = (json!({"serverName": "shop"}), json!({"ts_ms": 9}));
        assert_eq!(read(SideKind::Heartbeat, &record), told);
        let origin = tidemesh_model::Origin {
            position: tidemesh_model::Position::before(1, 2),
            transaction: 3,
            committed_at_us: 4000,
            block: &[],
        };
        let mut source = Vec::new();
        crate::envelope::SourceEncoder::new(&block(), "", "")
            .write(&origin, false, &mut source)
            .unwrap();
        record.message(IDS, "orders", b"\x00placed", &source, 6000);
        let (key, value) = read(SideKind::Message, &record);
        assert_eq!((key["prefix"].as_str(), value["op"].as_str()), (Some("orders"), Some("m")));
        assert_eq!(value["message"]["prefix"], "orders");
        assert_eq!(value["source"]["ts_ms"], 4);
    }
}
