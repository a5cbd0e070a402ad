//! From JSON text to the arena, by the rules of Avro Java 1.12's `Schema.Parser`.

use super::{
    Arena, Field, Kind, Logical, Name, Node, NodeId, SCHEMA_BYTES_MAX, SCHEMA_DEPTH_MAX, Schema,
    primitive,
};
use serde_json::{Map, Value as Json};
use std::collections::HashSet;
use tidemesh_model::{Error, ErrorKind, Result};

/// The most values that checking one field's default looks at: defaults of records hold those of
/// their fields, which can double with each.
const DEFAULT_VALUES_MAX: usize = 100_000;

/// The most steps into a schema's text: a type is up to three (`fields`, its place, `type`).
const PATH_STEPS_MAX: usize = SCHEMA_DEPTH_MAX * 3;

pub(super) fn parse(text: &str, references: &[&str]) -> Result<Schema> {
    let mut parser = Parser { arena: Arena::default(), path: Vec::new() };
    for reference in references {
        parser.document(reference)?;
    }
    let root = parser.document(text)?;
    parser.check_depth(root)?;
    Ok(Schema::of_arena(parser.arena, root))
}

struct Parser {
    arena: Arena,
    /// Where in the document the parser is, for errors.
    path: Vec<String>,
}

impl Parser {
    fn document(&mut self, text: &str) -> Result<NodeId> {
        if text.len() > SCHEMA_BYTES_MAX {
            return Err(Error::new(ErrorKind::TooLarge, "read an Avro schema")
                .with("bytes", text.len())
                .with("schema_bytes_max", SCHEMA_BYTES_MAX));
        }
        let json: Json = serde_json::from_str(text).map_err(|error| {
            Error::new(ErrorKind::Malformed, "read an Avro schema")
                .because(format!("it is not JSON: {error}"))
        })?;
        self.schema(&json, None)
    }

