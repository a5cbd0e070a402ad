//! The documentation of what is made: the schema's own, and what its types leave unsaid.

use proc_macro2::TokenStream;
use quote::quote;
use tidemesh_avro::schema::{Kind, Logical, NodeId, Schema};

/// `text` as documentation, with `notes` in paragraphs behind it.
pub(crate) fn docs(text: &str, notes: &[String]) -> TokenStream {
    let mut lines: Vec<String> = text.lines().map(plain).collect();
    for note in notes {
        lines.push(String::new());
        lines.push(plain(note));
    }
    let lines = lines.iter().map(|line| match line.as_str() {
        "" => String::new(),
        line => format!(" {line}"),
    });
    quote!(#(#[doc = #lines])*)
}

/// A line that rustdoc takes for text: indented or fenced lines would be run as tests in the crate of
/// whoever uses the macro.
fn plain(line: &str) -> String {
    line.trim().replace("```", "'''").replace("~~~", "'''")
}

/// What a field's Rust type does not say: its logical type and unit.
pub(crate) fn notes(schema: &Schema, id: NodeId) -> Vec<String> {
    let mut notes = Vec::new();
    logical_notes(schema, id, &mut notes);
    notes
}

fn logical_notes(schema: &Schema, id: NodeId, notes: &mut Vec<String>) {
    let node = schema.node(id);
    if let Some(logical) = node.logical {
        notes.push(meaning(logical));
    }
    match &node.kind {
        Kind::Array(inner) | Kind::Map(inner) => logical_notes(schema, *inner, notes),
        Kind::Union(branches) => {
            for branch in branches {
                logical_notes(schema, *branch, notes);
            }
        }
        _ => {}
    }
}

fn meaning(logical: Logical) -> String {
    const EPOCH: &str = "since 1970-01-01T00:00:00Z";
    const LOCAL: &str = "since 1970-01-01T00:00:00, in no time zone";
    const MIDNIGHT: &str = "since midnight";
    let (name, amount, since) = match logical {
        Logical::Decimal { precision, scale } => {
            return format!(
                "A number of at most {precision} digits, {scale} of them behind the point, as text: \
                 `-12.50` (`decimal`)."
            );
        }
        Logical::Uuid => {
            return "A UUID as text: `f81d4fae-7dec-11d0-a765-00a0c91e6bf6` (`uuid`).".to_owned();
        }
        Logical::Duration => {
            return "Months, days and milliseconds, each a little-endian `u32` (`duration`)."
                .to_owned();
        }
        Logical::Date => ("date", "Days", "since 1970-01-01"),
        Logical::TimeMillis => ("time-millis", "Milliseconds", MIDNIGHT),
        Logical::TimeMicros => ("time-micros", "Microseconds", MIDNIGHT),
        Logical::TimestampMillis => ("timestamp-millis", "Milliseconds", EPOCH),
        Logical::TimestampMicros => ("timestamp-micros", "Microseconds", EPOCH),
        Logical::TimestampNanos => ("timestamp-nanos", "Nanoseconds", EPOCH),
        Logical::LocalTimestampMillis => ("local-timestamp-millis", "Milliseconds", LOCAL),
        Logical::LocalTimestampMicros => ("local-timestamp-micros", "Microseconds", LOCAL),
        Logical::LocalTimestampNanos => ("local-timestamp-nanos", "Nanoseconds", LOCAL),
    };
    format!("{amount} {since} (`{name}`).")
}
