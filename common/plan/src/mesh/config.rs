//! Whether a configuration fits its JSON Schema, as far as the schema says it by `type`, `properties`,
//! `required`, `additionalProperties: false`, `items`, `enum`, `minimum` and `maximum` (JSON Schema
//! 2020-12, "Validation", sections 6.1 to 6.5). Other keywords say nothing here: what they ask for, the
//! processor itself refuses when it starts.

use crate::document::names::{instead_of, shown};
use serde_json::{Map, Value as Json};

/// The most mistakes that are told of one configuration.
const MISTAKES_MAX: usize = 16;

/// What is wrong with a part of a configuration.
pub(super) struct Mistake {
    /// The path there, from the configuration on: `.limits[0]`, or nothing.
    pub(super) path: String,
    pub(super) message: String,
    pub(super) help: String,
}

/// All that does not fit, at most [`MISTAKES_MAX`] of it. Documents bound how deep both are.
pub(super) fn mistakes(config: &Json, schema: &Json) -> Vec<Mistake> {
    let mut check = Check { mistakes: Vec::new() };
    check.value(config, schema, "");
    check.mistakes.truncate(MISTAKES_MAX);
    check.mistakes
}

struct Check {
    mistakes: Vec<Mistake>,
}

impl Check {
    fn wrong(&mut self, path: &str, message: String, help: String) {
        self.mistakes.push(Mistake { path: path.to_owned(), message, help });
    }

    fn value(&mut self, value: &Json, schema: &Json, path: &str) {
        if self.mistakes.len() >= MISTAKES_MAX {
            return;
        }
        let types = types(schema);
        if !types.is_empty() && !types.iter().any(|name| fits_type(value, name)) {
            let help = format!("{} is needed here", types.join(" or "));
            return self.wrong(path, format!("this is {}", type_name(value)), help);
        }
        self.one_of(value, schema, path);
        self.bounds(value, schema, path);
        match value {
            Json::Object(table) => self.table(table, schema, path),
            Json::Array(items) => {
                let Some(of) = schema.get("items") else { return };
                for (index, item) in items.iter().enumerate() {
                    self.value(item, of, &format!("{path}[{index}]"));
                }
            }
            _ => {}
        }
    }

    fn one_of(&mut self, value: &Json, schema: &Json, path: &str) {
        let Some(Json::Array(values)) = schema.get("enum") else { return };
        if !values.iter().any(|one| same(one, value)) {
            let listed: Vec<String> = values.iter().map(Json::to_string).collect();
            let message = format!("{} is not known", shown(&value.to_string()));
            self.wrong(path, message, format!("write one of {}", listed.join(", ")));
        }
    }

    fn bounds(&mut self, value: &Json, schema: &Json, path: &str) {
        let Some(number) = value.as_f64() else { return };
        let bound = |name: &str| schema.get(name).and_then(Json::as_f64);
        if let Some(least) = bound("minimum").filter(|least| number < *least) {
            self.wrong(path, format!("{value} is too small"), format!("write {least} or more"));
        }
        if let Some(most) = bound("maximum").filter(|most| number > *most) {
            self.wrong(path, format!("{value} is too large"), format!("write {most} or less"));
        }
    }

    fn table(&mut self, table: &Map<String, Json>, schema: &Json, path: &str) {
        let nothing = Map::new();
        let properties = schema.get("properties").and_then(Json::as_object).unwrap_or(&nothing);
        let required = schema.get("required").and_then(Json::as_array);
        for name in required.into_iter().flatten().filter_map(Json::as_str) {
            if !table.contains_key(name) {
                self.wrong(
                    path,
                    format!("{} is missing", shown(name)),
                    format!("add the key {name}"),
                );
            }
        }
        let closed = schema.get("additionalProperties") == Some(&Json::Bool(false));
        for (name, value) in table {
            let path = step(path, name);
            match properties.get(name) {
                Some(of) => self.value(value, of, &path),
                None if closed => {
                    let help = instead_of(name, properties.keys().map(String::as_str));
                    self.wrong(&path, "there is no such key".into(), help);
                }
                None => {}
            }
        }
    }
}

/// The path of a key, as documents' paths are written.
fn step(path: &str, name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !name.is_empty() && name.bytes().all(plain) {
        format!("{path}.{name}")
    } else {
        format!("{path}[\"{name}\"]")
    }
}

/// The types that a schema allows by name; none if it allows any.
fn types(schema: &Json) -> Vec<&str> {
    match schema.get("type") {
        Some(Json::String(name)) => vec![name],
        Some(Json::Array(names)) => names.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Whether a value is of a type. One that JSON Schema does not have is no one's.
fn fits_type(value: &Json, name: &str) -> bool {
    match name {
        // 1.0 is an integer (2020-12, "Instance Data Model").
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        _ => type_name(value).ends_with(name),
    }
}

fn type_name(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    }
}

/// Whether two values are one: numbers by their value.
fn same(one: &Json, other: &Json) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one.total_cmp(&other).is_eq(),
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(config: Json, schema: Json) -> Vec<String> {
        let told = |one: Mistake| format!("{}: {}; {}", one.path, one.message, one.help);
        mistakes(&config, &schema).into_iter().map(told).collect()
    }

    #[test]
    fn what_a_schema_says_by_the_common_keywords_is_checked() {
        let schema = json!({
            "type": "object", "required": ["rate"], "additionalProperties": false,
            "properties": {
                "rate": {"type": "number", "minimum": 0, "maximum": 1.5},
                "mode": {"enum": ["fast", "exact", 3]},
                "sizes": {"type": "array", "items": {"type": ["integer", "null"]}},
            },
        });
        let of = |config| told(config, schema.clone());
        assert!(of(json!({"rate": 1, "mode": 3.0, "sizes": [1, 2.0, null]})).is_empty());
        assert_eq!(of(json!({})), [": `rate` is missing; add the key rate"]);
        assert_eq!(of(json!({"rate": -1})), [".rate: -1 is too small; write 0 or more"]);
        assert_eq!(of(json!({"rate": 2})), [".rate: 2 is too large; write 1.5 or less"]);
        assert_eq!(of(json!({"rate": "1"})), [".rate: this is a string; number is needed here"]);
        assert_eq!(
            of(json!({"rate": 1, "sizes": [0.5]})),
            [".sizes[0]: this is a number; integer or null is needed here"]
        );
        assert_eq!(
            of(json!({"rate": 1, "mode": "slow"})),
            [".mode: `\\\"slow\\\"` is not known; write one of \"fast\", \"exact\", 3"]
        );
        assert_eq!(
            of(json!({"rate": 1, "mod": 3})),
            [".mod: there is no such key; did you mean `mode`?"]
        );
        assert_eq!(told(json!([]), schema), [": this is an array; object is needed here"]);
    }

    #[test]
    fn what_a_schema_says_otherwise_is_left_to_the_processor() {
        assert!(told(json!({"a": 1}), json!({"patternProperties": {"b": false}})).is_empty());
        assert!(told(json!({"a": 1}), json!(true)).is_empty());
    }

    #[test]
    fn mistakes_have_a_bound() {
        let many: Vec<Json> = (0..1000).map(Json::from).collect();
        assert_eq!(told(json!(many), json!({"items": {"type": "string"}})).len(), MISTAKES_MAX);
    }
}
