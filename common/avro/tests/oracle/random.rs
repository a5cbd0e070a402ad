//! Schemas, data and evolutions, drawn from a tape of bytes, so that a failure shrinks with it.

use serde_json::{Value as Json, json};
use tidemesh_avro::datum::Datum;

/// Choices; zeros once it has run out.
pub(crate) struct Tape<'t>(pub(crate) &'t [u8]);

impl Tape<'_> {
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub(crate) fn below(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count
    }

    pub(crate) fn yes(&mut self) -> bool {
        self.byte() % 2 == 1
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    pub(crate) fn long(&mut self) -> i64 {
        match self.below(4) {
            0 => i64::from(self.byte().cast_signed()),
            1 => [i64::MIN, i64::MAX, i64::from(i32::MAX), 0, 64, -65][self.below(6)],
            _ => i64::from_le_bytes(self.bytes()),
        }
    }

    pub(crate) fn int(&mut self) -> i32 {
        let [a, b, c, d, ..] = self.long().to_le_bytes();
        i32::from_le_bytes([a, b, c, d])
    }

    pub(crate) fn run(&mut self) -> Vec<u8> {
        (0..self.below(6)).map(|_| self.byte()).collect()
    }

    pub(crate) fn text(&mut self) -> String {
        (0..self.below(6)).map(|_| ['a', 'ß', '\0', '"', '漢', '🦀'][self.below(6)]).collect()
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Type {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed { name: String, size: usize },
    Enum { name: String, symbols: Vec<String>, default: Option<String> },
    Array(Box<Type>),
    Map(Box<Type>),
    Union(Vec<Type>),
    Record { name: String, fields: Vec<Field> },
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) aliases: Vec<String>,
    pub(crate) data_type: Type,
    pub(crate) default: Option<Json>,
}

/// Draws types, whose names are never the same.
pub(crate) struct Types {
    pub(crate) named: usize,
    /// Whether a union holds at most one type of each kind, named ones included.
    pub(crate) kinds_once: bool,
    /// Whether all of a writer's data can be read with what it evolves to.
    pub(crate) lossless: bool,
}

const DEPTH_MAX: usize = 4;

impl Types {
    fn name(&mut self) -> String {
        self.named += 1;
        format!("{}N{}", ["", "a.", "b.c."][self.named % 3], self.named)
    }

    pub(crate) fn draw(&mut self, tape: &mut Tape<'_>, depth: usize) -> Type {
        let drawn = match depth {
            0 => 10 + tape.below(6),
            1..DEPTH_MAX => tape.below(16),
            _ => tape.below(10),
        };
        match drawn {
            0 => Type::Null,
            1 => Type::Boolean,
            2 => Type::Int,
            3 => Type::Long,
            4 => Type::Float,
            5 => Type::Double,
            6 => Type::Bytes,
            7 => Type::Text,
            8 => Type::Fixed { name: self.name(), size: tape.below(5) },
            9 => {
                let symbols = (0..=tape.below(4)).map(|index| format!("S{index}")).collect();
                Type::Enum { name: self.name(), symbols, default: None }
            }
            10 => Type::Array(Box::new(self.draw(tape, depth + 1))),
            11 => Type::Map(Box::new(self.draw(tape, depth + 1))),
            12 | 13 => self.union(tape, depth),
            _ => self.record(tape, depth),
        }
    }

    fn union(&mut self, tape: &mut Tape<'_>, depth: usize) -> Type {
        let mut branches: Vec<Type> = Vec::new();
        for _ in 0..=tape.below(4) {
            let branch = self.draw(tape, depth + 1);
            let alike = branches.iter().any(|other| {
                let same = std::mem::discriminant(other) == std::mem::discriminant(&branch);
                let map_and_record = [other, &branch]
                    .iter()
                    .all(|one| matches!(one, Type::Map(_) | Type::Record { .. }));
                same && other.name().is_none() || self.kinds_once && (same || map_and_record)
            });
            if !alike && !matches!(branch, Type::Union(_)) {
                branches.push(branch);
            }
        }
        if branches.is_empty() { Type::Null } else { Type::Union(branches) }
    }

    fn record(&mut self, tape: &mut Tape<'_>, depth: usize) -> Type {
        let name = self.name();
        let number = self.named;
        let fields = (0..tape.below(5)).map(|index| Field {
            // Of several records in a union the field's names tell which one a datum is.
            name: format!("f{number}_{index}"),
            aliases: Vec::new(),
            data_type: self.draw(tape, depth + 1),
            default: None,
        });
        Type::Record { fields: fields.collect(), name }
    }
}

impl Type {
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Fixed { name, .. } | Self::Enum { name, .. } | Self::Record { name, .. } => {
                Some(name)
            }
            _ => None,
        }
    }

    /// The schema; `attributes` adds what no reader of data needs.
    pub(crate) fn schema(&self, attributes: bool) -> Json {
        let mut json = match self {
            Self::Null => json!("null"),
            Self::Boolean => json!("boolean"),
            Self::Int => json!("int"),
            Self::Long => json!("long"),
            Self::Float => json!("float"),
            Self::Double => json!("double"),
            Self::Bytes => json!("bytes"),
            Self::Text => json!("string"),
            Self::Fixed { name, size } => json!({"size": size, "type": "fixed", "name": name}),
            Self::Enum { name, symbols, default } => {
                let mut json = json!({"type": "enum", "name": name, "symbols": symbols});
                if let Some(default) = default {
                    json["default"] = json!(default);
                }
                json
            }
            Self::Array(items) => json!({"items": items.schema(attributes), "type": "array"}),
            Self::Map(values) => json!({"type": "map", "values": values.schema(attributes)}),
            Self::Union(branches) => {
                branches.iter().map(|branch| branch.schema(attributes)).collect()
            }
            Self::Record { name, fields } => {
                let fields: Vec<Json> =
                    fields.iter().map(|field| field.schema(attributes)).collect();
                json!({"name": name, "type": "record", "fields": fields})
            }
        };
        if attributes && let Some(object) = json.as_object_mut() {
            object.insert("x".into(), json!({"y": 1}));
            if self.name().is_some() {
                object.insert("doc".into(), json!("d"));
                object.insert("aliases".into(), json!(["Other"]));
            }
        }
        json
    }

    pub(crate) fn datum(&self, tape: &mut Tape<'_>) -> Datum {
        match self {
            Self::Null => Datum::Null,
            Self::Boolean => Datum::Boolean(tape.yes()),
            Self::Int => Datum::Int(tape.int()),
            Self::Long => Datum::Long(tape.long()),
            Self::Float => Datum::Float(f32::from_le_bytes(tape.bytes())),
            Self::Double => Datum::Double(f64::from_le_bytes(tape.bytes())),
            Self::Bytes => Datum::Bytes(tape.run()),
            Self::Text => Datum::String(tape.text()),
            Self::Fixed { size, .. } => Datum::Fixed((0..*size).map(|_| tape.byte()).collect()),
            Self::Enum { symbols, .. } => Datum::Enum(symbols[tape.below(symbols.len())].clone()),
            Self::Array(items) => {
                Datum::Array((0..tape.below(4)).map(|_| items.datum(tape)).collect())
            }
            Self::Map(values) => Datum::Map(
                (0..tape.below(4)).map(|index| (format!("k{index}"), values.datum(tape))).collect(),
            ),
            Self::Union(branches) => branches[tape.below(branches.len())].datum(tape),
            Self::Record { fields, .. } => Datum::Record(
                fields
                    .iter()
                    .map(|field| (field.name.as_str().into(), field.data_type.datum(tape)))
                    .collect(),
            ),
        }
    }

    /// A default in JSON; none for a union below the top, and no text beyond ASCII: see the
    /// deviations in `oracle.rs`.
    fn default(&self, tape: &mut Tape<'_>) -> Option<Json> {
        Some(match self {
            Self::Null => Json::Null,
            Self::Boolean => json!(tape.yes()),
            Self::Int => json!(tape.int()),
            Self::Long => json!(tape.long()),
            Self::Float | Self::Double => json!(f64::from(tape.int()) / 8.0),
            Self::Bytes | Self::Text => json!(["", "abc"][tape.below(2)]),
            Self::Fixed { size, .. } => json!("x".repeat(*size)),
            Self::Enum { symbols, .. } => json!(symbols[tape.below(symbols.len())]),
            Self::Array(items) => {
                json!((0..tape.below(3)).map(|_| items.default(tape)).collect::<Option<Vec<_>>>()?)
            }
            Self::Map(values) => json!({"k": values.default(tape)?}),
            Self::Union(_) => return None,
            Self::Record { fields, .. } => {
                let mut object = serde_json::Map::new();
                for field in fields {
                    object.insert(field.name.clone(), field.data_type.default(tape)?);
                }
                Json::Object(object)
            }
        })
    }
}

