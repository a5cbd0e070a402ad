//! Stored schemas, and rows of which not every column is captured.

use super::*;
use crate::decode::{Message, decode};
use tidemesh_model::PostgresSettings;

// As versions before 0.2 stored it.
const WITHOUT_KINDS: &str = r#"{"version": 1, "relations": [{
    "since_lsn": 7,
    "shape": {"id": 1, "name": {"schema": "public", "table": "t"}, "replica_identity": 100,
        "columns": [
            {"name": "id", "type_oid": 21, "type_modifier": -1, "in_identity": true},
            {"name": "at", "type_oid": 1114, "type_modifier": 3, "in_identity": false},
            {"name": "note", "type_oid": 25, "type_modifier": -1, "in_identity": false}]},
    "schema": {"name": {"schema": "public", "table": "t"}, "fields": [
        {"name": "id", "data_type": "int32", "source_type": "smallint", "nullable": false, "default": null},
        {"name": "at", "data_type": "timestamp", "source_type": "timestamp(3) without time zone", "nullable": true, "default": null},
        {"name": "note", "data_type": "text", "source_type": "text", "nullable": true, "default": null}],
        "key": {"origin": "primary_key", "columns": [0]}},
    "readers": ["int2", "timestamp", "text"]}]}"#;

fn read(bytes: &[u8], selection: &Selection) -> Vec<Arc<Relation>> {
    read_state("relation/1", bytes, NumericSpecial::Stop, selection).unwrap()
}

fn selection(settings: serde_json::Value) -> Selection {
    let mut json = serde_json::json!({"database": "d", "user": "u", "tables": ["public.*"]});
    json.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    let settings: PostgresSettings = serde_json::from_value(json).unwrap();
    crate::config::selection(&settings).unwrap()
}

#[test]
fn a_stored_schema_without_kinds_is_read_with_them() {
    let all = Selection::all(&crate::config::TERMS);
    let versions = read(WITHOUT_KINDS.as_bytes(), &all);
    let kinds: Vec<SourceKind> = versions[0].schema.fields.iter().map(|field| field.kind).collect();
    let timestamp = SourceKind::Timestamp { digits: 3 };
    assert_eq!(kinds, [SourceKind::Int16, timestamp, SourceKind::Plain]);
    let item = state_item(1, &versions).unwrap();
    let again = read(&item.value.unwrap(), &all);
    assert_eq!(again[0].schema, versions[0].schema);
}

/// The columns `secret`, `id` (the key), `dropped`, `email`, `note`, of which `secret` and `dropped`
/// are not captured, and `email` is masked.
fn relation(mask: Mask) -> Relation {
    let columns = ["secret", "id", "dropped", "email", "note"];
    let column = |name: &&str| ColumnShape {
        name: (*name).to_owned(),
        type_oid: 25,
        type_modifier: -1,
        in_identity: *name == "id",
    };
    let shape = RelationShape {
        id: 1,
        name: TableName::new("public", "users"),
        replica_identity: b'd',
        columns: columns.iter().map(column).collect(),
    };
    let field = |name: &str| Field {
        name: name.to_owned(),
        data_type: DataType::Text,
        source_type: "text".to_owned(),
        nullable: true,
        default: None,
        aliases: Vec::new(),
        kind: SourceKind::Plain,
        key_default: None,
    };
    let key = RowKey { origin: KeyOrigin::PrimaryKey, columns: vec![0] };
    let fields = vec![field("id"), field("email"), field("note")];
    let schema = Arc::new(TableSchema::new(shape.name.clone(), fields, key).unwrap());
    let readers =
        vec![Reader::Skipped, Reader::Text, Reader::Skipped, Reader::Masked(mask), Reader::Text];
    let numbers = vec![Some(2), Some(4), Some(5)];
    Relation { since_lsn: 7, shape, schema, readers, numbers, is_stale: false }
}

#[test]
fn columns_that_were_made_again_are_others() {
    let relation = relation(Mask::Redact);
    let column = |number| crate::storage::Column {
        number,
        written_by: 1,
        default: 0,
        has_missing: false,
        is_generated: false,
    };
    let has_all_of = |columns: &[(&str, i16)]| {
        let columns = columns.iter().map(|(name, number)| ((*name).to_owned(), column(*number)));
        relation.has_numbers_of(&Storage { file: None, columns: columns.collect() })
    };
    assert!(has_all_of(&[("id", 2), ("email", 4), ("note", 5), ("secret", 1)]));
    assert!(has_all_of(&[("id", 2), ("mail", 4), ("note", 5)]), "one was renamed since");
    assert!(has_all_of(&[("secret", 9), ("id", 2), ("email", 4), ("note", 5)]), "not captured");
    assert!(!has_all_of(&[("id", 2), ("email", 6), ("note", 5)]));
}

/// A cell: its bytes, null (`n`) or not in the log (`u`).
type Given = std::result::Result<&'static str, u8>;

fn tuple(cells: [Given; 5]) -> Vec<u8> {
    let mut bytes = 5_u16.to_be_bytes().to_vec();
    for cell in cells {
        match cell {
            Err(kind) => bytes.push(kind),
            Ok(text) => {
                bytes.push(b'b');
                bytes.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
                bytes.extend_from_slice(text.as_bytes());
            }
        }
    }
    bytes
}

