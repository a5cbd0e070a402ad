//! The compatibility checker: can data written with one schema be read with another. Pure.
//!
//! Verdicts, places and messages are those of Avro Java 1.12's `SchemaCompatibility`, the checker
//! behind Confluent's registry: `testdata/registry` holds 645 pairs on which both agree.

mod level;

pub use level::{CompatibilityLevel, Direction, Offence, Verdict, check_level};

use crate::schema::{Field, Kind, NodeId, Schema};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

/// The most reasons that one pair of types gives; more are left out.
const FINDINGS_MAX: usize = 64;

/// The most pairs of types that are compared; schemas that need more are taken for incompatible.
const PAIRS_MAX: usize = 20_000;

/// The deepest nesting of pairs.
const DEPTH_MAX: usize = 256;

type Findings = Vec<Rc<Incompatibility>>;

/// Why a reader cannot read what a writer wrote, in Avro Java's spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IncompatibilityKind {
    /// Two named types have different names.
    NameMismatch,
    /// Two fixed types have different sizes.
    FixedSizeMismatch,
    /// The writer's enum has symbols that the reader's has not.
    MissingEnumSymbols,
    /// The reader's field is not in the writer's record and has no default.
    ReaderFieldMissingDefaultValue,
    /// The types do not fit.
    TypeMismatch,
    /// The reader's union has no branch for the writer's type.
    MissingUnionBranch,
}

impl IncompatibilityKind {
    /// Avro Java's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NameMismatch => "NAME_MISMATCH",
            Self::FixedSizeMismatch => "FIXED_SIZE_MISMATCH",
            Self::MissingEnumSymbols => "MISSING_ENUM_SYMBOLS",
            Self::ReaderFieldMissingDefaultValue => "READER_FIELD_MISSING_DEFAULT_VALUE",
            Self::TypeMismatch => "TYPE_MISMATCH",
            Self::MissingUnionBranch => "MISSING_UNION_BRANCH",
        }
    }
}

/// One reason, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incompatibility {
    /// What is wrong.
    pub kind: IncompatibilityKind,
    /// Where in the reader's schema, as a JSON pointer.
    pub path: String,
    /// Avro Java's message.
    pub message: String,
    /// The reader's type there, by Java's name.
    pub reader: &'static str,
    /// The writer's type there, by Java's name.
    pub writer: &'static str,
}

/// Why `reader` cannot read data written with `writer`; empty if it can.
#[must_use]
pub fn incompatibilities(reader: &Schema, writer: &Schema) -> Vec<Incompatibility> {
    let mut checker =
        Checker { reader, writer, verdicts: HashMap::new(), path: Vec::new(), depth: 0 };
    let found = checker.pair(reader.root(), writer.root());
    // Freed first, so that the reasons are taken and not copied.
    drop(checker);
    found.into_iter().map(Rc::unwrap_or_clone).collect()
}

struct Checker<'s> {
    reader: &'s Schema,
    writer: &'s Schema,
    /// What is known of a pair; none while it is being checked, which breaks the recursion.
    verdicts: HashMap<(NodeId, NodeId), Option<Findings>>,
    path: Vec<String>,
    depth: usize,
}