impl Field {
    fn schema(&self, attributes: bool) -> Json {
        let mut json = json!({"name": self.name, "type": self.data_type.schema(attributes)});
        if let Some(default) = &self.default {
            json["default"] = default.clone();
        }
        if !self.aliases.is_empty() {
            json["aliases"] = json!(self.aliases);
        }
        if attributes {
            json["x"] = json!("y");
        }
        json
    }
}

/// What a renamed field's name ends with; its alias is the name without.
pub(crate) const RENAMED: &str = "_new";

/// Draws a reader of what `writer` describes: most of its data can be read.
pub(crate) fn evolve(writer: &Type, types: &mut Types, tape: &mut Tape<'_>) -> Type {
    let wrapped = |inner: Type| match inner {
        Type::Null | Type::Union(_) => inner,
        inner => Type::Union(vec![Type::Null, inner]),
    };
    let inner = match writer {
        Type::Int => [Type::Int, Type::Long, Type::Float, Type::Double][tape.below(4)].clone(),
        Type::Long => [Type::Long, Type::Float, Type::Double][tape.below(3)].clone(),
        Type::Float => [Type::Float, Type::Double][tape.below(2)].clone(),
        Type::Text => [Type::Text, Type::Bytes][tape.below(2)].clone(),
        Type::Bytes if !types.lossless && tape.yes() => Type::Text,
        Type::Enum { name, symbols, .. } => {
            let mut symbols = symbols.clone();
            let by = tape.below(symbols.len());
            symbols.rotate_left(by);
            symbols.truncate(1 + tape.below(symbols.len()));
            symbols.push("Unknown".to_owned());
            let default = (types.lossless || tape.yes()).then(|| "Unknown".to_owned());
            Type::Enum { name: name.clone(), symbols, default }
        }
        Type::Array(items) => Type::Array(Box::new(evolve(items, types, tape))),
        Type::Map(values) => Type::Map(Box::new(evolve(values, types, tape))),
        Type::Union(branches) => evolve_union(branches, types, tape),
        Type::Record { name, fields } => {
            Type::Record { name: name.clone(), fields: evolve_fields(fields, types, tape) }
        }
        Type::Null | Type::Boolean | Type::Double | Type::Bytes | Type::Fixed { .. } => {
            writer.clone()
        }
    };
    if tape.below(4) == 3 { wrapped(inner) } else { inner }
}

