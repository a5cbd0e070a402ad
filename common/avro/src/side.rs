//! Records beside the tables' events, with Debezium's names and fields: where transactions begin and
//! end, that a source is alive, messages that applications wrote into the log (documentation
//! 3.7, "PostgreSQL connector": "Transaction metadata", "Message events"; its sources
//! `TransactionStructMaker`, `HeartbeatImpl`, `LogicalDecodingMessageMonitor`); and, of our own, rows
//! that cannot be encoded.

use crate::envelope::{
    NOT_NULL, NULL, SchemaIds, begin_frame, write_bytes, write_some_long, write_text,
};
use crate::json::decimal_text;
use crate::table::{default_json, source_record};
use crate::varint::write_long;
use serde_json::{Map, Value as Json, json};
use std::fmt::Write;
use tidemesh_model::{Position, RowImage, SourceBlock, TableName, TableSchema, Value, Values};

/// What a record beside the tables' events is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SideKind {
    /// The begin or the end of a transaction.
    Transaction,
    /// That the source is alive, and how far its log has come.
    Heartbeat,
    /// What an application wrote into the log.
    Message,
    /// A row that cannot be encoded.
    DeadLetter,
}

/// A row that cannot be encoded.
#[derive(Debug, Clone, Copy)]
pub struct DeadLetter<'a> {
    /// The source.
    pub source: &'a str,
    /// Its table; of a message what stands in its place.
    pub table: &'a TableName,
    /// What happened to it, as Debezium's `op`: the code of an operation, or `m` of a message.
    pub op: &'a str,
    /// Where it stands.
    pub position: Position,
    /// When its transaction was committed, in microseconds since 1970 UTC.
    pub at_us: i64,
    /// Why it cannot be encoded.
    pub reason: &'a str,
    /// What could be read of it, as JSON.
    pub row: &'a str,
}

/// The most characters of a value that are shown of a row that cannot be encoded.
const SHOWN_MAX: usize = 1000;

/// The most elements of an array that are shown.
const ELEMENTS_SHOWN_MAX: usize = 100;

/// The most bytes of a row that are shown, as JSON; the column that passes it and those that follow are
/// left out.
const ROW_SHOWN_BYTES_MAX: usize = 64 * 1024;

/// What can be read of a row, as a JSON object by its columns' names, for people: values that follow
/// one that cannot be read are left out, of long ones the beginning stands with `…` behind it, and columns
/// beyond 64 KiB are left out.
#[must_use]
pub fn row_shown(schema: &TableSchema, row: &impl RowImage) -> String {
    let mut values = Values::default();
    // The error is what the row is shown for.
    let _ = row.visit(&mut values);
    let cells = schema.fields.iter().zip(values.into_cells());
    let mut shown = Map::new();
    // Both braces, less the comma that the last column has not.
    let mut bytes = 1;
    for (field, value) in cells {
        let value = value_shown(&value);
        let name = Json::from(field.name.as_str());
        bytes += name.to_string().len() + 1 + value.to_string().len() + 1;
        if bytes > ROW_SHOWN_BYTES_MAX {
            break;
        }
        shown.insert(field.name.clone(), value);
    }
    Json::Object(shown).to_string()
}