impl Checker<'_> {
    /// One pair, checked at most once.
    fn pair(&mut self, reader: NodeId, writer: NodeId) -> Findings {
        if let Some(verdict) = self.verdicts.get(&(reader, writer)) {
            return verdict.clone().unwrap_or_default();
        }
        if self.depth >= DEPTH_MAX || self.verdicts.len() >= PAIRS_MAX {
            let message = "the schemas are too large to compare".to_owned();
            return self.wrong(IncompatibilityKind::TypeMismatch, reader, writer, message);
        }
        self.verdicts.insert((reader, writer), None);
        self.depth += 1;
        let mut found = self.calculate(reader, writer);
        self.depth -= 1;
        found.truncate(FINDINGS_MAX);
        self.verdicts.insert((reader, writer), Some(found.clone()));
        found
    }

    fn within<T>(&mut self, step: &str, inner: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(step.to_owned());
        let answer = inner(self);
        self.path.pop();
        answer
    }

    /// Java begins a path anew where a union's branch is tried.
    fn rooted<T>(&mut self, inner: impl FnOnce(&mut Self) -> T) -> T {
        let path = std::mem::take(&mut self.path);
        let answer = inner(self);
        self.path = path;
        answer
    }

    fn wrong(
        &self,
        kind: IncompatibilityKind,
        reader: NodeId,
        writer: NodeId,
        message: String,
    ) -> Findings {
        let step = |step: &String| step.replace('~', "~0").replace('/', "~1");
        vec![Rc::new(Incompatibility {
            kind,
            path: format!("/{}", self.path.iter().map(step).collect::<Vec<_>>().join("/")),
            message,
            reader: self.reader.node(reader).type_name(),
            writer: self.writer.node(writer).type_name(),
        })]
    }

    fn calculate(&mut self, reader: NodeId, writer: NodeId) -> Findings {
        let (reader_schema, writer_schema) = (self.reader, self.writer);
        let (read, written) = (reader_schema.node(reader), writer_schema.node(writer));
        match (&read.kind, &written.kind) {
            (Kind::Array(r), Kind::Array(w)) => self.within("items", |this| this.pair(*r, *w)),
            (Kind::Map(r), Kind::Map(w)) => self.within("values", |this| this.pair(*r, *w)),
            (Kind::Fixed(r), Kind::Fixed(w)) => self.fixed(reader, writer, *r, *w),
            (Kind::Enum { symbols, default }, Kind::Enum { symbols: written, .. }) => {
                self.enumeration(reader, writer, (symbols, default.as_deref()), written)
            }
            (Kind::Record(r), Kind::Record(w)) => self.record(reader, writer, r, w),
            (Kind::Union(_), Kind::Union(branches)) => self.unions(reader, writer, branches),
            (_, Kind::Union(branches)) => {
                let mut found = Vec::new();
                for (index, branch) in branches.iter().enumerate() {
                    found
                        .extend(self.within(&index.to_string(), |this| this.pair(reader, *branch)));
                }
                found
            }
            (Kind::Union(branches), _) => self.one_branch(reader, writer, branches),
            _ if std::mem::discriminant(&read.kind) == std::mem::discriminant(&written.kind) => {
                Vec::new()
            }
            (Kind::Long, Kind::Int)
            | (Kind::Float, Kind::Int | Kind::Long)
            | (Kind::Double, Kind::Int | Kind::Long | Kind::Float)
            | (Kind::Bytes, Kind::String)
            | (Kind::String, Kind::Bytes) => Vec::new(),
            _ => {
                let message = format!(
                    "reader type: {} not compatible with writer type: {}",
                    read.type_name(),
                    written.type_name()
                );
                self.wrong(IncompatibilityKind::TypeMismatch, reader, writer, message)
            }
        }
    }

    /// Names are compared without their namespaces; a reader's alias is a full name.
    fn names(&mut self, reader: NodeId, writer: NodeId) -> Findings {
        let read = self.reader.node(reader);
        let (Some(name), Some(written)) = (&read.name, &self.writer.node(writer).name) else {
            return Vec::new();
        };
        if name.name == written.name || read.aliases.contains(written) {
            return Vec::new();
        }
        let message = format!("expected: {written}");
        self.within("name", |this| {
            this.wrong(IncompatibilityKind::NameMismatch, reader, writer, message)
        })
    }

    fn fixed(&mut self, reader: NodeId, writer: NodeId, r: usize, w: usize) -> Findings {
        let mut found = self.names(reader, writer);
        if r != w {
            let message = format!("expected: {w}, found: {r}");
            found.extend(self.within("size", |this| {
                this.wrong(IncompatibilityKind::FixedSizeMismatch, reader, writer, message)
            }));
        }
        found
    }

    fn enumeration(
        &mut self,
        reader: NodeId,
        writer: NodeId,
        (symbols, default): (&[String], Option<&str>),
        written: &[String],
    ) -> Findings {
        let mut found = self.names(reader, writer);
        let missing: BTreeSet<&str> =
            written.iter().filter(|symbol| !symbols.contains(symbol)).map(String::as_str).collect();
        if !missing.is_empty() && default.is_none() {
            let message = format!("[{}]", missing.into_iter().collect::<Vec<_>>().join(", "));
            found.extend(self.within("symbols", |this| {
                this.wrong(IncompatibilityKind::MissingEnumSymbols, reader, writer, message)
            }));
        }
        found
    }

    fn record(
        &mut self,
        reader: NodeId,
        writer: NodeId,
        read: &[Field],
        written: &[Field],
    ) -> Findings {
        let mut found = self.names(reader, writer);
        self.path.push("fields".to_owned());
        for (index, field) in read.iter().enumerate() {
            self.path.push(index.to_string());
            found.extend(self.field(reader, writer, field, written));
            self.path.pop();
        }
        self.path.pop();
        found
    }

    fn field(
        &mut self,
        reader: NodeId,
        writer: NodeId,
        field: &Field,
        written: &[Field],
    ) -> Findings {
        if let Some(other) = writer_field(field, written) {
            let (r, w) = (field.node, other.node);
            return self.within("type", |this| this.pair(r, w));
        }
        if field.default.is_some() {
            return Vec::new();
        }
        // Java's own oddity: an enum's default serves as the field's, as far as types go.
        if let Kind::Enum { default: Some(_), .. } = &self.reader.node(field.node).kind {
            let r = field.node;
            return self.within("type", |this| this.pair(r, writer));
        }
        let kind = IncompatibilityKind::ReaderFieldMissingDefaultValue;
        self.wrong(kind, reader, writer, field.name.clone())
    }

    fn unions(&mut self, reader: NodeId, writer: NodeId, branches: &[NodeId]) -> Findings {
        let mut found = Vec::new();
        for (index, branch) in branches.iter().enumerate() {
            self.path.push(index.to_string());
            if !self.rooted(|this| this.pair(reader, *branch)).is_empty() {
                found.extend(self.lacking(reader, writer, *branch));
            }
            self.path.pop();
        }
        found
    }

    fn one_branch(&mut self, reader: NodeId, writer: NodeId, branches: &[NodeId]) -> Findings {
        let fits =
            branches.iter().any(|branch| self.rooted(|this| this.pair(*branch, writer)).is_empty());
        if fits { Vec::new() } else { self.lacking(reader, writer, writer) }
    }

    fn lacking(&self, reader: NodeId, writer: NodeId, branch: NodeId) -> Findings {
        let message =
            format!("reader union lacking writer type: {}", self.writer.node(branch).type_name());
        self.wrong(IncompatibilityKind::MissingUnionBranch, reader, writer, message)
    }
}

/// The writer's field that a reader's field reads: by name, else by the reader's aliases.
pub(crate) fn writer_field<'w>(field: &Field, written: &'w [Field]) -> Option<&'w Field> {
    std::iter::once(&field.name)
        .chain(&field.aliases)
        .find_map(|name| written.iter().find(|other| other.name == *name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ring of records, each within the one before and the last naming the first.
    fn ring(count: usize, leaf: &str) -> Schema {
        let mut text = format!("[\"R0\",\"{leaf}\"]");
        for index in (0..count).rev() {
            text = format!(
                "{{\"type\":\"record\",\"name\":\"R{index}\",\"fields\":[{{\"name\":\"x\",\"type\":{text}}}]}}"
            );
        }
        Schema::parse(&text).unwrap()
    }

    #[test]
    fn rings_of_different_lengths_are_judged_in_bounded_time() {
        let (one, other) = (ring(25, "int"), ring(26, "string"));
        assert!(!incompatibilities(&one, &other).is_empty());
    }
}