/// The row, as new or as old under the key alone.
fn visited(relation: &Relation, old: bool, cells: [Given; 5]) -> Vec<Value> {
    let kind = if old { [b'D', 0, 0, 0, 1, b'K'] } else { [b'I', 0, 0, 0, 1, b'N'] };
    let message = [kind.to_vec(), tuple(cells)].concat();
    match decode(&message).unwrap() {
        Message::Insert { new, .. } => {
            Values::of(&Row { relation, tuple: new, old: None, before: None }).unwrap()
        }
        Message::Delete { old, .. } => Values::of(&Row::old(relation, old)).unwrap(),
        _ => unreachable!("it is a row"),
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

#[test]
fn cells_that_are_not_captured_are_passed_over() {
    let relation = relation(Mask::Redact);
    let whole = [Ok("s"), Ok("1"), Ok("d"), Ok("a@b"), Ok("n")];
    assert_eq!(visited(&relation, false, whole), [text("1"), text("***"), text("n")]);
    let nulls = [Err(b'n'), Ok("1"), Err(b'n'), Err(b'n'), Err(b'n')];
    assert_eq!(visited(&relation, false, nulls), [text("1"), Value::Null, Value::Null]);
    let key = [Err(b'n'), Ok("1"), Err(b'n'), Err(b'n'), Err(b'n')];
    assert_eq!(visited(&relation, true, key), [text("1"), Value::Absent, Value::Absent]);
}

#[test]
fn what_is_not_captured_is_not_missed_and_a_placeholder_is_not_masked() {
    let relation = relation(Mask::Redact);
    let unchanged = [Err(b'u'), Ok("1"), Err(b'u'), Ok("a@b"), Ok("n")];
    assert_eq!(visited(&relation, false, unchanged), [text("1"), text("***"), text("n")]);
    let masked = [Ok("s"), Ok("1"), Ok("d"), Err(b'u'), Ok("n")];
    assert_eq!(visited(&relation, false, masked), [text("1"), text(PLACEHOLDER), text("n")]);
    let lacks = |cells| {
        let message = [vec![b'I', 0, 0, 0, 1, b'N'], tuple(cells)].concat();
        let Message::Insert { new, .. } = decode(&message).unwrap() else { unreachable!() };
        (relation.lacks(new).unwrap(), relation.key_texts(new).unwrap())
    };
    assert_eq!(lacks(unchanged), (false, vec!["1".to_owned()]));
    assert_eq!(lacks(masked), (true, vec!["1".to_owned()]));
}

#[test]
fn a_partition_that_logs_its_key_alone_under_a_root_that_logs_all_has_no_nulls() {
    let mut relation = relation(Mask::Redact);
    relation.shape.replica_identity = b'f';
    relation.shape.columns.iter_mut().for_each(|column| column.in_identity = true);
    let key = [Err(b'n'), Ok("1"), Err(b'n'), Err(b'n'), Err(b'n')];
    assert_eq!(visited(&relation, true, key), [text("1"), Value::Absent, Value::Absent]);
}

#[test]
fn a_stored_schema_is_used_only_under_the_settings_it_was_made_by() {
    let hash = |salt: &str| {
        selection(serde_json::json!({
            "exclude_columns": ["public.users.secret", "public.users.dropped"],
            "mask": [{"columns": ["*.*.email"], "with": "hash", "salt": salt}],
        }))
    };
    let salt = || Mask::Hash { salt: tidemesh_model::Secret::new("pepper") };
    let item = state_item(1, &[Arc::new(relation(salt()))]).unwrap().value.unwrap();
    assert!(!String::from_utf8_lossy(&item).contains("pepper"));
    let same = &read(&item, &hash("pepper"))[0];
    assert!(!same.is_stale);
    assert_eq!(same.readers[3], Reader::Masked(salt()), "it has the salt again");
    assert!(!read(&item, &hash("other"))[0].is_stale, "values to come have the new one");
    for other in [
        serde_json::json!({}),
        serde_json::json!({"exclude_columns": ["*.*.secret", "*.*.dropped"]}),
        serde_json::json!({
            "exclude_columns": ["*.*.secret", "*.*.dropped", "*.*.note"],
            "mask": [{"columns": ["*.*.email"], "with": "hash", "salt": "pepper"}],
        }),
        serde_json::json!({
            "exclude_columns": ["*.*.secret", "*.*.dropped"],
            "mask": [{"columns": ["*.*.email"], "with": "redact"}],
        }),
        serde_json::json!({
            "exclude_columns": ["*.*.secret", "*.*.dropped", "*.*.id"],
            "mask": [{"columns": ["*.*.email"], "with": "hash", "salt": "pepper"}],
        }),
    ] {
        let stored = &read(&item, &selection(other))[0];
        assert!(stored.is_stale && !stored.is_of(&stored.shape));
    }
}

#[test]
fn a_default_that_was_hashed_is_made_anew() {
    let mut relation = relation(Mask::Hash { salt: tidemesh_model::Secret::new("pepper") });
    Arc::make_mut(&mut relation.schema).fields[1].default = Some(text("hashed"));
    let item = state_item(1, &[Arc::new(relation)]).unwrap().value.unwrap();
    let today = selection(serde_json::json!({
        "exclude_columns": ["public.users.secret", "public.users.dropped"],
        "mask": [{"columns": ["*.*.email"], "with": "hash", "salt": "other"}],
    }));
    assert!(read(&item, &today)[0].is_stale);
}

#[test]
fn only_what_an_older_version_cannot_read_has_the_newer_form() {
    let version = |relation: Relation| {
        let item = state_item(1, &[Arc::new(relation)]).unwrap().value.unwrap();
        serde_json::from_slice::<serde_json::Value>(&item).unwrap()["version"].clone()
    };
    let skipped = relation(Mask::Redact);
    let mut whole = skipped.clone();
    whole.readers = vec![Reader::Text; 5];
    assert_eq!((version(whole), version(skipped)), (2.into(), 3.into()));
}
