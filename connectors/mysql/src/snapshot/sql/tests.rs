//! The statements' texts, of tables that are made up here.

use super::*;
use crate::types::Reader;

fn column(name: &str) -> KeyColumn<'static> {
    const READER: Reader = Reader::Int32;
    let name = format!("t.`{name}`");
    KeyColumn { field: 0, name, reader: &READER, charset: None, collation: None }
}

fn keys<'r>(relation: &'r Relation, names: &[&str]) -> KeyColumns<'r> {
    let columns = names.iter().map(|name| column(name)).collect();
    KeyColumns { relation, index: Some("PRIMARY".to_owned()), columns }
}

fn relation() -> Relation {
    let name = TableName::new("shop", "o`rders");
    let told = crate::types::ColumnTold {
        shape: crate::decode::ColumnShape {
            code: crate::decode::type_codes::LONG,
            metadata: 0,
            nullable: false,
        },
        unsigned: Some(false),
        collation: None,
        values: &[],
        detail: None,
        facts: None,
        is_hidden: false,
    };
    let types = tidemesh_model::MysqlTypes::default();
    let all = tidemesh_source::Selection::all(&crate::config::TERMS);
    Relation::of_columns(name, vec!["a".to_owned()], &[told], vec![0], &types, &all).unwrap()
}

fn key(texts: &[&str]) -> Key {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn a_composite_key_is_written_out_behind_a_bound_of_its_first_column() {
    let relation = relation();
    let keys = keys(&relation, &["a", "b", "c"]);
    let part = Part::Span { after: None, upto: Some(key(&["7"])) };
    let condition = condition(&keys, &part, Some(&key(&["1", "2", "3"]))).unwrap();
    assert_eq!(
        condition,
        "t.`a` <= 7 AND t.`a` >= 1 AND (t.`a` > 1 OR (t.`a` = 1 AND (t.`b` > 2 OR (t.`b` = 2 AND \
         t.`c` > 3))))"
    );
    let query = rows_query(&keys, &cells(&relation), &condition, 9);
    assert!(query.starts_with(
        "SELECT t.`a` FROM `shop`.`o``rders` AS t FORCE INDEX (`PRIMARY`) WHERE t.`a` <= 7 AND"
    ));
    assert!(query.ends_with(" ORDER BY t.`a`, t.`b`, t.`c` LIMIT 9"), "{query}");
}

#[test]
fn keys_are_listed_and_others_than_the_tables_are_refused() {
    let relation = relation();
    let two = keys(&relation, &["a", "b"]).without_index();
    let part = Part::Keys(vec![key(&["1", "2"]), key(&["3", "4"])]);
    let found = condition(&two, &part, None).unwrap();
    assert_eq!(found, "((t.`a` = 1 AND t.`b` = 2) OR (t.`a` = 3 AND t.`b` = 4))");
    for wrong in [key(&["1"]), key(&["1", "x"]), key(&["1", "2", "3"])] {
        let error = condition(&two, &Part::Keys(vec![wrong]), None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
    }
    let one = keys(&relation, &["a"]);
    let part = Part::Keys(vec![key(&["1"]), key(&["2"])]);
    assert_eq!(condition(&one, &part, None).unwrap(), "t.`a` IN (1, 2)");
    assert_eq!(condition(&one, &Part::Keys(Vec::new()), None).unwrap(), "FALSE");
}
