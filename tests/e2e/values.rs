//! Every type that is carried: the server makes the values, and says what they are in text.

use crate::support::daemon::{Daemon, configuration};
use crate::support::eventually;
use crate::support::postgres::Database;
use crate::support::topic::records;
use serde_json::{Value as Json, json};

/// A type, a value in SQL, and the value as `tidemesh topic read` must print it.
pub(crate) fn cases() -> Vec<(&'static str, &'static str, Json)> {
    vec![
        ("bool", "true", json!(true)),
        ("int2", "-32768", json!(-32768)),
        ("int4", "2147483647", json!(2_147_483_647)),
        ("int8", "-9223372036854775808", json!(i64::MIN)),
        ("oid", "4294967295", json!(4_294_967_295_u32)),
        ("float4", "1.5", json!(1.5)),
        ("float4", "'NaN'", json!("NaN")),
        ("float8", "'-Infinity'", json!("-Infinity")),
        ("float8", "1e300", json!(1e300)),
        ("numeric(12,2)", "1234567890.12", json!("1234567890.12")),
        ("numeric(12,2)", "-0.01", json!("-0.01")),
        ("numeric(3,0)", "0", json!("0")),
        (
            "numeric(50,10)",
            "1234567890123456789012345678901234567890.0123456789",
            json!("1234567890123456789012345678901234567890.0123456789"),
        ),
        (
            "numeric(50,10)",
            "-1234567890123456789012345678901234567890.0123456789",
            json!("-1234567890123456789012345678901234567890.0123456789"),
        ),
        ("numeric", "1e20", json!("100000000000000000000")),
        ("numeric", "'0.000000001000'", json!("0.000000001000")),
        ("numeric", "'NaN'", json!("NaN")),
        ("money", "'-12.34'", json!("-12.34")),
        ("text", "'ünïcode ☃'", json!("ünïcode ☃")),
        ("text", "''", json!("")),
        ("varchar(5)", "'abc'", json!("abc")),
        ("char(5)", "'abc'", json!("abc  ")),
        ("\"char\"", "'x'", json!("x")),
        ("name", "'some_name'", json!("some_name")),
        ("bytea", "'\\x00ff10'", json!("0x00ff10")),
        (
            "uuid",
            "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'",
            json!("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ),
        ("json", "'{\"a\": [1, null]}'", json!("{\"a\": [1, null]}")),
        ("jsonb", "'{\"a\":1}'", json!("{\"a\": 1}")),
        ("date", "'2024-02-29'", json!("2024-02-29")),
        ("date", "'0044-03-15 BC'", json!("-043-03-15")),
        ("date", "'infinity'", json!("infinity")),
        ("time", "'24:00:00'", json!("24:00:00")),
        ("time", "'04:05:06.789'", json!("04:05:06.789")),
        ("timetz", "'04:05:06+05:30'", json!("04:05:06+05:30")),
        ("timestamp", "'1969-12-31 23:59:59.999999'", json!("1969-12-31T23:59:59.999999")),
        ("timestamp", "'-infinity'", json!("-infinity")),
        ("timestamptz", "'2024-01-01 00:00:00+02'", json!("2023-12-31T22:00:00Z")),
        ("interval", "'1 year 2 mons 3 days 04:05:06.5'", json!("P1Y2M3DT4H5M6.5S")),
        ("interval", "'-1 days'", json!("P-1D")),
        ("mood", "'happy'", json!("happy")),
        ("positive", "7", json!(7)),
        ("int4[]", "'{1,NULL,3}'", json!([1, null, 3])),
        ("text[]", "'{}'", json!([])),
        ("numeric(6,2)[]", "'{1.50,-2}'", json!(["1.50", "-2.00"])),
        ("mood[]", "'{sad,happy}'", json!(["sad", "happy"])),
        ("timestamptz[]", "'{2024-01-01 00:00:00+00}'", json!(["2024-01-01T00:00:00Z"])),
        ("int4", "NULL", Json::Null),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_comes_out_as_the_server_has_it() {
    let cases = cases();
    let database = Database::new().await;
    database
        .execute(
            "CREATE TYPE mood AS ENUM ('sad', 'happy');
             CREATE DOMAIN positive AS int CHECK (VALUE > 0)",
        )
        .await;
    let columns: Vec<String> =
        cases.iter().enumerate().map(|(i, (kind, _, _))| format!("c{i} {kind}")).collect();
    database
        .execute(&format!("CREATE TABLE all_types (id int PRIMARY KEY, {})", columns.join(", ")))
        .await;
    let folder = tempfile::tempdir().unwrap();
    let daemon =
        Daemon::up(folder.path(), &configuration(&database, &["public.all_types"], "")).await;
    daemon.streaming().await;
    let values: Vec<&str> = cases.iter().map(|(_, value, _)| *value).collect();
    database.execute(&format!("INSERT INTO all_types VALUES (1, {})", values.join(", "))).await;
    let found = eventually("the row", async || {
        records(&daemon, "shop.public.all_types").into_iter().next()
    })
    .await;
    for (index, (kind, value, expected)) in cases.iter().enumerate() {
        let got = &found["value"]["after"][format!("c{index}")];
        assert_eq!(got, expected, "{kind} {value}");
    }
}