/// What is shown of an event that an application wrote into the log and that cannot be written to its
/// topic, as [`row_shown`] does a row: its topic, where that could be read, how long it is, and how it begins.
#[must_use]
pub fn emitted_shown(topic: Option<&str>, content: &[u8]) -> String {
    let shown = &content[..content.len().min(SHOWN_MAX / 2)];
    let mut text = String::with_capacity(SHOWN_MAX + 8);
    text.push_str("0x");
    for byte in shown {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    if shown.len() < content.len() {
        text.push('…');
    }
    json!({"topic": topic, "bytes": content.len(), "content": text}).to_string()
}

fn value_shown(value: &Value) -> Json {
    let json = match value {
        Value::Decimal { unscaled, scale } => {
            decimal_text(unscaled, usize::try_from(*scale).unwrap_or(usize::MAX)).into()
        }
        Value::Array(elements) => {
            elements.iter().take(ELEMENTS_SHOWN_MAX).map(value_shown).collect()
        }
        Value::Record(fields) => fields.iter().map(value_shown).collect(),
        value => default_json(value).unwrap_or_default(),
    };
    match json {
        Json::String(text) => match text.char_indices().nth(SHOWN_MAX) {
            Some((end, _)) => format!("{}…", &text[..end]).into(),
            None => text.into(),
        },
        json => json,
    }
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
        SideKind::DeadLetter => {
            let value = json!([
                text("source"),
                text("schema"),
                text("table"),
                text("op"),
                text("position"),
                {"name": "ts_us", "type": {"type": "long", "logicalType": "timestamp-micros"}},
                text("reason"),
                text("row"),
            ]);
            let key = record("tidemesh", "DeadLetterKey", json!([text("table")]));
            (key, record("tidemesh", "DeadLetter", value))
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

    /// A row that cannot be encoded.
    pub fn dead_letter(&mut self, ids: SchemaIds, letter: &DeadLetter<'_>) {
        let DeadLetter { source, table, op, position, at_us, reason, row } = letter;
        self.begin(ids, &table.to_string());
        let value = &mut self.value;
        let position = position.to_string();
        for text in [*source, &table.schema, &table.table, *op, &position] {
            write_text(value, text);
        }
        write_long(value, *at_us);
        write_text(value, reason);
        write_text(value, row);
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
    use tidemesh_model::{DataType, Field, KeyOrigin, RowKey, SourceKind};

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

    /// A row of texts, by its columns' names, as it is shown.
    fn shown(cells: Vec<(String, String)>) -> (String, Map<String, Json>) {
        let field = |(name, _): &(String, String)| Field {
            name: name.clone(),
            data_type: DataType::Text,
            source_type: "text".into(),
            nullable: true,
            default: None,
            aliases: Vec::new(),
            kind: SourceKind::Plain,
            key_default: None,
        };
        let key = RowKey { origin: KeyOrigin::PrimaryKey, columns: vec![0] };
        let name = TableName::new("public", "t");
        let schema = TableSchema::new(name, cells.iter().map(field).collect(), key).unwrap();
        let row: Vec<Value> = cells.into_iter().map(|(_, text)| Value::Text(text)).collect();
        let text = row_shown(&schema, &row);
        let read = serde_json::from_str(&text).unwrap();
        (text, read)
    }

    #[test]
    fn a_dead_letters_value_of_more_than_1000_characters_is_cut_and_marked() {
        let [whole, long] = ["é".repeat(1000), "é".repeat(1001)];
        let (_, read) = shown(vec![("a".into(), whole.clone()), ("b".into(), long)]);
        assert_eq!(read["a"], whole);
        assert_eq!(read["b"], format!("{whole}…"));
    }

    #[test]
    fn a_dead_letters_row_has_the_first_columns_that_64_kib_hold() {
        const KIB_64: usize = 64 * 1024;
        let column = |index| format!("c{index:04}");
        // Of one character, of three bytes, of what JSON escapes.
        for text in ["x".to_owned(), "€".repeat(900), "\u{1}\"".repeat(300)] {
            let (row, read) = shown((0..1600).map(|c| (column(c), text.clone())).collect());
            let a_column = row.len() / read.len();
            assert!(row.len() <= KIB_64, "{} bytes of {a_column}", row.len());
            let is_whole = read.len() == 1600;
            assert!(is_whole || row.len() + a_column > KIB_64, "{} of {a_column}", row.len());
            assert!((0..read.len()).all(|index| read[&column(index)] == text), "{read:?}");
        }
        let wide = "n".repeat(60);
        let (row, read) = shown((0..1600).map(|c| (format!("{wide}{c}"), "1".into())).collect());
        assert!(row.len() <= KIB_64 && read.len() > 900, "{} bytes, {}", row.len(), read.len());
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
