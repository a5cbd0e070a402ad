//! Whatever changes, judgements hold what all of them do: they are the same again, their certificates are
//! re-checked, an unaffected pipeline keeps its digest, and nothing is left to do once they are applied.

use super::Mesh;
use proptest::collection::vec;
use proptest::prelude::*;

const COLUMNS: &[&str] = &[
    "id",
    "customer_id",
    "status",
    "total",
    "qty",
    "placed_at",
    "due",
    "note",
    "doc",
    "shipping",
    "tags",
    "attrs",
    "either",
    "extra",
];
const TYPES: &[&str] = &[
    "int",
    "bigint",
    "double precision",
    "text",
    "boolean",
    "date",
    "timestamp",
    "numeric(12,2)",
    "numeric(20,4)",
    "uuid",
    "bytea",
    "int[]",
];

fn change() -> impl Strategy<Value = String> {
    let column = || prop::sample::select(COLUMNS);
    let of = || prop::sample::select(TYPES);
    prop_oneof![
        4 => column().prop_map(|column| format!("drop {column}")),
        3 => (column(), 0..3).prop_map(|(column, to)| format!("rename {column} new{to}")),
        4 => (0..3, of()).prop_map(|(column, of)| format!("add added{column} {of}")),
        3 => (column(), of()).prop_map(|(column, of)| format!("type {column} {of}")),
        1 => column().prop_map(|column| format!("key id,{column}")),
        1 => column().prop_map(|column| format!("key {column}")),
    ]
}

fn select() -> impl Strategy<Value = String> {
    let items = prop::sample::select(vec![
        "status",
        "qty * 2 AS twice",
        "note",
        "total",
        "(shipping).city AS city",
        "upper(status) AS up",
        "CASE WHEN qty > 1 THEN note ELSE status END AS c",
        "tags",
        "either",
        "due",
        "placed_at",
        "doc ->> 'a' AS a",
        "attrs",
    ]);
    let filters = prop::sample::select(vec!["", " WHERE qty > 1", " WHERE note IS NOT NULL"]);
    let chosen = prop_oneof![
        1 => Just("*".to_owned()),
        2 => vec(items, 0..4).prop_map(|mut items| {
            items.sort_unstable();
            items.dedup();
            std::iter::once("id").chain(items).collect::<Vec<_>>().join(", ")
        }),
    ];
    (chosen, filters).prop_map(|(columns, filter)| format!("SELECT {columns} FROM r{filter}"))
}

fn pipelines() -> impl Strategy<Value = String> {
    let evolution = prop::sample::select(vec![
        "",
        "\nevolution: pinned",
        "\nevolution: manual",
        "\nnew_fields: ignore",
        "\nfields: [{input: r, field: id, flow: always}]",
    ]);
    (select(), evolution, any::<bool>()).prop_map(|(sql, evolution, deeper)| {
        let first = format!("@Pipeline a\nfrom shop.orders: {sql}{evolution}");
        let second =
            "@Pipeline b\nfrom mesh.a: SELECT * FROM r\n@Pipeline c\nfrom mesh.b: SELECT id FROM r";
        if deeper { format!("{first}\n{second}") } else { first }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn judgements_hold_what_all_of_them_do(text in pipelines(), changes in vec(vec(change(), 1..4), 1..3)) {
        let mut mesh = Mesh::new(&text);
        for changes in changes {
            for change in changes {
                // What the table cannot have is refused, and then nothing changes.
                if let Ok(topics) = super::apply(&mesh.topics, "shop.orders", &super::parsed(&change)) {
                    mesh.topics = topics;
                }
            }
            let judged = mesh.judge();
            mesh.running = judged.applied(&mesh.running);
        }
    }
}
