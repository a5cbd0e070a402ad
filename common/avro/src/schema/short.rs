//! A type in a few words, for people.

use super::{Kind, NodeId, Schema};
use serde_json::{Value as Json, json};

/// The most bytes of a type in short; the rest becomes `…`.
pub const SHORT_TYPE_BYTES_MAX: usize = 200;

/// How deep unnamed types are written out in short.
const SHORT_DEPTH_MAX: usize = 8;

impl Schema {
    /// The type at `id`, which must come from this schema, in short: `long`, `record shop.Customer`,
    /// `fixed Hash(16)`, `["null","string"]`, `{"type":"array","items":"shop.Line"}`. Types with
    /// names are never written out; no longer than [`SHORT_TYPE_BYTES_MAX`] and a `…`.
    #[must_use]
    pub fn short_type(&self, id: NodeId) -> String {
        let node = self.node(id);
        let mut text = match (&node.kind, &node.name) {
            (Kind::Fixed(size), Some(name)) => format!("fixed {name}({size})"),
            (_, Some(name)) => format!("{} {name}", node.type_name().to_lowercase()),
            _ => match self.short_json(id, 0) {
                Json::String(text) => text,
                json => json.to_string(),
            },
        };
        if text.len() > SHORT_TYPE_BYTES_MAX {
            let end = (0..=SHORT_TYPE_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end));
            text.truncate(end.unwrap_or(0));
            text.push('…');
        }
        text
    }

    fn short_json(&self, id: NodeId, depth: usize) -> Json {
        let node = self.node(id);
        if let Some(name) = &node.name {
            return name.to_string().into();
        }
        let kind = node.type_name().to_lowercase();
        if depth >= SHORT_DEPTH_MAX {
            return "…".into();
        }
        match &node.kind {
            Kind::Array(items) => {
                json!({"type": kind, "items": self.short_json(*items, depth + 1)})
            }
            Kind::Map(values) => {
                json!({"type": kind, "values": self.short_json(*values, depth + 1)})
            }
            Kind::Union(branches) => {
                branches.iter().map(|branch| self.short_json(*branch, depth + 1)).collect()
            }
            _ => match node.properties.get("logicalType") {
                Some(logical) => json!({"type": kind, "logicalType": logical}),
                None => kind.into(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_short() {
        let short = |text: &str| {
            let schema = Schema::parse(text).unwrap();
            schema.short_type(schema.root())
        };
        assert_eq!(short("\"int\""), "int");
        assert_eq!(short(r#"["null","string"]"#), r#"["null","string"]"#);
        assert_eq!(short(r#"{"type":"fixed","name":"n.F","size":2}"#), "fixed n.F(2)");
        let list = r#"{"type":"array","items":{"type":"record","name":"R","fields":[]}}"#;
        assert_eq!(short(list), r#"{"type":"array","items":"R"}"#);
        let name = "ä".repeat(300);
        let long = short(&format!(r#"{{"type":"record","name":"{name}","fields":[]}}"#));
        assert!(long.ends_with('…') && long.len() < SHORT_TYPE_BYTES_MAX + 4, "{long}");
    }
}