    fn wrong(&self, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Malformed, "read an Avro schema")
            .because(message)
            .with("path", format!("/{}", self.path.join("/")))
    }

    fn within<T>(
        &mut self,
        step: impl ToString,
        inner: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        if self.path.len() >= PATH_STEPS_MAX {
            return Err(self.wrong(format!("nested deeper than {SCHEMA_DEPTH_MAX}")));
        }
        self.path.push(step.to_string());
        let answer = inner(self);
        self.path.pop();
        answer
    }

    fn add(&mut self, node: Node) -> Result<NodeId> {
        let id = u32::try_from(self.arena.nodes.len())
            .map(NodeId)
            .map_err(|_| self.wrong("too many types"))?;
        self.arena.nodes.push(node);
        Ok(id)
    }

    /// Refuses a schema that is nested deeper than any text: references' types can be strung
    /// together by name. Who prints a schema walks it as this does.
    fn check_depth(&self, root: NodeId) -> Result<()> {
        let mut seen = HashSet::new();
        let mut stack = vec![(root, 0)];
        while let Some((id, depth)) = stack.pop() {
            let node = &self.arena.nodes[id.0 as usize];
            if node.name.is_some() && !seen.insert(id) {
                continue;
            }
            if depth > PATH_STEPS_MAX {
                return Err(self.wrong(format!("nested deeper than {PATH_STEPS_MAX} by name")));
            }
            match &node.kind {
                Kind::Array(inner) | Kind::Map(inner) => stack.push((*inner, depth + 1)),
                Kind::Union(branches) => {
                    stack.extend(branches.iter().rev().map(|branch| (*branch, depth + 1)));
                }
                Kind::Record(fields) => {
                    stack.extend(fields.iter().rev().map(|field| (field.node, depth + 1)));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn schema(&mut self, json: &Json, around: Option<&str>) -> Result<NodeId> {
        match json {
            Json::String(name) => self.named(name, around),
            Json::Array(branches) => self.union(branches, around),
            Json::Object(object) => self.object(object, around),
            _ => Err(self.wrong("a schema is a text, a list or an object")),
        }
    }

    /// A primitive type or one that was defined before.
    fn named(&mut self, written: &str, around: Option<&str>) -> Result<NodeId> {
        if let Some(kind) = primitive(written) {
            return self.add(plain(kind));
        }
        let full = Name::resolve(written, around).to_string();
        // As Java does, a name that its own namespace does not have is looked for in none.
        let found = self.arena.names.get(&full).or_else(|| self.arena.names.get(written));
        found.copied().ok_or_else(|| self.wrong(format!("Undefined name: \"{full}\"")))
    }

    fn union(&mut self, branches: &[Json], around: Option<&str>) -> Result<NodeId> {
        let mut nodes = Vec::with_capacity(branches.len());
        let mut seen = HashSet::new();
        for (index, branch) in branches.iter().enumerate() {
            let id = self.within(index, |parser| parser.schema(branch, around))?;
            let node = &self.arena.nodes[id.0 as usize];
            if matches!(node.kind, Kind::Union(_)) {
                return Err(self.wrong("Nested union"));
            }
            let label = match &node.name {
                Some(name) => name.to_string(),
                None => node.type_name().to_owned(),
            };
            if !seen.insert(label.clone()) {
                return Err(self.wrong(format!("Duplicate in union: {label}")));
            }
            nodes.push(id);
        }
        self.add(plain(Kind::Union(nodes)))
    }

    fn object(&mut self, object: &Map<String, Json>, around: Option<&str>) -> Result<NodeId> {
        let written = match object.get("type") {
            None => return Err(self.wrong("No type")),
            Some(Json::String(written)) => written.as_str(),
            // A type within a type: `{"type": {"type": "int"}}`.
            Some(nested) => return self.within("type", |parser| parser.schema(nested, around)),
        };
        match written {
            "record" | "error" => self.record(object, around),
            "enum" => self.enumeration(object, around),
            "fixed" => self.fixed(object, around),
            "array" => {
                let items = self.inner(object, "items", around)?;
                self.add(with_properties(Kind::Array(items), object, &["type", "items"]))
            }
            "map" => {
                let values = self.inner(object, "values", around)?;
                self.add(with_properties(Kind::Map(values), object, &["type", "values"]))
            }
            other => match primitive(other) {
                Some(kind) => self.add(with_properties(kind, object, &["type"])),
                None => self.named(other, around),
            },
        }
    }

    fn inner(
        &mut self,
        object: &Map<String, Json>,
        attribute: &str,
        around: Option<&str>,
    ) -> Result<NodeId> {
        let Some(json) = object.get(attribute) else {
            return Err(self.wrong(format!("No {attribute}")));
        };
        self.within(attribute, |parser| parser.schema(json, around))
    }

    /// A named type's name, aliases and documentation; its namespace holds for what is within.
    fn head(&self, object: &Map<String, Json>, around: Option<&str>) -> Result<Head> {
        let Some(written) = object.get("name").and_then(Json::as_str) else {
            return Err(self.wrong("No name in schema"));
        };
        let namespace = object.get("namespace").and_then(Json::as_str).or(around);
        let name = Name::resolve(written, namespace);
        self.check_name(&name.name)?;
        if let Some(namespace) = &name.namespace {
            namespace.split('.').try_for_each(|part| self.check_name(part))?;
        }
        if primitive(&name.to_string()).is_some() {
            return Err(self.wrong(format!("Schemas may not be named after primitives: {name}")));
        }
        let aliases = self
            .texts(object, "aliases")?
            .unwrap_or_default()
            .iter()
            .map(|alias| Name::resolve(alias, name.namespace.as_deref()))
            .collect();
        let doc = object.get("doc").and_then(Json::as_str).map(str::to_owned);
        Ok(Head { name, aliases, doc })
    }

    fn check_name(&self, name: &str) -> Result<()> {
        let mut chars = name.chars();
        let Some(first) = chars.next() else {
            return Err(self.wrong("Empty name"));
        };
        if !(first == '_' || first.is_alphabetic()) {
            return Err(self.wrong(format!("Illegal initial character: {name}")));
        }
        match chars.find(|c| !(*c == '_' || c.is_alphanumeric())) {
            Some(_) => Err(self.wrong(format!("Illegal character in: {name}"))),
            None => Ok(()),
        }
    }

    fn texts(&self, object: &Map<String, Json>, attribute: &str) -> Result<Option<Vec<String>>> {
        let Some(json) = object.get(attribute) else {
            return Ok(None);
        };
        let texts = json.as_array().and_then(|list| {
            list.iter().map(|text| text.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        });
        match texts {
            Some(texts) => Ok(Some(texts)),
            None => Err(self.wrong(format!("{attribute} is not a list of texts"))),
        }
    }

    /// Adds a named type before what is within it is read, so that it can be recursive.
    fn define(&mut self, head: Head, kind: Kind, properties: Map<String, Json>) -> Result<NodeId> {
        let full = head.name.to_string();
        if self.arena.names.contains_key(&full) {
            return Err(self.wrong(format!("Can't redefine: {full}")));
        }
        let logical = logical(&kind, &properties);
        let id = self.add(Node {
            kind,
            name: Some(head.name),
            aliases: head.aliases,
            doc: head.doc,
            logical,
            properties,
        })?;
        self.arena.names.insert(full, id);
        Ok(id)
    }

    fn record(&mut self, object: &Map<String, Json>, around: Option<&str>) -> Result<NodeId> {
        let head = self.head(object, around)?;
        let namespace = head.name.namespace.clone();
        let known = ["type", "name", "namespace", "doc", "aliases", "fields"];
        let id = self.define(head, Kind::Record(Vec::new()), others(object, &known))?;
        let Some(list) = object.get("fields").and_then(Json::as_array) else {
            return Err(self.wrong("Record has no fields"));
        };
        let mut fields: Vec<Field> = Vec::with_capacity(list.len());
        for (index, json) in list.iter().enumerate() {
            let field = self.within("fields", |parser| {
                parser.within(index, |parser| parser.field(json, namespace.as_deref()))
            })?;
            if fields.iter().any(|other| other.name == field.name) {
                return Err(self.wrong(format!("Duplicate field {} in record", field.name)));
            }
            fields.push(field);
        }
        self.arena.nodes[id.0 as usize].kind = Kind::Record(fields);
        self.check_defaults(id)?;
        Ok(id)
    }

    fn field(&mut self, json: &Json, around: Option<&str>) -> Result<Field> {
        let Some(object) = json.as_object() else {
            return Err(self.wrong("a field is an object"));
        };
        let Some(name) = object.get("name").and_then(Json::as_str) else {
            return Err(self.wrong("No field name"));
        };
        self.check_name(name)?;
        let Some(json) = object.get("type") else {
            return Err(self.wrong("No field type"));
        };
        let node = self.within("type", |parser| parser.schema(json, around))?;
        let known = ["name", "type", "doc", "default", "order", "aliases"];
        let order = object.get("order").and_then(Json::as_str).map(str::to_lowercase);
        if let Some(order) = &order
            && !matches!(order.as_str(), "ascending" | "descending" | "ignore")
        {
            return Err(self.wrong(format!("No such order: {order}")));
        }
        Ok(Field {
            name: name.to_owned(),
            node,
            default: object.get("default").cloned(),
            doc: object.get("doc").and_then(Json::as_str).map(str::to_owned),
            aliases: self.texts(object, "aliases")?.unwrap_or_default(),
            order: order.filter(|order| order != "ascending"),
            properties: others(object, &known),
        })
    }

    /// Defaults are checked once the record is whole: one may be of the record's own type.
    fn check_defaults(&self, record: NodeId) -> Result<()> {
        let Kind::Record(fields) = &self.arena.nodes[record.0 as usize].kind else {
            return Ok(());
        };
        for field in fields {
            if let Some(default) = &field.default
                && !self.valid_default(field.node, default, &mut 0, 0)
            {
                return Err(self.wrong(format!(
                    "Invalid default for field {}: {default} is not of its type",
                    field.name
                )));
            }
        }
        Ok(())
    }

    /// Whether `default` is of the type; false too past the limits on depth and on values seen.
    fn valid_default(&self, id: NodeId, default: &Json, seen: &mut usize, depth: usize) -> bool {
        *seen += 1;
        if depth > SCHEMA_DEPTH_MAX || *seen > DEFAULT_VALUES_MAX {
            return false;
        }
        let mut deeper = |id: NodeId, json: &Json| self.valid_default(id, json, seen, depth + 1);
        match &self.arena.nodes[id.0 as usize].kind {
            Kind::Null => default.is_null(),
            Kind::Boolean => default.is_boolean(),
            Kind::Int => default.as_i64().is_some_and(|value| i32::try_from(value).is_ok()),
            Kind::Long => default.as_i64().is_some(),
            Kind::Float | Kind::Double => default.is_number(),
            Kind::Bytes | Kind::String | Kind::Enum { .. } => default.is_string(),
            Kind::Fixed(_) => default.is_string(),
            Kind::Array(items) => {
                default.as_array().is_some_and(|list| list.iter().all(|item| deeper(*items, item)))
            }
            Kind::Map(values) => default
                .as_object()
                .is_some_and(|object| object.values().all(|value| deeper(*values, value))),
            Kind::Union(branches) => branches.iter().any(|branch| deeper(*branch, default)),
            Kind::Record(fields) => default.as_object().is_some_and(|object| {
                fields.iter().all(|field| {
                    let value = object.get(&field.name).or(field.default.as_ref());
                    value.is_some_and(|value| deeper(field.node, value))
                })
            }),
        }
    }

    fn enumeration(&mut self, object: &Map<String, Json>, around: Option<&str>) -> Result<NodeId> {
        let head = self.head(object, around)?;
        let Some(symbols) = self.texts(object, "symbols")? else {
            return Err(self.wrong("Enum has no symbols"));
        };
        let mut seen = HashSet::new();
        for symbol in &symbols {
            self.check_name(symbol)?;
            if !seen.insert(symbol) {
                return Err(self.wrong(format!("Duplicate enum symbol: {symbol}")));
            }
        }
        let default = object.get("default").and_then(Json::as_str).map(str::to_owned);
        if let Some(default) = &default
            && !symbols.contains(default)
        {
            return Err(self.wrong(format!(
                "The Enum Default: {default} is not in the enum symbol set: {symbols:?}"
            )));
        }
        let known = ["type", "name", "namespace", "doc", "aliases", "symbols", "default"];
        self.define(head, Kind::Enum { symbols, default }, others(object, &known))
    }

    fn fixed(&mut self, object: &Map<String, Json>, around: Option<&str>) -> Result<NodeId> {
        let head = self.head(object, around)?;
        let size = object.get("size").and_then(Json::as_u64).and_then(|s| usize::try_from(s).ok());
        let Some(size) = size.filter(|size| i32::try_from(*size).is_ok()) else {
            return Err(self.wrong("Invalid or no size"));
        };
        let known = ["type", "name", "namespace", "doc", "aliases", "size"];
        self.define(head, Kind::Fixed(size), others(object, &known))
    }
}

struct Head {
    name: Name,
    aliases: Vec<Name>,
    doc: Option<String>,
}

fn plain(kind: Kind) -> Node {
    Node { kind, name: None, aliases: Vec::new(), doc: None, logical: None, properties: Map::new() }
}

fn with_properties(kind: Kind, object: &Map<String, Json>, known: &[&str]) -> Node {
    let properties = others(object, known);
    let logical = logical(&kind, &properties);
    Node { logical, properties, ..plain(kind) }
}

fn others(object: &Map<String, Json>, known: &[&str]) -> Map<String, Json> {
    object
        .iter()
        .filter(|(name, _)| !known.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// The logical type, if it is known and fits; others are ignored, as the specification says.
fn logical(kind: &Kind, properties: &Map<String, Json>) -> Option<Logical> {
    let number = |name: &str| {
        properties.get(name).and_then(Json::as_u64).and_then(|value| usize::try_from(value).ok())
    };
    match (properties.get("logicalType")?.as_str()?, kind) {
        ("decimal", Kind::Bytes | Kind::Fixed(_)) => {
            let precision = number("precision").filter(|precision| *precision > 0)?;
            let scale = match properties.get("scale") {
                None => 0,
                Some(_) => number("scale")?,
            };
            (scale <= precision).then_some(Logical::Decimal { precision, scale })
        }
        ("uuid", Kind::String | Kind::Fixed(16)) => Some(Logical::Uuid),
        ("date", Kind::Int) => Some(Logical::Date),
        ("time-millis", Kind::Int) => Some(Logical::TimeMillis),
        ("time-micros", Kind::Long) => Some(Logical::TimeMicros),
        ("timestamp-millis", Kind::Long) => Some(Logical::TimestampMillis),
        ("timestamp-micros", Kind::Long) => Some(Logical::TimestampMicros),
        ("timestamp-nanos", Kind::Long) => Some(Logical::TimestampNanos),
        ("local-timestamp-millis", Kind::Long) => Some(Logical::LocalTimestampMillis),
        ("local-timestamp-micros", Kind::Long) => Some(Logical::LocalTimestampMicros),
        ("local-timestamp-nanos", Kind::Long) => Some(Logical::LocalTimestampNanos),
        ("duration", Kind::Fixed(12)) => Some(Logical::Duration),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_that_doubles_with_each_record_is_refused_in_bounded_time() {
        let mut inner = r#"{"type":"record","name":"R0","fields":[]}"#.to_owned();
        for index in 1..40 {
            let before = format!("R{}", index - 1);
            inner = format!(
                r#"{{"type":"record","name":"R{index}","fields":[{{"name":"a","type":{inner},"default":{{}}}},{{"name":"b","type":"{before}","default":{{}}}}]}}"#
            );
            if index > 25 {
                break;
            }
        }
        assert!(parse(&inner, &[]).is_err());
    }

    #[test]
    fn references_strung_together_by_name_are_refused_when_too_deep() {
        let strung = |count: usize| {
            let mut types = vec![r#"{"type":"record","name":"R0","fields":[]}"#.to_owned()];
            types.extend((1..count).map(|index| {
                let inner = index - 1;
                format!(
                    r#"{{"type":"record","name":"R{index}","fields":[{{"name":"f","type":"R{inner}"}}]}}"#
                )
            }));
            let all = format!("[{}]", types.join(","));
            parse(&format!("\"R{}\"", count - 1), &[&all])
        };
        assert!(!strung(PATH_STEPS_MAX).unwrap().canonical_form().is_empty());
        let error = strung(50_000).unwrap_err();
        assert!(error.to_string().contains("by name"), "{error}");
    }
}
