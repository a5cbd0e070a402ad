//! Types as people write them.

use serde_json::{Value as Json, json};
use tidemesh_avro::schema::Schema;
use tidemesh_model::{Error, ErrorKind, Result};

/// The Avro type of what somebody calls a type: an Avro schema as JSON, the name of an Avro type, or a
/// name of PostgreSQL's or MySQL's (`bigint`, `numeric(12,2)`, `text[]`, `datetime(6)`), as the connector
/// writes such columns by default. Where both have a name it is PostgreSQL's: `timestamp`, `time`, `boolean`.
///
/// # Errors
///
/// `Malformed` for what is none of these.
pub fn avro_type(text: &str) -> Result<Json> {
    let text = text.trim();
    let name = text.to_ascii_lowercase();
    let known = array(text).or_else(|| named(&name)).or_else(|| mysql(&name));
    let json = known.or_else(|| serde_json::from_str(text).ok());
    let json = json.unwrap_or_else(|| Json::String(text.to_owned()));
    let wrong = || {
        Error::new(ErrorKind::Malformed, "read a type")
            .with("type", text)
            .help(
                "write a name of PostgreSQL's or MySQL's, as bigint or numeric(12,2), or an Avro schema",
            )
    };
    // Avro Java takes a union of nothing for a schema; no column is one.
    if json == json!([]) {
        return Err(wrong().because("it has no values"));
    }
    match Schema::parse(&json.to_string()) {
        Ok(_) => Ok(json),
        Err(error) => Err(wrong().caused_by(error)),
    }
}

/// An array of one dimension; of more PostgreSQL's text.
fn array(text: &str) -> Option<Json> {
    let element = text.strip_suffix("[]")?;
    if element.ends_with("[]") {
        return Some(json!("string"));
    }
    Some(json!({"type": "array", "items": ["null", avro_type(element).ok()?]}))
}

/// DESIGN.md, "Types": one line a type.
fn named(name: &str) -> Option<Json> {
    if let Some(arguments) = name.strip_prefix("numeric").or_else(|| name.strip_prefix("decimal")) {
        return decimal(arguments.trim());
    }
    let bare = name.split('(').next().unwrap_or(name).trim();
    Some(match bare {
        "bool" | "boolean" => json!("boolean"),
        "smallint" | "int2" | "integer" | "int4" => json!("int"),
        "bigint" | "int8" | "oid" => json!("long"),
        "real" | "float4" => json!("float"),
        "double precision" | "float8" => json!("double"),
        "text" | "varchar" | "character varying" | "char" | "character" | "name" | "citext"
        | "json" | "jsonb" | "hstore" | "interval" | "timetz" => json!("string"),
        "bytea" => json!("bytes"),
        "uuid" => json!({"type": "string", "logicalType": "uuid"}),
        "date" => json!({"type": "int", "logicalType": "date"}),
        "time" => json!({"type": "long", "logicalType": "time-micros"}),
        "timestamp" | "timestamp without time zone" => {
            json!({"type": "long", "logicalType": "local-timestamp-micros"})
        }
        "timestamptz" | "timestamp with time zone" => {
            json!({"type": "long", "logicalType": "timestamp-micros"})
        }
        "money" => json!({"type": "bytes", "logicalType": "decimal", "precision": 19, "scale": 2}),
        _ => return None,
    })
}

/// What MySQL alone has (docs/connectors/mysql.md, "Types").
fn mysql(name: &str) -> Option<Json> {
    let bare = name.split('(').next().unwrap_or(name).trim();
    let unsigned = name.ends_with(" unsigned");
    Some(match bare.trim_end_matches(" unsigned") {
        "tinyint" | "smallint" | "mediumint" | "year" => json!("int"),
        "int" | "integer" if unsigned => json!("long"),
        "bigint" if unsigned => decimal("(20)")?,
        "datetime" => json!({"type": "long", "logicalType": "local-timestamp-micros"}),
        "tinytext" | "mediumtext" | "longtext" => json!("string"),
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => json!("bytes"),
        _ => return None,
    })
}

/// `(12,2)`; without precision PostgreSQL's text.
fn decimal(arguments: &str) -> Option<Json> {
    if arguments.is_empty() {
        return Some(json!("string"));
    }
    let inner = arguments.strip_prefix('(')?.strip_suffix(')')?;
    let (precision, scale) = inner.split_once(',').unwrap_or((inner, "0"));
    let number = |text: &str| text.trim().parse::<u32>().ok();
    Some(json!({"type": "bytes", "logicalType": "decimal",
        "precision": number(precision)?, "scale": number(scale)?}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_as_people_write_them() {
        for (text, expected) in [
            ("bigint", json!("long")),
            ("BIGINT", json!("long")),
            ("long", json!("long")),
            ("varchar(20)", json!("string")),
            ("numeric", json!("string")),
            ("int[]", json!({"type": "array", "items": ["null", "int"]})),
            ("int[][]", json!("string")),
            ("tinyint(1)", json!("int")),
            ("INT UNSIGNED", json!("long")),
            (
                "bigint unsigned",
                json!({"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 0}),
            ),
            ("datetime(6)", json!({"type": "long", "logicalType": "local-timestamp-micros"})),
            ("mediumtext", json!("string")),
            ("varbinary(8)", json!("bytes")),
            (r#"{"type":"map","values":"int"}"#, json!({"type": "map", "values": "int"})),
            (
                "numeric(12, 2)",
                json!({"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}),
            ),
        ] {
            assert_eq!(avro_type(text).unwrap(), expected, "{text}");
        }
        for text in ["", "bigints", "numeric(a)", "{", "[]", "\u{0}"] {
            assert_eq!(avro_type(text).unwrap_err().kind(), ErrorKind::Malformed, "{text}");
        }
    }
}
