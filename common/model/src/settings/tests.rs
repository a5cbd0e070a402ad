use super::*;
use crate::Partitions;

fn settings() -> SourceSettings {
    serde_json::from_value(serde_json::json!({
        "name": "shop",
        "postgres": {"database": "shop", "user": "u", "password": "hush", "tables": ["public.a"]}
    }))
    .unwrap()
}

#[test]
fn the_smallest_settings_are_valid() {
    settings().validate().unwrap();
}

#[test]
fn events_are_written_in_avros_types_and_debeziums_envelope_unless_told_otherwise() {
    assert_eq!(settings().format(), EventFormat::default());
    let mut json = serde_json::json!({"name": "shop", "types": "debezium", "envelope": "flat"});
    let settings: SourceSettings = serde_json::from_value(json.clone()).unwrap();
    let format = EventFormat { types: RowTypes::Debezium, envelope: EnvelopeForm::Flat };
    assert_eq!(settings.format(), format);
    json["types"] = "connect".into();
    let error = serde_json::from_value::<SourceSettings>(json).unwrap_err();
    assert!(error.to_string().contains("expected `avro` or `debezium`"), "{error}");
}

#[test]
fn an_unknown_key_is_refused_by_name() {
    let text = r#"{"name": "shop", "tabels": []}"#;
    let error = serde_json::from_str::<SourceSettings>(text).unwrap_err();
    assert!(error.to_string().contains("tabels"), "{error}");
}

#[test]
fn a_bound_is_named_with_its_key() {
    let mut settings = settings();
    settings.topics.partitions = 1001;
    let error = settings.validate().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("topics.partitions: must be 1 to 1000"), "{error}");
}

#[test]
fn a_truncates_event_needs_records_without_keys() {
    let mut settings = settings();
    assert_eq!(settings.truncate(), TruncateMode::Reconcile);
    settings.truncate = Some(TruncateMode::Event);
    assert!(settings.validate().unwrap_err().to_string().contains("compacted"));
    settings.topics.cleanup_policy = CleanupPolicy::Delete;
    settings.validate().unwrap();
    settings.truncate = None;
    assert_eq!(settings.truncate(), TruncateMode::Event);
    settings.envelope = EnvelopeForm::Flat;
    assert_eq!(settings.truncate(), TruncateMode::Reconcile);
}

#[test]
fn a_side_topic_is_no_tables_and_no_others() {
    let mut settings = settings();
    settings.transaction_topic = Some("shop.transaction".into());
    settings.heartbeat_topic = Some("__debezium-heartbeat.shop".into());
    settings.validate().unwrap();
    settings.heartbeat_topic = Some("shop.public.a".into());
    assert!(settings.validate().unwrap_err().to_string().contains("heartbeat_topic"));
    settings.heartbeat_topic = Some("shop.transaction".into());
    assert!(settings.validate().unwrap_err().to_string().contains("another's name"));
}

#[test]
fn messages_are_taken_by_their_prefix() {
    let mut settings = settings().postgres.unwrap();
    assert!(settings.takes_message("") && settings.takes_message("any"));
    settings.message_prefixes = vec!["audit".into(), "app.*".into()];
    assert!(settings.takes_message("audit") && settings.takes_message("app.x"));
    assert!(!settings.takes_message("audit2") && !settings.takes_message("other"));
}

#[test]
fn a_password_never_shows() {
    let settings = settings();
    assert!(!format!("{settings:?}").contains("hush"));
    assert!(!serde_json::to_string(&settings).unwrap().contains("hush"));
}

#[test]
fn a_type_without_its_schema_is_refused() {
    let mut settings = settings();
    settings.postgres.as_mut().unwrap().text_types = vec!["seg".into()];
    assert!(settings.validate().unwrap_err().to_string().contains("schema.type"));
}

#[test]
fn specials_of_numerics_need_a_topic_to_be_dead_letters() {
    let mut settings = settings();
    let postgres = settings.postgres.as_mut().unwrap();
    assert_eq!(postgres.numeric_special, NumericSpecial::Stop);
    postgres.numeric_special = serde_json::from_str("\"dead_letter\"").unwrap();
    assert!(settings.validate().unwrap_err().to_string().contains("dead_letter_topic"));
    settings.dead_letter_topic = Some("shop.dead_letters".into());
    settings.validate().unwrap();
}

#[test]
fn a_table_without_its_schema_is_refused() {
    let mut settings = settings();
    settings.postgres.as_mut().unwrap().tables = vec!["orders".into()];
    assert!(settings.validate().unwrap_err().to_string().contains("schema.table"));
}

#[test]
fn what_shapes_a_source_is_checked_entry_by_entry() {
    type Change = fn(&mut PostgresSettings);
    let changes: [(Change, &str); 4] = [
        (|p| p.exclude_tables = vec!["orders".into()], "postgres.exclude_tables"),
        (|p| p.exclude_columns = vec!["public.orders".into()], "postgres.exclude_columns"),
        (|p| p.include_columns = vec!["a..c".into()], "postgres.include_columns"),
        (|p| p.tables = vec![".*".into()], "postgres.tables"),
    ];
    for (change, key) in changes {
        let mut settings = settings();
        change(settings.postgres.as_mut().unwrap());
        let error = settings.validate().unwrap_err();
        assert!(error.to_string().contains(key), "{error}");
    }
    assert_eq!(settings().postgres.unwrap().partitions, Partitions::Root);
}

#[test]
fn events_of_applications_need_topics_that_they_may_be_for() {
    let mut settings = settings();
    let emit = |topics: &[&str]| {
        let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
        Some(EmitSettings { topics })
    };
    settings.emit = emit(&["shop.events.*", "audit"]);
    settings.validate().unwrap();
    let allowed = settings.emit.as_ref().unwrap();
    assert!(allowed.allows("shop.events.orders") && allowed.allows("audit"));
    assert!(!allowed.allows("shop.events") && !allowed.allows("audits"));
    for wrong in [&[][..], &[""], &["a b"], &[&"x".repeat(250)]] {
        settings.emit = emit(wrong);
        assert!(settings.validate().unwrap_err().to_string().contains("emit.topics"), "{wrong:?}");
    }
}

#[test]
fn rows_that_name_their_topics_need_leave_for_them() {
    let mut settings = settings();
    let outbox = serde_json::json!({"table": "public.tidemesh_outbox", "format": "tidemesh"});
    settings.outbox = Some(serde_json::from_value(outbox.clone()).unwrap());
    assert!(settings.validate().unwrap_err().to_string().contains("emit.topics"));
    settings.emit = Some(EmitSettings { topics: vec!["shop.*".into()] });
    settings.validate().unwrap();
    for (key, value) in [("topic", "x".into()), ("headers", serde_json::json!(["a"]))] {
        let mut outbox = outbox.clone();
        outbox[key] = value;
        settings.outbox = Some(serde_json::from_value(outbox).unwrap());
        assert!(settings.validate().unwrap_err().to_string().contains(key), "{key}");
    }
}

#[test]
fn a_database_without_messages_emits_by_rows_alone() {
    let json = serde_json::json!({
        "name": "shop",
        "emit": {"topics": ["shop.*"]},
        "mysql": {"user": "u", "password": "hush", "tables": ["shop.a"]}
    });
    let mut settings: SourceSettings = serde_json::from_value(json).unwrap();
    assert!(settings.validate().unwrap_err().report().contains("[source.outbox]"));
    let outbox = serde_json::json!({"table": "shop.tidemesh_outbox", "format": "tidemesh"});
    settings.outbox = Some(serde_json::from_value(outbox).unwrap());
    settings.validate().unwrap();
}
