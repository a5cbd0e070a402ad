//! The catalog beside the log, at a real server.

use super::*;
use crate::config::TERMS;
use crate::server::flavor;
use crate::tests::{Logged, Server, logged};
use std::collections::HashMap;
use tidemesh_model::{KeyOrigin, Value, ZeroDates};
use tidemesh_source::Selection;

/// Tables with what `testdata/types.sql` has not: defaults, attributes, keys.
const MORE: &[&str] = &[
    "CREATE TABLE defaults (a int auto_increment primary key, b int default 7,
     c varchar(10) default 'it''s', e enum('x','y''z','') default 'y''z', f decimal(10,2) default 1,
     g datetime(3) default current_timestamp(3), h date default '2024-02-29', i varchar(5) default null,
     k int not null default (1 + 1), l bit(3) default b'101', m float default 1.1,
     n varchar(9) character set latin1 default 'é', o varchar(40) default (uuid()),
     p timestamp default '2024-01-01 00:00:00', q set('s','t') default 's,t')",
    "CREATE TABLE attributes (`a``b` int(5) unsigned zerofill, b float(7,2), c double(12,3) unsigned,
     d nchar(3), e longtext collate utf8mb4_bin check (json_valid(e)), f longtext collate utf8mb4_bin,
     g varchar(300) character set gbk collate gbk_bin, h boolean, i linestring, j multipolygon,
     k geometrycollection, l char(0), m varchar(0), n decimal(5,0) zerofill, o varchar(10) collate uca1400_ai_ci,
     p enum('a\\\\b','c\nd','q\"r','s''t'), x text character set sjis not null,
     primary key (g(10), `a``b`))",
    "CREATE TABLE ordered (a int, b varchar(9) not null, c int not null, unique key early (a),
     unique key part (b(2)), unique key whole (c, b), unique key also (c))",
    "CREATE TABLE keyless (a int not null, b int, unique key early (b), unique key part (b, a))",
    "INSERT INTO keyless VALUES (1, NULL)",
    "INSERT INTO defaults () VALUES ()",
    "INSERT INTO attributes (`a``b`, g, x) VALUES (1, '体', 'y')",
    "INSERT INTO ordered VALUES (1, 'x', 2)",
    "SET GLOBAL mysql56_temporal_format = OFF",
    "CREATE TABLE old_times (a int primary key, b datetime(3), c timestamp(2) null, d time(1), e datetime)",
    "SET GLOBAL mysql56_temporal_format = ON",
    "INSERT INTO old_times VALUES (1, '2024-02-29 10:00:00.125', '2024-02-29 10:00:00.5', '-10:00:00.5', NULL)",
];

fn all() -> Selection {
    Selection::all(&TERMS)
}

struct Tables {
    catalog: HashMap<TableName, CatalogTable>,
    log: HashMap<TableName, Logged>,
}

impl Tables {
    async fn made(database: &str, statements: &[&str], types: &MysqlTypes) -> Self {
        let server = Server::shared().await;
        let mut sql = server.database(database).await;
        for statement in statements {
            sql.run(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        let tables: Vec<String> = sql.rows("SHOW TABLES", ()).await.unwrap();
        let flavor = flavor(&mut sql).await.unwrap();
        let mut catalog = HashMap::new();
        for name in tables {
            let name = TableName::new(database, name);
            let table = table(&mut sql, flavor, &name, types).await.unwrap().unwrap();
            catalog.insert(name, table);
        }
        let facts = catalog.iter().map(|(name, table)| (name.clone(), table.facts().clone()));
        let log = logged(&server, &facts.collect(), types);
        Self { catalog, log }
    }

    /// Fails where the catalog says of a column what the log does not.
    fn agree(&self, types: &MysqlTypes) {
        assert!(!self.catalog.is_empty());
        for (name, table) in &self.catalog {
            let (ours, logs) = (table.relation(types, &all()).unwrap(), &self.log[name].relation);
            let columns = ours.schema.fields.iter().zip(&logs.schema.fields);
            for (index, (our, log)) in columns.enumerate() {
                assert_eq!(our, log, "{name}");
                assert_eq!(ours.readers[index], logs.readers[index], "{name} {}", our.name);
                assert_eq!(ours.wires[index], logs.wires[index], "{name} {}", our.name);
            }
            assert_eq!(&ours, logs);
        }
    }
}

#[tokio::test]
async fn every_type_is_to_the_catalog_what_it_is_to_the_log() {
    let statements: Vec<&str> = include_str!("../../testdata/types.sql").split(";\n").collect();
    let statements: Vec<&str> = statements.into_iter().filter(|text| !text.is_empty()).collect();
    let types = MysqlTypes { zero_dates: ZeroDates::Text, ..MysqlTypes::default() };
    Tables::made("catalog_types", &statements, &types).await.agree(&types);
}

#[tokio::test]
async fn attributes_keys_and_defaults_are_to_the_catalog_what_they_are_to_the_log() {
    let types = MysqlTypes::default();
    let tables = Tables::made("catalog_more", MORE, &types).await;
    tables.agree(&types);
    let table = |name: &str| &tables.catalog[&TableName::new("catalog_more", name)];
    let defaults = table("defaults").relation(&types, &all()).unwrap().schema;
    let default = |name: &str| {
        let field = &defaults.fields[defaults.column(name).unwrap()];
        field.default.clone()
    };
    assert_eq!(default("b"), Some(Value::Int32(7)));
    assert_eq!(default("c"), Some(Value::Text("it's".to_owned())));
    assert_eq!(default("e"), Some(Value::Text("y'z".to_owned())));
    assert_eq!(default("f"), Some(Value::Decimal { unscaled: vec![100], scale: 2 }));
    assert_eq!(default("h"), Some(Value::Date(19_782)));
    assert_eq!(default("m"), Some(Value::Float32(1.1)));
    assert_eq!(default("n"), Some(Value::Text("é".to_owned())));
    assert_eq!(default("p"), Some(Value::TimestampTz(1_704_067_200_000_000)));
    assert_eq!(default("q"), Some(Value::Text("s,t".to_owned())));
    for expression in ["a", "g", "i", "k", "l", "o"] {
        assert_eq!(default(expression), None, "{expression}");
    }
    let attributes = table("attributes");
    let source = |place: usize| {
        attributes.relation(&types, &all()).unwrap().schema.fields[place].source_type.clone()
    };
    assert_eq!((source(4).as_str(), source(5).as_str()), ("json", "longtext"));
    assert_eq!(attributes.collation(6), Some("gbk_bin"));
    assert_eq!(attributes.order.as_ref().unwrap().columns, [6, 0]);
    assert_eq!(table("keyless").order, None);
    let ordered = table("ordered");
    let index = OrderIndex { name: "whole".to_owned(), columns: vec![2, 1] };
    assert_eq!(ordered.order, Some(index));
    assert_eq!(ordered.relation(&types, &all()).unwrap().schema.key.origin, KeyOrigin::PrimaryKey);
}

#[tokio::test]
async fn a_table_that_is_not_there_is_none() {
    let mut sql = Server::shared().await.sql().await;
    let flavor = flavor(&mut sql).await.unwrap();
    let name = TableName::new("mysql", "no_such_table");
    let found = table(&mut sql, flavor, &name, &MysqlTypes::default()).await.unwrap();
    assert_eq!(found, None);
    assert_eq!(estimate(&mut sql, &name).await.unwrap(), Estimate::default());
}
