//! One column's value as an expression: as the log has it, and as the text of what the topic has.

use crate::config::quoted;
use crate::types::{Composite, Reader};
use tidemesh_model::{DataType, Field, NumericSpecial};

/// The form in which cells are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::snapshot) enum Form {
    /// As the log has them.
    Binary,
    /// As the database's own text.
    Text,
}

impl Form {
    pub(in crate::snapshot) fn cell(self, field: &Field, reader: &Reader) -> String {
        let name = format!("t.{}", quoted(&field.name));
        match (self, reader) {
            // It has no binary form.
            (Self::Binary, Reader::Declared) => format!("{name}::text"),
            (Self::Binary, _) => name,
            // As the log has it, and masked here.
            (Self::Text, Reader::Masked(_)) => written(&name),
            (Self::Text, reader) => match without_special(&name, reader, 0) {
                Some(value) => format!("{value}::text"),
                None => canonical(&name, field),
            },
        }
    }

    pub(super) fn place(self) -> &'static str {
        match self {
            Self::Binary => "t.ctid",
            Self::Text => "t.ctid::text",
        }
    }
}

/// A value as its type's output function writes it, padding included, which casts do not always.
pub(in crate::snapshot) fn written(value: &str) -> String {
    format!("CASE WHEN {value} IS NOT NULL THEN format('%s', {value}) END")
}

/// A value's text as the topic has it, where that is not the cast to text.
pub(super) fn canonical(value: &str, field: &Field) -> String {
    let text = as_text(value, field);
    match field.data_type {
        // The topic's array says nothing of where its places are counted from: `[3:4]={7,8}`.
        DataType::Array(_) => format!("regexp_replace({text}, '^\\[[^=]*=', '')"),
        _ => text,
    }
}

fn as_text(value: &str, field: &Field) -> String {
    let arrays = field.source_type.trim_start_matches(|c| c != '[');
    match (field.source_type.trim_end_matches(arrays), &field.data_type) {
        // Its own text has the locale's signs.
        ("money", _) if arrays.is_empty() => format!("{value}::numeric::text"),
        ("money", DataType::Array(_)) => format!("{value}::numeric[]::text"),
        // The cast, unlike the output function, adds the length of a whole address's mask, and
        // leaves the declaration of a document in.
        (of @ ("inet" | "xml"), _) if arrays.is_empty() => format!("{of}_out({value})::text"),
        // Names change: the log has the ids.
        (of, DataType::Int64) if of.starts_with("reg") => format!("{value}::oid::text"),
        // An hstore is JSON in the topic; json and jsonb are what they are.
        (_, DataType::Json) => format!("{value}::json::text"),
        (_, DataType::Array(element)) if **element == DataType::Json => {
            format!("{value}::json[]::text")
        }
        (of, DataType::Array(element)) if **element == DataType::Int64 && of.starts_with("reg") => {
            format!("{value}::oid[]::text")
        }
        (of, DataType::Text) if arrays.is_empty() && !casts_as_written(of) => written(value),
        _ => format!("{value}::text"),
    }
}

/// Whether the cast of such a type to text is what its output function writes. That of a padded text
/// is not, nor that of some addresses; what a domain is made of cannot be seen here.
fn casts_as_written(of: &str) -> bool {
    let same = ["text", "character varying", "numeric", "interval", "time", "bit"];
    let rest = same.iter().find_map(|known| of.strip_prefix(known));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '(']))
}

/// The type as which the server reads such a text.
pub(super) fn read_as(field: &Field) -> &str {
    match &field.data_type {
        DataType::Json => "json",
        DataType::Array(element) if **element == DataType::Json => "json[]",
        _ => &field.source_type,
    }
}

/// A value with null in the place of what is no number, as deep as the settings have it so; none where
/// it has nothing of the kind. `depth` is that of the arrays around it.
pub(in crate::snapshot) fn without_special(
    value: &str,
    reader: &Reader,
    depth: usize,
) -> Option<String> {
    match reader {
        Reader::Numeric { special: NumericSpecial::Null, .. } => Some(format!(
            "CASE WHEN {value} NOT IN ('NaN', 'Infinity', '-Infinity') THEN {value} END"
        )),
        Reader::Array(element) => {
            let item = format!("({value})[i{depth}]");
            let item = without_special(&item, element, depth + 1)?;
            Some(format!(
                "CASE WHEN {value} IS NOT NULL THEN ARRAY(SELECT {item} FROM \
                 generate_subscripts({value}, 1) AS i{depth} ORDER BY i{depth}) END"
            ))
        }
        Reader::Composite(composite) => row_without_special(value, composite, depth),
        _ => None,
    }
    .map(|value| format!("({value})"))
}

fn row_without_special(value: &str, composite: &Composite, depth: usize) -> Option<String> {
    let parts: Vec<(String, Option<String>)> = composite
        .attributes
        .iter()
        .map(|attribute| {
            let part = format!("({value}).{}", quoted(&attribute.name));
            let without = without_special(&part, &attribute.reader, depth);
            (part, without)
        })
        .collect();
    if parts.iter().all(|(_, without)| without.is_none()) {
        return None;
    }
    let parts: Vec<String> = parts.into_iter().map(|(part, other)| other.unwrap_or(part)).collect();
    // A row of nulls is no null, whatever IS NULL says.
    Some(format!("CASE WHEN {value} IS DISTINCT FROM NULL THEN ROW({}) END", parts.join(", ")))
}