fn evolve_union(branches: &[Type], types: &mut Types, tape: &mut Tape<'_>) -> Type {
    if !types.lossless && tape.below(6) == 5 {
        return evolve(&branches[tape.below(branches.len())], types, tape);
    }
    let mut evolved: Vec<Type> = Vec::new();
    for branch in branches {
        let other = match branch {
            // Else apache-avro might demote or reinterpret: see the deviations in `oracle.rs`.
            Type::Long if branches.contains(&Type::Int) => branch.clone(),
            Type::Text | Type::Bytes => branch.clone(),
            other => evolve(other, types, tape),
        };
        for inner in if let Type::Union(inner) = other { inner } else { vec![other] } {
            let alike =
                |other: &Type| std::mem::discriminant(other) == std::mem::discriminant(&inner);
            if !evolved.iter().any(alike) {
                evolved.push(inner);
            }
        }
    }
    let by = tape.below(evolved.len());
    evolved.rotate_left(by);
    Type::Union(evolved)
}

fn evolve_fields(fields: &[Field], types: &mut Types, tape: &mut Tape<'_>) -> Vec<Field> {
    let mut evolved = Vec::new();
    for field in fields {
        if tape.below(5) == 4 {
            continue;
        }
        let mut field = Field { data_type: evolve(&field.data_type, types, tape), ..field.clone() };
        if tape.below(4) == 3 {
            field.aliases = vec!["never".to_owned(), field.name.clone()];
            field.name.push_str(RENAMED);
        }
        evolved.push(field);
    }
    for _ in 0..tape.below(3) {
        let data_type = types.draw(tape, DEPTH_MAX - 1);
        let default = match &data_type {
            Type::Union(branches) => branches[0].default(tape),
            other => other.default(tape),
        };
        let name = format!("g{}_{}", types.named, evolved.len());
        if default.is_some() {
            evolved.push(Field { name, aliases: Vec::new(), data_type, default });
        }
    }
    let by = tape.below(evolved.len().max(1));
    evolved.rotate_left(by);
    evolved
}
