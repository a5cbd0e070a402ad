//! The schemas of outputs, and what identifies their rows.

use crate::support::{inputs, resolve};
use serde_json::{Value as Json, json};
use tidemesh_avro::schema::Schema;
use tidemesh_model::EnvelopeForm;
use tidemesh_plan::output::{OutputSchemas, Target, output_schemas};
use tidemesh_plan::relation::{Form, Relation};

fn target(envelope: EnvelopeForm, key: Option<&[String]>) -> Target<'_> {
    Target { pipeline: "p", topic: "mesh.out", envelope, key }
}

fn schemas(sql: &str, envelope: EnvelopeForm) -> Result<OutputSchemas, String> {
    let inputs = inputs();
    let query = resolve(&inputs, sql).unwrap();
    output_schemas(&query, &inputs, target(envelope, None)).map_err(|problems| problems.to_string())
}

fn flat(sql: &str) -> Result<OutputSchemas, String> {
    schemas(sql, EnvelopeForm::Flat)
}

fn fields(schema: &str) -> Vec<Json> {
    let json: Json = serde_json::from_str(schema).unwrap();
    json["fields"].as_array().unwrap().clone()
}

#[test]
fn a_column_that_comes_through_keeps_what_it_is() {
    let out =
        flat("SELECT id AS order_id, status, qty, \"Mixed Case\", (shipping).city FROM orders");
    let out = out.unwrap();
    let fields = fields(&out.value);
    assert_eq!(fields[0], json!({"name": "order_id", "type": "long", "source.type": "bigint"}));
    assert_eq!(
        fields[1],
        json!({"name": "status", "type": ["null", "string"], "doc": "where it is", "default": null})
    );
    assert_eq!(fields[2], json!({"name": "qty", "type": ["int", "null"], "default": 1}));
    assert_eq!(fields[3]["name"], "Mixed_u0020Case");
    assert_eq!(fields[3]["source.name"], "Mixed Case");
    assert_eq!(fields[4], json!({"name": "city", "type": ["null", "string"], "default": null}));
    let key: Json = serde_json::from_str(&out.key.unwrap()).unwrap();
    assert_eq!(
        key,
        json!({"type": "record", "name": "Key", "namespace": "mesh.out",
               "fields": [{"name": "order_id", "type": "long"}]})
    );
}

#[test]
fn a_computed_column_may_be_null() {
    let fields =
        fields(&flat("SELECT id, total * 2 AS twice, id IS NULL AS no FROM orders").unwrap().value);
    assert_eq!(fields[1]["type"][1]["logicalType"], "decimal");
    assert_eq!(fields[2], json!({"name": "no", "type": ["null", "boolean"], "default": null}));
}

#[test]
fn an_envelope_is_read_as_a_table_again() {
    let sql = "SELECT id, shipping, shipping AS again, named_struct('a', qty) AS made FROM orders";
    let out = schemas(sql, EnvelopeForm::Debezium).unwrap();
    assert_eq!(out.form, Form::Envelope);
    let key = Schema::parse(&out.key.unwrap()).unwrap();
    let relation = Relation::of_topic(Some(key), Schema::parse(&out.value).unwrap()).unwrap();
    assert_eq!(relation.form, Form::Envelope);
    assert_eq!(relation.key_columns, [0]);
    let names: Vec<&str> = relation.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["id", "shipping", "again", "made"]);
}

#[test]
fn events_stay_events() {
    let out = schemas("SELECT url, \"user\" FROM clicks", EnvelopeForm::Debezium).unwrap();
    assert_eq!((out.form, out.key.as_deref()), (Form::Event, None));
    // What was required may be missing one day.
    assert_eq!(
        fields(&out.value)[0],
        json!({"name": "url", "type": ["null", "string"], "default": null})
    );
}

#[test]
fn a_constant_tells_the_parts_of_a_union_apart() {
    let sql = "SELECT 'o' AS origin, id, qty AS n FROM orders UNION ALL SELECT 'r', id, NULL FROM refunds";
    let out = flat(sql).unwrap();
    assert_eq!(out.key_columns, [0, 1]);
    let names: Vec<Json> = fields(&out.key.unwrap()).iter().map(|f| f["name"].clone()).collect();
    assert_eq!(names, ["origin", "id"]);
    // Two constants that only together tell apart three parts.
    let sql = "SELECT 'a' AS x, 1 AS y, id FROM orders UNION ALL SELECT 'a', 2, id FROM refunds \
               UNION ALL SELECT 'b', 1, id FROM orders";
    assert_eq!(flat(sql).unwrap().key_columns, [0, 1, 2]);
}

#[test]
fn a_key_survives_a_cast_that_keeps_keys_apart() {
    let out = flat("SELECT id::text AS id, note FROM orders").unwrap();
    assert_eq!(fields(&out.key.unwrap())[0], json!({"name": "id", "type": "string"}));
    assert!(flat("SELECT id::int AS id FROM orders").unwrap_err().contains("`id`"));
    assert!(flat("SELECT id + 1 AS id FROM orders").unwrap_err().contains("select id"));
}

#[test]
fn rows_that_would_overwrite_each_other_are_refused() {
    for (sql, what) in [
        ("SELECT note FROM orders", "in the key of `orders`"),
        ("SELECT id FROM orders UNION ALL SELECT id FROM refunds", "overwrite each other"),
        ("SELECT 'x' AS x, id FROM orders UNION ALL SELECT 'x', id FROM refunds", "overwrite"),
        ("SELECT NULL AS x, id FROM orders UNION ALL SELECT 'x', id FROM refunds", "overwrite"),
        (
            "SELECT 1 AS x, id, order_id FROM refunds UNION ALL SELECT 2, customer_id, id FROM orders",
            "same columns",
        ),
        (
            "SELECT 1 AS x, id FROM orders UNION ALL SELECT 2, \"user\" FROM clicks",
            "events without a key",
        ),
        ("SELECT id AS \"a b\", qty AS \"a_u0020b\" FROM orders", "in Avro"),
        ("SELECT id, note AS __op FROM orders", "flat records need"),
        ("SELECT id, INTERVAL '1 day' AS i FROM orders", "EXTRACT"),
    ] {
        let message = flat(sql).unwrap_err();
        assert!(message.contains(what), "{sql}: {message}");
    }
}

#[test]
fn a_declared_key_is_the_key_in_another_order() {
    let inputs = inputs();
    let sql = "SELECT 'o' AS origin, id FROM orders UNION ALL SELECT 'r', id FROM refunds";
    let query = resolve(&inputs, sql).unwrap();
    let declared = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        output_schemas(&query, &inputs, target(EnvelopeForm::Flat, Some(&names)))
            .map(|out| out.key_columns)
            .map_err(|problems| problems.to_string())
    };
    assert_eq!(declared(&["id", "origin"]).unwrap(), [1, 0]);
    assert!(declared(&["id"]).unwrap_err().contains("declare origin, id"));
    assert!(declared(&["nope", "id"]).unwrap_err().contains("there are: origin, id"));
}

#[test]
fn types_of_one_name_and_two_meanings_are_told_apart() {
    let sql = "SELECT o.id, o.shipping, c.home FROM orders o LEFT JOIN customers c ON c.id = o.customer_id";
    let out = flat(sql).unwrap();
    Schema::parse(&out.value).unwrap();
    let fields = fields(&out.value);
    assert_eq!(fields[1]["type"][1]["namespace"], "shop.orders");
    assert_eq!(fields[2]["type"][1]["namespace"], "shop.customers");
}
